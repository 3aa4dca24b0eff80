//! What a pool holds that belongs to somebody else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;

use ipnet::IpNet;
use rackwright_proto::finding::{Finding, Severity};
use rackwright_proto::link::{LinkKind, Neighbour};

use super::interface::subnets;
use super::owners::Owners;
use super::say::{Say as _, addresses, error, list, warning};
use super::{PoolInput, Scene, names, range};

/// The link to which kube-proxy in ipvs mode binds the addresses of all Services: those are nobody else's.
pub(crate) const IPVS_LINK: &str = "kube-ipvs0";

/// All that a pool holds and should not.
pub(super) fn pool_holds(scene: &Scene, pool: &PoolInput) -> Vec<Finding> {
    let mut findings = unusable_addresses(scene, pool);
    findings.extend(node_addresses(scene, pool));
    findings.extend(gateways(scene, pool));
    findings.extend(neighbours(scene, pool));
    findings.extend(reserved(scene, pool));
    findings
}

/// Who has an address: nodes by name, with words.
type Holders = BTreeMap<IpAddr, BTreeSet<(String, String)>>;

fn in_pool(pool: &PoolInput, ip: IpAddr) -> bool {
    pool.ranges.iter().any(|span| range::holds(span, ip))
}

/// One finding for all addresses of one sort that a pool holds; `None` where it holds none.
fn held(pool: &PoolInput, severity: Severity, name: &str, what: &str, holders: &Holders) -> Option<Finding> {
    let held: Vec<_> = holders.iter().filter(|(ip, _)| in_pool(pool, **ip)).collect();
    let nodes = held.iter().flat_map(|(_, who)| who.iter().map(|(node, _)| node.clone()));
    let seen = held.iter().map(|(ip, who)| {
        let words: BTreeSet<_> = who.iter().map(|(_, words)| words).collect();
        format!("{ip} ({})", list(words))
    });
    let finding = if severity == Severity::Error { error } else { warning };
    (!held.is_empty()).then(|| {
        finding(name, &pool.name)
            .on(nodes)
            .checked(format!("whether pool {} holds {what}", pool.name))
            .observed(format!("it holds {}", list(seen)))
            .expected(format!("a pool without {what}: MetalLB hands out every address that it holds"))
            .fix(format!(
                "split the range of pool {} around {}",
                pool.name,
                list(held.iter().map(|(ip, _)| ip))
            ))
    })
}

fn unusable_addresses(scene: &Scene, pool: &PoolInput) -> Vec<Finding> {
    let (mut networks, mut broadcasts) = (Holders::new(), Holders::new());
    for node in &scene.nodes {
        let links = node.network.links.iter().filter(|link| link.kind != LinkKind::Loopback);
        for net in links.flat_map(|link| subnets(node.network, link)) {
            let Some((network, broadcast)) = range::unusable(&net) else { continue };
            let owner = (node.name.clone(), format!("of {net}"));
            networks.entry(network.into()).or_default().insert(owner.clone());
            broadcasts.entry(broadcast.into()).or_default().insert(owner);
        }
    }
    let sorts = [
        (names::POOL_HOLDS_NETWORK_ADDRESS, "a network address", networks),
        (names::POOL_HOLDS_BROADCAST_ADDRESS, "a broadcast address", broadcasts),
    ];
    let held =
        sorts.iter().filter_map(|(name, what, holders)| held(pool, Severity::Error, name, what, holders));
    held.collect()
}

/// Every address of every node, from its facts and from the rack.
fn node_addresses(scene: &Scene, pool: &PoolInput) -> Option<Finding> {
    let mut holders = Holders::new();
    for node in &scene.nodes {
        for link in node.network.links.iter().filter(|link| link.name != IPVS_LINK) {
            for address in &link.addresses {
                let owner = (node.name.clone(), format!("{} of {}", link.name, node.name));
                holders.entry(address.net.addr()).or_default().insert(owner);
            }
        }
        if let Some(ip) = node.address {
            let by_facts = holders.entry(ip).or_default();
            if !by_facts.iter().any(|(name, _)| *name == node.name) {
                by_facts.insert((node.name.clone(), format!("{} in the rack", node.name)));
            }
        }
    }
    held(pool, Severity::Error, names::POOL_HOLDS_NODE_ADDRESS, "an address of a node", &holders)
}

