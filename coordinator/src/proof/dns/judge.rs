//! What the answers of DNS mean.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rackwright_proto::finding::Finding;
use rackwright_proto::reach::{Asked, Reached};

use super::table::{Row, rows};
use super::{DnsCase, DnsPod};
use crate::network::say::{self, Say as _, error, list, pass, warning};
use crate::proof::names;

/// Above this an answer is slow, in microseconds.
const SLOW_MICROS: u64 = 1_000_000;

/// What all these findings speak of.
pub(super) const SUBJECT: &str = "CoreDNS";

/// Judges the answers to [`super::ask`]: `asked` is what it returned, `reached` the answers of each node in the same
/// order.
pub fn judge(
    case: &DnsCase,
    asked: &BTreeMap<String, Vec<Asked>>,
    reached: &BTreeMap<String, Vec<Reached>>,
) -> Vec<Finding> {
    if case.pods.is_empty() {
        return vec![no_pods(case)];
    }
    let rows = rows(asked, reached);
    let mut findings = silent_pods(case, &rows);
    findings.extend(no_service(case));
    findings.extend(case.services.iter().flat_map(|service| silent_service(case, *service, &rows)));
    findings.extend(one_transport(case, &rows));
    findings.extend(wrong_answers(case, &rows));
    findings.extend(disagreement(case, &rows));
    findings.extend(upstreams(case, &rows));
    let good = !findings.iter().any(Finding::blocks);
    findings.extend(slow(case, &rows));
    findings.extend(asked.keys().filter(|n| !rows.iter().any(|row| row.node == **n)).map(|n| not_asked(n)));
    findings.extend(answers(case, &rows).filter(|_| good));
    say::merge(findings)
}

fn no_pods(case: &DnsCase) -> Finding {
    let seen = match case.not_ready.as_slice() {
        [] => "there is none".to_owned(),
        pods => list(pods),
    };
    error(names::DNS_NO_PODS, SUBJECT)
        .checked("whether pods of CoreDNS are ready")
        .observed(seen)
        .expected("at least one ready pod")
        .fix("`kubectl -n kube-system describe pods -l k8s-app=kube-dns`, and their logs: a Corefile that does not parse, a loop, or no network for pods yet")
}

/// Whom a pod answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Audience {
    Nobody,
    OwnNode,
    /// All but these.
    Not(Vec<String>),
}

/// `None` where it answers everybody who asked.
fn audience(pod: &DnsPod, rows: &[Row]) -> Option<(Audience, BTreeSet<String>)> {
    let own = rows.iter().filter(|row| row.server == pod.address);
    let (heard, deaf): (Vec<&Row>, Vec<&Row>) = own.partition(|row| row.answers());
    let deaf: BTreeSet<_> = deaf.into_iter().map(|row| row.node.clone()).collect();
    if deaf.is_empty() {
        return None;
    }
    let audience = match heard.as_slice() {
        [] => Audience::Nobody,
        [one] if one.node == pod.node => Audience::OwnNode,
        _ => Audience::Not(deaf.iter().cloned().collect()),
    };
    Some((audience, deaf))
}

fn silent_pods(case: &DnsCase, rows: &[Row]) -> Vec<Finding> {
    let mut groups = BTreeMap::<Audience, (Vec<IpAddr>, BTreeSet<String>)>::new();
    for pod in &case.pods {
        if let Some((audience, deaf)) = audience(pod, rows) {
            let group = groups.entry(audience).or_default();
            group.0.push(pod.address);
            group.1.extend(deaf);
        }
    }
    let told = groups.into_iter().map(|(audience, (pods, deaf))| {
        let own = rows.iter().filter(|row| pods.contains(&row.server));
        let whys = whys(own.clone().filter_map(|row| row.udp.as_ref().err()));
        let nodes: BTreeSet<_> = own.map(|row| row.node.as_str()).collect();
        let (seen, fix) = silence(&audience, &list(nodes));
        error(names::DNS_POD_SILENT, SUBJECT)
            .on(&deaf)
            .checked("whether every pod of CoreDNS answers every node")
            .observed(format!("{}: {seen}{whys}", servers(case, pods)))
            .expected("an answer over UDP or TCP, at the pod's own address")
            .fix(fix)
    });
    told.collect()
}

/// What was seen among these nodes, and what to do.
fn silence(audience: &Audience, nodes: &str) -> (String, &'static str) {
    match audience {
        Audience::Nobody => (
            format!("ready, but silent to all of {nodes}"),
            "see whether the Corefile serves port 53, and whether a NetworkPolicy or a firewall on the pod's node drops DNS",
        ),
        Audience::OwnNode => (
            format!("each answers its own node and no other of {nodes}"),
            "pods are not reached across nodes: see the CNI's pods, its tunnel's port in firewalls (VXLAN 8472 or 4789, UDP), the routes to the nodes' pod networks, and net.ipv4.ip_forward",
        ),
        Audience::Not(deaf) => (
            format!("silent to {}, while others get an answer", list(deaf)),
            "see the CNI's pod, the routes to the pod networks and the firewall on the nodes that get none",
        ),
    }
}

