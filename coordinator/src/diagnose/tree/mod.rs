//! The tree: hypotheses in the order in which they are tried. What makes others come about stands before them.

mod mesh;
mod names;
mod node;
mod path;
mod service;

use super::case::{Case, Pod};
use super::verdict::Tested;
use crate::network::list;

/// What is said where the API was needed and not heard.
const NO_API: &str = "the API was not heard";
/// The most symptoms that are spelled out.
const MOST: usize = 8;

/// A hypothesis in words, and its test.
type Hypothesis = (&'static str, fn(&Case) -> Tested);

/// All of them.
pub(super) const TREE: &[Hypothesis] = &[
    ("nobody answers for the API", node::api),
    ("a node is not ready", node::ready),
    ("CoreDNS is scaled to nothing", names::down),
    ("no node takes CoreDNS's pods", names::pending),
    ("CoreDNS forwards to itself", names::loops),
    ("CoreDNS ends as soon as it starts", names::crashes),
    ("the DNS Service has no endpoints", names::no_endpoints),
    ("a kubelet tells pods another DNS address", names::kubelet),
    ("a node does not translate the Service's address", node::translation),
    ("a node forwards no packets", node::forwarding),
    ("packets of one bridge pass the rules by", node::bridge),
    ("a firewall drops what is forwarded for pods", node::forward_dropped),
    ("pods or Services have the addresses of another network", path::overlap),
    ("a node drops what comes in by the wrong link", path::reverse_path),
    ("packets between pods of two nodes do not arrive", path::overlay),
    ("large packets vanish", path::large),
    ("a kernel remembers pods that are no more", path::stale),
    ("CoreDNS runs and is not ready", names::not_ready),
    ("CoreDNS is ready and does not answer", names::silent),
    ("CoreDNS does not know names outside", names::upstream),
    ("istiod is not ready", mesh::istiod),
    ("a webhook has no endpoints", mesh::hooks),
    ("a webhook is not reached", mesh::hooks_reached),
    ("istiod is not reached", mesh::istiod_reached),
    ("a gateway rejects its configuration", mesh::rejects),
    ("a gateway does not find istiod by name", mesh::no_names),
    ("a gateway is not ready", mesh::gateways),
    ("the pod itself is not ready", mesh::pod),
    ("a Service has no address", service::pending),
    ("nobody answers for a Service's address", service::silent),
    ("several answer for a Service's address", service::doubled),
];

/// What does not work, whatever the cause.
pub(super) fn symptoms(case: &Case) -> Vec<String> {
    let mut seen: Vec<String> =
        case.names().filter(|name| !name.good()).map(|name| names::told(case, &name)).collect();
    let api = case.cluster.as_ref().ok().and_then(|cluster| cluster.api);
    let failed = case.doors().filter(|door| Some(door.to.ip()) == api && door.answer.is_err());
    seen.extend(failed.map(|door| mesh::told(&door)));
    seen.extend(service::unexplained(case));
    let more = seen.len().saturating_sub(MOST);
    seen.truncate(MOST);
    seen.extend((more > 0).then(|| format!("and {more} more")));
    seen
}

/// `coredns-x on w1 (CrashLoopBackOff, 4 restarts)`
fn pod_in_words(pod: &Pod) -> String {
    let on = pod.node.as_deref().map_or("on no node".to_owned(), |node| format!("on {node}"));
    let state = match (pod.ready, pod.why.is_empty()) {
        (true, _) => "ready".to_owned(),
        (false, true) => "not ready".to_owned(),
        (false, false) => pod.why.clone(),
    };
    let restarts = match pod.restarts {
        0 => String::new(),
        1 => ", 1 restart".to_owned(),
        many => format!(", {many} restarts"),
    };
    format!("{} {on} ({state}{restarts})", pod.name)
}

fn pods_in_words<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> String {
    list(pods.into_iter().map(pod_in_words))
}

/// `kubectl -n NAMESPACE logs NAME`
fn kubectl(pod: &Pod, verb: &str) -> String {
    let (namespace, name) = pod.name.split_once('/').unwrap_or(("default", &pod.name));
    format!("`kubectl -n {namespace} {verb} {name}`")
}

/// The last line of a log that has one of these words, without its time.
fn line_with<'a>(log: &'a str, words: &[&str]) -> Option<&'a str> {
    log.lines().rev().map(str::trim).find(|line| words.iter().any(|word| line.contains(word)))
}

/// The last line of a log that says something.
fn last_line(log: &str) -> Option<&str> {
    log.lines().rev().map(str::trim).find(|line| !line.is_empty())
}

/// One line, not too long, for a report.
fn shortened(line: &str) -> String {
    const LONGEST: usize = 600;
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_owned(),
    }
}

/// Each once, in the order of their first.
fn once<T: PartialEq>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut kept = Vec::new();
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}
