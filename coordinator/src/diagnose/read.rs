//! From the API's objects to what a diagnosis needs of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{self as core, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use rackwright_proto::finding::Severity;

use super::case::{AddressState, Cluster, Dns, Mesh, Node, Pod, ServiceState};
use super::hook::{Asks, hook};
use crate::balancer::{pending, silent};
use crate::cluster::facts::ClusterFacts;
use crate::cluster::sight;
use crate::dns;

/// A namespace and a name.
pub type ObjectName = (String, String);

/// What the API tells beyond [`ClusterFacts`].
#[derive(Debug, Clone, Default)]
pub struct More {
    /// Ends of logs by `NAMESPACE/NAME` of the pod.
    pub logs: BTreeMap<String, String>,
    /// Webhooks that must be asked.
    pub hooks: Vec<Asks>,
    /// The webhooks' Services.
    pub hooked: Vec<Service>,
    /// Endpoints of those.
    pub endpoints: Vec<EndpointSlice>,
    /// istiod's pods, and those of gateways; `None` where neither istiod nor a gateway is there.
    pub mesh: Option<(Vec<core::Pod>, Vec<core::Pod>)>,
    /// The Services that are looked at.
    pub services: Vec<ObjectName>,
    /// Whether it is one that the operator named, which may be of any type.
    pub named: bool,
    /// The pod that was asked about.
    pub pod: Option<core::Pod>,
}

/// A cluster for a diagnosis. Who answers for addresses is not known yet.
pub fn cluster(facts: &ClusterFacts, more: &More) -> Cluster {
    let pods = |pods: &[core::Pod]| pods.iter().map(|one| pod(one, &more.logs)).collect::<Vec<_>>();
    let api = facts.services.iter().find(|s| is(s, &("default".into(), "kubernetes".into())));
    Cluster {
        nodes: facts.nodes.iter().map(node).collect(),
        api: api.and_then(|service| addresses(service).first().copied()),
        dns: names(facts, pods(&facts.dns.pods)),
        proxy: facts.proxy.daemon_set.as_ref().map(|_| pods(&facts.proxy.pods)),
        hooks: more.hooks.iter().map(|asks| hook(asks, &more.hooked, &more.endpoints)).collect(),
        mesh: more
            .mesh
            .as_ref()
            .map(|(istiod, gateways)| Mesh { istiod: pods(istiod), gateways: pods(gateways) }),
        services: more.services.iter().map(|name| service(facts, name, more.named)).collect(),
        pod: more.pod.as_ref().map(|one| pod(one, &more.logs)),
    }
}

pub(super) fn is(service: &Service, name: &ObjectName) -> bool {
    let of = &service.metadata;
    of.namespace.as_ref() == Some(&name.0) && of.name.as_ref() == Some(&name.1)
}

fn addresses(service: &Service) -> Vec<IpAddr> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let all = spec.cluster_ip.iter().chain(spec.cluster_ips.iter().flatten());
    let mut found = Vec::new();
    for ip in all.filter_map(|ip| ip.parse().ok()) {
        if !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

fn node(node: &core::Node) -> Node {
    let status = node.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    let words = ready.map(|c| {
        format!("{}: {}", c.reason.as_deref().unwrap_or(&c.status), c.message.as_deref().unwrap_or_default())
    });
    let spec = node.spec.clone().unwrap_or_default();
    let ranges = spec.pod_cidrs.into_iter().flatten().chain(spec.pod_cidr);
    let mut pods: Vec<_> = ranges.filter_map(|range| range.parse().ok()).collect();
    pods.dedup();
    Node {
        name: node.metadata.name.clone().unwrap_or_default(),
        ready: ready.is_some_and(|condition| condition.status == "True"),
        why: words.unwrap_or_else(|| "it never said that it is ready".into()),
        addresses: status.addresses.iter().flatten().filter_map(|a| a.address.parse().ok()).collect(),
        pods,
    }
}

fn names(facts: &ClusterFacts, pods: Vec<Pod>) -> Dns {
    let service = facts.dns.service.as_ref();
    let selector = service.and_then(|s| s.spec.as_ref()?.selector.as_ref()).into_iter().flatten();
    let selector: Vec<String> = selector.map(|(key, value)| format!("{key}={value}")).collect();
    let endpoints = facts.dns.endpoints.iter().flat_map(|slice| &slice.endpoints);
    let deployment = facts.dns.deployment.as_ref().and_then(|d| d.spec.as_ref());
    Dns {
        services: service.map(addresses).unwrap_or_default(),
        selector: if selector.is_empty() { "empty".into() } else { selector.join(",") },
        domain: sight::domain(facts),
        wanted: deployment.map(|spec| spec.replicas.unwrap_or(1)),
        endpoints: endpoints.filter(|e| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true)).count(),
        loops: loops(facts, service.map(addresses).unwrap_or_default(), &pods),
        pods,
    }
}

