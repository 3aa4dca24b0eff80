//! From the rack and what is known of a cluster: the steps that the rack leads to, what stands against them
//! ([`gates`]), and whether what is there really works ([`live`]). Pure.

mod balancer;
mod dns;
mod injection;
pub mod mesh;
pub mod proxy;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rackwright_proto::cluster::ClusterStep;
use rackwright_proto::finding::Finding;
use rackwright_proto::name::{NodeName, ToolName, ToolVersion};

use super::facts::ClusterFacts;
use super::plan::WantedStep;
use super::sight::Sight;
use crate::rack::Rack;
use crate::survey::Surveyed;

/// What all families look at.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) rack: &'a Rack,
    pub(super) hosts: &'a [Surveyed],
    pub(super) sight: &'a Sight,
}

/// Whether a step was ours before: pods may still run with what was there, where a run was cut off between the edit and
/// the restart.
fn edited(scene: Scene<'_>, step: &ClusterStep) -> bool {
    scene.sight.facts.ledger.entries.contains_key(&step.key())
}

/// The steps, in the order in which they run.
pub fn steps(rack: &Rack, hosts: &[Surveyed], sight: &Sight) -> Vec<WantedStep> {
    let scene = Scene { rack, hosts, sight };
    let mut steps = proxy::steps(scene);
    steps.extend(dns::steps(scene));
    steps.extend(balancer::steps(scene));
    steps.extend(mesh::steps(scene));
    steps.extend(injection::steps(scene));
    steps
}

/// Versions of tools that the receipts still need: with them is undone what a former run did.
pub fn tools_in_use(facts: &ClusterFacts) -> BTreeSet<(ToolName, ToolVersion)> {
    let installed = super::mesh::receipts(&facts.ledger).flat_map(|install| install.tools());
    let undone = facts.ledger.entries.values().filter_map(|entry| entry.undo.as_ref());
    undone.flat_map(ClusterStep::tools).chain(installed).collect()
}

/// What stands against what is wanted, and what bites in what is there.
pub fn gates(rack: &Rack, hosts: &[Surveyed], sight: &Sight) -> Vec<Finding> {
    let scene = Scene { rack, hosts, sight };
    let mut found = proxy::gates(scene);
    found.extend(dns::gates(scene));
    found.extend(balancer::gates(scene));
    found.extend(mesh::gates(scene));
    found.extend(injection::gates(scene));
    found
}

/// Whether nodes live what they were told.
pub fn live(rack: &Rack, hosts: &[Surveyed], sight: &Sight) -> Vec<Finding> {
    proxy::live(Scene { rack, hosts, sight })
}

/// What a change of kube-proxy's mode needs to know.
pub struct ProxyChange {
    /// The steps, of kube-proxy alone.
    pub steps: Vec<WantedStep>,
    /// What stands against it.
    pub gates: Vec<Finding>,
    /// All nodes of the cluster.
    pub nodes: Vec<crate::proxy::migrate::Node>,
}

/// kube-proxy alone, for a change of its mode node by node.
pub fn proxy_change(rack: &Rack, hosts: &[Surveyed], sight: &Sight) -> ProxyChange {
    let scene = Scene { rack, hosts, sight };
    let (steps, gates) = (proxy::steps(scene), proxy::gates(scene));
    let nodes = proxy::turns(scene, &steps);
    ProxyChange { steps, gates, nodes }
}

/// A node's name, where it is one that we take.
fn node_name(metadata: &ObjectMeta) -> Option<NodeName> {
    metadata.name.as_ref()?.parse().ok()
}

fn labels(metadata: &ObjectMeta) -> BTreeMap<String, String> {
    metadata.labels.clone().unwrap_or_default()
}
