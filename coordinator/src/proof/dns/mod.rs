//! Whether every node gets answers from CoreDNS: from its Service's address and from each of its pods.

mod judge;
mod pods;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, Service};
use rackwright_proto::reach::{Asked, Reach, RecordKind, Transport};

use crate::cluster::facts::ClusterFacts;
use crate::cluster::look::is_ready;

pub use judge::judge;
pub use pods::{ask_from_pods, judge_from_pods};
#[cfg(test)]
pub(super) use tests::said_in_cases;

/// The port of DNS.
const PORT: u16 = 53;
/// How long an answer for a name of the cluster may take, in milliseconds.
const WITHIN_MS: u32 = 5_000;
/// The same for a name outside: CoreDNS itself gives up on its upstream after 5 s, and then says so.
const OUTSIDE_WITHIN_MS: u32 = 8_000;
/// The most pods that are asked, by name: three questions each from every node.
pub const MOST_PODS: usize = 32;
/// A zone outside of the cluster that never has names (RFC 6761, section 6.4).
const OUTSIDE: &str = ".invalid.";

/// A name outside of the cluster that no cache has, by a number that was never used before. That there is no such name
/// is an answer of the upstream all the same. Names that caches keep are still told when the upstream is gone; CoreDNS's
/// pods that ask each other in a circle keep them for ever.
pub fn outside_name(fresh: u64) -> String {
    format!("rackwright-{fresh:016x}{OUTSIDE}")
}

/// Whether a name is one of these.
pub fn is_outside(name: &str) -> bool {
    name.ends_with(OUTSIDE)
}

/// What the cluster's objects say of DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsCase {
    /// The addresses of the DNS Service.
    pub services: Vec<IpAddr>,
    /// Its ready pods by name, [`MOST_PODS`] at most.
    pub pods: Vec<DnsPod>,
    /// Its other pods, in words: `coredns-x on w1 (Pending)`.
    pub not_ready: Vec<String>,
    /// How many ready endpoints the Service has.
    pub endpoints: usize,
    /// All nodes of the cluster: hosts outside it have no way to these addresses.
    pub nodes: BTreeSet<String>,
    /// The cluster's domain without a dot at its end: `cluster.local`.
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
    let dns = &facts.dns;
    let (ready, others): (Vec<&Pod>, Vec<&Pod>) = dns.pods.iter().partition(|pod| is_ready(pod));
    let mut pods: Vec<_> = ready.into_iter().filter_map(ready_pod).collect();
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    pods.truncate(MOST_PODS);
    let mut not_ready: Vec<_> = others.into_iter().map(pod_in_words).collect();
    not_ready.sort();
    let endpoints = dns.endpoints.iter().flat_map(|slice| &slice.endpoints);
    let is_ready = |conditions: Option<_>| conditions.unwrap_or(true);
    let endpoints = endpoints.filter(|e| is_ready(e.conditions.as_ref().and_then(|c| c.ready))).count();
    let domain = domain.trim_end_matches('.').to_owned();
    let services = dns.service.as_ref().map(cluster_ips).unwrap_or_default();
    let nodes = facts.nodes.iter().filter_map(|node| node.metadata.name.clone()).collect();
    DnsCase { services, pods, not_ready, endpoints, nodes, domain }
}

fn cluster_ips(service: &Service) -> Vec<IpAddr> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let mut ips = Vec::new();
    for ip in all.filter_map(|ip| ip.parse().ok()) {
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    ips
}

fn ready_pod(pod: &Pod) -> Option<DnsPod> {
    Some(DnsPod {
        name: pod.metadata.name.clone()?,
        address: pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?,
        node: pod.spec.as_ref()?.node_name.clone()?,
    })
}

fn pod_in_words(pod: &Pod) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or("a pod");
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let on = node.map_or("on no node yet".to_owned(), |node| format!("on {node}"));
    let status = pod.status.as_ref();
    let containers = status.and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    let waits = containers.iter().find_map(|c| c.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or("unknown");
    let why = if pod.metadata.deletion_timestamp.is_some() { "ending" } else { waits.unwrap_or(phase) };
    format!("{name} {on} ({why}, not ready)")
}

impl DnsCase {
    /// The name that every cluster has: of the API server's Service.
    fn name(&self) -> String {
        format!("kubernetes.default.svc.{}", self.domain)
    }

    /// Of the family of the DNS Service: that is the cluster's first.
    fn kind(&self) -> RecordKind {
        if self.services.first().is_some_and(IpAddr::is_ipv6) { RecordKind::Aaaa } else { RecordKind::A }
    }

    fn servers(&self) -> BTreeSet<IpAddr> {
        self.services.iter().copied().chain(self.pods.iter().map(|pod| pod.address)).collect()
    }

    /// A server in words: `the Service (10.96.0.10)`, `coredns-x (10.244.1.2 on w1)`.
    fn describe(&self, server: IpAddr) -> String {
        match self.pods.iter().find(|pod| pod.address == server) {
            Some(pod) => format!("{} ({server} on {})", pod.name, pod.node),
            None => format!("the Service ({server})"),
        }
    }
}

/// What each of these hosts that is a node is to ask: for a name of the cluster over UDP and TCP and for `outside`, an [`outside_name`],
/// at the Service and at each ready pod.
pub fn ask(case: &DnsCase, hosts: &[String], outside: &str) -> BTreeMap<String, Vec<Asked>> {
    let mut questions = Vec::new();
    let dns = |server: IpAddr, transport, name: String, kind| Reach::Dns {
        server: (server, PORT).into(),
        transport,
        name,
        kind,
    };
    for server in case.servers() {
        for transport in [Transport::Udp, Transport::Tcp] {
            questions.push(Asked::new(dns(server, transport, case.name(), case.kind()), WITHIN_MS));
        }
        let question = dns(server, Transport::Udp, outside.to_owned(), case.kind());
        questions.push(Asked::new(question, OUTSIDE_WITHIN_MS));
    }
    // Without a ready pod nobody can answer.
    let asks = |host: &&String| !case.pods.is_empty() && case.nodes.contains(*host);
    hosts.iter().filter(asks).map(|host| (host.clone(), questions.clone())).collect()
}
