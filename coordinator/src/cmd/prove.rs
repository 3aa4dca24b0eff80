//! The proof from outside: nodes ask for DNS and for the addresses of Services, and the answers are judged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use rackwright_proto::finding::Finding;
use rackwright_proto::l2::{Patience, Probe, Probed};
use rackwright_proto::link::Network;
use rackwright_proto::name::NodeName;
use rackwright_proto::reach::{Asked as Question, Reach, Reached};
use tokio::time::Instant;

use super::Context;
use super::cluster::{self, Cluster};
use crate::balancer::{Reason, pending, silent};
use crate::cluster::facts::ClusterFacts;
use crate::cluster::outcome::{Proof, Proven};
use crate::cluster::sight::{self, Sight};
use crate::judge::{self, Asked};
use crate::kube::gather::gather;
use crate::kube::{Resource, Selector, Set};
use crate::network::NodeInput;
use crate::proof::case::{self, Case, ServiceName, Stand};
use crate::proof::gateway::{self, Asker, Way};
use crate::proof::hearing::{self, Hearing};
use crate::proof::service::{Seen, ServiceProof};
use crate::proof::{Why, dns, ports, service, text};
use crate::rack::Rack;
use crate::survey::{self, Surveyed};
use crate::{fleet, here, scene};

/// Between the two times that addresses are asked for: an owner that moves, or a second one that is slow, shows.
const AGAIN: Duration = Duration::from_secs(3);
/// How long what was just changed may take to settle: MetalLB's speakers hear of endpoints, then announce; kube-proxy
/// starts, then writes its rules.
pub(super) const SETTLE: Duration = Duration::from_secs(30);
pub(super) const PAUSE: Duration = Duration::from_secs(2);

/// Everything: kube-proxy and DNS on every node, and what the rack names. Where something was just `changed`, the
/// cluster is asked anew, and what settles by itself within half a minute is waited for.
pub async fn all(context: &Context, cluster: &Cluster, heard: &mut [Surveyed], changed: bool) -> Proof {
    if !changed {
        return once(context, &cluster.sight, heard).await;
    }
    assigned(context, cluster).await;
    let again = cluster::looked_again(context, cluster, heard).await;
    let mut sight = again.unwrap_or_else(|| cluster.sight.clone());
    let until = Instant::now() + SETTLE;
    while Instant::now() < until {
        let proof = once(context, &sight, heard).await;
        if proof.is_good() {
            return proof;
        }
        tokio::time::sleep(PAUSE).await;
        // What hosts and the segment tell changes without a word of the API.
        cluster::ask_again(context, &mut sight, heard).await;
    }
    // Only for the reasons.
    let last = cluster::looked_again(context, cluster, heard).await;
    once(context, last.as_ref().unwrap_or(&sight), heard).await
}

async fn once(context: &Context, sight: &Sight, heard: &mut [Surveyed]) -> Proof {
    let rack = &context.loaded.rack;
    let mut proof = services(context, &sight.facts, heard).await;
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
    let until = Instant::now() + within;
    let found = loop {
        let facts = refreshed(context, cluster).await;
        let facts = facts.as_ref().unwrap_or(&cluster.sight.facts);
        let mut proof = services(context, facts, heard).await;
        proof.findings.extend(names_from(context, facts, heard, vec![node.to_owned()]).await);
        if proof.is_good() || Instant::now() >= until {
            break proof.findings;
        }
        tokio::time::sleep(PAUSE).await;
    };
    judge::settle(&context.loaded.rack, found, Asked::Some)
}

/// What the cluster says now; `None` where it cannot be asked: then the answer of a moment ago must do.
pub(super) async fn refreshed(context: &Context, cluster: &Cluster) -> Option<ClusterFacts> {
    gather(&cluster.api, &cluster::wishes(context)?).await.ok()
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
    let asked = dns::ask(&case, &hosts, &dns::outside_name(fastrand::u64(..)));
    let reached = reach(context, heard, &asked).await;
    dns::judge(&case, &asked, &reached)
}

