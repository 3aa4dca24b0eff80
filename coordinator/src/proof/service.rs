//! What everything that was asked about a Service's address comes to.

use rackwright_proto::finding::Finding;
use rackwright_proto::link::Mac;

use super::Why;
use super::case::Case;
use super::hearing::Hearing;
use super::ports::{Here, Knock};
use crate::network::NodeInput;

/// All that was seen of the addresses of all Services.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Who answered at first.
    pub first: Hearing,
    /// Who answered some seconds later.
    pub again: Hearing,
    /// What the hosts found at the ports.
    pub knocks: Vec<Knock>,
    /// What the coordinator found at the ports; empty where it was not asked.
    pub here: Vec<Here>,
}

/// Who answers for an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The node.
    pub node: String,
    /// Its link.
    pub link: String,
    /// That link's MAC address.
    pub mac: Mac,
}

/// What was found at a TCP port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortProof {
    /// The port.
    pub port: u16,
    /// The hosts for which it opened.
    pub open_from: Vec<String>,
    /// Whether it opened for the coordinator; `None` where that was not asked.
    pub here: Option<bool>,
}

/// What was found of one address of a Service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceProof {
    /// Whose address it is, and what the cluster says of it.
    pub case: Case,
    /// The one node that answers for it; `None` where it is not one, or not known.
    pub owner: Option<Owner>,
    /// The hosts that heard who answers for it, without the owner.
    pub heard_by: Vec<String>,
    /// Its TCP ports.
    pub ports: Vec<PortProof>,
    /// Whether everything that was asked agrees: one MAC address, of one node, the one that MetalLB says, heard by all
    /// others of the segment, twice; and all TCP ports open there for all of them.
    pub proven: bool,
    /// What is wrong, or that it is proven.
    pub findings: Vec<Finding>,
}

/// Judges one address: `hosts` are those that were heard from, `silent` the reasons why nobody may answer for it,
/// which are told only where nobody does.
pub fn judge(case: &Case, hosts: &[NodeInput], seen: &Seen, silent: &[Why]) -> ServiceProof {
    let _ = (hosts, seen, silent);
    ServiceProof {
        case: case.clone(),
        owner: None,
        heard_by: Vec::new(),
        ports: Vec::new(),
        proven: false,
        findings: Vec::new(),
    }
}
