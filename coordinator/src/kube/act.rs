//! One step on the cluster: look at what is there, and change it.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::ConfigMap;
use rackwright_proto::cluster::receipt::Done;
use rackwright_proto::cluster::{
    ClusterSeen, ClusterStep, ObjectSeen, ObjectStep, TextSeen, TextStep, WorkloadKind, WorkloadSeen,
};
use rackwright_proto::fault::{Fault, FaultKind};
use serde_json::Value;

use super::turns::Turns;
use super::{Api, Apply, Hold, KubeError, KubeFault, Resource, Selector, Watched, rollout, run, status};
use crate::cluster::{digest, look};

/// How often a ConfigMap that changed under us, but not in our entry, is replaced anew.
const ATTEMPTS: u32 = 5;
/// Between two tries of what its own workload must first make possible.
const PAUSE: Duration = Duration::from_secs(1);

/// How a step may go about its work.
pub struct Manner<'a> {
    /// How long it may wait without anything getting better.
    pub patience: Duration,
    /// Fields that others own are taken over: the rack waives it.
    pub force: bool,
    /// Hears what is waited for.
    pub tell: &'a (dyn Fn(&str) + Sync),
    /// The lock on the cluster.
    pub lock: &'a Hold,
    /// Whether the operator wants to stop, as soon as that is safe.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// What happens around the replacement of each node's pod; nothing when left out.
    pub turns: Option<&'a dyn Turns>,
}

impl Manner<'_> {
    /// Whether to go on with the next node: the lock is ours still, and nobody wants to stop.
    ///
    /// # Errors
    /// Why not.
    pub async fn go_on(&self) -> Result<(), Fault> {
        self.lock.ensure().await.map_err(|e| run::locked(&e))?;
        if (self.stop)() { Err(run::stopped()) } else { Ok(()) }
    }
}

/// The same as a value for reports.
pub fn fault(error: &KubeError) -> Fault {
    let kind = if error.is_conflict() { FaultKind::Stale } else { FaultKind::Host };
    Fault::new(kind, &error.doing, error.fault.to_string())
}

/// What the cluster has where a step would put something.
///
/// # Errors
/// The cluster cannot be reached, or refuses.
pub async fn observe(api: &Api, step: &ClusterStep) -> Result<ClusterSeen, KubeError> {
    Ok(match step {
        ClusterStep::Text(step) => {
            let config: Option<ConfigMap> = api.get(Some(&step.namespace), &step.name).await?;
            ClusterSeen::Text(look::text(config.as_ref(), &step.entry))
        }
        ClusterStep::Workload(step) => {
            let (namespace, name) = (Some(step.namespace.as_str()), step.name.as_str());
            ClusterSeen::Workload(match step.kind {
                WorkloadKind::DaemonSet => {
                    look::daemon_set(api.get::<DaemonSet>(namespace, name).await?.as_ref())
                }
                WorkloadKind::Deployment => {
                    look::deployment(api.get::<Deployment>(namespace, name).await?.as_ref())
                }
            })
        }
        ClusterStep::Object(step) => {
            ClusterSeen::Object(ObjectSeen::of(step.want.as_ref(), get(api, step).await?.as_ref()))
        }
    })
}

/// The live object of a step; `None` also where its kind is not known yet.
///
/// # Errors
/// The cluster cannot be reached, or refuses.
pub async fn get(api: &Api, step: &ObjectStep) -> Result<Option<Value>, KubeError> {
    let look = async {
        let resource = api.resource(&step.api_version, &step.kind).await?;
        api.get_object(&resource, step.namespace.as_deref(), &step.name).await
    };
    match look.await {
        // A kind that goes is served no longer before it is gone from what the cluster says that it serves.
        Err(error) if matches!(*error.fault, KubeFault::NoSuchKind { .. } | KubeFault::NotFound) => Ok(None),
        looked => looked,
    }
}

/// The same once a step is done, and in short for the receipts.
///
/// # Errors
/// The cluster cannot be reached, or refuses.
pub async fn observe_done(api: &Api, step: &ClusterStep) -> Result<(ClusterSeen, Option<Done>), KubeError> {
    let ClusterStep::Object(object) = step else {
        return Ok((observe(api, step).await?, digest::intended(step)));
    };
    let live = get(api, object).await?;
    let seen = ObjectSeen::of(object.want.as_ref(), live.as_ref());
    Ok((ClusterSeen::Object(seen), live.as_ref().map(digest::object)))
}

/// Makes it so.
///
/// # Errors
/// What failed, where, and what to do next.
pub async fn act(
    api: &Api,
    step: &ClusterStep,
    seen: &ClusterSeen,
    manner: &Manner<'_>,
) -> Result<(), Fault> {
    match (step, seen) {
        (ClusterStep::Text(step), ClusterSeen::Text(seen)) => edit(api, step, seen).await,
        (ClusterStep::Workload(step), ClusterSeen::Workload(seen)) => {
            rollout::roll(api, step, seen, manner).await
        }
        (ClusterStep::Object(step), ClusterSeen::Object(seen)) => match &step.want {
            Some(want) => apply(api, want, manner).await,
            None => delete(api, step, seen, manner).await,
        },
        _ => Err(Fault::new(FaultKind::Internal, step.title(), "seen as another shape of step")),
    }
}