/// Asks for DNS from inside of a pod on each host; nothing where there is nobody to ask.
pub async fn names_from_pods(
    context: &Context,
    facts: &ClusterFacts,
    heard: &mut [Surveyed],
) -> Option<Finding> {
    let case = dns::case(facts, &sight::domain(facts));
    let hosts: Vec<String> = heard.iter().map(|s| s.session.node.to_string()).collect();
    let asked = dns::ask_from_pods(&case, &hosts);
    let told = fleet::each(context.parallel, heard.iter_mut(), |one| async {
        let node = one.session.node.to_string();
        let what = asked.get(&node)?.clone();
        let examined = one.session.ask(async |agent| agent.examine(what).await).await;
        Some((node, examined.ok()?.from_pod))
    })
    .await;
    dns::judge_from_pods(&case, &asked, &told.into_iter().flatten().collect())
}

/// Waits until the Services that the rack names have addresses, or are not there; a watch tells.
async fn assigned(context: &Context, cluster: &Cluster) {
    let resource = Resource::of::<Service>();
    let until = Instant::now() + SETTLE;
    for name in named(&context.loaded.rack) {
        let selector = Selector::namespace(&name.namespace).named(&name.name);
        let has = |service: &Service| {
            let status = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
            status.is_some_and(|balancer| balancer.ingress.iter().flatten().next().is_some())
        };
        let come = |set: &Set<Service>| set.values().all(has).then_some(());
        let within = until.saturating_duration_since(Instant::now());
        // Whatever came of it, the proof tells.
        let _ = cluster.api.watch_until(&resource, &selector, within, come).await;
    }
}

/// The Services that the rack wants proven.
fn named(rack: &Rack) -> Vec<ServiceName> {
    let services = rack.kubernetes().map(|k| k.to_prove()).unwrap_or_default();
    services.into_iter().map(ServiceName::from).collect()
}

/// Asks for the addresses of the Services that the rack names, and for HTTP through its gateways.
pub async fn services(context: &Context, facts: &ClusterFacts, heard: &mut [Surveyed]) -> Proof {
    let mut proof = Proof::default();
    let cases = stands(&context.loaded.rack, facts, &mut proof.findings);
    for judged in judged(context, facts, heard, &cases).await {
        proof.services.push(proven(&judged));
        proof.findings.extend(judged.findings);
    }
    gateways(context, facts, heard, &mut proof).await;
    proof
}

/// What is seen of these addresses, judged. Where that is not as it should be, the hosts are looked at once more for the
/// reason: since they were, Services may have got addresses on `kube-ipvs0`, and sysctls other values.
async fn judged(
    context: &Context,
    facts: &ClusterFacts,
    heard: &mut [Surveyed],
    cases: &[Case],
) -> Vec<ServiceProof> {
    if cases.is_empty() {
        return Vec::new();
    }
    let rack = &context.loaded.rack;
    let networks = networks(heard);
    let hosts = scene::nodes(rack, networks.iter().map(|(node, network)| (node, network)));
    let seen = look(context, heard, &hosts, cases).await;
    let judge = |hosts: &[NodeInput<'_>]| {
        let one = |case| service::judge(case, hosts, &seen, &whys(facts, case));
        cases.iter().map(one).collect::<Vec<_>>()
    };
    let first = judge(&hosts);
    if first.iter().all(|judged| judged.proven) {
        return first;
    }
    survey::networks_anew(heard, context.parallel).await;
    let networks = self::networks(heard);
    judge(&scene::nodes(rack, networks.iter().map(|(node, network)| (node, network))))
}

fn networks(heard: &[Surveyed]) -> Vec<(NodeName, Network)> {
    heard.iter().map(|s| (s.session.node.clone(), s.facts.network.clone())).collect()
}

