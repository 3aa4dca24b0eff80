//! Whether every host gets answers from CoreDNS: from its Service's address and from each of its pods.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rackwright_proto::finding::Finding;
use rackwright_proto::reach::{Asked, Reached};

use crate::cluster::facts::ClusterFacts;

/// What the cluster's objects say of DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsCase {
    /// The addresses of the DNS Service.
    pub services: Vec<IpAddr>,
    /// Its ready pods.
    pub pods: Vec<DnsPod>,
    /// Its other pods, by name with the node.
    pub not_ready: Vec<String>,
    /// The cluster's domain: `cluster.local`.
    pub domain: String,
}

/// A ready pod of CoreDNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsPod {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// The node that it runs on.
    pub node: String,
}

/// What the cluster's objects say; the domain is that of the Corefile's `kubernetes` plugin.
pub fn case(facts: &ClusterFacts, domain: &str) -> DnsCase {
    let _ = facts;
    DnsCase { services: Vec::new(), pods: Vec::new(), not_ready: Vec::new(), domain: domain.to_owned() }
}

/// What each of these hosts is to ask.
pub fn ask(case: &DnsCase, hosts: &[String]) -> BTreeMap<String, Vec<Asked>> {
    let _ = (case, hosts);
    BTreeMap::new()
}

/// Judges the answers to [`ask`]: `asked` is what it returned, `reached` the answers of each host in the same order.
pub fn judge(
    case: &DnsCase,
    asked: &BTreeMap<String, Vec<Asked>>,
    reached: &BTreeMap<String, Vec<Reached>>,
) -> Vec<Finding> {
    let _ = (case, asked, reached);
    Vec::new()
}
