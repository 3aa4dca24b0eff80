//! What was proven of a Service, in one line.

use rackwright_proto::finding::Severity;

use super::service::{Owner, PortProof, ServiceProof};
use crate::network::say::list;

/// For people, at the end of a run: `default/web 192.0.2.200: answered by 52:54:00:00:00:02 (eth0 of w1), …`, or
/// which findings say why that is not proven.
pub fn line(proof: &ServiceProof) -> String {
    let what = match &proof.owner {
        Some(owner) if proof.proven => seen(proof, owner),
        _ => format!("not proven ({})", wrong(proof)),
    };
    format!("{} {}: {what}", proof.case.service, proof.case.address)
}

fn wrong(proof: &ServiceProof) -> String {
    let mut names: Vec<_> = proof.findings.iter().filter(|f| f.severity != Severity::Pass).collect();
    names.dedup_by_key(|finding| finding.name.clone());
    names.into_iter().map(|finding| finding.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Who answers, who sees that, and which ports open.
pub(super) fn seen(proof: &ServiceProof, owner: &Owner) -> String {
    let Owner { node, link, mac } = owner;
    let who = format!("answered by {mac} ({link} of {node}), seen from {}", list(&proof.heard_by));
    let opened = proof.ports.iter().map(open);
    let others = proof.case.others.iter().map(|port| format!("{port} cannot be proven"));
    [who].into_iter().chain(opened).chain(others).collect::<Vec<_>>().join("; ")
}

fn open(proof: &PortProof) -> String {
    let here = match proof.here {
        Some(true) => ", and from here",
        Some(false) => ", but not from here",
        None => "",
    };
    format!("tcp/{} open from {}{here}", proof.port, list(&proof.open_from))
}
