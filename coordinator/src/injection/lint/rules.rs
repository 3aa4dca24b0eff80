//! One function per mistake that an object can have.

use std::collections::BTreeMap;

use rackwright_proto::finding::Severity;

use super::Found;
use super::object::{Object, Pair, Template, get, items, map, pairs, word};
use crate::injection::hooks::Injectors;
use crate::injection::wins::{self, Cause, INJECT, INJECTION, Labels, NEVER, Namespace, REVISION, Verdict};
use crate::rack::diagnostic::Place;
use crate::rack::tree::Marked;

/// The user that the sidecar runs as (Istio's application requirements).
const UID: &str = "1337";
/// What the sidecar listens on.
const PORTS: &[(u16, &str)] = &[
    (15000, "Envoy's administration"),
    (15001, "all that the pod sends"),
    (15002, "a check of the redirection"),
    (15004, "the agent's debugging"),
    (15006, "all that the pod receives"),
    (15008, "HBONE tunnels"),
    (15020, "merged metrics"),
    (15021, "health"),
    (15053, "DNS"),
    (15090, "Envoy's metrics"),
];
/// The label by which a namespace says what its pods may be.
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

/// Whether a pod gets a sidecar, as far as the manifests tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gets {
    Yes,
    Perhaps,
    No,
}

/// All mistakes of an object.
pub(super) fn all(object: &Object<'_>, namespaces: &BTreeMap<String, Labels>) -> Vec<Found> {
    let labels = pairs(object.metadata, "labels");
    let mut found = match object.is("Namespace") {
        true => of_namespace(&object.name, &labels),
        false => Vec::new(),
    };
    if object.is("Namespace") || object.template.is_some() && !object.is("Pod") {
        found.extend(misplaced(object, &labels));
    }
    if let Some(template) = &object.template {
        found.extend(of_pod(object, template, namespaces));
    }
    for found in &mut found {
        found.object = object.words();
    }
    found
}

fn problem(
    severity: Severity,
    name: &'static str,
    place: Place,
    message: impl Into<String>,
    help: &str,
) -> Found {
    let help = (!help.is_empty()).then(|| help.to_owned());
    Found { name, severity, place, object: String::new(), message: message.into(), help }
}

fn error(name: &'static str, place: Place, message: impl Into<String>, help: &str) -> Found {
    problem(Severity::Error, name, place, message, help)
}

fn warning(name: &'static str, place: Place, message: impl Into<String>, help: &str) -> Found {
    problem(Severity::Warning, name, place, message, help)
}

fn of<'p, 'a>(pairs: &'p [Pair<'a>], key: &str) -> Option<&'p Pair<'a>> {
    pairs.iter().find(|pair| pair.key == key)
}

/// What YAML 1.1 takes for a truth value, which is what kubectl reads.
fn is_truth(pair: &Pair<'_>) -> bool {
    let word = pair.value.to_ascii_lowercase();
    pair.plain && matches!(word.as_str(), "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n")
}

/// One of two values, in quotes where YAML would take it for something else than text.
fn value(pair: &Pair<'_>, allowed: [&str; 2]) -> Option<Found> {
    let [yes, no] = allowed;
    if is_truth(pair) {
        let message =
            format!("{}: {} without quotes is no text, and the API server refuses it", pair.key, pair.value);
        return Some(error("inject-not-text", pair.place, message, &format!("write \"{yes}\" or \"{no}\"")));
    }
    // Odd characters are told by themselves.
    if allowed.contains(&pair.value) || pair.value.is_empty() || !pair.value.is_ascii() {
        return None;
    }
    let message = format!("{}: {} is neither {yes} nor {no}, and counts for nothing", pair.key, pair.value);
    Some(error("inject-value-unknown", pair.place, message, &format!("write \"{yes}\" or \"{no}\"")))
}

