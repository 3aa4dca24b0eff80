//! Everything that is checked, in one list: each host by itself, all hosts together, layer 2, waivers.

use std::collections::BTreeMap;

use rackwright_proto::facts::Facts;
use rackwright_proto::finding::Finding;
use rackwright_proto::l2::{Probe, Probed};
use rackwright_proto::name::NodeName;
use rackwright_proto::step::HostStep;

use crate::cluster::sight::Sight;
use crate::cluster::{versions, wanted};
use crate::findings::{self, Waiver, clock, host, identity, sysctl};
use crate::network::{self, Scene};
use crate::plan;
use crate::rack::model::hosts::Swap;
use crate::rack::{IPVS_WITHOUT_STRICT_ARP, Rack};
use crate::survey::Surveyed;

/// Questions to the segments, and their answers where they were asked.
#[derive(Debug, Default)]
pub struct Probes {
    /// Per node: who else has an address of a pool?
    pub pools: BTreeMap<String, Vec<Probe>>,
    /// Per node: are you there, neighbour?
    pub neighbours: BTreeMap<String, Vec<Probe>>,
}

impl Probes {
    /// What is to be asked.
    pub fn of(scene: &Scene<'_>) -> Self {
        Self {
            pools: network::pool_probes(scene),
            neighbours: network::neighbour_probes(&scene.nodes, scene.patience),
        }
    }

    /// Both kinds in one list per node, so that all run at once.
    pub fn together(&self) -> BTreeMap<String, Vec<Probe>> {
        let mut all = self.pools.clone();
        for (node, probes) in &self.neighbours {
            all.entry(node.clone()).or_default().extend(probes.iter().cloned());
        }
        all
    }

    /// Judges what came back for [`Probes::together`].
    pub fn judge(&self, scene: &Scene<'_>, answers: BTreeMap<String, Vec<Probed>>) -> Vec<Finding> {
        let (mut pools, mut neighbours) = (BTreeMap::new(), BTreeMap::new());
        for (node, mut probed) in answers {
            let of_pools = self.pools.get(&node).map_or(0, Vec::len).min(probed.len());
            neighbours.insert(node.clone(), probed.split_off(of_pools));
            pools.insert(node, probed);
        }
        pools.retain(|node, _| self.pools.contains_key(node));
        neighbours.retain(|node, _| self.neighbours.contains_key(node));
        let mut found = network::judge_pool_probes(scene, &self.pools, &pools);
        found.extend(network::judge_neighbours(&scene.nodes, &self.neighbours, &neighbours));
        found
    }
}

/// What facts alone tell, without a single probe.
pub fn facts(rack: &Rack, surveyed: &[Surveyed], scene: &Scene<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = surveyed.iter().flat_map(|s| of_host(rack, s)).collect();
    found.extend(of_rack(rack));
    let all: Vec<(&NodeName, &Facts)> = surveyed.iter().map(|s| (&s.session.node, &s.facts)).collect();
    found.extend(identity::across(&all));
    let readings: Vec<_> = surveyed.iter().map(|s| s.reading.clone()).collect();
    found.extend(clock::skew(&readings));
    found.extend(network::judge_facts(scene));
    found
}

/// What stands against the cluster's part of the rack, whether or not it is done already: what `apply` must not walk
/// into.
pub fn cluster(rack: &Rack, surveyed: &[Surveyed], sight: &Sight) -> Vec<Finding> {
    let mut found = versions::findings(rack, &sight.facts);
    found.extend(wanted::gates(rack, surveyed, sight));
    found
}

/// Whether the cluster really is as its objects say: what `apply` mends, and `check` tells.
pub fn live(rack: &Rack, surveyed: &[Surveyed], sight: &Sight) -> Vec<Finding> {
    wanted::live(rack, surveyed, sight)
}

fn of_host(rack: &Rack, surveyed: &Surveyed) -> Vec<Finding> {
    let Some(node) = rack.node(surveyed.session.node.as_str()) else { return Vec::new() };
    let host = host::Host {
        node: &node.name,
        control_plane: node.is_control_plane(),
        kubernetes: rack.kubernetes().is_some(),
        metallb: rack.kubernetes().is_some_and(|k| k.metallb.is_some()),
        swap_off: node.hosts.swap == Swap::Off,
    };
    let mut found = host::findings(&host, &surveyed.facts);
    found.push(clock::synchronised(&node.name, &surveyed.facts));
    let steps = plan::steps(&surveyed.wanted, &surveyed.facts.basics).unwrap_or_default();
    let steps: Vec<&HostStep> = steps.iter().map(|s| &s.what).collect();
    found.extend(sysctl::overridden(&node.name, &steps, &surveyed.facts));
    found
}

/// How much was asked before findings are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Everything, of all nodes of the rack: a waiver that met nothing is not needed.
    Everything,
    /// Less: a waiver may be about what was not asked.
    Some,
}

/// What the rack alone tells: here so that the reason to live with it is on record. Without one, the rack is refused
/// when it is read.
fn of_rack(rack: &Rack) -> Option<Finding> {
    let check = findings::Check::new(
        IPVS_WITHOUT_STRICT_ARP,
        &[],
        "",
        "kube-proxy's mode beside the pools of MetalLB",
        "ipvs with strictARP, or another mode",
    );
    rack.ipvs_without_strict_arp()
        .then(|| check.warning("ipvs without strictARP", "write `strictARP: true` under `kubernetes.proxy`"))
}

/// Waivers recorded, errors first.
pub fn settle(rack: &Rack, found: Vec<Finding>, asked: Asked) -> Vec<Finding> {
    let waivers: Vec<Waiver> = rack
        .waivers()
        .iter()
        .map(|w| Waiver {
            finding: w.finding.to_string(),
            nodes: w.nodes.clone().unwrap_or_default(),
            reason: w.reason.to_string(),
        })
        .collect();
    let mut found = match asked {
        Asked::Everything => findings::apply_waivers(found, &waivers),
        Asked::Some => {
            let mut found = found;
            findings::record_waivers(&mut found, &waivers);
            found
        }
    };
    findings::sort(&mut found);
    found
}
