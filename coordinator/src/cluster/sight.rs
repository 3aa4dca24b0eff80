//! All that is known of a cluster at one time: what its API tells, and what its nodes tell of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Node;
use rackwright_proto::step::Seen;
use rackwright_proto::traces::ClusterTraces;

use super::facts::ClusterFacts;
use super::spread;
use crate::balancer::Manifest;
use crate::corefile::Corefile;
use crate::mesh::Install;
use crate::proof::proxy::{Doors, Told};
use crate::proxy::config;

/// What is known of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Sight {
    /// What its API tells.
    pub facts: ClusterFacts,
    /// What kube-proxy told of itself, node by node.
    pub told: BTreeMap<String, Told>,
    /// What the cluster left on each host.
    pub traces: BTreeMap<String, ClusterTraces>,
    /// MetalLB's manifest, where the rack wants MetalLB.
    pub manifest: Option<Manifest>,
    /// Istio as the rack and the operator's file want it.
    pub mesh: Option<MeshWanted>,
}

/// Istio as it is wanted.
#[derive(Debug, Clone)]
pub struct MeshWanted {
    /// What is to be installed.
    pub install: Install,
    /// How long its workloads may take, in seconds.
    pub seconds: u32,
    /// Whether one that others made is taken over: the rack waives it.
    pub take_over: bool,
    /// The day of the look, which decides what is past its life.
    pub today: jiff::civil::Date,
    /// What hosts have of what the data path needs, by host and step key (see [`needs`](super::wanted::mesh::needs)).
    pub hosts: BTreeMap<String, BTreeMap<String, Seen>>,
}

impl ClusterFacts {
    /// The nodes that kubeadm's kube-proxy runs on; all of them where it is no DaemonSet that runs it.
    pub fn proxied(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| self.is_proxied(node))
    }

    /// Whether a node's kube-proxy is that of kubeadm's DaemonSet.
    pub fn is_proxied(&self, node: &Node) -> bool {
        self.proxy.daemon_set.as_ref().is_none_or(|set| spread::takes(set, &self.proxy.pods, node))
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.metadata.name.as_deref() == Some(name))
    }

    /// The addresses that Services have from a balancer.
    pub fn served(&self) -> BTreeSet<IpAddr> {
        let status = self.services.iter().filter_map(|s| s.status.as_ref()?.load_balancer.as_ref());
        let ingress = status.flat_map(|balancer| balancer.ingress.iter().flatten());
        ingress.filter_map(|one| one.ip.as_ref()?.parse().ok()).collect()
    }
}

/// Where kube-proxy answers on the nodes of this cluster.
pub fn doors(facts: &ClusterFacts) -> Doors {
    let text = facts.proxy.config.as_ref().and_then(|c| c.data.as_ref()?.get("config.conf"));
    // What cannot be read is told by the gates.
    let current = text.and_then(|text| config::read(text).ok()).unwrap_or_default();
    Doors::of(&current.metrics_address, &current.healthz_address)
}

/// The domain of the cluster's names: the first zone of the Corefile's `kubernetes` plugin, `cluster.local` where that
/// cannot be told.
pub fn domain(facts: &ClusterFacts) -> String {
    let text = facts.dns.config.as_ref().and_then(|c| c.data.as_ref()?.get("Corefile"));
    let corefile = text.and_then(|text| Corefile::parse(text).ok());
    let zone = corefile.and_then(|corefile| {
        let mut plugins = corefile.servers.iter().flat_map(|server| &server.plugins);
        let zone = plugins.find(|p| p.name.text == "kubernetes")?.args.first()?.text.clone();
        Some(zone.trim_end_matches('.').to_owned())
    });
    zone.filter(|zone| !zone.is_empty() && !zone.ends_with(".arpa")).unwrap_or_else(|| "cluster.local".into())
}
