//! Restarting a workload and waiting for all of its pods, with what an operator needs when one never comes.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use rackwright_proto::cluster::workload::{STAMP, Stamp};
use rackwright_proto::cluster::{WorkloadKind, WorkloadSeen, WorkloadStep};
use rackwright_proto::fault::{Fault, FaultKind};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::act::{Manner, fault, workload_of};
use super::turns::{self, Strategy};
use super::{Api, KubeError, Logs, Resource, Selector, Set, Watched};
use crate::cluster::look::is_ready;

/// Lines of a container's log that are shown.
const LOG_LINES: u32 = 10;
/// Characters of each of them that are shown.
const MOST_OF_LINE: usize = 240;
/// Restarts after which a container is taken to crash for good.
const RESTARTS: i32 = 3;

/// How long pods without a readiness probe must stay: they count as ready the moment they start, also those that end
/// at once. kube-proxy has none.
const HOLD: Duration = Duration::from_secs(5);

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
    let strategy = turns::strategy(api, step, manner).await?;
    if strategy == (Strategy::ByUs { aside: true }) {
        turns::set_aside(api, step).await?;
    }
    if let Some(patch) = stamping(&step.stamp, seen) {
        let (namespace, name) = (Some(step.namespace.as_str()), step.name.as_str());
        api.patch_merge(&resource, namespace, name, &patch, false).await.map_err(|e| fault(&e))?;
    }
    if strategy != Strategy::Own {
        turns::one_by_one(api, step, manner).await?;
    }
    await_all(api, step, manner).await?;
    if strategy != Strategy::Own || seen.held {
        turns::put_back(api, step).await?;
        // Its controller has to see that, too, until it tells anything of the pods.
        await_all(api, step, manner).await?;
    }
    Ok(())
}

/// Waits until all pods are of the present template and ready.
pub(super) async fn await_all(api: &Api, step: &WorkloadStep, manner: &Manner<'_>) -> Result<(), Fault> {
    let resource = resource(step.kind);
    let selector = Selector::namespace(&step.namespace).named(&step.name);
    let kind = step.kind;
    let (mut best, mut better_at) = ((0, 0), Instant::now());
    loop {
        let within = manner.patience.saturating_sub(better_at.elapsed());
        // One watch sees all of it: a new one for each pod would be as many requests as there are nodes.
        let came = |set: &Set<Value>| {
            let object = set.values().next()?;
            let seen = workload_of(kind, object);
            if seen.is_rolled_out() {
                return Some(is_probed(object));
            }
            if seen.ready > best.0 || seen.desired > best.1 {
                (best, better_at) = ((seen.ready, seen.desired), Instant::now());
                (manner.tell)(&format!("{} of {} pods of {} ready", seen.ready, seen.desired, step.name));
            }
            None
        };
        match api.watch_until::<Value, bool>(&resource, &selector, within, came).await {
            Ok(Watched::Met(true)) => return Ok(()),
            Ok(Watched::Met(false)) => {
                if stays(api, kind, &resource, &selector).await.map_err(|e| fault(&e))? {
                    return Ok(());
                }
            }
            Ok(Watched::Late(_)) if better_at.elapsed() < manner.patience => {}
            Ok(Watched::Late(_)) => return Err(stuck(api, step, manner).await),
            Err(error) => return Err(fault(&error)),
        }
    }
}

/// Whether a pod that is ready says so itself.
fn is_probed(object: &Value) -> bool {
    let containers = object["spec"]["template"]["spec"]["containers"].as_array();
    containers.into_iter().flatten().all(|container| container["readinessProbe"].is_object())
}

/// Whether a workload that is complete stays so.
async fn stays(
    api: &Api,
    kind: WorkloadKind,
    resource: &Resource,
    selector: &Selector,
) -> Result<bool, KubeError> {
    let falls = |set: &Set<Value>| {
        let whole = set.values().next().is_some_and(|object| workload_of(kind, object).is_rolled_out());
        (!whole).then_some(())
    };
    let watched = api.watch_until::<Value, ()>(resource, selector, HOLD, falls).await?;
    Ok(matches!(watched, Watched::Late(_)))
}

