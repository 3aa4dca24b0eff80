//! Clusters whose CoreDNS is asked; the words are golden.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rackwright_proto::examine::FromPod;
use rackwright_proto::finding::{Finding, Severity};
use rackwright_proto::reach::{Asked, Rcode, Reach, Reached, Transport};
use serde_json::json;

use super::*;
use crate::proof::tests::{object, show};

const SERVICE: &str = "10.96.0.10";
const POD_A: &str = "10.244.1.2";
const POD_B: &str = "10.244.2.3";
const NODES: [&str; 3] = ["cp1", "w1", "w2"];

fn pod(name: &str, ip: &str, node: &str, ready: &str) -> Pod {
    object(json!({"metadata": {"name": name}, "spec": {"nodeName": node, "containers": []},
        "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": ready}]}}))
}

/// Two ready pods on w1 and w2.
fn facts() -> ClusterFacts {
    let mut facts = ClusterFacts::default();
    let node = |name| object(json!({"metadata": {"name": name}}));
    facts.nodes = NODES.iter().chain(&["gone"]).map(node).collect();
    facts.dns.service = Some(object(json!({"spec": {"clusterIP": SERVICE, "clusterIPs": [SERVICE]}})));
    facts.dns.pods = vec![pod("coredns-b", POD_B, "w2", "True"), pod("coredns-a", POD_A, "w1", "True")];
    facts.dns.endpoints = vec![object(
        json!({"addressType": "IPv4", "metadata": {"name": "x"}, "endpoints": [
        {"addresses": [POD_A]}, {"addresses": [POD_B]}, {"addresses": ["10.244.2.9"], "conditions": {"ready": false}}]}),
    )];
    facts
}

/// One question in short.
struct Q<'a> {
    node: &'a str,
    server: &'a str,
    tcp: bool,
    outside: bool,
}

fn said(rcode: Rcode, records: &[&str]) -> Reached {
    let answers = records.iter().map(|text| (*text).to_owned()).collect();
    Reached::Dns { rcode, answers, truncated: false, micros: 900 }
}

fn nothing() -> Reached {
    Reached::Failed { why: "no answer within 5 s".into() }
}

fn good(q: &Q) -> Reached {
    if q.outside { said(Rcode::NOERROR, &["a.root.example"]) } else { said(Rcode::NOERROR, &["10.96.0.1"]) }
}

/// Judges a cluster in which some questions are answered otherwise.
fn judged(facts: &ClusterFacts, nodes: &[&str], answer: &dyn Fn(&Q) -> Option<Reached>) -> Vec<Finding> {
    let case = case(facts, "cluster.local.");
    let asked =
        ask(&case, &nodes.iter().map(|node| (*node).to_owned()).collect::<Vec<_>>(), &outside_name(7));
    let reply = |node: &str, asked: &Asked| {
        let Reach::Dns { server, transport, name, .. } = &asked.reach else { panic!("not DNS") };
        let (server, tcp) = (server.ip().to_string(), *transport == Transport::Tcp);
        let q = Q { node, server: &server, tcp, outside: is_outside(name) };
        answer(&q).unwrap_or_else(|| good(&q))
    };
    let reached = asked.iter().filter(|(node, _)| *node != "gone");
    let reached = reached.map(|(node, all)| (node.clone(), all.iter().map(|q| reply(node, q)).collect()));
    judge(&case, &asked, &reached.collect::<BTreeMap<_, _>>())
}

