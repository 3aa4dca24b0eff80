//! What everything that was asked about a Service's address comes to.

use rackwright_proto::finding::{Finding, Severity};
use rackwright_proto::link::Mac;

use super::answers::Answers;
use super::case::Case;
use super::hearing::Hearing;
use super::ports::{Here, Knock};
use super::{Why, names, open};
use crate::network::NodeInput;
use crate::network::say::{self, Say as _, list, pass, warning};

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
    /// Whether everything that was asked agrees: one MAC address, of one node, the one that MetalLB says, heard by
    /// all others of the segment, twice; and all TCP ports open there for all of them. The coordinator's own place
    /// does not count: it may be elsewhere.
    pub proven: bool,
    /// What is wrong, or that it is proven.
    pub findings: Vec<Finding>,
}

/// Judges one address: `hosts` are those that were heard from, `silent` the reasons found why nobody may answer for
/// it; those are told only where nobody does. No reason found is an empty list.
pub fn judge(case: &Case, hosts: &[NodeInput], seen: &Seen, silent: &[Why]) -> ServiceProof {
    let answers = Answers::new(case, hosts, seen);
    let owner = answers.owner();
    let heard_by = answers.hearers();
    let mut findings = answers.findings(silent);
    let ports = open::ports(case, &heard_by, seen);
    if let Some(owner) = &owner {
        findings.extend(open::findings(case, owner, hosts, &heard_by, seen));
    }
    let opened = ports.iter().all(|port| port.open_from == heard_by);
    let wrong = findings.iter().any(|finding| finding.severity == Severity::Error);
    let proven = !wrong && owner.is_some() && answers.agree() && opened;
    findings.extend(external_ips(case));
    let mut proof = ServiceProof { case: case.clone(), owner, heard_by, ports, proven, findings };
    proof.findings.extend(reachable(&proof));
    proof.findings = say::merge(std::mem::take(&mut proof.findings));
    proof
}

fn external_ips(case: &Case) -> Option<Finding> {
    let ips = list(&case.external_ips);
    (!case.external_ips.is_empty()).then(|| {
        warning(names::SERVICE_EXTERNAL_IPS, &case.service)
            .checked("whether the Service has addresses that nobody announces")
            .observed(format!("externalIPs: {ips}"))
            .expected("none: every node takes what comes for them, but MetalLB answers for none of them")
            .fix(format!("take {ips} out of externalIPs, or see to their routes yourself and waive this"))
    })
}

fn reachable(proof: &ServiceProof) -> Option<Finding> {
    let owner = proof.owner.as_ref().filter(|_| proof.proven)?;
    Some(
        pass(names::SERVICE_REACHABLE, &proof.case.service)
            .on([&owner.node])
            .checked(format!("whether {} is reachable from outside", proof.case.address))
            .observed(super::text::seen(proof, owner))
            .expected("one MAC address that everybody hears, and every TCP port open there"),
    )
}