fn of_namespace(name: &str, labels: &[Pair<'_>]) -> Vec<Found> {
    let mut found = Vec::new();
    let (legacy, revision) = (of(labels, INJECTION), of(labels, REVISION));
    found.extend(legacy.and_then(|legacy| value(legacy, ["enabled", "disabled"])));
    if let (Some(legacy), Some(revision)) = (legacy, revision) {
        let message = format!(
            "{INJECTION}: {} wins, and {REVISION}: {} is not looked at",
            legacy.value, revision.value
        );
        let help = format!("keep one of them: {INJECTION} for the default revision, {REVISION} for another");
        found.push(warning("injection-labels-both", revision.key_place, message, &help));
    }
    let asks = legacy.map(|legacy| legacy.value == "enabled").or(revision.map(|_| true)).unwrap_or(false);
    if let (true, Some(label)) = (asks && NEVER.contains(&name), legacy.or(revision)) {
        let message = format!("Istio's injector leaves {name} alone, whatever its labels say");
        found.push(error("inject-namespace-never", label.key_place, message, "take the label away"));
    }
    let level = of(labels, ENFORCE).filter(|level| matches!(level.value, "baseline" | "restricted"));
    if let (true, Some(level)) = (asks, level) {
        let message = format!(
            "its pods get an init container with NET_ADMIN and NET_RAW, which Pod Security {} refuses",
            level.value
        );
        let help = "fine with Istio's CNI plugin, which needs no such container; else enforce `privileged`";
        found.push(warning("forbidden-by-pod-security", level.place, message, help));
    }
    found
}

/// What belongs on a pod template, or on a namespace, and stands on something else.
fn misplaced(object: &Object<'_>, labels: &[Pair<'_>]) -> Vec<Found> {
    let of_pods = object.template.map(|template| pairs(template.metadata, "labels")).unwrap_or_default();
    let mut found = Vec::new();
    let annotations = pairs(object.metadata, "annotations");
    for pair in labels.iter().chain(&annotations).filter(|pair| pair.key == INJECT) {
        let kind = &object.kind;
        let message = format!("{INJECT} on the {kind} itself has no effect: only that of the pods counts");
        let help = match object.is("Namespace") {
            true => format!("a namespace has {INJECTION}: enabled or disabled"),
            false => "put it into `spec.template.metadata.labels`".to_owned(),
        };
        // Beside the right one it does no harm.
        let there = of(&of_pods, INJECT).is_some_and(|inner| inner.value == pair.value);
        let severity = if there { Severity::Warning } else { Severity::Error };
        found.push(problem(severity, "inject-misplaced", pair.key_place, message, &help));
    }
    if let Some(pair) = of(labels, INJECTION).filter(|_| !object.is("Namespace")) {
        found.push(injection_elsewhere(pair));
    }
    found
}

fn injection_elsewhere(pair: &Pair<'_>) -> Found {
    let message = format!("{INJECTION} means something on a namespace only");
    let help = format!("for one workload there is {INJECT}: \"true\" or \"false\", on its pod template");
    error("injection-label-misplaced", pair.key_place, message, &help)
}

fn of_pod(object: &Object<'_>, template: &Template<'_>, namespaces: &BTreeMap<String, Labels>) -> Vec<Found> {
    let (labels, annotations) = (pairs(template.metadata, "labels"), pairs(template.metadata, "annotations"));
    let mut found = said(&labels, &annotations);
    found.extend(of(&labels, INJECTION).map(injection_elsewhere));
    let verdict = Asking { object, template, labels: &map(&labels), annotations: &map(&annotations) };
    found.extend(verdict.not_as_asked(&labels, namespaces));
    let gets = verdict.gets(namespaces);
    if gets != Gets::No {
        found.extend(users(template, gets));
        found.extend(ports(template, gets));
    }
    found
}

/// What a pod says itself: the label, and the annotation of old.
fn said(labels: &[Pair<'_>], annotations: &[Pair<'_>]) -> Vec<Found> {
    let (label, annotation) = (of(labels, INJECT), of(annotations, INJECT));
    let mut found = Vec::new();
    found.extend([label, annotation].into_iter().flatten().filter_map(|pair| value(pair, ["true", "false"])));
    match (label, annotation) {
        (Some(label), Some(annotation)) if label.value != annotation.value => {
            let message = format!(
                "the annotation says {}, the label says {}: the label wins",
                annotation.value, label.value
            );
            found.push(warning(
                "inject-annotation-beaten",
                annotation.place,
                message,
                "remove the annotation",
            ));
        }
        (None, Some(annotation)) => {
            let message = "an annotation alone is looked at only where the namespace asks for sidecars";
            let help = "write it as a label of the pod template, which is looked at everywhere";
            found.push(warning("inject-annotation-only", annotation.key_place, message, help));
        }
        _ => {}
    }
    found
}

/// A pod, and what it asks for.
struct Asking<'a> {
    object: &'a Object<'a>,
    template: &'a Template<'a>,
    labels: &'a Labels,
    annotations: &'a Labels,
}