fn cases() -> Vec<(&'static str, Vec<Finding>)> {
    let facts = facts();
    let mut none = facts.clone();
    none.dns.pods = vec![pod("coredns-a", POD_A, "w1", "False")];
    let mut lost = facts.clone();
    lost.dns.service = None;
    let with = |answer: &dyn Fn(&Q) -> Option<Reached>| judged(&facts, &NODES, answer);
    let own_node = |q: &Q| matches!((q.server, q.node), (POD_A, "w1") | (POD_B, "w2"));
    let late = |q: &Q| {
        let slow = q.server == POD_A && q.node == "cp1" && !q.outside;
        slow.then(|| Reached::Dns {
            rcode: Rcode(0),
            answers: vec!["10.96.0.1".into()],
            truncated: false,
            micros: 2_340_000,
        })
    };
    vec![
        ("all is well", with(&|_| None)),
        ("no pod is ready", judged(&none, &NODES, &|_| None)),
        ("no Service", judged(&lost, &NODES, &|_| None)),
        ("a node is gone", judged(&facts, &["cp1", "gone"], &|_| None)),
        (
            "the Service is silent on one node",
            with(&|q| (q.server == SERVICE && q.node == "w2").then(nothing)),
        ),
        ("the Service is silent everywhere", with(&|q| (q.server == SERVICE).then(nothing))),
        ("a pod is silent", with(&|q| (q.server == POD_A).then(nothing))),
        (
            "pods answer on their own node only",
            with(&|q| (q.server != SERVICE && !own_node(q)).then(nothing)),
        ),
        ("a node reaches no pod", with(&|q| (q.node == "cp1").then(nothing))),
        ("no TCP", with(&|q| q.tcp.then(|| Reached::Failed { why: "connection refused".into() }))),
        ("no UDP to the Service", with(&|q| (!q.tcp && q.server == SERVICE).then(nothing))),
        ("no upstream", with(&|q| q.outside.then(|| said(Rcode::SERVFAIL, &[])))),
        ("no upstream for one pod", with(&|q| (q.outside && q.server == POD_B).then(nothing))),
        ("an upstream that refuses is one", with(&|q| q.outside.then(|| said(Rcode::REFUSED, &[])))),
        ("another domain", with(&|q| (!q.outside).then(|| said(Rcode::NXDOMAIN, &[])))),
        ("no API server", with(&|q| (!q.outside).then(|| said(Rcode::SERVFAIL, &[])))),
        ("an empty answer", with(&|q| (!q.outside && q.server == POD_A).then(|| said(Rcode::NOERROR, &[])))),
        (
            "pods disagree",
            with(&|q| (!q.outside && q.server == POD_A).then(|| said(Rcode::NOERROR, &["10.43.0.1"]))),
        ),
        ("slow", with(&late)),
    ]
}

/// A cluster whose pods are asked from: one on w1 and CoreDNS's own on w2, none on cp1; the last one never reports.
fn from_pods(pods: &[(&str, &str)], answer: &dyn Fn(&Q) -> Option<Reached>) -> Vec<Finding> {
    let case = case(&facts(), "cluster.local");
    let asked = ask_from_pods(&case, &["cp1", "w1", "w2", "gone"].map(str::to_owned));
    let told = asked.iter().filter(|(node, _)| *node != "gone").map(|(node, what)| {
        let Some((_, pod)) = pods.iter().find(|(on, _)| on == node) else {
            return (node.clone(), FromPod { why_not: "none runs here".into(), ..FromPod::default() });
        };
        let reached = what.from_pod.iter().map(|asked| {
            let Reach::Dns { server, transport, name, .. } = &asked.reach else { panic!("not DNS") };
            let (server, tcp) = (server.ip().to_string(), *transport == Transport::Tcp);
            let q = Q { node, server: &server, tcp, outside: is_outside(name) };
            answer(&q).unwrap_or_else(|| good(&q))
        });
        let from =
            FromPod { pod: Some(pod.parse().unwrap()), reached: reached.collect(), ..FromPod::default() };
        (node.clone(), from)
    });
    judge_from_pods(&case, &asked, &told.collect()).into_iter().collect()
}

fn cases_of_pods() -> Vec<(&'static str, Vec<Finding>)> {
    let pods = [("w1", "10.244.1.7"), ("w2", POD_B)];
    vec![
        ("pods are answered", from_pods(&pods, &|_| None)),
        ("there is no pod to ask from", from_pods(&[], &|_| None)),
        ("a pod gets no answer", from_pods(&pods, &|q| (q.node == "w1").then(nothing))),
        ("pods get none over TCP", from_pods(&pods, &|q| q.tcp.then(nothing))),
        (
            "a pod is told that there is no such name",
            from_pods(&pods, &|q| (q.server == POD_A).then(|| said(Rcode::NXDOMAIN, &[]))),
        ),
        (
            "CoreDNS does not reach its own Service",
            from_pods(&pods, &|q| (q.node == "w2" && q.server == SERVICE).then(nothing)),
        ),
    ]
}

