//! The proof from outside: nodes ask for DNS and for the addresses of Services, and the answers are judged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use rackwright_proto::finding::{Finding, Severity};
use rackwright_proto::l2::{Patience, Probe, Probed};
use rackwright_proto::link::Network;
use rackwright_proto::name::NodeName;
use rackwright_proto::reach::{Asked as Question, Reach, Reached};
use tokio::net::TcpStream;

use super::Context;
use super::cluster::Cluster;
use crate::balancer::{Reason, pending, silent};
use crate::cluster::facts::ClusterFacts;
use crate::cluster::outcome::{Proof, Proven};
use crate::cluster::sight::{self, Sight};
use crate::judge::{self, Asked};
use crate::kube::{Resource, Selector, Set};
use crate::network::NodeInput;
use crate::proof::case::{self, Case, ServiceName, Stand};
use crate::proof::hearing::{self, Hearing};
use crate::proof::service::{Seen, ServiceProof};
use crate::proof::{Why, dns, ports, service, text};
use crate::rack::Rack;
use crate::survey::{self, Surveyed};
use crate::{fleet, scene};

/// Between the two times that addresses are asked for: an owner that moves, or a second one that is slow, shows.
const AGAIN: Duration = Duration::from_secs(3);
/// How long a freshly assigned address may take until somebody answers for it: MetalLB's speakers hear of endpoints,
/// then announce.
pub(super) const SETTLE: Duration = Duration::from_secs(30);
pub(super) const PAUSE: Duration = Duration::from_secs(2);

/// Everything: kube-proxy and DNS on every node, and the Services that the rack names. Where something was just
/// `changed`, the cluster is asked anew, and what settles by itself within half a minute is waited for.
pub async fn all(context: &Context, cluster: &Cluster, heard: &mut [Surveyed], changed: bool) -> Proof {
    let rack = &context.loaded.rack;
    let mut proof;
    let now;
    let sight = match changed {
        true => {
            assigned(context, cluster).await;
            now = super::cluster::looked_again(context, cluster, heard).await;
            let sight = now.as_ref().unwrap_or(&cluster.sight);
            proof = patiently(context, cluster, sight, heard).await;
            sight
        }
        false => {
            proof = services(context, &cluster.sight.facts, heard).await;
            &cluster.sight
        }
    };
    proof.findings.extend(names(context, &sight.facts, heard).await);
    proof.findings.extend(judge::live(rack, heard, sight));
    proof.findings = judge::settle(rack, proof.findings, Asked::Some);
    proof
}

/// What must hold again before another node has its turn: DNS through its Service as one node asks, and the Services
/// that the rack names. What settles by itself `within` that time is waited for.
pub async fn between_turns(
    context: &Context,
    cluster: &Cluster,
    heard: &mut [Surveyed],
    node: &str,
    within: Duration,
) -> Vec<Finding> {
    let until = tokio::time::Instant::now() + within;
    let mut found = loop {
        let facts = refreshed(context, cluster).await;
        let facts = facts.as_ref().unwrap_or(&cluster.sight.facts);
        let found = names_from(context, facts, heard, vec![node.to_owned()]).await;
        let good = found.iter().all(|f| f.severity != Severity::Error);
        if good || tokio::time::Instant::now() >= until {
            break found;
        }
        tokio::time::sleep(PAUSE).await;
    };
    let until = tokio::time::Instant::now() + within;
    let proof = loop {
        let facts = refreshed(context, cluster).await;
        let proof = services(context, facts.as_ref().unwrap_or(&cluster.sight.facts), heard).await;
        let good = proof.services.iter().all(|s| s.proven)
            && proof.findings.iter().all(|f| f.severity != Severity::Error);
        if good || tokio::time::Instant::now() >= until {
            break proof;
        }
        tokio::time::sleep(PAUSE).await;
    };
    found.extend(proof.findings);
    judge::settle(&context.loaded.rack, found, Asked::Some)
}

/// Asks all hosts for DNS.
pub async fn names(context: &Context, facts: &ClusterFacts, heard: &mut [Surveyed]) -> Vec<Finding> {
    let hosts = heard.iter().map(|s| s.session.node.to_string()).collect();
    names_from(context, facts, heard, hosts).await
}

async fn names_from(
    context: &Context,
    facts: &ClusterFacts,
    heard: &mut [Surveyed],
    hosts: Vec<String>,
) -> Vec<Finding> {
    let case = dns::case(facts, &sight::domain(facts));
    let asked = dns::ask(&case, &hosts);
    let reached = reach(context, heard, &asked).await;
    dns::judge(&case, &asked, &reached)
}

