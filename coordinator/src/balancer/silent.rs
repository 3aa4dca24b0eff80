//! Why nobody answers for an address that a Service has: what MetalLB's speakers would find, in their own order.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use ring::digest::{SHA256, digest};

use super::names;
use super::reason::Reason;
use super::release::Release;
use super::view::{self, Advertisement, EXCLUDE, View, node_label, node_name};
use super::workload;
use crate::cluster::facts::ClusterFacts;
use crate::cluster::look::is_ready;
use crate::network::list;

/// All reasons why no speaker announces an address that was given to a Service; never empty.
pub fn reasons(facts: &ClusterFacts, service: &Service, address: IpAddr) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = no_endpoints(facts, service).into_iter().collect();
    match candidates(facts, service, address) {
        Err(reason) => reasons.push(reason),
        Ok(nodes) => {
            let told: Vec<(&Node, Option<Obstacle>)> =
                nodes.iter().map(|n| (*n, obstacle(facts, n))).collect();
            match told.iter().all(|(_, obstacle)| obstacle.is_some()) {
                true => reasons.extend(obstacles(facts, &told)),
                false => reasons.extend(local(facts, service, &told).filter(|_| reasons.is_empty())),
            }
        }
    }
    if reasons.is_empty() {
        reasons.push(unknown(facts, service, address));
    }
    reasons
}

/// The node whose speaker announces an address, by MetalLB's own election: the lowest SHA-256 of `NODE#ADDRESS` among
/// the nodes that may, for the Service's first address. Speakers that do not see each other elect differently.
pub fn announcer(facts: &ClusterFacts, service: &Service, address: IpAddr) -> Option<String> {
    let nodes = candidates(facts, service, address).ok()?;
    let local = is_local(service).then(|| nodes_with_endpoints(facts, service));
    let may = nodes.into_iter().filter(|node| obstacle(facts, node).is_none()).map(node_name);
    let may = may.filter(|name| local.as_ref().is_none_or(|nodes| nodes.contains(name)));
    let first = view::given(service).first().copied().unwrap_or(address);
    let rank = |name: &&str| digest(&SHA256, format!("{name}#{first}").as_bytes()).as_ref().to_vec();
    may.min_by_key(rank).map(str::to_owned)
}

fn slices<'a>(facts: &'a ClusterFacts, service: &'a Service) -> impl Iterator<Item = &'a EndpointSlice> {
    let of = |slice: &&EndpointSlice| {
        let labels = slice.metadata.labels.as_ref();
        let name = labels.and_then(|l| l.get("kubernetes.io/service-name"));
        name == service.metadata.name.as_ref() && slice.metadata.namespace == service.metadata.namespace
    };
    facts.endpoints.iter().filter(of)
}

fn endpoints<'a>(facts: &'a ClusterFacts, service: &'a Service) -> impl Iterator<Item = &'a Endpoint> {
    slices(facts, service).flat_map(|slice| &slice.endpoints)
}

/// Ready, or (from 0.14.0 on) still serving while it terminates.
fn can_serve(endpoint: &Endpoint, release: Option<Release>) -> bool {
    let Some(conditions) = &endpoint.conditions else { return true };
    let serves = release.is_none_or(|release| release >= Release::EXCLUDES_NODES);
    conditions.ready.unwrap_or(true) || (serves && conditions.serving == Some(true))
}

