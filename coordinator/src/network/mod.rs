//! What a rack's layer 2 segments allow: which interface of a node carries an address pool, what the pool must not
//! hold, who answers for its addresses, and whether the nodes hear each other.
//!
//! All of it is pure: inputs derived from the rack, facts and answers of probes in, findings out. Equal findings
//! of several nodes are one finding that names them all.
//!
//! In order: [`judge_facts`] judges facts alone; [`pool_probes`] and [`neighbour_probes`] say which node is to
//! ask what; [`judge_pool_probes`] and [`judge_neighbours`] judge the answers.

mod arp;
mod holdings;
mod interface;
mod names;
mod neighbours;
mod owners;
mod probes;
mod range;
pub(crate) mod say;
mod speaker;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rackwright_proto::finding::Finding;
use rackwright_proto::l2::{Patience, Span};
use rackwright_proto::link::Network;

pub(crate) use arp::on_segment;
pub(crate) use holdings::IPVS_LINK;
pub(crate) use interface::subnet_around;
pub use interface::{Carrier, Choice, choose_interface};
pub use names::NAMES;
pub use neighbours::{judge_neighbours, neighbour_probes};
pub use probes::{MOST_PER_POOL, pool_probes};
pub(crate) use range::gather;
pub(crate) use say::list;
pub use speaker::Speaker;
pub(crate) use speaker::matches as link_matches;
pub use verdict::judge_pool_probes;

/// All that the layer 2 checks need to know.
#[derive(Debug, Clone)]
pub struct Scene<'a> {
    /// The nodes that have been heard from.
    pub nodes: Vec<NodeInput<'a>>,
    /// The address pools.
    pub pools: Vec<PoolInput>,
    /// Ranges that no pool may touch: pods, services, name servers, the control plane's virtual address.
    pub reserved: Vec<RangeInput>,
    /// The MetalLB that will announce the pools.
    pub speaker: Speaker,
    /// What the plan sets of the ARP sysctls, by node.
    pub wanted: BTreeMap<String, ArpWanted>,
    /// The addresses that Services of the cluster have now; `None` while the cluster was not asked.
    pub served: Option<BTreeSet<IpAddr>>,
    /// How patient to probe.
    pub patience: Patience,
}

/// One node, with its facts.
#[derive(Debug, Clone)]
pub struct NodeInput<'a> {
    /// Its name.
    pub name: String,
    /// Its address in the rack, where that is no host name.
    pub address: Option<IpAddr>,
    /// Which of its interfaces carries pools.
    pub interface: Wanted,
    /// What it told about its network.
    pub network: &'a Network,
}

/// Which interface the rack wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Wanted {
    /// The one in whose subnet the pool lies.
    #[default]
    Auto,
    /// The one of this name.
    Named(String),
}

/// One address pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolInput {
    /// Its name.
    pub name: String,
    /// Its ranges.
    pub ranges: Vec<Span>,
    /// The nodes that an advertisement lets announce it.
    pub nodes: Vec<String>,
    /// The interfaces that an advertisement restricts it to.
    pub interfaces: Option<Vec<String>>,
}

/// A range that has another use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeInput {
    /// Its use, as the operator would call it: `the pod network`.
    pub what: String,
    /// Its addresses.
    pub span: Span,
}

/// Values that the rack wants for `net.ipv4.conf.all.*`; `None` where it wants nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArpWanted {
    /// `arp_ignore`
    pub arp_ignore: Option<u8>,
    /// `arp_announce`
    pub arp_announce: Option<u8>,
    /// `rp_filter`
    pub rp_filter: Option<u8>,
}

impl<'a> Scene<'a> {
    /// What the plan sets on a node.
    fn wanted_of(&self, node: &str) -> ArpWanted {
        self.wanted.get(node).copied().unwrap_or_default()
    }

    /// The nodes of a pool that have been heard from.
    fn nodes_of(&self, pool: &PoolInput) -> impl Iterator<Item = &NodeInput<'a>> {
        let eligible: BTreeSet<_> = pool.nodes.iter().collect();
        self.nodes.iter().filter(move |node| eligible.contains(&node.name))
    }
}

/// Everything that facts alone tell: of the pools, the interfaces that carry them, and the segments.
pub fn judge_facts(scene: &Scene) -> Vec<Finding> {
    let mut findings = Vec::new();
    for pool in &scene.pools {
        for node in scene.nodes_of(pool) {
            match choose_interface(pool, node, &scene.speaker) {
                Ok(choice) => {
                    findings.extend(arp::carrier_findings(pool, node, &choice));
                    findings.extend(choice.findings);
                }
                Err(why) => findings.extend(why),
            }
        }
        findings.extend(holdings::pool_holds(scene, pool));
    }
    findings.extend(holdings::overlaps(&scene.pools));
    findings.extend(arp::two_interfaces_in_one_subnet(scene));
    findings.extend(arp::values_in_force(scene));
    findings.extend(neighbours::differing_mtus(&scene.nodes));
    say::merge(findings)
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
