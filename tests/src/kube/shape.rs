//! What can be ordered of a cluster beyond its hosts and its version.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{ClusterDefect, Istio, Metallb};

/// How packets go between the pods of different hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PodNetwork {
    /// As they are, by a route per host.
    #[default]
    Routes,
    /// Inside of UDP, by a VXLAN device on every host.
    Vxlan,
}

/// A cluster to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterShape {
    /// How many of the hosts, from the first on, are control planes with an etcd of their own.
    pub control_planes: usize,
    /// Which MetalLB the rack's file tells.
    pub metallb: Metallb,
    /// Which Istio the rack's file tells and the hosts have images of, if any.
    #[serde(default)]
    pub istio: Option<Istio>,
    /// How packets go between the pods of different hosts.
    #[serde(default)]
    pub network: PodNetwork,
    /// Whether the control planes have a kube-proxy of their own, which kubeadm's DaemonSet leaves out.
    #[serde(default)]
    pub proxy_apart: bool,
    /// What is wrong with it, and on which host.
    pub defects: Vec<(String, ClusterDefect)>,
}

impl Default for ClusterShape {
    fn default() -> Self {
        Self {
            control_planes: 1,
            metallb: Metallb::default(),
            istio: None,
            network: PodNetwork::default(),
            proxy_apart: false,
            defects: Vec::new(),
        }
    }
}