pub(super) fn resource(kind: WorkloadKind) -> Resource {
    match kind {
        WorkloadKind::DaemonSet => Resource::of::<DaemonSet>(),
        WorkloadKind::Deployment => Resource::of::<Deployment>(),
        WorkloadKind::StatefulSet => Resource::of::<StatefulSet>(),
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
pub(super) async fn stuck(api: &Api, step: &WorkloadStep, manner: &Manner<'_>) -> Fault {
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
    let owner = object.as_ref().and_then(|o| o["metadata"]["uid"].as_str()).unwrap_or_default();
    // A Deployment's pods are of its ReplicaSets.
    let is_its = |pod: &Pod| step.kind != WorkloadKind::DaemonSet || turns::is_owned(&pod.metadata, owner);
    let pods = pods.items.into_iter().filter(is_its);
    let (unready, ready): (Vec<Pod>, Vec<Pod>) = pods.partition(|pod| !is_ready(pod));
    // One that ends again and again may run at this moment.
    Ok(if unready.is_empty() { ready.into_iter().filter(has_ended).collect() } else { unready })
}

fn has_ended(pod: &Pod) -> bool {
    let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
    { statuses }.any(|container| container.restart_count > 0)
}

async fn told(api: &Api, pods: &[Pod]) -> Vec<String> {
    let mut lines = Vec::new();
    for pod in pods.iter().take(5) {
        lines.push(format!("{}: pod {}: {}", node(pod), name(pod), state(pod)));
        lines.extend(log(api, pod).await.lines().map(|line| format!("  | {}", cut(line))));
    }
    if pods.len() > 5 {
        let rest: Vec<&str> = pods[5..].iter().map(node).collect();
        lines.push(format!("and pods on {}", rest.join(", ")));
    }
    lines
}

/// A line of a log that a terminal can show: some programs put whole objects into one.
fn cut(line: &str) -> String {
    match line.char_indices().nth(MOST_OF_LINE) {
        Some((at, _)) => format!("{}\u{2026}", &line[..at]),
        None => line.to_owned(),
    }
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
        if container.restart_count > 0 {
            return format!("{} ends again and again{restarts}", container.name);
        }
    }
    let unmet = status.conditions.iter().flatten().find(|c| c.status != "True" && c.message.is_some());
    let why = unmet.and_then(|c| c.message.clone()).unwrap_or_default();
    format!("{} {why}", status.phase.as_deref().unwrap_or("Unknown")).trim_end().to_owned()
}

/// The last lines of what a pod's first container said, in its former life where it is between two; where it never
/// had one, what its events say.
async fn log(api: &Api, pod: &Pod) -> String {
    let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
    let mut statuses = statuses.collect::<Vec<_>>();
    statuses.sort_by_key(|container| (container.ready, std::cmp::Reverse(container.restart_count)));
    let Some(container) = statuses.first() else { return warned(api, pod).await };
    let waits = container.ready || container.state.as_ref().is_some_and(|s| s.waiting.is_some());
    if waits && container.restart_count == 0 {
        return warned(api, pod).await;
    }
    let which = Logs {
        container: Some(&container.name),
        previous: waits,
        tail_lines: Some(LOG_LINES),
        limit_bytes: Some(16 * 1024),
        ..Logs::default()
    };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    match api.pod_log(namespace, name(pod), &which).await {
        Ok(log) => log,
        Err(error) => format!("(its log cannot be read: {})", error.fault),
    }
}

/// The latest warning about a pod; empty where there is none.
async fn warned(api: &Api, pod: &Pod) -> String {
    let about = format!("involvedObject.kind=Pod,involvedObject.name={},type=Warning", name(pod));
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let Ok(events) = api.list::<Event>(&Selector::namespace(namespace).fields(about)).await else {
        return String::new();
    };
    let at = |event: &Event| event.last_timestamp.as_ref().map(|time| time.0);
    let latest = events.items.into_iter().max_by_key(at);
    let words =
        |event: Event| format!("{}: {}", event.reason.unwrap_or_default(), event.message.unwrap_or_default());
    latest.map(words).unwrap_or_default()
}
