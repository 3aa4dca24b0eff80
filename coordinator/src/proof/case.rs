//! What the cluster's objects say of a Service that is to be proven.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Event, Pod, Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rackwright_proto::finding::Finding;
use serde::Serialize;
use serde_json::Value;

use super::{Why, names};
use crate::cluster::facts::ClusterFacts;
use crate::cluster::look::is_ready;
use crate::network::say::{Say as _, error};
use crate::rack::model::kubernetes as model;

/// A Service's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ServiceName {
    /// Its namespace.
    pub namespace: String,
    /// Its name in there.
    pub name: String,
}

impl ServiceName {
    /// Whether an object's metadata bear this name.
    pub fn is_of(&self, metadata: &ObjectMeta) -> bool {
        metadata.name.as_ref() == Some(&self.name) && metadata.namespace.as_ref() == Some(&self.namespace)
    }
}

impl From<&model::ServiceName> for ServiceName {
    fn from(name: &model::ServiceName) -> Self {
        Self { namespace: name.namespace.to_string(), name: name.name.to_string() }
    }
}

impl std::fmt::Display for ServiceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// How far a Service has come.
#[derive(Debug, Clone, PartialEq)]
pub enum Stand {
    /// It is not among the Services that were observed.
    Missing,
    /// It has no address; why, only the balancer's room can tell. Say it with [`waiting`].
    Waiting,
    /// It has these addresses, each of which is a case of its own.
    Assigned(Vec<Case>),
}

/// One address of one Service, with all that the cluster says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Whose address it is.
    pub service: ServiceName,
    /// The address.
    pub address: IpAddr,
    /// Its TCP ports, each once, ascending.
    pub tcp: Vec<u16>,
    /// Its other ports, in words: `udp/53`. Nothing proves them: what takes any datagram need not answer.
    pub others: Vec<String>,
    /// Which nodes announce it, as MetalLB says; several where speakers do not see each other; none where it says
    /// nothing, since its events are kept for an hour only.
    pub announcers: Vec<Announcer>,
    /// The interfaces that advertisements restrict it to; `None` where they do not, or where it is not clear.
    pub interfaces: Option<BTreeSet<String>>,
    /// `externalTrafficPolicy: Local`.
    pub local: bool,
    /// Ready endpoints of the address's family by node; by the empty name those of no node.
    pub endpoints: BTreeMap<String, usize>,
    /// `loadBalancerSourceRanges`.
    pub sources: Vec<IpNet>,
    /// `externalIPs`.
    pub external_ips: Vec<String>,
    /// Nodes whose kube-proxy is not ready.
    pub proxy_not_ready: BTreeSet<String>,
    /// All nodes of the cluster.
    pub nodes: BTreeSet<String>,
}

/// A node that announces an address, as MetalLB says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcer {
    /// The node.
    pub node: String,
    /// On which interfaces; empty for all of them, or where that is not said.
    pub interfaces: BTreeSet<String>,
    /// Where it says so: `ServiceL2Status`, or `event nodeAssigned`.
    pub source: &'static str,
}

/// How far a Service has come, and one case for each address that it has.
pub fn addresses(facts: &ClusterFacts, name: &ServiceName) -> Stand {
    let Some(service) = facts.services.iter().find(|s| is_named(s, name)) else { return Stand::Missing };
    let spec = service.spec.clone().unwrap_or_default();
    let addresses = allocated(service);
    if spec.type_.as_deref() != Some("LoadBalancer") || addresses.is_empty() {
        return Stand::Waiting;
    }
    Stand::Assigned(addresses.into_iter().map(|address| case(facts, name, service, &spec, address)).collect())
}

fn is_named(service: &Service, name: &ServiceName) -> bool {
    let of = &service.metadata;
    of.namespace.as_deref() == Some(&name.namespace) && of.name.as_deref() == Some(&name.name)
}

fn allocated(service: &Service) -> BTreeSet<IpAddr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    ingress.iter().filter_map(|one| one.ip.as_ref()?.parse().ok()).collect()
}

fn case(
    facts: &ClusterFacts,
    name: &ServiceName,
    service: &Service,
    spec: &ServiceSpec,
    address: IpAddr,
) -> Case {
    let (tcp, others) = ports(spec);
    let ranges = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
    Case {
        service: name.clone(),
        address,
        tcp,
        others,
        announcers: announcers(facts, name),
        interfaces: interfaces(facts, service),
        local: spec.external_traffic_policy.as_deref() == Some("Local"),
        endpoints: endpoints(&facts.endpoints, name, address),
        sources: ranges.iter().filter_map(|range| range.trim().parse().ok()).collect(),
        external_ips: spec.external_ips.clone().unwrap_or_default(),
        proxy_not_ready: facts.proxy.pods.iter().filter_map(not_ready).collect(),
        nodes: facts.nodes.iter().filter_map(|node| node.metadata.name.clone()).collect(),
    }
}

fn ports(spec: &ServiceSpec) -> (Vec<u16>, Vec<String>) {
    let (mut tcp, mut others) = (BTreeSet::new(), Vec::new());
    for port in spec.ports.as_deref().unwrap_or_default() {
        match (port.protocol.as_deref().unwrap_or("TCP"), u16::try_from(port.port)) {
            ("TCP", Ok(number)) => _ = tcp.insert(number),
            (protocol, _) => others.push(format!("{}/{}", protocol.to_lowercase(), port.port)),
        }
    }
    (tcp.into_iter().collect(), others)
}

