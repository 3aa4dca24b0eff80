//! From the rack and the facts to what the layer 2 checks need.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use rackwright_proto::kernel::{KernelStep, SysctlStep};
use rackwright_proto::l2::{Patience, Span};
use rackwright_proto::link::Network;
use rackwright_proto::name::NodeName;
use rackwright_proto::step::HostStep;

use crate::network::{ArpWanted, NodeInput, PoolInput, RangeInput, Scene, Speaker, Wanted};
use crate::plan;
use crate::rack::model::kubernetes::{Advertisement, Expression, Metallb, Operator, Pool, Selector};
use crate::rack::model::network::Probe;
use crate::rack::words::{InterfaceChoice, Upstream};
use crate::rack::{Node, Rack};
use crate::survey::Surveyed;

/// How patient to probe; `None` when the rack wants no probes.
pub fn patience(rack: &Rack) -> Option<Patience> {
    match rack.network().probe {
        Probe::Rfc5227 => Some(Patience::Rfc5227),
        Probe::Quick => Some(Patience::Quick),
        Probe::Off => None,
    }
}

/// All that the layer 2 checks need to know of the nodes that were heard from.
///
/// `served` are the addresses that Services of the cluster have, where it was asked.
pub fn of<'a>(rack: &Rack, surveyed: &'a [Surveyed], served: Option<BTreeSet<IpAddr>>) -> Scene<'a> {
    let metallb = rack.kubernetes().and_then(|k| k.metallb.as_ref());
    let pools = metallb.map(|m| m.pools.iter().map(|pool| pool_input(rack, m, pool)).collect());
    Scene {
        nodes: nodes(rack, surveyed.iter().map(|s| (&s.session.node, &s.facts.network))),
        pools: pools.unwrap_or_default(),
        reserved: reserved(rack),
        speaker: Speaker::of_version(&metallb.map(|m| m.version.to_string()).unwrap_or_default()),
        wanted: surveyed.iter().map(|s| (s.session.node.to_string(), arp_wanted(s))).collect(),
        served,
        patience: patience(rack).unwrap_or(Patience::Rfc5227),
    }
}

/// Nodes with what they told about their networks.
pub fn nodes<'a>(
    rack: &Rack,
    heard: impl IntoIterator<Item = (&'a NodeName, &'a Network)>,
) -> Vec<NodeInput<'a>> {
    let input =
        |(name, network): (&NodeName, &'a Network)| Some(node_input(rack.node(name.as_str())?, network));
    heard.into_iter().filter_map(input).collect()
}

fn node_input<'a>(node: &Node, network: &'a Network) -> NodeInput<'a> {
    NodeInput {
        name: node.name.to_string(),
        address: node.address.ip(),
        interface: match &node.network.interface {
            InterfaceChoice::Auto => Wanted::Auto,
            InterfaceChoice::Named(name) => Wanted::Named(name.to_string()),
        },
        network,
    }
}

fn pool_input(rack: &Rack, metallb: &Metallb, pool: &Pool) -> PoolInput {
    let carries = |ad: &&Advertisement| ad.pools.is_empty() || ad.pools.contains(&pool.name);
    let ads: Vec<&Advertisement> = metallb.advertisements.iter().filter(carries).collect();
    // A pool that nothing announces yet is judged as if every node could: that is what comes next.
    let announces = |node: &&Node| ads.is_empty() || ads.iter().any(|ad| lets(ad, node));
    let restricted = !ads.is_empty() && ads.iter().all(|ad| !ad.interfaces.is_empty());
    let interfaces = || ads.iter().flat_map(|ad| ad.interfaces.iter().map(ToString::to_string)).collect();
    PoolInput {
        name: pool.name.to_string(),
        ranges: pool.addresses.iter().map(|r| Span { first: r.first(), last: r.last() }).collect(),
        nodes: rack.nodes().filter(announces).map(|n| n.name.to_string()).collect(),
        interfaces: restricted.then(interfaces),
    }
}

fn lets(ad: &Advertisement, node: &Node) -> bool {
    let everywhere = ad.nodes.is_empty() && ad.node_selectors.is_empty();
    everywhere || ad.nodes.contains(&node.name) || ad.node_selectors.iter().any(|s| selects(s, node))
}

/// A label selector as Kubernetes reads it: all of it must hold.
fn selects(selector: &Selector, node: &Node) -> bool {
    let equal = selector.match_labels.iter().all(|(key, value)| node.labels.get(key) == Some(value));
    equal && selector.match_expressions.iter().all(|e| holds(e, node))
}

fn holds(expression: &Expression, node: &Node) -> bool {
    let value = node.labels.get(&expression.key);
    let among = value.is_some_and(|v| expression.values.contains(v));
    match expression.operator {
        Operator::In => among,
        Operator::NotIn => !among,
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
    }
}

fn reserved(rack: &Rack) -> Vec<RangeInput> {
    let network = rack.network();
    let one = |what: String, ip: IpAddr| RangeInput { what, span: Span { first: ip, last: ip } };
    let net = |what: &str, net: IpNet| RangeInput {
        what: what.to_owned(),
        span: Span { first: net.network(), last: net.broadcast() },
    };
    let mut all: Vec<RangeInput> =
        network.pod_cidrs.iter().map(|c| net("the pod network", c.net())).collect();
    if rack.kubernetes().is_some() || !network.service_cidrs.is_empty() {
        let (services, assumed) = network.services();
        let what = if assumed { "the service network (kubeadm's default)" } else { "the service network" };
        all.extend(services.iter().map(|c| net(what, c.net())));
    }
    all.extend(network.reserved.iter().map(|r| RangeInput {
        what: r.why.to_string(),
        span: Span { first: r.range.first(), last: r.range.last() },
    }));
    all.extend(network.gateway.map(|ip| one("the gateway".into(), ip)));
    let upstreams = rack.kubernetes().and_then(|k| k.dns.as_ref()).map(|dns| dns.forward.as_slice());
    for upstream in upstreams.unwrap_or_default() {
        if let Upstream::Server { address, .. } = upstream {
            all.push(one("a resolver of kubernetes.dns".into(), *address));
        }
    }
    for jump in rack.nodes().flat_map(|n| n.ssh.jump.iter().flatten()) {
        let range = jump.address.ip().map(|ip| one(format!("the jump host {}", jump.address), ip));
        all.extend(range.filter(|r| !all.contains(r)));
    }
    all
}

/// What the plan sets for all interfaces. Not the same on all nodes: somebody else's kube-proxy is not ours to be strict with.
fn arp_wanted(surveyed: &Surveyed) -> ArpWanted {
    let steps = plan::steps(&surveyed.wanted, &surveyed.facts.basics).unwrap_or_default();
    let value = |name: &str| {
        let key = format!("net.ipv4.conf.all.{name}");
        steps.iter().find_map(|s| match &s.what {
            HostStep::Kernel(KernelStep::Sysctl(SysctlStep { key: k, value, .. })) if k.as_str() == key => {
                value.parse().ok()
            }
            _ => None,
        })
    };
    ArpWanted {
        arp_ignore: value("arp_ignore"),
        arp_announce: value("arp_announce"),
        rp_filter: value("rp_filter"),
    }
}
