//! A node out of service and back: cordoned, drained within the budgets of its pods, awaited after a boot, uncordoned.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use rackwright_proto::fault::{Fault, FaultKind};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::act::fault;
use super::{Api, KubeFault, Resource, Selector, Set, Watched};
use crate::cluster::drain::{self, Lot};
use crate::proxy::migrate::CORDONED;
use crate::report::count;

/// How long is waited before evictions that a budget forbade are asked for again.
const AGAIN: Duration = Duration::from_secs(5);
/// Between two tries to reach an API server that may be on the node that boots.
const PAUSE: Duration = Duration::from_secs(2);

/// Keeps new pods off a node; true if they were let onto it before. Where somebody else keeps them off, that stays his.
async fn cordon(api: &Api, node: &str) -> Result<bool, Fault> {
    let found: Option<Node> = api.get(None, node).await.map_err(|e| fault(&e))?;
    if found.is_some_and(|n| n.spec.and_then(|s| s.unschedulable) == Some(true)) {
        return Ok(false);
    }
    let mut patch = json!({"metadata": {"annotations": {CORDONED: "by migrate-proxy"}}});
    patch["spec"]["unschedulable"] = true.into();
    patch_node(api, node, &patch).await.map(|()| true)
}

/// Lets pods onto a node again, if it was us who kept them off.
///
/// # Errors
/// The API's refusal.
pub async fn uncordon(api: &Api, node: &str) -> Result<(), Fault> {
    let found: Option<Node> = api.get(None, node).await.map_err(|e| fault(&e))?;
    match found.filter(is_ours) {
        Some(_) => {
            let patch =
                json!({"metadata": {"annotations": {CORDONED: null}}, "spec": {"unschedulable": null}});
            patch_node(api, node, &patch).await
        }
        None => Ok(()),
    }
}

/// The same for all nodes: of a migration that stopped on its way.
///
/// # Errors
/// The API's refusal.
pub async fn uncordon_all(api: &Api) -> Result<(), Fault> {
    let nodes = api.list::<Node>(&Selector::all()).await.map_err(|e| fault(&e))?.items;
    for name in nodes.iter().filter(|n| is_ours(n)).filter_map(|n| n.metadata.name.as_deref()) {
        uncordon(api, name).await?;
    }
    Ok(())
}

fn is_ours(node: &Node) -> bool {
    node.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(CORDONED))
}

async fn patch_node(api: &Api, node: &str, patch: &Value) -> Result<(), Fault> {
    let patched = api.patch_merge(&Resource::of::<Node>(), None, node, patch, false).await;
    patched.map(drop).map_err(|e| fault(&e))
}

/// Cordons a node and evicts its pods, as far and as fast as their budgets allow. Where that fails, the node goes on as
/// before.
///
/// # Errors
/// A pod that nobody would make again (before anything was done); or for `patience` no further pod went.
pub async fn empty(
    api: &Api,
    node: &str,
    patience: Duration,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<(), Fault> {
    let there = api.list::<Pod>(&on(node)).await.map_err(|e| fault(&e))?.items;
    let lost: Vec<String> =
        there.iter().filter(|pod| drain::lot(pod) == Lot::Lost).map(drain::name).collect();
    if !lost.is_empty() {
        let cause = format!("nobody would make {} again: no controller owns it", lost.join(", "));
        return Err(Fault::new(FaultKind::Host, format!("drain {node}"), cause)
            .next("move or delete it by hand, or set `kubernetes.proxy.migrate.drain: false`"));
    }
    let new = cordon(api, node).await?;
    let evicted = evict(api, node, patience, tell).await;
    if evicted.is_err() && new {
        // Nothing was changed there: it goes on as it was.
        uncordon(api, node).await?;
    }
    evicted
}

async fn evict(api: &Api, node: &str, patience: Duration, tell: &(dyn Fn(&str) + Sync)) -> Result<(), Fault> {
    let (mut fewest, mut since, mut told) = (usize::MAX, Instant::now(), String::new());
    loop {
        let there = api.list::<Pod>(&on(node)).await.map_err(|e| fault(&e))?.items;
        let going: Vec<&Pod> = there.iter().filter(|pod| drain::lot(pod) == Lot::Goes).collect();
        if going.is_empty() {
            return Ok(());
        }
        if going.len() < fewest {
            (fewest, since) = (going.len(), Instant::now());
        }
        let held = ask_to_go(api, &going).await?;
        if since.elapsed() >= patience {
            return Err(stay(node, &going, held, patience));
        }
        let because = held.map(|why| format!("; {why}")).unwrap_or_default();
        let text = format!("{node}: {} still to go{because}", count(going.len(), "pod"));
        if text != told {
            tell(&text);
            told = text;
        }
        let fewer = |set: &Set<Pod>| {
            let left = set.values().filter(|pod| drain::lot(pod) == Lot::Goes).count();
            (left < fewest).then_some(())
        };
        let within = AGAIN.min(patience);
        api.watch_until(&Resource::of::<Pod>(), &on(node), within, fewer).await.map_err(|e| fault(&e))?;
    }
}

/// Evicts what is not on its way yet; why one may not go now.
async fn ask_to_go(api: &Api, pods: &[&Pod]) -> Result<Option<String>, Fault> {
    let mut held = None;
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        let meta = &pod.metadata;
        match api.evict(&of(&meta.namespace), &of(&meta.name), &of(&meta.uid), false).await {
            Ok(_) => {}
            Err(error) if matches!(*error.fault, KubeFault::Budget { .. }) => {
                held = Some(format!("{}: {}", drain::name(pod), error.fault));
            }
            Err(error) => return Err(fault(&error)),
        }
    }
    Ok(held)
}

fn stay(node: &str, pods: &[&Pod], held: Option<String>, patience: Duration) -> Fault {
    let names: Vec<String> = pods.iter().take(5).map(|pod| drain::name(pod)).collect();
    let why = held.unwrap_or_else(|| "they take their time to end".to_owned());
    let cause = format!("for {} s no further pod went ({}): {why}", patience.as_secs(), names.join(", "));
    Fault::new(FaultKind::Deadline, format!("drain {node}"), cause)
        .next("give the workload another replica, or its budget more room")
}

fn on(node: &str) -> Selector {
    Selector::all().fields(format!("spec.nodeName={node}"))
}

/// Waits until the cluster knows a node's new boot and takes it for ready. Its API server may boot along with it.
///
/// # Errors
/// Not within the time.
pub async fn booted(api: &Api, node: &str, boot: &str, within: Duration) -> Result<(), Fault> {
    let end = Instant::now() + within;
    let ready = |set: &Set<Node>| {
        let status = set.values().next()?.status.as_ref()?;
        let known = status.node_info.as_ref()?.boot_id == boot;
        let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
        (known && ready).then_some(())
    };
    let late = |why: String| {
        Fault::new(FaultKind::Deadline, format!("await {node} after its reboot"), why)
            .next(format!("`journalctl -u kubelet` on {node} tells more"))
    };
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let selector = Selector::all().named(node);
        match api.watch_until(&Resource::of::<Node>(), &selector, left, ready).await {
            Ok(Watched::Met(())) => return Ok(()),
            Ok(Watched::Late(_)) => {
                return Err(late(format!("its kubelet is not ready within {} s", within.as_secs())));
            }
            Err(error) if Instant::now() >= end => return Err(late(fault(&error).to_string())),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