/// The node of a pod that is not ready.
fn not_ready(pod: &Pod) -> Option<String> {
    (!is_ready(pod)).then(|| pod.spec.as_ref()?.node_name.clone()).flatten()
}

fn endpoints(slices: &[EndpointSlice], name: &ServiceName, address: IpAddr) -> BTreeMap<String, usize> {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let ours = slices.iter().filter(|slice| {
        let of = slice.metadata.labels.as_ref().and_then(|l| l.get("kubernetes.io/service-name"));
        slice.metadata.namespace.as_deref() == Some(&name.namespace)
            && of == Some(&name.name)
            && slice.address_type == family
    });
    let mut count = BTreeMap::new();
    for endpoint in ours.flat_map(|slice| &slice.endpoints) {
        // Not said is ready (discovery.k8s.io/v1).
        if endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true) {
            *count.entry(endpoint.node_name.clone().unwrap_or_default()).or_default() += 1;
        }
    }
    count
}

/// From ServiceL2Status (MetalLB from 0.14.9), else from the newest event `nodeAssigned`.
fn announcers(facts: &ClusterFacts, name: &ServiceName) -> Vec<Announcer> {
    let statuses = facts.balancer.announced.as_deref().unwrap_or_default();
    let mut said: Vec<_> = statuses.iter().filter_map(|status| of_status(status, name)).collect();
    if said.is_empty() {
        let newest = facts.events.iter().filter(|e| is_assignment(e, name)).max_by_key(|e| time(e));
        said.extend(newest.and_then(of_event));
    }
    said.sort_by(|a, b| a.node.cmp(&b.node));
    said
}

fn of_status(status: &Value, name: &ServiceName) -> Option<Announcer> {
    let said = |field: &str, label: &str| {
        let labels = &status["metadata"]["labels"];
        status["status"][field].as_str().or_else(|| labels[label].as_str()).map(str::to_owned)
    };
    let ours = said("serviceName", "metallb.io/service-name")? == name.name
        && said("serviceNamespace", "metallb.io/service-namespace")? == name.namespace;
    let interfaces = status["status"]["interfaces"].as_array().map(Vec::as_slice).unwrap_or_default();
    let interfaces = interfaces.iter().filter_map(|i| Some(i["name"].as_str()?.to_owned())).collect();
    let node = said("node", "metallb.io/node").filter(|_| ours)?;
    Some(Announcer { node, interfaces, source: "ServiceL2Status" })
}

fn is_assignment(event: &Event, name: &ServiceName) -> bool {
    let of = &event.involved_object;
    event.reason.as_deref() == Some("nodeAssigned")
        && of.namespace.as_deref() == Some(&name.namespace)
        && of.name.as_deref() == Some(&name.name)
}

/// `announcing from node "w1" with protocol "layer2"`.
fn of_event(event: &Event) -> Option<Announcer> {
    let node = event.message.as_deref()?.split('"').nth(1)?.to_owned();
    Some(Announcer { node, interfaces: BTreeSet::new(), source: "event nodeAssigned" })
}

fn time(event: &Event) -> Option<k8s_openapi::jiff::Timestamp> {
    let times = [event.last_timestamp.as_ref(), event.first_timestamp.as_ref()];
    let times = times.into_iter().flatten().map(|time| time.0);
    times.chain(event.event_time.as_ref().map(|time| time.0)).max()
}

/// The interfaces of all advertisements that carry the pool of the Service's address; `None` where one of them
/// names none, or chooses pools by label.
fn interfaces(facts: &ClusterFacts, service: &Service) -> Option<BTreeSet<String>> {
    let annotations = service.metadata.annotations.as_ref()?;
    let keys = ["metallb.io/ip-allocated-from-pool", "metallb.universe.tf/ip-allocated-from-pool"];
    let pool = keys.iter().find_map(|key| annotations.get(*key))?;
    let list = |of: &Value| of.as_array().cloned().unwrap_or_default();
    let mut interfaces = BTreeSet::new();
    for spec in facts.balancer.advertisements.as_deref()?.iter().map(|ad| &ad["spec"]) {
        let (pools, own) = (list(&spec["ipAddressPools"]), list(&spec["interfaces"]));
        let by_label = !list(&spec["ipAddressPoolSelectors"]).is_empty();
        let carries = pools.iter().any(|p| p.as_str() == Some(pool)) || (pools.is_empty() && !by_label);
        if by_label || (carries && own.is_empty()) {
            return None;
        }
        interfaces.extend(own.iter().filter(|_| carries).filter_map(|i| Some(i.as_str()?.to_owned())));
    }
    (!interfaces.is_empty()).then_some(interfaces)
}

/// The finding for [`Stand::Missing`].
pub fn missing(name: &ServiceName) -> Finding {
    error(names::SERVICE_MISSING, name)
        .checked(format!("whether Service {name} is there"))
        .observed(format!("the cluster has no Service {name} of type LoadBalancer"))
        .expected("a Service of type LoadBalancer")
        .fix(format!("create Service {name}, or take it out of `kubernetes.services` of the rack"))
}

/// The finding for [`Stand::Waiting`], by the name of the reason.
pub fn waiting(name: &ServiceName, why: &Why) -> Finding {
    why.finding(&name.to_string(), "it has no address from outside")
        .checked(format!("whether Service {name} has an address from outside"))
        .expected("an address of a pool in its status")
}