fn no_endpoints(facts: &ClusterFacts, service: &Service) -> Option<Reason> {
    let release = view::release(&facts.balancer);
    let all: Vec<&Endpoint> = endpoints(facts, service).collect();
    if all.iter().any(|endpoint| can_serve(endpoint, release)) {
        return None;
    }
    let selector = service.spec.as_ref().and_then(|s| s.selector.as_ref()).into_iter().flatten();
    let selector: Vec<String> = selector.map(|(key, value)| format!("{key}={value}")).collect();
    let evidence = match (selector.is_empty(), all.len()) {
        (true, 0) => "it has no selector, and nobody made endpoints for it".to_owned(),
        (false, 0) => format!("no pod matches its selector {}", selector.join(",")),
        (_, many) => {
            let unready = all.iter().filter_map(|e| e.target_ref.as_ref()?.name.as_deref());
            format!("{many} endpoints, none of them ready: {}", list(unready))
        }
    };
    let words = "the Service has no ready endpoint, and MetalLB announces none such";
    let namespace = service.metadata.namespace.as_deref().unwrap_or("default");
    let fix = match (selector.is_empty(), all.is_empty()) {
        (true, _) => "give the Service a selector, or make an EndpointSlice for it".to_owned(),
        (false, true) => {
            format!("start pods with the labels {} in namespace {namespace}", selector.join(","))
        }
        (false, false) => format!("see why: kubectl -n {namespace} describe pods -l {}", selector.join(",")),
    };
    Some(Reason::new(names::SILENT_NO_ENDPOINTS, words).seen(evidence).fix(fix))
}

/// The nodes that an advertisement lets announce.
fn candidates<'a>(
    facts: &'a ClusterFacts,
    service: &Service,
    address: IpAddr,
) -> Result<Vec<&'a Node>, Reason> {
    let view = View::live(&facts.balancer);
    let release = view::release(&facts.balancer);
    let reason = |words: String| Reason::new(names::SILENT_NO_ADVERTISEMENT, words);
    let Some(pool) = view.pool_of(address) else {
        let gone = reason(format!("{address} is of no pool that is still there"));
        return Err(gone
            .seen(list(view.pools.iter().map(|p| &p.name)))
            .fix("put the address back into a pool"));
    };
    let carriers = view.carriers(pool);
    let takes =
        carriers.iter().filter(|ad| ad.takes(service, release)).copied().collect::<Vec<&Advertisement>>();
    if takes.is_empty() {
        let words = match carriers.is_empty() {
            true => format!("no L2Advertisement carries pool {}, which {address} is of", pool.name),
            false => {
                format!("no L2Advertisement of pool {} takes this Service (serviceSelectors)", pool.name)
            }
        };
        let there = format!("L2Advertisements: {}", list(view.advertisements.iter().map(|ad| &ad.name)));
        let fix = match carriers.is_empty() {
            true => format!("add `- {{pools: [{}]}}` to kubernetes.metallb.advertisements", pool.name),
            false => {
                "label the Service so that one of them takes it, or add an advertisement for it".to_owned()
            }
        };
        return Err(reason(words).seen(there).fix(fix));
    }
    let nodes: Vec<&Node> = facts.nodes.iter().filter(|node| takes.iter().any(|ad| ad.lets(node))).collect();
    match nodes.is_empty() {
        false => Ok(nodes),
        true => {
            let words = format!("the L2Advertisements of pool {} select no node", pool.name);
            let evidence = format!("nodeSelectors of {}", list(takes.iter().map(|ad| &ad.name)));
            let fix = "correct `nodes` or `nodeSelectors` of the advertisement";
            Err(Reason::new(names::SILENT_NO_MATCH, words).seen(evidence).fix(fix))
        }
    }
}

/// What keeps a node from announcing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    Excluded,
    NetworkUnavailable,
    Speaker,
}

fn obstacle(facts: &ClusterFacts, node: &Node) -> Option<Obstacle> {
    let release = view::release(&facts.balancer);
    let heeds =
        release.is_none_or(|r| r >= Release::EXCLUDES_NODES) && !workload::ignores_exclusion(&facts.balancer);
    if heeds && node_label(node, EXCLUDE).is_some() {
        return Some(Obstacle::Excluded);
    }
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref()).into_iter().flatten();
    if conditions.into_iter().any(|c| c.type_ == "NetworkUnavailable" && c.status == "True") {
        return Some(Obstacle::NetworkUnavailable);
    }
    let name = Some(node_name(node));
    let here = |pod: &&k8s_openapi::api::core::v1::Pod| {
        pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) == name
    };
    let speakers = workload::pods(&facts.balancer, "speaker");
    let ready = speakers.iter().filter(|pod| here(pod)).any(|pod| is_ready(pod));
    (!ready).then_some(Obstacle::Speaker)
}

