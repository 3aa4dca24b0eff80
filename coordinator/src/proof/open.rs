//! What the answers of a Service's ports mean.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use rackwright_proto::finding::Finding;
use rackwright_proto::link::Mac;
use rackwright_proto::reach::Knocked;

use super::case::Case;
use super::names;
use super::ports::Knock;
use super::service::{Owner, PortProof, Seen};
use crate::network::NodeInput;
use crate::network::say::{Say as _, error, list, warning};

/// What a host found at a port that should be open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Shut {
    /// RST: something is there, and refuses.
    Refused,
    /// ICMP.
    Rejected(String),
    /// Nothing came back.
    Silent,
    /// The host could not knock, and why.
    Unasked(String),
}

fn knock<'a>(seen: &'a Seen, host: &str, at: SocketAddr) -> Option<&'a Knock> {
    seen.knocks.iter().find(|knock| knock.at == at && knock.host == host)
}

/// Every TCP port, with the hosts of these for which it opened.
pub(super) fn ports(case: &Case, hosts: &[String], seen: &Seen) -> Vec<PortProof> {
    let proof = |port: &u16| {
        let at = SocketAddr::new(case.address, *port);
        let opened = |host: &&String| {
            matches!(knock(seen, host, at), Some(Knock { outcome: Ok(Knocked::Open { .. }), .. }))
        };
        let here = seen.here.iter().find(|here| here.at == at).map(|here| here.outcome.is_ok());
        PortProof { port: *port, open_from: hosts.iter().filter(opened).cloned().collect(), here }
    };
    case.tcp.iter().map(proof).collect()
}

/// Everything that is wrong with the ports, where one node answers for the address.
pub(super) fn findings(
    case: &Case,
    owner: &Owner,
    nodes: &[NodeInput],
    hosts: &[String],
    seen: &Seen,
) -> Vec<Finding> {
    // By what was found, then by who found it: the ports.
    let mut ports_by = BTreeMap::<(Shut, Vec<String>), Vec<u16>>::new();
    let mut opened = BTreeSet::new();
    for port in &case.tcp {
        let mut found = BTreeMap::<_, Vec<String>>::new();
        for host in hosts {
            match shut(knock(seen, host, (case.address, *port).into()), owner.mac) {
                None => _ = opened.insert(*port),
                Some(shut) => found.entry(shut).or_default().push(host.clone()),
            }
        }
        for key in found {
            ports_by.entry(key).or_default().push(*port);
        }
    }
    let told = |((shut, hosts), ports): (&(Shut, Vec<String>), &Vec<u16>)| {
        let some = ports.iter().any(|port| opened.contains(port));
        tell(case, owner, shut, hosts, ports, &|shut| {
            likely(case, owner, shut, some, is_let_in(case, nodes, hosts))
        })
    };
    let mut findings: Vec<_> = ports_by.iter().map(told).collect();
    findings.extend(detours(case, owner, seen));
    findings.extend(from_here(case, &opened, seen));
    findings
}

fn shut(knock: Option<&Knock>, mac: Mac) -> Option<Shut> {
    match knock.map(|knock| (&knock.outcome, knock.mac == mac)) {
        Some((Ok(_), false)) | None => Some(Shut::Unasked("not asked".into())),
        Some((Ok(Knocked::Open { .. }), true)) => None,
        Some((Ok(Knocked::Refused { .. }), true)) => Some(Shut::Refused),
        Some((Ok(Knocked::Rejected { why, .. }), true)) => Some(Shut::Rejected(why.clone())),
        Some((Ok(Knocked::Silence), true)) => Some(Shut::Silent),
        Some((Err(why), _)) => Some(Shut::Unasked(why.clone())),
    }
}

fn words(ports: &[u16]) -> String {
    list(ports.iter().map(|port| format!("tcp/{port}")))
}

/// Whether loadBalancerSourceRanges lets all of these hosts in, as far as their addresses tell.
fn is_let_in(case: &Case, nodes: &[NodeInput], hosts: &[String]) -> bool {
    let has = |node: &NodeInput| {
        let addresses = || node.network.links.iter().flat_map(|link| &link.addresses);
        addresses().any(|address| case.sources.iter().any(|range| range.contains(&address.net.addr())))
    };
    case.sources.is_empty() || nodes.iter().filter(|node| hosts.contains(&node.name)).all(has)
}

/// One way of being shut.
fn tell(
    case: &Case,
    owner: &Owner,
    shut: &Shut,
    hosts: &[String],
    ports: &[u16],
    likely: &dyn Fn(&Shut) -> (String, String),
) -> Finding {
    let (what, from) = (words(ports), list(hosts));
    let (seen, finding) = match shut {
        Shut::Refused => {
            (format!("{what}: refused to {from}"), error(names::SERVICE_PORT_CLOSED, &case.service))
        }
        Shut::Rejected(why) => {
            (format!("{what}: rejected to {from} ({why})"), error(names::SERVICE_PORT_CLOSED, &case.service))
        }
        Shut::Silent => {
            (format!("{what}: no answer to {from}"), error(names::SERVICE_PORT_SILENT, &case.service))
        }
        Shut::Unasked(why) => {
            return warning(names::SERVICE_NOT_ASKED, &case.service)
                .on(hosts)
                .checked(checked(case))
                .observed(format!("{what}: {why}"))
                .expected("every host of the segment asks every port")
                .fix("mend that and try again");
        }
    };
    let (evidence, fix) = likely(shut);
    finding
        .on([&owner.node])
        .checked(checked(case))
        .observed(format!("{seen}, though {} answers for the address; {evidence}", owner.node))
        .expected("a connection that opens")
        .fix(fix)
}

