//! A DaemonSet's pods replaced by us, one node at a time: where its own strategy waits for somebody to delete them,
//! would take several at once, or where something is to happen around each node's turn.

use std::collections::BTreeSet;

use futures_util::future::LocalBoxFuture;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rackwright_proto::cluster::workload::{HELD, Stamp};
use rackwright_proto::cluster::{Family, WorkloadKind, WorkloadStep};
use rackwright_proto::fault::{Fault, FaultKind};
use serde_json::{Value, json};

use super::act::{Manner, fault};
use super::rollout::stuck;
use super::run::locked;
use super::{Api, Resource, Selector, Set, Watched, nodes};
use crate::cluster::look::is_ready;
use crate::natural::Natural;

/// How often a DaemonSet that changes under us is patched anew: its status does at any time.
const ATTEMPTS: u32 = 10;
/// The label by which a DaemonSet's pods tell of which template they are.
const HASH: &str = "controller-revision-hash";

/// Hears what is waited for.
pub type Tell<'a> = &'a (dyn Fn(&str) + Sync);

/// What happens around the replacement of each node's pod.
pub trait Turns {
    /// The nodes that have a turn, in order, given those whose pods are of a former template.
    fn order(&self, outdated: &[String]) -> Vec<String>;

    /// Before the node's pod is deleted.
    fn before<'a>(&'a self, node: &'a str, tell: Tell<'a>) -> LocalBoxFuture<'a, Result<(), Fault>>;

    /// After the new pod is ready. The next node has its turn only if this went well.
    fn after<'a>(&'a self, node: &'a str, tell: Tell<'a>) -> LocalBoxFuture<'a, Result<(), Fault>>;
}

/// How a workload's pods come to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// By its controller, one after the other or as a Deployment does.
    Own,
    /// By us, one node at a time.
    ByUs {
        /// Its own strategy has to be set aside for that.
        aside: bool,
    },
}

/// How the pods of a step's workload are to be replaced. Pure but for the look at its object.
///
/// # Errors
/// The API's refusal.
pub async fn strategy(api: &Api, step: &WorkloadStep, manner: &Manner<'_>) -> Result<Strategy, Fault> {
    if step.kind != WorkloadKind::DaemonSet {
        return Ok(Strategy::Own);
    }
    let set = get(api, step).await?;
    // What is the operator's own is rolled out the operator's way.
    let restarts = step.stamp != Stamp::Any && step.family != Family::Mesh;
    Ok(decide(&set, restarts, manner.turns.is_some()))
}

fn decide(set: &Value, restarts: bool, turns: bool) -> Strategy {
    let strategy = &set["spec"]["updateStrategy"];
    if strategy["type"] == "OnDelete" {
        return Strategy::ByUs { aside: false };
    }
    let rolling = &strategy["rollingUpdate"];
    // What is left out is 1 and 0 (apps/v1).
    let one = rolling["maxUnavailable"].is_null() || rolling["maxUnavailable"] == 1;
    let surges = !matches!(&rolling["maxSurge"], Value::Null) && rolling["maxSurge"] != 0;
    match (one && !surges, restarts, turns) {
        (_, true, true) | (false, true, false) => Strategy::ByUs { aside: true },
        // What is only awaited, its controller is at already.
        (true, _, false) | (_, false, _) => Strategy::Own,
    }
}

/// Sets a DaemonSet's own strategy aside, with a record of it on itself.
///
/// # Errors
/// The API's refusal.
pub async fn set_aside(api: &Api, step: &WorkloadStep) -> Result<(), Fault> {
    change(api, step, |set| {
        let strategy = &set["spec"]["updateStrategy"];
        let held = !set["metadata"]["annotations"][HELD].is_null();
        (!held).then(|| {
            json!({
                "metadata": {"annotations": {HELD: strategy.to_string()}},
                "spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}},
            })
        })
    })
    .await
}

/// Puts back what [`set_aside`] recorded, and lets pods onto nodes again that a migration left cordoned. Nothing is
/// done where nothing was set aside; a strategy that somebody gave it since is left alone.
///
/// # Errors
/// The API's refusal.
pub async fn put_back(api: &Api, step: &WorkloadStep) -> Result<(), Fault> {
    if get(api, step).await?["metadata"]["annotations"][HELD].is_null() {
        return Ok(());
    }
    nodes::uncordon_all(api).await?;
    change(api, step, |set| {
        let record = set["metadata"]["annotations"][HELD].as_str()?;
        let former = serde_json::from_str(record).unwrap_or_else(|_| json!({"type": "RollingUpdate"}));
        let mut patch = json!({"metadata": {"annotations": {HELD: null}}});
        if set["spec"]["updateStrategy"]["type"] == "OnDelete" {
            patch["spec"]["updateStrategy"] = former;
        }
        Some(patch)
    })
    .await
}

