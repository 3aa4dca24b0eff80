//! From which nodes and interfaces pools can be announced.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Node;

use super::view::{HOSTNAME, node_label, node_name};
use crate::network::{PoolInput, Scene, choose_interface};
use crate::rack::Rack;

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name in Kubernetes.
    pub name: String,
    /// Its label `kubernetes.io/hostname`.
    pub hostname: String,
    /// Its name in the rack; `None` for a node that is not of the rack.
    pub rack: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// The cluster's nodes beside those of the rack: by name, else by address.
pub fn members(rack: &Rack, scene: &Scene, nodes: &[Node]) -> Vec<Member> {
    let in_rack = |node: &Node| {
        let name = node_name(node);
        let by_name = rack
            .nodes()
            .find(|n| n.name.as_str() == name || Some(n.name.as_str()) == node_label(node, HOSTNAME));
        by_name.map(|n| n.name.to_string()).or_else(|| by_address(rack, scene, node))
    };
    let member = |node: &Node| Member {
        name: node_name(node).to_owned(),
        hostname: node_label(node, HOSTNAME).unwrap_or(node_name(node)).to_owned(),
        rack: in_rack(node),
        labels: node.metadata.labels.clone().unwrap_or_default(),
    };
    nodes.iter().map(member).collect()
}

fn by_address(rack: &Rack, scene: &Scene, node: &Node) -> Option<String> {
    let status = node.status.as_ref()?.addresses.as_ref()?;
    let addresses: Vec<std::net::IpAddr> =
        status.iter().filter(|a| a.type_ == "InternalIP").filter_map(|a| a.address.parse().ok()).collect();
    let heard = scene.nodes.iter().find(|n| {
        n.network.links.iter().flat_map(|l| &l.addresses).any(|a| addresses.contains(&a.net.addr()))
    });
    let named = || rack.nodes().find(|n| n.address.ip().is_some_and(|ip| addresses.contains(&ip)));
    heard.map(|n| n.name.clone()).or_else(|| named().map(|n| n.name.to_string()))
}

/// Pools that are announced from the same nodes on the same interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) pools: Vec<String>,
    /// Names of nodes in Kubernetes.
    pub(super) nodes: BTreeSet<String>,
    pub(super) interfaces: BTreeSet<String>,
}

/// By node, the interfaces that carry a pool.
type Carriage = BTreeMap<String, BTreeSet<String>>;

/// How these pools are to be announced from these nodes, as few ways as there can be. Nodes that carry none of a pool
/// are left out.
pub(super) fn placements(scene: &Scene, pools: &[PoolInput], candidates: &[&Member]) -> Vec<Placement> {
    let mut alike: Vec<(Carriage, Vec<String>)> = Vec::new();
    for pool in pools {
        let carriage = carriage(scene, pool, candidates);
        match alike.iter_mut().find(|(other, _)| *other == carriage) {
            Some((_, names)) => names.push(pool.name.clone()),
            None => alike.push((carriage, vec![pool.name.clone()])),
        }
    }
    alike.into_iter().flat_map(|(carriage, pools)| split(scene, &carriage, &pools, candidates)).collect()
}

fn carriage(scene: &Scene, pool: &PoolInput, candidates: &[&Member]) -> Carriage {
    let of = |member: &&Member| {
        let node = scene.nodes.iter().find(|n| Some(&n.name) == member.rack.as_ref())?;
        let choice = choose_interface(pool, node, &scene.speaker).ok()?;
        Some((member.name.clone(), choice.carriers.into_iter().map(|c| c.link).collect()))
    };
    candidates.iter().filter_map(of).collect()
}

/// One placement where no name of an interface means another segment on another node, else one for each set of names.
fn split(scene: &Scene, carriage: &Carriage, pools: &[String], candidates: &[&Member]) -> Vec<Placement> {
    let pools = || pools.to_vec();
    let union: BTreeSet<String> = carriage.values().flatten().cloned().collect();
    let has = |member: &str, link: &String| {
        let rack = candidates.iter().find(|m| m.name == member).and_then(|m| m.rack.as_ref());
        let node = scene.nodes.iter().find(|n| Some(&n.name) == rack);
        node.is_some_and(|n| n.network.links.iter().any(|l| l.name == *link))
    };
    let trap = carriage.iter().any(|(node, own)| union.difference(own).any(|link| has(node, link)));
    if !trap {
        return vec![Placement {
            pools: pools(),
            nodes: carriage.keys().cloned().collect(),
            interfaces: union,
        }];
    }
    let mut groups: BTreeMap<&BTreeSet<String>, BTreeSet<String>> = BTreeMap::new();
    for (node, own) in carriage {
        groups.entry(own).or_default().insert(node.clone());
    }
    let one =
        |(own, nodes): (&BTreeSet<String>, _)| Placement { pools: pools(), nodes, interfaces: own.clone() };
    groups.into_iter().map(one).collect()
}