/// `; no answer within 5 s`, each reason once.
fn whys<'a>(whys: impl Iterator<Item = &'a String>) -> String {
    let whys: BTreeSet<_> = whys.collect();
    if whys.is_empty() { String::new() } else { format!("; {}", list(whys)) }
}

fn servers(case: &DnsCase, servers: impl IntoIterator<Item = IpAddr>) -> String {
    list(servers.into_iter().map(|server| case.describe(server)))
}

fn no_service(case: &DnsCase) -> Option<Finding> {
    case.services.is_empty().then(|| {
        error(names::DNS_SERVICE_SILENT, SUBJECT)
            .checked("whether the DNS Service has an address")
            .observed("kube-system has no Service kube-dns with an address")
            .expected("the address that the kubelets give to pods as their resolver (clusterDNS)")
            .fix("`kubeadm init phase addon coredns` makes it anew")
    })
}

/// Nodes which the Service does not answer though pods do; where those do not either, that is told already.
fn silent_service(case: &DnsCase, service: IpAddr, rows: &[Row]) -> Option<Finding> {
    let own = |row: &&Row| row.server == service;
    let pods = |node: &str| {
        rows.iter().filter(|r| r.node == node && !case.services.contains(&r.server) && r.answers()).count()
    };
    let deaf: Vec<_> = rows.iter().filter(own).filter(|r| !r.answers() && pods(&r.node) > 0).collect();
    let everywhere = rows.iter().filter(own).count() == deaf.len() && deaf.len() > 1;
    let nodes: BTreeSet<_> = deaf.iter().map(|row| row.node.clone()).collect();
    let pods = nodes.iter().map(|node| format!("{} of {} on {node}", pods(node), case.pods.len()));
    let fix = match (case.endpoints, everywhere) {
        (0, _) => "see why the Service kube-dns has no endpoints: its selector and the pods' labels".into(),
        (_, true) => "see whether kube-proxy, or what takes its place, runs on the nodes and has rules for that address: its log".to_owned(),
        (_, false) => format!("see what kube-proxy on {} says (its log), and whether it has rules for that address", list(&nodes)),
    };
    (!deaf.is_empty()).then(|| {
        error(names::DNS_SERVICE_SILENT, SUBJECT)
            .on(&nodes)
            .checked("whether the DNS Service answers every node")
            .observed(format!(
                "{service} does not answer {}{}; pods that answer: {}; the Service has {} ready endpoints",
                list(&nodes),
                whys(deaf.iter().filter_map(|row| row.udp.as_ref().err())),
                list(pods),
                case.endpoints
            ))
            .expected("an answer over UDP or TCP, at the Service's address")
            .fix(fix)
    })
}

/// Servers that answer over one of UDP and TCP only.
fn one_transport(case: &DnsCase, rows: &[Row]) -> Vec<Finding> {
    let mut groups = BTreeMap::<(bool, String), (BTreeSet<IpAddr>, BTreeSet<String>)>::new();
    for row in rows {
        let key = match (&row.udp, &row.tcp) {
            (Ok(_), Err(why)) => (true, why),
            (Err(why), Ok(_)) => (false, why),
            _ => continue,
        };
        let group = groups.entry((key.0, key.1.clone())).or_default();
        group.0.insert(row.server);
        group.1.insert(row.node.clone());
    }
    let told = groups.into_iter().map(|((udp, why), (of, nodes))| {
        let (name, has, lacks) = match udp {
            true => (names::DNS_TCP_SILENT, "UDP", "TCP"),
            false => (names::DNS_UDP_SILENT, "TCP", "UDP"),
        };
        error(name, SUBJECT)
            .on(nodes)
            .checked("whether CoreDNS answers over UDP and TCP")
            .observed(format!("over {has} and not over {lacks} ({why}): {}", servers(case, of)))
            .expected("answers over both: what does not fit a datagram is asked for over TCP")
            .fix(format!("let {lacks} port 53 pass in firewalls and NetworkPolicies, and see that the Service kube-dns has a port 53 of {lacks}"))
    });
    told.collect()
}

fn wrong_answers(case: &DnsCase, rows: &[Row]) -> Vec<Finding> {
    let mut groups = BTreeMap::<String, (BTreeSet<IpAddr>, BTreeSet<String>)>::new();
    for row in rows {
        for answer in row.inside().filter(|answer| !answer.has_address()) {
            let group = groups.entry(answer.said()).or_default();
            group.0.insert(row.server);
            group.1.insert(row.node.clone());
        }
    }
    let told = groups.into_iter().map(|(said, (of, nodes))| {
        wrong(case, nodes)
            .observed(format!("{}: {said}", servers(case, of)))
            .fix(match said.as_str() {
                "SERVFAIL" => "CoreDNS does not reach the API server, or asks itself in a circle: see the logs of its pods".to_owned(),
                _ => format!("see that the Corefile has the plugin kubernetes for {}, and that this is the cluster's domain (clusterDomain of the kubelets)", case.domain),
            })
    });
    told.collect()
}