/// Patches a DaemonSet as it is now, not as it was.
async fn change(
    api: &Api,
    step: &WorkloadStep,
    patch: impl Fn(&Value) -> Option<Value>,
) -> Result<(), Fault> {
    let resource = Resource::of::<DaemonSet>();
    let mut attempt = 1;
    loop {
        let set = get(api, step).await?;
        let Some(mut patch) = patch(&set) else { return Ok(()) };
        patch["metadata"]["resourceVersion"] = set["metadata"]["resourceVersion"].clone();
        match api.patch_merge(&resource, Some(&step.namespace), &step.name, &patch, false).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(fault(&error)),
        }
    }
}

async fn get(api: &Api, step: &WorkloadStep) -> Result<Value, Fault> {
    let found = api.get_object(&Resource::of::<DaemonSet>(), Some(&step.namespace), &step.name).await;
    found.map_err(|e| fault(&e))?.ok_or_else(|| {
        let what = format!("roll out DaemonSet {}/{}", step.namespace, step.name);
        Fault::new(FaultKind::Stale, what, "it was removed").next("plan and apply again")
    })
}

/// Replaces the pods, node by node, each awaited before the next is touched.
///
/// # Errors
/// The first node that did not come through its turn; or nodes were left out of the order.
pub async fn one_by_one(api: &Api, step: &WorkloadStep, manner: &Manner<'_>) -> Result<(), Fault> {
    let pods = Pods::of(api, step, manner).await?;
    let outdated = pods.outdated(api).await?;
    let order = match manner.turns {
        Some(turns) => turns.order(&outdated),
        None => outdated.clone(),
    };
    for (index, node) in order.iter().enumerate() {
        manner.go_on().await?;
        (manner.tell)(&format!("{node} has its turn ({} of {})", index + 1, order.len()));
        if let Some(turns) = manner.turns {
            turns.before(node, manner.tell).await?;
        }
        pods.replace(api, node, manner).await?;
        if let Some(turns) = manner.turns {
            turns.after(node, manner.tell).await?;
        }
    }
    manner.lock.ensure().await.map_err(|e| locked(&e))?;
    let left: Vec<&str> = outdated.iter().filter(|node| !order.contains(node)).map(String::as_str).collect();
    match left.is_empty() {
        true => Ok(()),
        false => Err(Fault::new(
            FaultKind::Host,
            format!("roll out DaemonSet {}/{}", step.namespace, step.name),
            format!("{} had no turn yet", left.join(", ")),
        )
        .next("run again for those")),
    }
}

/// The pods of a DaemonSet, and what the present ones bear.
struct Pods<'a> {
    step: &'a WorkloadStep,
    selector: Selector,
    owner: String,
    hash: String,
}