fn checked(case: &Case) -> String {
    format!("whether the ports of {} open", case.address)
}

/// What the cluster's objects say of the likely reason, and what to do. `some`: for other hosts it is open;
/// `let_in`: so does loadBalancerSourceRanges.
fn likely(case: &Case, owner: &Owner, shut: &Shut, some: bool, let_in: bool) -> (String, String) {
    let (node, service, endpoints) = (&owner.node, &case.service, endpoints(case));
    let (namespace, name) = (&service.namespace, &service.name);
    let (evidence, fix) = if case.endpoints.is_empty() {
        let ask = format!("kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={name}");
        (None, format!("see why nothing that {service} selects is ready: `{ask}`"))
    } else if case.local && !case.endpoints.contains_key(node) {
        let evidence = format!("externalTrafficPolicy is Local and {node} has no ready endpoint");
        (Some(evidence), format!("run a pod of {service} on {node}, or set externalTrafficPolicy to Cluster"))
    } else if !let_in && *shut == Shut::Silent {
        let evidence = format!("loadBalancerSourceRanges lets in {} only", list(&case.sources));
        (
            Some(evidence),
            "add the hosts' subnet to loadBalancerSourceRanges, or live with it and waive this".into(),
        )
    } else if some {
        let evidence = "it is open for other hosts, so kube-proxy and the pods work".to_owned();
        (
            Some(evidence),
            format!(
                "look for a firewall or a filter by source between these hosts and {node}, and for rp_filter on {node}"
            ),
        )
    } else if case.proxy_not_ready.contains(node) {
        let ask = "kubectl -n kube-system get pods -l k8s-app=kube-proxy -o wide";
        let evidence = format!("kube-proxy on {node} is not ready");
        (Some(evidence), format!("see what kube-proxy on {node} says: `{ask}`, and its log"))
    } else {
        (None, where_to_look(node, shut))
    };
    (evidence.into_iter().chain([endpoints]).collect::<Vec<_>>().join("; "), fix)
}

/// What to do where the cluster's objects look well.
fn where_to_look(node: &str, shut: &Shut) -> String {
    match shut {
        Shut::Refused => {
            "see whether the program in the pods listens on the Service's targetPort, on all addresses".into()
        }
        Shut::Rejected(_) => format!(
            "look for a firewall on {node} that rejects, and whether kube-proxy there has seen the endpoints (its log)"
        ),
        Shut::Silent | Shut::Unasked(_) => format!(
            "look for a firewall on {node} that drops, whether kube-proxy there has programmed the address (its log), and whether {node} reaches the pods"
        ),
    }
}

/// `ready endpoints: 2 on w1, 1 on w2`.
fn endpoints(case: &Case) -> String {
    let on = case.endpoints.iter().map(|(node, count)| match node.as_str() {
        "" => format!("{count} on no node"),
        node => format!("{count} on {node}"),
    });
    format!("ready endpoints: {}", list(on))
}

/// Answers that come from elsewhere than the question went to.
fn detours(case: &Case, owner: &Owner, seen: &Seen) -> Option<Finding> {
    let mut by = BTreeMap::<Mac, BTreeSet<&str>>::new();
    for knock in seen.knocks.iter().filter(|k| k.at.ip() == case.address && k.mac == owner.mac) {
        match knock.outcome {
            Ok(Knocked::Open { from, .. }) if from != owner.mac => {
                by.entry(from).or_default().insert(&knock.host)
            }
            _ => continue,
        };
    }
    let seen = by.iter().map(|(mac, hosts)| format!("{mac} answered {}", list(hosts)));
    (!by.is_empty()).then(|| {
        warning(names::SERVICE_ANSWER_DETOURS, &case.service)
            .on([&owner.node])
            .checked(checked(case))
            .observed(format!("knocked at {}, but {}", owner.mac, list(seen)))
            .expected("an answer from where the question went to: switches and firewalls may drop others")
            .fix(format!("give {} one interface in the subnet of {}", owner.node, case.address))
    })
}

/// Ports that open on the segment, but not for the coordinator.
fn from_here(case: &Case, opened: &BTreeSet<u16>, seen: &Seen) -> Option<Finding> {
    let failed = seen.here.iter().filter(|h| h.at.ip() == case.address && opened.contains(&h.at.port()));
    let failed = failed.filter_map(|h| Some(format!("tcp/{}: {}", h.at.port(), h.outcome.as_ref().err()?)));
    let failed: Vec<_> = failed.collect();
    (!failed.is_empty()).then(|| {
        warning(names::SERVICE_UNREACHABLE_FROM_HERE, &case.service)
            .checked(format!("whether the ports of {} open for the coordinator", case.address))
            .observed(format!("{}; for hosts of its segment they open", list(failed)))
            .expected("a connection that opens, where the coordinator has a route there")
            .fix("look for a missing route, and for a firewall or router in between")
    })
}
