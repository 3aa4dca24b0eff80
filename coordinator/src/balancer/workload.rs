//! MetalLB's own pods.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::cluster::facts::BalancerFacts;
use crate::cluster::look::is_ready;

/// Whether labels (of the native manifest, or of Helm's chart) say that something is this component.
fn is(metadata: &ObjectMeta, component: &str) -> bool {
    let labels = metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|l| l.get(key)).map(String::as_str);
    let name = metadata.name.as_deref().unwrap_or_default();
    label("component") == Some(component)
        || label("app.kubernetes.io/component") == Some(component)
        || name == component
}

/// The controller.
pub(super) fn controller(facts: &BalancerFacts) -> Option<&Deployment> {
    facts.deployments.iter().find(|d| is(&d.metadata, "controller"))
}

/// The value of an argument `--name=value` of the controller.
pub(super) fn controller_argument<'a>(facts: &'a BalancerFacts, name: &str) -> Option<&'a str> {
    let pod = controller(facts)?.spec.as_ref()?.template.spec.as_ref()?;
    let mut arguments = pod.containers.iter().flat_map(|c| c.args.iter().flatten());
    let value = arguments.find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='))?;
    (!value.is_empty()).then_some(value)
}

/// Whether the speakers announce from nodes that are excluded by their label.
pub(super) fn ignores_exclusion(facts: &BalancerFacts) -> bool {
    let speakers = facts.daemon_sets.iter().filter(|d| is(&d.metadata, "speaker"));
    let pods = speakers.filter_map(|d| d.spec.as_ref()?.template.spec.as_ref());
    let mut arguments = pods.flat_map(|p| &p.containers).flat_map(|c| c.args.iter().flatten());
    arguments.any(|argument| argument == "--ignore-exclude-lb" || argument == "--ignore-exclude-lb=true")
}

/// The pods of a component.
pub(super) fn pods<'a>(facts: &'a BalancerFacts, component: &str) -> Vec<&'a Pod> {
    facts.pods.iter().filter(|pod| is(&pod.metadata, component)).collect()
}

/// What keeps a pod from being ready, in Kubernetes' words.
pub(super) fn trouble(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    let containers = status.and_then(|s| s.container_statuses.as_ref()).into_iter().flatten();
    let waiting = containers.into_iter().find_map(|c| c.state.as_ref()?.waiting.as_ref());
    if let Some(waiting) = waiting {
        let words = [waiting.reason.as_deref(), waiting.message.as_deref()];
        return words.into_iter().flatten().collect::<Vec<_>>().join(": ");
    }
    let conditions = status.and_then(|s| s.conditions.as_ref()).into_iter().flatten();
    let unmet = conditions.into_iter().find(|c| c.status != "True" && c.message.is_some());
    let phase = || status.and_then(|s| s.phase.clone()).unwrap_or_else(|| "nothing is known of it".into());
    unmet.and_then(|c| c.message.clone()).unwrap_or_else(phase)
}

/// What keeps the pods of a component from being ready, one text each.
pub(super) fn troubles(facts: &BalancerFacts, component: &str) -> Vec<String> {
    let unready = pods(facts, component).into_iter().filter(|pod| !is_ready(pod));
    unready
        .map(|pod| format!("pod {}: {}", pod.metadata.name.as_deref().unwrap_or_default(), trouble(pod)))
        .collect()
}
