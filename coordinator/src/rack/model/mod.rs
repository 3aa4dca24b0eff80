//! The rack as written: one type per section. The JSON Schema and `docs/rack.md` come from these types.
//!
//! Every doc comment of a field is one sentence: editors and the documentation show it.

pub mod hosts;
pub mod kubernetes;
pub mod network;
pub mod ssh;

use std::collections::BTreeMap;

use rackwright_proto::name::NodeName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::format::{MapOf, Of};
use super::words::{HostAddress, LabelKey, LabelValue, Period};
use hosts::{Hosts, NodeHosts};
use kubernetes::Kubernetes;
use network::{Network, NodeNetwork};
use ssh::{HostKeys, Ssh};

/// A rack of hosts: how to reach them and what is wanted of them.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RackFile {
    /// The version of this file's format.
    pub api_version: ApiVersion,
    /// What this file describes.
    pub kind: Kind,
    /// How to reach the nodes, unless a node says otherwise.
    #[serde(default)]
    pub ssh: Ssh,
    /// The hosts of the rack.
    #[schemars(length(min = 1, max = 4096))]
    pub nodes: Vec<NodeEntry>,
    /// What every host shall be like, unless a node says otherwise.
    #[serde(default)]
    pub hosts: Hosts,
    /// The network that the nodes share.
    #[serde(default)]
    pub network: Network,
    /// The cluster on the nodes; without it only the hosts are prepared.
    #[serde(default)]
    pub kubernetes: Option<Kubernetes>,
    /// How much at once.
    #[serde(default)]
    pub limits: Limits,
}

/// The version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ApiVersion {
    /// The only one so far.
    #[serde(rename = "rackwright.dev/v1")]
    V1,
}

/// The kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Kind {
    /// A rack.
    Rack,
}

/// One host of the rack.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeEntry {
    /// The node's name, as Kubernetes shall know it.
    #[schemars(with = "Of<NodeName>")]
    pub name: NodeName,
    /// The IP address or DNS name to reach it by.
    #[schemars(with = "Of<HostAddress>")]
    pub address: HostAddress,
    /// Its SSH port, if not that of `ssh`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// What it does in the cluster.
    #[serde(default = "worker")]
    #[schemars(length(min = 1))]
    pub roles: Vec<Role>,
    /// Kubernetes labels for it.
    #[serde(default)]
    #[schemars(with = "MapOf<LabelKey, LabelValue>")]
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// Its host key, or several: a public key or a `SHA256:` fingerprint, instead of known_hosts.
    #[serde(default)]
    #[schemars(with = "Option<HostKeys>")]
    pub host_key: HostKeys,
    /// What differs for it from the rack's `ssh`.
    #[serde(default)]
    pub ssh: Ssh,
    /// What it has beyond the rack's `hosts`.
    #[serde(default)]
    pub hosts: NodeHosts,
    /// What differs for it from the rack's `network`.
    #[serde(default)]
    pub network: NodeNetwork,
}

/// What a node does in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the API server and etcd.
    ControlPlane,
    /// Runs workloads.
    Worker,
}

fn worker() -> Vec<Role> {
    vec![Role::Worker]
}

/// How much at once.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// How many nodes are worked on at once.
    #[schemars(range(min = 1, max = 1024))]
    pub parallel: u16,
    /// How long a node keeps a change that could cut it off, unless a new connection confirms it: 5s to 1h.
    #[schemars(with = "Of<Period>")]
    pub confirm: Period,
    /// How long the cluster's steps wait for another pod to become ready, or for a webhook to answer: 5s to 1h.
    #[schemars(with = "Of<Period>")]
    pub rollout: Period,
}

impl Default for Limits {
    fn default() -> Self {
        Self { parallel: 64, confirm: Period::seconds(60), rollout: Period::seconds(120) }
    }
}