/// All that is seen of these addresses, from all hosts and from here.
async fn look(context: &Context, heard: &mut [Surveyed], hosts: &[NodeInput<'_>], cases: &[Case]) -> Seen {
    let patience = scene::patience(&context.loaded.rack).unwrap_or(Patience::Quick);
    let mut seen = Seen { first: hear(context, heard, hosts, cases, patience).await, ..Seen::default() };
    let asked = ports::ask(hosts, cases, &seen.first);
    seen.knocks = ports::knocks(&asked, &reach(context, heard, &asked).await);
    let mut from_here = ports::ask_from_here(cases);
    from_here.retain(|q| matches!(q.reach, Reach::Tcp { address } if here::is_on_segment(address.ip())));
    seen.here = ports::from_here(&from_here, &here::reach(&from_here).await);
    tokio::time::sleep(AGAIN).await;
    seen.again = hear(context, heard, hosts, cases, Patience::Quick).await;
    seen
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

/// HTTP through the gateways that the rack names: asked from here where clients may be, from hosts that are no nodes,
/// and only where nobody else can from one node.
async fn gateways(context: &Context, facts: &ClusterFacts, heard: &mut [Surveyed], proof: &mut Proof) {
    let istio = context.loaded.rack.kubernetes().and_then(|k| k.istio.as_ref());
    for way in gateway::ways(istio.map(|i| i.gateways.as_slice()).unwrap_or_default(), &facts.services) {
        let answers = ask_through(context, facts, heard, &way).await;
        let through = gateway::judge(&way, &answers);
        proof.findings.push(through.finding.clone());
        proof.gateways.push(through);
    }
}

async fn ask_through(
    context: &Context,
    facts: &ClusterFacts,
    heard: &mut [Surveyed],
    way: &Way,
) -> Vec<(Asker, Reached)> {
    let question = vec![gateway::ask(way)];
    if here::is_on_segment(way.at.ip()) {
        return here::reach(&question).await.into_iter().map(|reached| (Asker::Here, reached)).collect();
    }
    let nodes: BTreeSet<&str> = facts.nodes.iter().filter_map(|n| n.metadata.name.as_deref()).collect();
    let (members, others): (Vec<String>, Vec<String>) =
        heard.iter().map(|s| s.session.node.to_string()).partition(|host| nodes.contains(host.as_str()));
    let (askers, of): (_, fn(String) -> Asker) = match others.is_empty() {
        false => (others, Asker::Outside),
        true => (members.into_iter().take(1).collect(), Asker::Node),
    };
    let asked = askers.into_iter().map(|host| (host, question.clone())).collect();
    let reached = reach(context, heard, &asked).await;
    reached
        .into_iter()
        .flat_map(|(host, all)| all.into_iter().map(move |one| (of(host.clone()), one)))
        .collect()
}

/// The addresses to prove; Services without one are told.
fn stands(rack: &Rack, facts: &ClusterFacts, findings: &mut Vec<Finding>) -> Vec<Case> {
    let mut cases = Vec::new();
    for name in named(rack) {
        match case::addresses(facts, &name) {
            Stand::Missing => findings.push(case::missing(&name)),
            Stand::Waiting => {
                let service = find(facts, &name);
                findings.extend(service.map(|s| case::waiting(&name, &why(pending::reason(facts, s)))));
            }
            Stand::Assigned(of) => cases.extend(of.into_iter().map(|case| with_open_ports(rack, case))),
        }
    }
    cases
}

/// A gateway listens where something is to be let in: of its Service's ports those are proven that the rack names a way
/// through, unless it names the whole Service.
fn with_open_ports(rack: &Rack, mut case: Case) -> Case {
    let Some(kubernetes) = rack.kubernetes() else { return case };
    if !kubernetes.services.iter().any(|service| ServiceName::from(service) == case.service) {
        let gateways = kubernetes.istio.iter().flat_map(|istio| &istio.gateways);
        let ours = gateways.filter(|gateway| ServiceName::from(&gateway.service) == case.service);
        let ports: BTreeSet<u16> = ours.map(|gateway| gateway.port).collect();
        case.tcp.retain(|port| ports.contains(port));
    }
    case
}

fn find<'a>(facts: &'a ClusterFacts, name: &ServiceName) -> Option<&'a Service> {
    facts.services.iter().find(|service| name.is_of(&service.metadata))
}

/// Why nobody may answer for an address.
fn whys(facts: &ClusterFacts, case: &Case) -> Vec<Why> {
    let service = find(facts, &case.service);
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
