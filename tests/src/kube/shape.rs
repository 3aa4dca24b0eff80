//! What can be ordered of a cluster beyond its hosts and its version.

use serde::{Deserialize, Serialize};

use super::{ClusterDefect, Metallb};

/// A cluster to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterShape {
    /// How many of the hosts, from the first on, are control planes with an etcd of their own.
    pub control_planes: usize,
    /// Which MetalLB the rack's file tells.
    pub metallb: Metallb,
    /// What is wrong with it, and on which host.
    pub defects: Vec<(String, ClusterDefect)>,
}

impl Default for ClusterShape {
    fn default() -> Self {
        Self { control_planes: 1, metallb: Metallb::default(), defects: Vec::new() }
    }
}