/// Upstreams of the Corefile that lead back to CoreDNS, as the room of DNS finds them.
fn loops(facts: &ClusterFacts, service: Vec<IpAddr>, pods: &[Pod]) -> Vec<String> {
    let text = facts.dns.config.as_ref().and_then(|c| c.data.as_ref()?.get("Corefile").cloned());
    let template = facts.dns.deployment.as_ref().and_then(|d| d.spec.as_ref()?.template.spec.as_ref());
    let policy = match template.and_then(|spec| spec.dns_policy.as_deref()) {
        Some("ClusterFirst") => dns::Policy::ClusterFirst,
        _ => dns::Policy::Default,
    };
    let pods: Vec<dns::Pod> = pods
        .iter()
        .map(|pod| dns::Pod {
            name: pod.name.clone(),
            node: pod.node.as_ref().and_then(|node| node.parse().ok()),
            addresses: pod.address.into_iter().collect(),
        })
        .collect();
    let found = dns::findings(&dns::Scene {
        corefile: &text.unwrap_or_default(),
        wanted: &[],
        allow_loop: false,
        service: &service,
        pods: &pods,
        policy,
        nodes: &[],
        manager: None,
    });
    let loops = found.into_iter().filter(|f| f.name == "dns-forward-loops" && f.severity != Severity::Pass);
    loops
        .map(|finding| format!("the Corefile forwards to {}: {}", finding.subject, finding.observed))
        .collect()
}

/// A pod with the end of its log.
pub fn pod(pod: &core::Pod, logs: &BTreeMap<String, String>) -> Pod {
    let name = format!(
        "{}/{}",
        pod.metadata.namespace.as_deref().unwrap_or("default"),
        pod.metadata.name.as_deref().unwrap_or_default()
    );
    let status = pod.status.clone().unwrap_or_default();
    let condition = |kind: &str| status.conditions.iter().flatten().find(|c| c.type_ == kind);
    let ready =
        condition("Ready").is_some_and(|c| c.status == "True") && pod.metadata.deletion_timestamp.is_none();
    let containers =
        || status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let waiting = containers().find_map(|c| {
        c.state
            .as_ref()?
            .waiting
            .as_ref()?
            .reason
            .clone()
            .filter(|r| r != "PodInitializing" && r != "ContainerCreating")
    });
    let ended = containers()
        .find_map(|c| c.state.as_ref()?.terminated.as_ref()?.reason.clone().filter(|r| r != "Completed"));
    let unscheduled = condition("PodScheduled").filter(|c| c.status == "False").map(|c| {
        format!("{}: {}", c.reason.as_deref().unwrap_or_default(), c.message.as_deref().unwrap_or_default())
    });
    let ending = pod.metadata.deletion_timestamp.as_ref().map(|_| "ending".to_owned());
    let phase = status.phase.clone().filter(|phase| phase != "Running");
    Pod {
        log: logs.get(&name).cloned().unwrap_or_default(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        address: status.pod_ip.as_ref().and_then(|ip| ip.parse().ok()),
        host_network: pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false),
        why: ending.or(waiting).or(ended).or(unscheduled).or(phase).filter(|_| !ready).unwrap_or_default(),
        restarts: containers().map(|c| c.restart_count).sum(),
        ready,
        name,
    }
}

fn service(facts: &ClusterFacts, name: &ObjectName, of_any_type: bool) -> ServiceState {
    let found = facts.services.iter().find(|service| is(service, name));
    let given: Vec<IpAddr> = found.iter().flat_map(|s| given(s)).collect();
    let state = |service: &Service, address: IpAddr| AddressState {
        address,
        heard: None,
        silent: silent::reasons(facts, service, address),
    };
    ServiceState {
        name: format!("{}/{}", name.0, name.1),
        exists: found.is_some(),
        pending: found
            .filter(|_| given.is_empty())
            .map(|service| pending::reason(facts, service))
            .filter(|reason| !of_any_type || reason.name != "service-not-load-balancer"),
        addresses: found.iter().flat_map(|s| given.iter().map(|ip| state(s, *ip))).collect(),
    }
}

fn given(service: &Service) -> Vec<IpAddr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    ingress.filter_map(|one| one.ip.as_ref()?.parse().ok()).collect()
}
