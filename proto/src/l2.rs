//! Probes on a layer 2 segment: ARP (RFC 826, RFC 5227) and IPv6 neighbour solicitation (RFC 4861, RFC 4862).
//!
//! A probe asks who has an address without claiming it: the sender address is all zeros, so that no cache is
//! poisoned. Silence is never proof; it is worded as "no conflict seen".

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::link::Mac;
use crate::name::IfName;

/// How patient a probe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Patience {
    /// RFC 5227 section 1.1: up to 1 s of random delay, 3 probes 1 to 2 s apart, 2 s to listen after the last.
    Rfc5227,
    /// 3 probes 200 ms apart, 300 ms to listen: for a segment known to be quick.
    Quick,
}

/// Addresses from `first` to `last`, both included, of one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// The first address.
    pub first: IpAddr,
    /// The last address.
    pub last: IpAddr,
}

/// One question to one host: who on this link has these addresses?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The link to ask on.
    pub link: IfName,
    /// The addresses to ask for; at most [`Probe::MOST`] in all.
    pub spans: Vec<Span>,
    /// How patient to be.
    pub patience: Patience,
    /// Ask as ourselves (an ordinary ARP request or solicitation with our own sender address) instead of the
    /// all-zero sender: for neighbours that are expected to answer, such as other nodes. Only an answer to us
    /// counts then: a neighbour that asks something itself is not heard to hear.
    #[serde(default)]
    pub as_ourselves: bool,
}

impl Probe {
    /// The most addresses that one question may hold; the rest is not probed and said so.
    pub const MOST: usize = 4096;
}

/// Who answered for one address, or sought it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The address.
    pub ip: IpAddr,
    /// All MACs that claimed it, sorted, each once.
    pub macs: Vec<Mac>,
    /// All other MACs that probed for it meanwhile without claiming it (RFC 5227 section 2.1.1), sorted: hosts
    /// about to take it, or other nodes that were asked the same question.
    #[serde(default)]
    pub seekers: Vec<Mac>,
}

impl Answer {
    /// Whether anybody has the address; one that was only sought has not been answered for.
    pub fn is_claimed(&self) -> bool {
        !self.macs.is_empty()
    }
}

/// The outcome of one [`Probe`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// The link that was asked on.
    pub link: IfName,
    /// Addresses that somebody answered for or sought, in address order.
    pub answers: Vec<Answer>,
    /// How many addresses were asked for.
    pub asked: u32,
    /// Why the probe could not be made or finished, where so (`link is down`).
    #[serde(default)]
    pub trouble: Option<String>,
}