impl Asking<'_> {
    fn host_network(&self) -> Option<&Marked> {
        get(self.template.spec, "hostNetwork").filter(|marked| word(Some(marked)) == Some("true"))
    }

    fn verdict(&self, name: &str, of_namespace: &Labels) -> Verdict {
        let pod = wins::Pod {
            labels: self.labels,
            annotations: self.annotations,
            host_network: self.host_network().is_some(),
        };
        wins::decide(Namespace { name, labels: of_namespace }, pod, &Injectors::unknown())
    }

    /// Its namespace, with the labels that the manifests give it; what is not among them is taken to say nothing.
    fn in_namespace(&self, namespaces: &BTreeMap<String, Labels>) -> (String, Option<Labels>) {
        let name = self.object.namespace.clone().unwrap_or_default();
        let labels = namespaces.get(&name).cloned();
        (name, labels)
    }

    fn gets(&self, namespaces: &BTreeMap<String, Labels>) -> Gets {
        let (name, labels) = self.in_namespace(namespaces);
        match self.verdict(&name, labels.as_ref().unwrap_or(&Labels::new())) {
            Verdict::Injected { .. } => Gets::Yes,
            // Its namespace may ask, and is not here.
            Verdict::Not { cause: Cause::NotAsked, .. } if labels.is_none() => Gets::Perhaps,
            Verdict::Not { .. } => Gets::No,
        }
    }

    /// It, or its namespace, asks for a sidecar that it cannot get.
    fn not_as_asked(&self, labels: &[Pair<'_>], namespaces: &BTreeMap<String, Labels>) -> Option<Found> {
        let own = of(labels, INJECT).filter(|label| label.value == "true").or(of(labels, REVISION));
        let (name, of_namespace) = self.in_namespace(namespaces);
        match self.verdict(&name, of_namespace.as_ref().unwrap_or(&Labels::new())) {
            Verdict::Not { cause: Cause::HostNetwork, .. } => {
                let place = self.host_network()?.place;
                let message = "a pod in its node's network gets no sidecar, though one is asked for";
                let help = "take hostNetwork away, or the label";
                let severity = if own.is_some() { Severity::Error } else { Severity::Warning };
                Some(problem(severity, "inject-host-network", place, message, help))
            }
            Verdict::Not { cause: Cause::NamespaceNever, .. } => {
                let message = format!("Istio's injector leaves {name} alone, whatever its labels say");
                let help = "move it into another namespace, or take the label away";
                Some(error("inject-namespace-never", own?.key_place, message, help))
            }
            _ => None,
        }
    }
}

/// The user whose traffic is not redirected: the sidecar's own.
fn users(template: &Template<'_>, gets: Gets) -> Vec<Found> {
    let of = |marked: &'_ Marked| -> Option<Place> {
        let user = get(get(marked, "securityContext")?, "runAsUser")?;
        (word(Some(user)) == Some(UID)).then_some(user.place)
    };
    let all = std::iter::once(template.spec).chain(template.containers());
    let one = |place| {
        let message = format!(
            "user {UID} is the sidecar's own: what it sends is not redirected, so not part of the mesh"
        );
        problem(if_given(gets), "uid-1337", place, message, "run as another user")
    };
    all.filter_map(of).map(one).collect()
}

fn ports(template: &Template<'_>, gets: Gets) -> Vec<Found> {
    let containers = template.containers();
    let ours = |container: &&&Marked| word(get(container, "name")) != Some(crate::injection::pods::PROXY);
    let ports = containers.iter().filter(ours).flat_map(|container| items(get(container, "ports")));
    ports
        .filter_map(|port| {
            let number = get(port, "containerPort")?;
            let value: u16 = word(Some(number))?.parse().ok()?;
            let (severity, message) = match PORTS.iter().find(|(taken, _)| *taken == value) {
                Some((_, whose)) => (if_given(gets), format!("port {value} is the sidecar's, for {whose}")),
                None if (15000..=15090).contains(&value) => (
                    Severity::Warning,
                    format!("port {value} is among those that Istio keeps for its sidecar (15000 to 15090)"),
                ),
                None => return None,
            };
            Some(problem(severity, "port-taken", number.place, message, "listen on another port"))
        })
        .collect()
}

/// It bites only if the pod gets a sidecar.
fn if_given(gets: Gets) -> Severity {
    if gets == Gets::Yes { Severity::Error } else { Severity::Warning }
}
