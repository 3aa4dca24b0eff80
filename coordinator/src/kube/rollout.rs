//! Restarting a workload and waiting for all of its pods, with what an operator needs when one never comes.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Pod;
use rackwright_proto::cluster::workload::{STAMP, Stamp};
use rackwright_proto::cluster::{WorkloadKind, WorkloadSeen, WorkloadStep};
use rackwright_proto::fault::{Fault, FaultKind};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::act::{Manner, fault, workload_of};
use super::{Api, KubeError, Logs, Resource, Selector, Set, Watched};

/// Lines of a container's log that are shown.
const LOG_LINES: u32 = 10;
/// Restarts after which a container is taken to crash for good.
const RESTARTS: i32 = 3;

/// Stamps a workload's template, if it is not stamped so yet, and waits until all of its pods are of it and ready.
///
/// # Errors
/// The API's refusal; or no pod more became ready for as long as `manner.patience` says: then with nodes, states and
/// the last lines of the log.
pub async fn roll(
    api: &Api,
    step: &WorkloadStep,
    seen: &WorkloadSeen,
    manner: &Manner<'_>,
) -> Result<(), Fault> {
    let resource = resource(step.kind);
    if let Some(patch) = stamping(&step.stamp, seen) {
        let (namespace, name) = (Some(step.namespace.as_str()), step.name.as_str());
        api.patch_merge(&resource, namespace, name, &patch, false).await.map_err(|e| fault(&e))?;
    }
    let selector = Selector::namespace(&step.namespace).named(&step.name);
    let (mut best, mut better_at) = ((0, 0), Instant::now());
    loop {
        let within = manner.patience.saturating_sub(better_at.elapsed());
        // One watch sees all of it: a new one for each pod would be as many requests as there are nodes.
        let came = |set: &Set<Value>| {
            let seen = workload_of(step.kind, set.values().next()?);
            if seen.is_complete() {
                return Some(());
            }
            if seen.ready > best.0 || seen.desired > best.1 {
                (best, better_at) = ((seen.ready, seen.desired), Instant::now());
                (manner.tell)(&format!("{} of {} pods of {} ready", seen.ready, seen.desired, step.name));
            }
            None
        };
        match api.watch_until::<Value, ()>(&resource, &selector, within, came).await {
            Ok(Watched::Met(())) => return Ok(()),
            Ok(Watched::Late(_)) if better_at.elapsed() < manner.patience => {}
            Ok(Watched::Late(_)) => return Err(stuck(api, step, manner).await),
            Err(error) => return Err(fault(&error)),
        }
    }
}

fn resource(kind: WorkloadKind) -> Resource {
    match kind {
        WorkloadKind::DaemonSet => Resource::of::<DaemonSet>(),
        WorkloadKind::Deployment => Resource::of::<Deployment>(),
    }
}

/// The patch that stamps a template; none where it is as wanted.
fn stamping(want: &Stamp, seen: &WorkloadSeen) -> Option<Value> {
    let stamp: Value = match want {
        Stamp::Any => return None,
        Stamp::Is(stamp) if seen.stamp.as_ref() == Some(stamp) => return None,
        Stamp::Is(stamp) => stamp.as_str().into(),
        Stamp::Absent if seen.stamp.is_none() => return None,
        Stamp::Absent => Value::Null,
    };
    Some(json!({"spec": {"template": {"metadata": {"annotations": {STAMP: stamp}}}}}))
}

/// Why pods do not become ready, node by node.
async fn stuck(api: &Api, step: &WorkloadStep, manner: &Manner<'_>) -> Fault {
    let what = format!("{} {}/{}", step.kind.as_str(), step.namespace, step.name);
    let doing = format!("roll out {what}");
    let mut lines = match troubled(api, step).await {
        Ok(pods) if pods.is_empty() => vec!["no pod of it is there; its events tell why".to_owned()],
        Ok(pods) => told(api, &pods).await,
        Err(error) => vec![format!("its pods cannot be listed: {error}")],
    };
    let seconds = manner.patience.as_secs();
    lines.insert(0, format!("no further pod became ready for {seconds} s"));
    let next = format!(
        "`kubectl -n {} describe {} {}` tells more; mend the pod and apply again: it goes on from there",
        step.namespace,
        step.kind.as_str().to_lowercase(),
        step.name
    );
    Fault::new(FaultKind::Deadline, doing, lines.join("\n")).next(next)
}

/// The pods of a workload that are not ready.
async fn troubled(api: &Api, step: &WorkloadStep) -> Result<Vec<Pod>, KubeError> {
    let object = api.get_object(&resource(step.kind), Some(&step.namespace), &step.name).await?;
    let labels = object.as_ref().and_then(|o| o["spec"]["selector"]["matchLabels"].as_object().cloned());
    let labels: Vec<String> = labels
        .unwrap_or_default()
        .iter()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let pods = api.list::<Pod>(&Selector::namespace(&step.namespace).labels(labels.join(","))).await?;
    Ok(pods.items.into_iter().filter(|pod| !is_ready(pod)).collect())
}

/// Whether a pod is ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

async fn told(api: &Api, pods: &[Pod]) -> Vec<String> {
    let mut lines = Vec::new();
    for pod in pods.iter().take(5) {
        lines.push(format!("{}: pod {}: {}", node(pod), name(pod), state(pod)));
        lines.extend(log(api, pod).await.lines().map(|line| format!("  | {line}")));
    }
    if pods.len() > 5 {
        let rest: Vec<&str> = pods[5..].iter().map(node).collect();
        lines.push(format!("and pods on {}", rest.join(", ")));
    }
    lines
}

fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or("no node yet")
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// The worst that is known of a pod, in a few words.
fn state(pod: &Pod) -> String {
    let Some(status) = &pod.status else { return "nothing is known of it".into() };
    for container in status.container_statuses.iter().flatten() {
        let restarts = match container.restart_count {
            0 => String::new(),
            n if n >= RESTARTS => format!(", restarted {n} times"),
            n => format!(", restarted {n} times so far"),
        };
        let waiting = container.state.as_ref().and_then(|s| s.waiting.as_ref());
        if let Some(waiting) = waiting {
            let reason = waiting.reason.as_deref().unwrap_or("waiting");
            let message = waiting.message.as_deref().map(|m| format!(" ({m})")).unwrap_or_default();
            return format!("{} is {reason}{message}{restarts}", container.name);
        }
        if !container.ready {
            return format!("{} runs but is not ready{restarts}", container.name);
        }
    }
    let unmet = status.conditions.iter().flatten().find(|c| c.status != "True" && c.message.is_some());
    let why = unmet.and_then(|c| c.message.clone()).unwrap_or_default();
    format!("{} {why}", status.phase.as_deref().unwrap_or("Unknown")).trim_end().to_owned()
}

/// The last lines of what a pod's first container said, in its former life where it is between two.
async fn log(api: &Api, pod: &Pod) -> String {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    let Some(container) = statuses.and_then(|all| all.iter().find(|c| !c.ready)) else {
        return String::new();
    };
    let waits = container.state.as_ref().is_some_and(|s| s.waiting.is_some());
    let which = Logs {
        container: Some(&container.name),
        previous: waits && container.restart_count > 0,
        tail_lines: Some(LOG_LINES),
        limit_bytes: Some(16 * 1024),
    };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    match api.pod_log(namespace, name(pod), &which).await {
        Ok(log) => log,
        Err(error) => format!("(its log cannot be read: {})", error.fault),
    }
}