/// One reason for each kind of obstacle, with its nodes.
fn obstacles(facts: &ClusterFacts, told: &[(&Node, Option<Obstacle>)]) -> Vec<Reason> {
    let on = |kind: Obstacle| {
        let nodes =
            told.iter().filter(|(_, obstacle)| *obstacle == Some(kind)).map(|(node, _)| node_name(node));
        nodes.collect::<Vec<_>>()
    };
    let mut reasons = Vec::new();
    let excluded = on(Obstacle::Excluded);
    if let Some(first) = excluded.first() {
        let words =
            "nodes that could announce are excluded by their label, which MetalLB heeds from 0.14.0 on";
        let reason = Reason::new(names::SILENT_ANNOUNCER_EXCLUDED, words);
        let fix = format!("kubectl label node {first} {EXCLUDE}-");
        reasons.push(reason.seen(format!("{EXCLUDE} on {}", list(&excluded))).fix(fix));
    }
    let cut_off = on(Obstacle::NetworkUnavailable);
    if !cut_off.is_empty() {
        let words = "the network of nodes that could announce is unavailable";
        let reason = Reason::new(names::SILENT_NETWORK_UNAVAILABLE, words);
        let fix = "see the pods of the cluster's network (CNI) on these nodes";
        reasons.push(reason.seen(format!("condition NetworkUnavailable on {}", list(cut_off))).fix(fix));
    }
    let mute = on(Obstacle::Speaker);
    if !mute.is_empty() {
        let words = "MetalLB's speaker is not ready on nodes that could announce";
        let troubles = workload::troubles(&facts.balancer, "speaker");
        let evidence = format!("no ready speaker on {}; {}", list(mute), list(troubles));
        let fix =
            "see `kubectl describe pods -l component=speaker` in MetalLB's namespace, and the speaker's log";
        reasons.push(Reason::new(names::SILENT_SPEAKER_NOT_READY, words).seen(evidence).fix(fix));
    }
    reasons
}

fn is_local(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.external_traffic_policy.as_deref()) == Some("Local")
}

fn nodes_with_endpoints<'a>(facts: &'a ClusterFacts, service: &'a Service) -> BTreeSet<&'a str> {
    let release = view::release(&facts.balancer);
    let serving = endpoints(facts, service).filter(|endpoint| can_serve(endpoint, release));
    serving.filter_map(|endpoint| endpoint.node_name.as_deref()).collect()
}

fn local(facts: &ClusterFacts, service: &Service, told: &[(&Node, Option<Obstacle>)]) -> Option<Reason> {
    let with = nodes_with_endpoints(facts, service);
    let may: Vec<&str> = told.iter().filter(|(_, o)| o.is_none()).map(|(node, _)| node_name(node)).collect();
    let apart = is_local(service) && !may.iter().any(|name| with.contains(name));
    apart.then(|| {
        let words = "externalTrafficPolicy is Local, and no node that may announce has an endpoint";
        let evidence = format!("endpoints on {}; {} may announce", list(&with), list(may));
        let fix = "let the nodes with endpoints announce too, move pods there, or write `externalTrafficPolicy: Cluster`";
        Reason::new(names::SILENT_LOCAL_POLICY, words).seen(evidence).fix(fix)
    })
}

fn unknown(facts: &ClusterFacts, service: &Service, address: IpAddr) -> Reason {
    let words = "nothing seen keeps MetalLB from announcing the address";
    let reason = Reason::new(names::SERVICE_SILENT, words);
    let fix = "see the speaker's log there; where speakers do not see each other (TCP and UDP 7946 between all nodes), \
               none or several announce; interfaces of the advertisement that the node lacks have the same effect";
    let elected = announcer(facts, service, address);
    let evidence =
        elected.map(|node| format!("the speaker on {node} should announce it")).unwrap_or_default();
    reason.seen(evidence).fix(fix)
}

#[cfg(test)]
mod tests;