impl<'a> Pods<'a> {
    /// Once the controller has seen the present template.
    async fn of(api: &Api, step: &'a WorkloadStep, manner: &Manner<'_>) -> Result<Self, Fault> {
        let named = Selector::namespace(&step.namespace).named(&step.name);
        let known = |set: &Set<Value>| {
            let set = set.values().next()?;
            let (seen, is) = (&set["status"]["observedGeneration"], &set["metadata"]["generation"]);
            (seen.as_i64() >= is.as_i64()).then(|| set.clone())
        };
        let resource = Resource::of::<DaemonSet>();
        let met = api.watch_until::<Value, Value>(&resource, &named, manner.patience, known).await;
        let Watched::Met(set) = met.map_err(|e| fault(&e))? else {
            return Err(stuck(api, step, manner).await);
        };
        let labels = set["spec"]["selector"]["matchLabels"].as_object().cloned().unwrap_or_default();
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect();
        let selector = Selector::namespace(&step.namespace).labels(labels.join(","));
        let revisions = api.list::<ControllerRevision>(&selector).await.map_err(|e| fault(&e))?.items;
        let owner = set["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let hash = newest(&revisions, &owner);
        Ok(Self { step, selector, owner, hash })
    }

    /// Another DaemonSet's pods may bear the same labels.
    fn is_own(&self, pod: &Pod) -> bool {
        is_owned(&pod.metadata, &self.owner)
    }

    fn is_present(&self, pod: &Pod) -> bool {
        pod.metadata.labels.as_ref().and_then(|labels| labels.get(HASH)) == Some(&self.hash)
    }

    /// Nodes with a pod of a former template, as people count.
    async fn outdated(&self, api: &Api) -> Result<Vec<String>, Fault> {
        let pods = api.list::<Pod>(&self.selector).await.map_err(|e| fault(&e))?.items;
        let nodes: BTreeSet<&str> =
            pods.iter().filter(|pod| self.is_own(pod) && !self.is_present(pod)).filter_map(node).collect();
        let mut nodes: Vec<String> = nodes.into_iter().map(str::to_owned).collect();
        nodes.sort_by(|a, b| Natural(a).cmp(&Natural(b)));
        Ok(nodes)
    }

    /// Deletes a node's pod and waits for the one in its place.
    async fn replace(&self, api: &Api, node: &str, manner: &Manner<'_>) -> Result<(), Fault> {
        let here = self.selector.clone().fields(format!("spec.nodeName={node}"));
        let mut old = api.list::<Pod>(&here).await.map_err(|e| fault(&e))?.items;
        old.retain(|pod| self.is_own(pod));
        for pod in &old {
            let (name, uid) = (pod.metadata.name.as_deref(), pod.metadata.uid.as_deref());
            let (name, uid) = (name.unwrap_or_default(), uid.unwrap_or_default());
            let resource = Resource::of::<Pod>();
            let deleted = api.delete(&resource, Some(&self.step.namespace), name, uid, false).await;
            deleted.map_err(|e| fault(&e))?;
        }
        let new = |set: &Set<Pod>| {
            let is_old = |pod: &Pod| old.iter().any(|old| old.metadata.uid == pod.metadata.uid);
            let gone = !set.values().any(is_old);
            let new = |pod: &Pod| self.is_own(pod) && self.is_present(pod) && is_ready(pod);
            (gone && set.values().any(new)).then_some(())
        };
        let watched = api.watch_until(&Resource::of::<Pod>(), &here, manner.patience, new).await;
        match watched.map_err(|e| fault(&e))? {
            Watched::Met(()) => Ok(()),
            Watched::Late(_) => Err(stuck(api, self.step, manner).await),
        }
    }
}

pub(super) fn is_owned(metadata: &ObjectMeta, owner: &str) -> bool {
    metadata.owner_references.iter().flatten().any(|reference| reference.uid == owner)
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// What pods of the newest revision of a DaemonSet bear.
fn newest(revisions: &[ControllerRevision], owner: &str) -> String {
    let is_its = |revision: &&ControllerRevision| is_owned(&revision.metadata, owner);
    let newest = revisions.iter().filter(is_its).max_by_key(|revision| revision.revision);
    newest.and_then(|r| r.metadata.labels.as_ref()?.get(HASH).cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_node_at_a_time_is_left_to_the_controller() {
        let of = |strategy: Value, turns| decide(&json!({"spec": {"updateStrategy": strategy}}), true, turns);
        let rolling = |of: Value| json!({"type": "RollingUpdate", "rollingUpdate": of});
        let aside = Strategy::ByUs { aside: true };
        assert_eq!(of(Value::Null, false), Strategy::Own);
        assert_eq!(of(rolling(json!({"maxUnavailable": 1, "maxSurge": 0})), false), Strategy::Own);
        assert_eq!(of(rolling(json!({"maxUnavailable": 2})), false), aside);
        assert_eq!(of(rolling(json!({"maxUnavailable": "10%"})), false), aside);
        assert_eq!(of(rolling(json!({"maxUnavailable": 0, "maxSurge": 1})), false), aside);
        assert_eq!(of(rolling(json!({"maxSurge": "50%"})), false), aside);
        assert_eq!(of(json!({"type": "OnDelete"}), false), Strategy::ByUs { aside: false });
        assert_eq!(of(rolling(json!({"maxUnavailable": 1})), true), aside);
        let only_awaited = json!({"spec": {"updateStrategy": rolling(json!({"maxUnavailable": 2}))}});
        assert_eq!(decide(&only_awaited, false, false), Strategy::Own);
    }

    #[test]
    fn the_newest_revision_tells_what_present_pods_bear() {
        let revision = |number: i64, hash: &str, owner: &str| -> ControllerRevision {
            let owner = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "x", "uid": owner});
            serde_json::from_value(json!({
                "metadata": {"labels": {HASH: hash}, "ownerReferences": [owner]}, "revision": number
            }))
            .unwrap()
        };
        // A revision that comes back is numbered anew.
        let all =
            [revision(3, "back", "ours"), revision(2, "former", "ours"), revision(9, "other", "theirs")];
        assert_eq!(newest(&all, "ours"), "back");
        assert_eq!(newest(&[], "ours"), "");
    }
}
