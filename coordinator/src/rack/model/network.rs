//! `network`: the network that the nodes share.

use std::net::IpAddr;

use rackwright_proto::range::AddressRange;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rack::format::Of;
use crate::rack::words::{Cidr, InterfaceChoice, Prose};

/// The network that the nodes share.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Network {
    /// The interface that carries the pools: `auto` or a name.
    #[schemars(with = "Of<InterfaceChoice>")]
    pub interface: InterfaceChoice,
    /// How to ask whether somebody else has an address of a pool.
    pub probe: Probe,
    /// The gateway's address, where the nodes' routes do not tell it.
    #[schemars(with = "Option<Of<IpAddr>>")]
    pub gateway: Option<IpAddr>,
    /// Addresses that no pool may hold, such as a DHCP server's.
    pub reserved: Vec<Reserved>,
    /// The networks of pods.
    #[serde(rename = "podCIDRs")]
    #[schemars(with = "Vec<Of<Cidr>>", length(max = 16))]
    pub pod_cidrs: Vec<Cidr>,
    /// The networks of services; kubeadm's 10.96.0.0/12 is assumed when left out.
    #[serde(rename = "serviceCIDRs")]
    #[schemars(with = "Vec<Of<Cidr>>", length(max = 16))]
    pub service_cidrs: Vec<Cidr>,
}

/// What differs for one node from the rack's `network`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodeNetwork {
    /// The interface that carries the pools here.
    #[schemars(with = "Option<Of<InterfaceChoice>>")]
    pub interface: Option<InterfaceChoice>,
    /// The gateway's address here.
    #[schemars(with = "Option<Of<IpAddr>>")]
    pub gateway: Option<IpAddr>,
}

/// How to ask whether somebody else has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// Three probes over some seven seconds, as RFC 5227 has it.
    #[default]
    Rfc5227,
    /// One round, about a second.
    Quick,
    /// Not at all.
    Off,
}

/// Addresses that no pool may hold.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reserved {
    /// A CIDR or `first-last`.
    #[schemars(with = "Of<AddressRange>")]
    pub range: AddressRange,
    /// Who has them.
    #[schemars(with = "Of<Prose>")]
    pub why: Prose,
}

impl Network {
    /// The networks of services, and whether they are only assumed (kubeadm's default).
    pub fn services(&self) -> (Vec<Cidr>, bool) {
        if self.service_cidrs.is_empty() {
            (vec!["10.96.0.0/12".parse().expect("a valid network")], true)
        } else {
            (self.service_cidrs.clone(), false)
        }
    }
}
