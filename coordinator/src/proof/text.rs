//! What was proven of a Service, in one line.

use super::service::ServiceProof;

/// For people, at the end of a run: `default/web 192.0.2.200: answered by 52:54:00:00:00:02 (eth0 of w1), …`.
pub fn line(proof: &ServiceProof) -> String {
    format!("{} {}", proof.case.service, proof.case.address)
}