/// Asks for the addresses of the Services that the rack names, until all is well or half a minute is over. What the
/// segment tells changes without a word of the API: that is asked again for the reasons only.
async fn patiently(context: &Context, cluster: &Cluster, sight: &Sight, heard: &mut [Surveyed]) -> Proof {
    let until = tokio::time::Instant::now() + SETTLE;
    while tokio::time::Instant::now() < until {
        let proof = services(context, &sight.facts, heard).await;
        let good = proof.services.iter().all(|s| s.proven)
            && proof.findings.iter().all(|f| f.severity != Severity::Error);
        if good {
            return proof;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let now = super::cluster::looked_again(context, cluster, heard).await;
    services(context, &now.as_ref().unwrap_or(sight).facts, heard).await
}

/// What the cluster says now; the answer of a moment ago where it cannot be asked.
pub(super) async fn refreshed(context: &Context, cluster: &Cluster) -> Option<ClusterFacts> {
    let kubernetes = context.loaded.rack.kubernetes()?;
    let wishes = crate::kube::gather::Wishes {
        balancer: kubernetes.metallb.as_ref().map(|m| m.namespace.to_string()).unwrap_or_default(),
        services: kubernetes.services.iter().map(|s| (s.namespace.to_string(), s.name.to_string())).collect(),
        ..crate::kube::gather::Wishes::default()
    };
    crate::kube::gather::gather(&cluster.api, &wishes).await.ok()
}

/// Waits until the Services that the rack names have addresses, or are not there; a watch tells.
async fn assigned(context: &Context, cluster: &Cluster) {
    let resource = Resource::of::<Service>();
    let until = tokio::time::Instant::now() + SETTLE;
    for service in context.loaded.rack.kubernetes().iter().flat_map(|k| &k.services) {
        let selector = Selector::namespace(service.namespace.as_str()).named(service.name.as_str());
        let has = |service: &Service| {
            let status = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
            status.is_some_and(|balancer| balancer.ingress.iter().flatten().next().is_some())
        };
        let come = |set: &Set<Service>| set.values().all(has).then_some(());
        let within = until.saturating_duration_since(tokio::time::Instant::now());
        // Whatever came of it, the proof tells.
        let _ = cluster.api.watch_until(&resource, &selector, within, come).await;
    }
}

/// Asks for the addresses of the Services that the rack names.
pub async fn services(context: &Context, facts: &ClusterFacts, heard: &mut [Surveyed]) -> Proof {
    let rack = &context.loaded.rack;
    let mut proof = Proof::default();
    let cases = stands(rack, facts, &mut proof.findings);
    if cases.is_empty() {
        return proof;
    }
    let networks: Vec<(NodeName, Network)> =
        heard.iter().map(|s| (s.session.node.clone(), s.facts.network.clone())).collect();
    let hosts = scene::nodes(rack, networks.iter().map(|(node, network)| (node, network)));
    let patience = scene::patience(rack).unwrap_or(Patience::Quick);
    let mut seen = Seen { first: hear(context, heard, &hosts, &cases, patience).await, ..Seen::default() };
    let asked = ports::ask(&hosts, &cases, &seen.first);
    seen.knocks = ports::knocks(&asked, &reach(context, heard, &asked).await);
    let from_here = ports::ask_from_here(&cases);
    seen.here = match is_on_segment(&from_here).await {
        true => ports::from_here(&from_here, &connect(&from_here).await),
        false => Vec::new(),
    };
    tokio::time::sleep(AGAIN).await;
    seen.again = hear(context, heard, &hosts, &cases, Patience::Quick).await;
    for case in &cases {
        let silent = whys(facts, case);
        let judged = service::judge(case, &hosts, &seen, &silent);
        proof.findings.extend(judged.findings.clone());
        proof.services.push(proven(&judged));
    }
    proof
}

fn proven(judged: &ServiceProof) -> Proven {
    Proven {
        service: judged.case.service.to_string(),
        address: judged.case.address,
        proven: judged.proven,
        node: judged.owner.as_ref().map(|o| o.node.clone()),
        link: judged.owner.as_ref().map(|o| o.link.clone()),
        mac: judged.owner.as_ref().map(|o| o.mac.to_string()),
        line: text::line(judged),
    }
}

/// The addresses to prove; Services without one are told.
fn stands(rack: &Rack, facts: &ClusterFacts, findings: &mut Vec<Finding>) -> Vec<Case> {
    let mut cases = Vec::new();
    for service in rack.kubernetes().iter().flat_map(|k| &k.services) {
        let name = ServiceName { namespace: service.namespace.to_string(), name: service.name.to_string() };
        match case::addresses(facts, &name) {
            Stand::Missing => findings.push(case::missing(&name)),
            Stand::Waiting => {
                let is = |s: &&k8s_openapi::api::core::v1::Service| {
                    s.metadata.name.as_deref() == Some(&name.name)
                        && s.metadata.namespace.as_deref() == Some(&name.namespace)
                };
                if let Some(service) = facts.services.iter().find(is) {
                    findings.push(case::waiting(&name, &why(pending::reason(facts, service))));
                }
            }
            Stand::Assigned(of) => cases.extend(of),
        }
    }
    cases
}

/// Why nobody may answer for an address.
fn whys(facts: &ClusterFacts, case: &Case) -> Vec<Why> {
    let is = |s: &&k8s_openapi::api::core::v1::Service| {
        s.metadata.name.as_deref() == Some(&case.service.name)
            && s.metadata.namespace.as_deref() == Some(&case.service.namespace)
    };
    let service = facts.services.iter().find(is);
    let reasons = service.map(|service| silent::reasons(facts, service, case.address)).unwrap_or_default();
    // That nothing was found is no reason.
    reasons.into_iter().map(why).filter(|why| why.name != "service-silent").collect()
}

fn why(reason: Reason) -> Why {
    let Reason { name, words, evidence, fix } = reason;
    Why { name: name.to_string(), words, evidence, fix }
}

async fn hear(
    context: &Context,
    heard: &mut [Surveyed],
    hosts: &[NodeInput<'_>],
    cases: &[Case],
    patience: Patience,
) -> Hearing {
    let asked: BTreeMap<String, Vec<Probe>> = hearing::ask(hosts, cases, patience);
    let probed: BTreeMap<String, Vec<Probed>> = survey::probe(heard, context.parallel, &asked).await;
    hearing::hear(cases, &asked, &probed)
}

/// Questions to many hosts at once. One that cannot be asked answers nothing.
async fn reach(
    context: &Context,
    heard: &mut [Surveyed],
    asked: &BTreeMap<String, Vec<Question>>,
) -> BTreeMap<String, Vec<Reached>> {
    let with_questions = heard.iter_mut().filter(|s| asked.contains_key(s.session.node.as_str()));
    let answers = fleet::each(context.parallel, with_questions, |one| async move {
        let node = one.session.node.to_string();
        let questions = asked.get(&node).cloned().unwrap_or_default();
        let reached = one.session.ask(async |agent| agent.reach(questions).await).await;
        (node, reached)
    })
    .await;
    answers.into_iter().filter_map(|(node, reached)| Some((node, reached.ok()?))).collect()
}

/// Whether this machine is where clients may be: on the segment of an address, by its own routes. Elsewhere silence
/// proves nothing, since nothing says that the address is routed this far.
async fn is_on_segment(asked: &[Question]) -> bool {
    let mut addresses = asked.iter().filter_map(|a| match a.reach {
        Reach::Tcp { address } => Some(address),
        _ => None,
    });
    addresses.next().is_some_and(|to| shares_subnet(to).unwrap_or(false))
}

/// The source address that the kernel would choose, compared with the subnets of this machine's interfaces.
fn shares_subnet(to: SocketAddr) -> std::io::Result<bool> {
    let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = std::net::UdpSocket::bind(any)?;
    // Of a datagram socket: nothing is sent.
    socket.connect(to)?;
    let from = socket.local_addr()?.ip();
    let subnets = nix::ifaddrs::getifaddrs()?.filter_map(|i| {
        let (address, mask) = (i.address?, i.netmask?);
        let (address, mask) = (ip(&address)?, ip(&mask)?);
        (address == from).then(|| ipnet::IpNet::with_netmask(address, mask).ok()).flatten()
    });
    Ok({ subnets }.any(|net| net.contains(&to.ip())))
}

fn ip(address: &nix::sys::socket::SockaddrStorage) -> Option<std::net::IpAddr> {
    let v4 = address.as_sockaddr_in().map(|a| a.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|a| a.ip().into()))
}

/// Plain connections from here.
async fn connect(asked: &[Question]) -> Vec<Reached> {
    fleet::each(64, asked, |question| async move {
        let Reach::Tcp { address } = question.reach else {
            return Reached::Failed { why: "not asked from here".into() };
        };
        let begun = tokio::time::Instant::now();
        let within = Duration::from_millis(question.within_ms.into());
        match tokio::time::timeout(within, TcpStream::connect(address)).await {
            Ok(Ok(_)) => {
                Reached::Tcp { micros: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX) }
            }
            Ok(Err(error)) => Reached::Failed { why: error.to_string() },
            Err(_) => Reached::Failed { why: format!("no answer within {} s", within.as_secs()) },
        }
    })
    .await
}