fn wrong(case: &DnsCase, nodes: impl IntoIterator<Item = String>) -> Finding {
    error(names::DNS_WRONG_ANSWER, SUBJECT)
        .on(nodes)
        .checked(format!("what CoreDNS says of {}", case.name()))
        .expected("the address of the API server's Service, from all of them")
}

/// Servers that say different things of one name.
fn disagreement(case: &DnsCase, rows: &[Row]) -> Option<Finding> {
    let mut said = BTreeMap::<&BTreeSet<String>, BTreeSet<IpAddr>>::new();
    for row in rows {
        for answer in row.inside().filter(|answer| !answer.records.is_empty()) {
            said.entry(&answer.records).or_default().insert(row.server);
        }
    }
    let each =
        said.iter().map(|(records, of)| format!("{}: {}", servers(case, of.iter().copied()), list(*records)));
    (said.len() > 1).then(|| {
        wrong(case, [])
            .observed(each.collect::<Vec<_>>().join("; "))
            .fix("restart the pods that are alone with their answer, and see that all run with one Corefile")
    })
}

/// Pods that know names of the cluster, but not those outside; the Service where all pods know both.
fn upstreams(case: &DnsCase, rows: &[Row]) -> Vec<Finding> {
    // The question goes over UDP: where that is silent altogether, nothing is known of the upstream.
    let failed = |row: &&Row| row.udp.is_ok() && row.upstream().is_err();
    let of_pods = |row: &&Row| !case.services.contains(&row.server);
    let any_pod = rows.iter().any(|row| failed(&row) && of_pods(&row));
    let mut groups = BTreeMap::<String, (BTreeSet<IpAddr>, BTreeSet<String>)>::new();
    for row in rows.iter().filter(failed).filter(|row| of_pods(row) || !any_pod) {
        let group = groups.entry(row.upstream().err().unwrap_or_default()).or_default();
        group.0.insert(row.server);
        group.1.insert(row.node.clone());
    }
    let told = groups.into_iter().map(|(why, (of, nodes))| {
        let knows = |pod: &&DnsPod| rows.iter().any(|r| r.server == pod.address && r.upstream().is_ok());
        let others = list(case.pods.iter().filter(knows).map(|pod| &pod.name));
        let all = !case.pods.iter().any(|pod| knows(&pod));
        let but = if all { String::new() } else { format!("; {others} knows them") };
        error(names::DNS_UPSTREAM_SILENT, SUBJECT)
            .checked("whether CoreDNS knows names outside the cluster")
            .observed(format!(
                "{}: names of the cluster are known, and of one outside nothing is told: {why}; asked from {}{but}",
                servers(case, of),
                list(&nodes)
            ))
            .expected("an answer of the upstream, whatever it says")
            .fix(match all {
                true => "see the targets of `forward` in the Corefile: whether they answer the nodes, and whether one leads back to the cluster's DNS",
                false => "the upstream answers other pods: see the resolv.conf, the routes and the firewall of the nodes that these run on",
            })
    });
    told.collect()
}

fn slow(case: &DnsCase, rows: &[Row]) -> Option<Finding> {
    let micros = |row: &Row| {
        let outside = row.outside.as_ref().ok().filter(|_| row.upstream().is_ok());
        row.inside().chain(outside).map(|a| a.micros).max()
    };
    let slow = rows.iter().filter_map(|row| Some((row, micros(row).filter(|took| *took > SLOW_MICROS)?)));
    let slow: Vec<_> = slow.collect();
    let seen = slow.iter().map(|(row, took)| {
        format!(
            "{}.{} s from {} for {}",
            took / 1_000_000,
            took / 100_000 % 10,
            case.describe(row.server),
            row.node
        )
    });
    (!slow.is_empty()).then(|| {
        warning(names::DNS_SLOW, SUBJECT)
            .on(slow.iter().map(|(row, _)| row.node.clone()))
            .checked("how long CoreDNS takes to answer")
            .observed(list(seen))
            .expected("an answer within a second: programs give up after five")
            .fix("look for lost datagrams, for a first upstream that does not answer, and for pods that lack CPU")
    })
}

fn not_asked(node: &str) -> Finding {
    warning(names::DNS_NOT_ASKED, SUBJECT)
        .on([node])
        .checked("whether the node gets answers from CoreDNS")
        .observed("the node did not report")
        .expected("answers from every node")
        .fix("bring the node back and try again")
}

fn answers(case: &DnsCase, rows: &[Row]) -> Option<Finding> {
    let nodes: BTreeSet<_> = rows.iter().map(|row| row.node.clone()).collect();
    let records: BTreeSet<_> = rows.iter().flat_map(Row::inside).flat_map(|answer| &answer.records).collect();
    (!nodes.is_empty()).then(|| {
        pass(names::DNS_ANSWERS, SUBJECT)
            .on(&nodes)
            .checked("whether CoreDNS answers every node")
            .observed(format!(
                "{} is {}, over UDP and TCP, at {}; the upstream answers, too",
                case.name(),
                list(records),
                servers(case, case.servers())
            ))
            .expected("the same answer everywhere")
    })
}
