//! Why nobody answers for an address that a Service has.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;

use super::reason::Reason;
use crate::cluster::facts::ClusterFacts;

/// All reasons why no speaker announces an address that was given to a Service; never empty.
pub fn reasons(facts: &ClusterFacts, service: &Service, address: IpAddr) -> Vec<Reason> {
    let _ = (facts, service, address);
    Vec::new()
}