/// Replaces one entry of a ConfigMap, after the API server said that it would take it. Whatever else changes in the
/// ConfigMap meanwhile is kept; a change of our entry stops us.
async fn edit(api: &Api, step: &TextStep, seen: &TextSeen) -> Result<(), Fault> {
    let resource = Resource::of::<ConfigMap>();
    for _ in 0..ATTEMPTS {
        let found = api.get_object(&resource, Some(&step.namespace), &step.name).await;
        let Some(mut config) = found.map_err(|e| fault(&e))? else {
            return Err(edited(step, "it was removed"));
        };
        if config["data"][&step.entry].as_str() != seen.text.as_deref() {
            return Err(edited(step, &by_whom(&config)));
        }
        config["data"][&step.entry] = step.want.as_str().into();
        api.replace_object(&config, true).await.map_err(|e| fault(&e))?;
        match api.replace_object(&config, false).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(fault(&error)),
        }
    }
    Err(edited(step, "it changes all the time"))
}

fn edited(step: &TextStep, how: &str) -> Fault {
    let doing = format!("edit {} of ConfigMap {}/{}", step.entry, step.namespace, step.name);
    let cause = format!("somebody edited it since the plan was made: {how}; nothing of it was overwritten");
    Fault::new(FaultKind::Stale, doing, cause).next("look at the new text, then plan and apply again")
}

/// The fault of a step whose object is not what its plan saw; says who edited a text, where that can be told.
pub async fn edited_since(api: &Api, step: &ClusterStep, fault: Fault) -> Fault {
    let ClusterStep::Text(step) = step else { return fault };
    let resource = Resource::of::<ConfigMap>();
    match api.get_object(&resource, Some(&step.namespace), &step.name).await {
        Ok(Some(config)) => edited(step, &by_whom(&config)),
        Ok(None) => edited(step, "it was removed"),
        Err(_) => fault,
    }
}

fn by_whom(config: &Value) -> String {
    match status::changes(config).first() {
        Some(change) => format!("{} at {}", change.manager, change.time),
        None => "its owner is not known".to_owned(),
    }
}

/// Applies an object. What the object's own workload must first make possible (a webhook, a kind that was just
/// defined) is waited for; a refusal is not.
async fn apply(api: &Api, want: &Value, manner: &Manner<'_>) -> Result<(), Fault> {
    let how = Apply { force: manner.force, ..Apply::default() };
    let begun = tokio::time::Instant::now();
    let mut told = String::new();
    loop {
        let error = match api.apply_object(want, &how).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if !passes(&error) {
            return Err(refused(&error));
        }
        let left = manner.patience.checked_sub(begun.elapsed());
        let text = error.fault.to_string();
        if left.is_none() {
            return Err(never(&error, manner.patience));
        }
        if told != text {
            (manner.tell)(&format!("waiting: {text}"));
            told = text;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What time alone may mend.
fn passes(error: &KubeError) -> bool {
    matches!(*error.fault, KubeFault::Webhook { .. } | KubeFault::NoSuchKind { .. } | KubeFault::NotFound)
}

fn refused(error: &KubeError) -> Fault {
    let fault = fault(error);
    match &*error.fault {
        KubeFault::Conflict { .. } => {
            fault.next("let its owner set these fields, or waive `balancer-owned-by-others` in the rack to take them over")
        }
        _ => fault,
    }
}

fn never(error: &KubeError, patience: Duration) -> Fault {
    let mut fault = fault(error);
    fault.kind = FaultKind::Deadline;
    fault.cause = format!("still after {} s: {}", patience.as_secs(), fault.cause);
    if error.is_webhook_unreachable() {
        return fault.next(
            "`kubectl -n metallb-system get pods,endpointslices` tells whether its controller runs; if it does, the API \
             server's host cannot reach pods of other nodes: look for a firewall or a broken pod network. Do not delete \
             the webhook: that only hides it",
        );
    }
    fault
}

/// Deletes an object and waits until it is gone.
async fn delete(api: &Api, step: &ObjectStep, seen: &ObjectSeen, manner: &Manner<'_>) -> Result<(), Fault> {
    let failed = |error: KubeError| fault(&error);
    let (Some(uid), Ok(resource)) = (&seen.uid, api.resource(&step.api_version, &step.kind).await) else {
        return Ok(());
    };
    let namespace = step.namespace.as_deref();
    api.delete(&resource, namespace, &step.name, uid, false).await.map_err(failed)?;
    let mut selector = Selector::all().named(&step.name);
    selector.namespace = namespace.map(str::to_owned);
    let gone =
        |set: &super::Set<Value>| set.values().all(|o| o["metadata"]["uid"] != uid.as_str()).then_some(());
    match api.watch_until::<Value, ()>(&resource, &selector, manner.patience, gone).await {
        Ok(Watched::Met(())) => Ok(()),
        Ok(Watched::Late(set)) => Err(stays(step, set.values().next(), manner.patience)),
        // Its kind went first.
        Err(error) if matches!(*error.fault, KubeFault::NotFound) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn stays(step: &ObjectStep, live: Option<&Value>, patience: Duration) -> Fault {
    let finalizers = live.map(|live| live["metadata"]["finalizers"].to_string()).unwrap_or_default();
    let doing = format!("delete {} {}", step.kind, step.name);
    let cause = format!("it is still there after {} s (finalizers: {finalizers})", patience.as_secs());
    Fault::new(FaultKind::Deadline, doing, cause).next("look at its status and its finalizers with kubectl")
}

/// How far a workload is, from what a watch of it yields.
pub(super) fn workload_of(kind: WorkloadKind, object: &Value) -> WorkloadSeen {
    match kind {
        WorkloadKind::DaemonSet => look::daemon_set(serde_json::from_value(object.clone()).ok().as_ref()),
        WorkloadKind::Deployment => look::deployment(serde_json::from_value(object.clone()).ok().as_ref()),
    }
}