fn gateways(scene: &Scene, pool: &PoolInput) -> Option<Finding> {
    let mut holders = Holders::new();
    for node in &scene.nodes {
        for (route, via) in node.network.routes.iter().filter_map(|route| Some((route, route.via?))) {
            let to = if route.to.prefix_len() == 0 {
                "default route".into()
            } else {
                format!("route to {}", route.to)
            };
            holders.entry(via).or_default().insert((node.name.clone(), to));
        }
    }
    held(pool, Severity::Error, names::POOL_HOLDS_GATEWAY, "a gateway", &holders)
}

/// Machines that a node has heard of. One that was heard lately is an error; an entry that is only stale tells
/// that somebody was there once.
fn neighbours(scene: &Scene, pool: &PoolInput) -> Vec<Finding> {
    let ours = Owners::among(&scene.nodes);
    let (mut fresh, mut stale) = (Holders::new(), Holders::new());
    for node in &scene.nodes {
        for neighbour in &node.network.neighbours {
            // The pool's own addresses are answered by nodes, once they are in use.
            if ours.knows(neighbour.mac) {
                continue;
            }
            let Some(is_fresh) = was_heard(neighbour) else { continue };
            let who = format!("{}, {}", neighbour.mac, neighbour.state);
            let holders = if is_fresh { &mut fresh } else { &mut stale };
            holders.entry(neighbour.ip).or_default().insert((node.name.clone(), who));
        }
    }
    stale.retain(|ip, _| !fresh.contains_key(ip));
    let name = names::POOL_HOLDS_NEIGHBOUR;
    let what = "an address of another machine";
    let found =
        [held(pool, Severity::Error, name, what, &fresh), held(pool, Severity::Warning, name, what, &stale)];
    found.into_iter().flatten().collect()
}

/// Whether it was heard lately; `None` where it was never heard.
fn was_heard(neighbour: &Neighbour) -> Option<bool> {
    match neighbour.state.as_str() {
        "reachable" | "delay" | "probe" | "permanent" => Some(true),
        "stale" => Some(false),
        _ => None,
    }
}

fn reserved(scene: &Scene, pool: &PoolInput) -> Vec<Finding> {
    let meets = |what: &dyn Display, span| {
        let shared: Vec<_> = pool.ranges.iter().filter_map(|mine| range::common(mine, span)).collect();
        (!shared.is_empty()).then(|| {
            error(names::POOL_HOLDS_RESERVED, &pool.name)
                .checked(format!("whether pool {} touches {what}", pool.name))
                .observed(format!("both hold {}", list(shared.iter().map(range::show))))
                .expected(format!("a pool apart from {what} ({})", range::show(span)))
                .fix(format!("take {} out of pool {}", list(shared.iter().map(range::show)), pool.name))
        })
    };
    scene.reserved.iter().filter_map(|range| meets(&range.what, &range.span)).collect()
}

/// Pools that share addresses, with each other or with themselves. MetalLB refuses such a configuration.
pub(super) fn overlaps(pools: &[PoolInput]) -> Vec<Finding> {
    let ranges: Vec<_> =
        pools.iter().flat_map(|pool| pool.ranges.iter().map(move |span| (pool, span))).collect();
    let mut found = Vec::new();
    for (at, (a, first)) in ranges.iter().enumerate() {
        for (b, second) in &ranges[at + 1..] {
            let Some(shared) = range::common(first, second) else { continue };
            let (what, fix) = if a.name == b.name {
                (format!("pool {} twice", a.name), format!("list it once in pool {}", a.name))
            } else {
                (
                    format!("pools {} and {}", a.name, b.name),
                    format!("take it out of pool {} or {}", a.name, b.name),
                )
            };
            let count = addresses(range::count(&shared));
            found.push(
                error(names::POOLS_OVERLAP, &a.name)
                    .checked("whether an address is in two pools, or in one twice")
                    .observed(format!("{} ({count}) is in {what}", range::show(&shared)))
                    .expected("every address in one pool, once: MetalLB refuses anything else")
                    .fix(fix),
            );
        }
    }
    found
}

/// Whether an address is one that the node itself has, other than by kube-proxy.
pub(super) fn is_own_address(scene: &Scene, node: &str, ip: IpAddr) -> bool {
    let nodes = scene.nodes.iter().filter(|known| known.name == node);
    let links = nodes.flat_map(|node| &node.network.links).filter(|link| link.name != IPVS_LINK);
    links.flat_map(|link| &link.addresses).any(|address| IpNet::addr(&address.net) == ip)
}