/// Everything that these cases say.
pub(crate) fn said_in_cases() -> Vec<Finding> {
    cases().into_iter().chain(cases_of_pods()).flat_map(|(_, findings)| findings).collect()
}

#[test]
fn what_pods_miss_is_golden() {
    let told = cases_of_pods().into_iter().map(|(case, findings)| format!("=== {case}\n{}", show(&findings)));
    insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"));
}

#[test]
fn pods_are_not_asked_where_nobody_can_answer() {
    let mut facts = facts();
    facts.dns.pods.clear();
    let case = case(&facts, "cluster.local");
    let asked = ask_from_pods(&case, &["w1".into()]);
    assert_eq!(judge_from_pods(&case, &asked, &BTreeMap::new()), None);
}

#[test]
fn every_word_is_golden() {
    let told = cases().into_iter().map(|(case, findings)| format!("=== {case}\n{}", show(&findings)));
    insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"));
}

#[test]
fn every_finding_says_all_that_an_operator_needs() {
    for finding in said_in_cases() {
        let Finding { name, checked, observed, expected, fix, .. } = &finding;
        assert!([checked, observed, expected].iter().all(|words| !words.is_empty()), "{name}");
        assert_eq!(fix.is_empty(), finding.severity == Severity::Pass, "{name}");
    }
}

#[test]
fn a_cluster_of_ipv6_is_asked_for_its_own_kind() {
    let mut facts = facts();
    facts.dns.service = Some(object(json!({"spec": {"clusterIP": "fd00::a", "clusterIPs": ["fd00::a"]}})));
    let case = case(&facts, "rack.example");
    assert_eq!(case.services, ["fd00::a".parse::<IpAddr>().unwrap()]);
    let asked = ask(&case, &["w1".into()], &outside_name(7));
    assert_eq!(asked["w1"].len(), 9);
    let named = asked["w1"].iter().filter(|asked| {
        matches!(&asked.reach, Reach::Dns { name, kind: RecordKind::Aaaa, .. }
            if name == "kubernetes.default.svc.rack.example")
    });
    assert_eq!(named.count(), 6);
}

#[test]
fn hosts_outside_the_cluster_are_not_asked() {
    let asked = ask(&case(&facts(), "cluster.local"), &["w1".into(), "out".into()], &outside_name(7));
    assert_eq!(asked.keys().collect::<Vec<_>>(), ["w1"]);
}

#[test]
fn no_node_is_asked_more_than_it_answers() {
    let mut facts = facts();
    let many = |n: u32| pod(&format!("coredns-{n}"), &format!("10.244.9.{n}"), "w1", "True");
    facts.dns.pods = (1..200).map(many).collect();
    assert!(ask(&case(&facts, "cluster.local"), &["w1".into()], &outside_name(7))["w1"].len() <= Asked::MOST);
}

proptest::proptest! {
    /// Whatever is lost, and however: what passes has lost nothing.
    #[test]
    fn nothing_passes_that_was_not_answered(lost in proptest::collection::btree_set(0..27usize, 0..4)) {
        let at = |q: &Q| {
            let server = [SERVICE, POD_A, POD_B].iter().position(|s| *s == q.server).unwrap();
            let node = NODES.iter().position(|n| *n == q.node).unwrap();
            (node * 3 + server) * 3 + if q.outside { 2 } else { usize::from(q.tcp) }
        };
        let findings = judged(&facts(), &NODES, &|q| lost.contains(&at(q)).then(nothing));
        let passed = findings.iter().any(|finding| finding.severity == Severity::Pass);
        let wrong = findings.iter().any(Finding::blocks);
        proptest::prop_assert_eq!(passed, !wrong);
        proptest::prop_assert_eq!(passed, lost.is_empty(), "{}", show(&findings));
    }
}
