//! The same from inside of pods: what becomes of a node's own packets says nothing of those that it forwards.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rackwright_proto::examine::{Examine, FromPod};
use rackwright_proto::finding::Finding;
use rackwright_proto::reach::{Asked, Reach, Transport};

use super::judge::SUBJECT;
use super::table::{Got, Row, rows};
use super::{DnsCase, WITHIN_MS, ask, is_outside, outside_name};
use crate::network::say::{Say as _, error, list, pass, warning};
use crate::proof::names;

/// What each of these hosts that is a node is to ask from a pod on it: as [`ask`], without names outside.
pub fn ask_from_pods(case: &DnsCase, hosts: &[String]) -> BTreeMap<String, Examine> {
    let inside = |asked: &Asked| !matches!(&asked.reach, Reach::Dns { name, .. } if is_outside(name));
    let examine = |questions: Vec<Asked>| Examine {
        from_pod: questions.into_iter().filter(inside).collect(),
        within_ms: WITHIN_MS,
        ..Examine::default()
    };
    ask(case, hosts, &outside_name(0))
        .into_iter()
        .map(|(host, questions)| (host, examine(questions)))
        .collect()
}

/// Judges the answers to [`ask_from_pods`]; `told` lacks the hosts that did not report. Nothing where nobody was asked.
pub fn judge_from_pods(
    case: &DnsCase,
    asked: &BTreeMap<String, Examine>,
    told: &BTreeMap<String, FromPod>,
) -> Option<Finding> {
    let bad = unanswered(case, asked, told);
    let pods: Vec<String> =
        told.iter().filter_map(|(node, from)| Some(asker(case, from.pod?, node))).collect();
    let without = without(asked, told);
    let what = "whether CoreDNS answers pods of every node";
    let expected =
        "an answer over UDP and TCP, at the Service's address and at each pod's, to a pod of each node";
    if asked.is_empty() {
        return None;
    }
    let found = match (bad.is_empty(), pods.is_empty()) {
        (false, _) => error(names::DNS_FROM_PODS, SUBJECT)
            .on(bad.values().flat_map(|group| group.nodes.keys()))
            .observed(bad.iter().map(|(why, group)| group.words(case, why)).collect::<Vec<_>>().join("; "))
            .fix("see what drops packets that the nodes forward for their pods: a firewall's rules for forwarding, a NetworkPolicy for that pod, net.ipv4.ip_forward, net.bridge.bridge-nf-call-iptables; `rackwright diagnose` tells them apart"),
        (true, true) => warning(names::DNS_FROM_PODS, SUBJECT)
            .on(asked.keys())
            .observed(format!("nobody asked from inside of a pod: {without}"))
            .fix("start a pod with a network of its own on a node, and ask again"),
        (true, false) => pass(names::DNS_FROM_PODS, SUBJECT)
            .on(told.iter().filter(|(_, from)| from.pod.is_some()).map(|(node, _)| node))
            .observed(match without.is_empty() {
                true => format!("it answers the pods {}", list(pods)),
                false => format!("it answers the pods {}; not asked: {without}", list(pods)),
            }),
    };
    Some(found.checked(what).expected(expected))
}

/// `10.244.1.7 on w1`
fn asker(case: &DnsCase, pod: IpAddr, node: &str) -> String {
    match is_server(case, pod) {
        true => format!("{pod} on {node} (CoreDNS's own, without its Service)"),
        false => format!("{pod} on {node}"),
    }
}

fn is_server(case: &DnsCase, pod: IpAddr) -> bool {
    case.pods.iter().any(|server| server.address == pod)
}

/// Pods that miss the same answers: their addresses by node, and the servers.
#[derive(Default)]
struct Group {
    nodes: BTreeMap<String, IpAddr>,
    servers: BTreeSet<IpAddr>,
}

impl Group {
    fn words(&self, case: &DnsCase, why: &str) -> String {
        let pods = list(self.nodes.iter().map(|(node, pod)| format!("the pod {pod} on {node}")));
        let servers = list(self.servers.iter().map(|server| case.describe(*server)));
        format!("{servers}, asked by {pods}: {why}")
    }
}

fn unanswered(
    case: &DnsCase,
    asked: &BTreeMap<String, Examine>,
    told: &BTreeMap<String, FromPod>,
) -> BTreeMap<String, Group> {
    let questions = asked.iter().map(|(node, what)| (node.clone(), what.from_pod.clone())).collect();
    let reached = told.iter().map(|(node, from)| (node.clone(), from.reached.clone())).collect();
    let mut groups = BTreeMap::<String, Group>::new();
    for row in rows(&questions, &reached) {
        let Some(pod) = told.get(&row.node).and_then(|from| from.pod) else { continue };
        // A name server that asks its own Service may be led to itself, which not every network of pods can do.
        let to_itself = case.services.contains(&row.server) && is_server(case, pod);
        if let (Some(why), false) = (missing(&row), to_itself) {
            let group = groups.entry(why).or_default();
            group.nodes.insert(row.node.clone(), pod);
            group.servers.insert(row.server);
        }
    }
    groups
}

/// `no answer within 5 s over UDP and TCP`
fn missing(row: &Row) -> Option<String> {
    let mut whys = BTreeMap::<String, Vec<Transport>>::new();
    for (transport, got) in [(Transport::Udp, &row.udp), (Transport::Tcp, &row.tcp)] {
        if let Some(why) = trouble(got) {
            whys.entry(why).or_default().push(transport);
        }
    }
    let words = whys.iter().map(|(why, over)| format!("{why} over {}", list(over)));
    (!whys.is_empty()).then(|| words.collect::<Vec<_>>().join(", "))
}

fn trouble(got: &Got) -> Option<String> {
    match got {
        Ok(answer) if answer.has_address() => None,
        Ok(answer) => Some(answer.said()),
        Err(why) => Some(why.clone()),
    }
}

/// `cp1 (no pod with a network of its own runs here)`
fn without(asked: &BTreeMap<String, Examine>, told: &BTreeMap<String, FromPod>) -> String {
    let why = |node: &String| match told.get(node) {
        Some(from) if from.pod.is_some() => None,
        Some(from) => Some(format!("{node} ({})", from.why_not)),
        None => Some(format!("{node} (it did not report)")),
    };
    let nodes: Vec<String> = asked.keys().filter_map(why).collect();
    if nodes.is_empty() { String::new() } else { list(nodes) }
}
