//! A small cluster to judge: nodes w1, w2, … with `eth0` in 192.0.2.0/24, and MetalLB as its manifest installs it.

use k8s_openapi::api::core::v1::{Node, Service};
use rackwright_proto::finding::{Finding, Severity};
use rackwright_proto::l2::Patience;
use rackwright_proto::link::{Link, LinkArp, Network};
use serde_json::{Value, json};

use super::reason::Reason;
use crate::cluster::facts::ClusterFacts;
use crate::network::{NodeInput, Scene, Speaker, Wanted, fixtures};
use crate::rack::Rack;

/// A rack with these nodes and these lines under `kubernetes.metallb`.
pub(super) fn rack(nodes: &[&str], version: &str, lines: &str) -> Rack {
    let nodes: String = nodes
        .iter()
        .enumerate()
        .map(|(at, name)| {
            format!("  - {{name: {name}, address: 192.0.2.{}, roles: [control-plane, worker]}}\n", 11 + at)
        })
        .collect();
    let text = format!(
        "apiVersion: rackwright.dev/v1\nkind: Rack\nnodes:\n{nodes}kubernetes:\n  metallb:\n    version: {version}\n{lines}"
    );
    crate::rack::parse("rack.yaml", &text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}")).0
}

/// A host with these links, each with an address and its prefix.
pub(super) fn network(links: &[(&str, &str)]) -> Network {
    let link = |(at, (name, net)): (usize, &(&str, &str))| Link {
        index: 2 + at as u32,
        ..fixtures::link(name, None, &[*net])
    };
    let links = links.iter().enumerate().map(link).collect();
    Network { links, routes: Vec::new(), neighbours: Vec::new(), arp_all: LinkArp::default() }
}

/// What these hosts told.
pub(super) fn scene<'a>(hosts: &'a [(&'a str, Network)], version: &str) -> Scene<'a> {
    let node = |(name, network): &'a (&'a str, Network)| NodeInput {
        name: (*name).to_owned(),
        address: None,
        interface: Wanted::Auto,
        network,
    };
    Scene {
        nodes: hosts.iter().map(node).collect(),
        pools: Vec::new(),
        reserved: Vec::new(),
        speaker: Speaker::of_version(version),
        wanted: std::collections::BTreeMap::new(),
        served: None,
        patience: Patience::Rfc5227,
    }
}

/// A node of the cluster.
pub(super) fn node(name: &str, labels: &[&str]) -> Node {
    let mut all = serde_json::Map::from_iter([("kubernetes.io/hostname".to_owned(), name.into())]);
    all.extend(labels.iter().map(|label| ((*label).to_owned(), "".into())));
    serde_json::from_value(json!({"metadata": {"name": name, "labels": all}})).unwrap()
}

/// A pool or advertisement that somebody set.
pub(super) fn set_by(manager: &str, kind: &str, name: &str, spec: Value) -> Value {
    let fields: serde_json::Map<_, _> =
        spec.as_object().unwrap().keys().map(|field| (format!("f:{field}"), json!({}))).collect();
    json!({
        "apiVersion": "metallb.io/v1beta1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "metallb-system", "managedFields": [
            {"manager": manager, "operation": "Apply", "fieldsV1": {"f:spec": fields}},
        ]},
        "spec": spec,
    })
}

/// A Service of type LoadBalancer in `default`, with these fields beside.
pub(super) fn service(name: &str, annotations: Value, spec: Value, given: &[&str]) -> Service {
    let ingress: Vec<Value> = given.iter().map(|ip| json!({"ip": ip})).collect();
    let mut all = json!({"type": "LoadBalancer", "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "ports": [{"port": 80}]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default", "annotations": annotations},
        "spec": all,
        "status": {"loadBalancer": {"ingress": ingress}},
    }))
    .unwrap()
}

/// A cluster with MetalLB of a version, whose speakers are ready on all nodes.
pub(super) fn facts(
    version: &str,
    nodes: Vec<Node>,
    pools: Vec<Value>,
    advertisements: Vec<Value>,
) -> ClusterFacts {
    let workload = |component: &str| {
        json!({
            "metadata": {"name": component, "labels": {"component": component}, "managedFields": [
                {"manager": "rackwright", "operation": "Apply"},
            ]},
            "spec": {"selector": {}, "template": {"spec": {"containers": [
                {"name": component, "image": format!("quay.io/metallb/{component}:v{version}")},
            ]}}},
            "status": {"readyReplicas": 1, "currentNumberScheduled": 1, "desiredNumberScheduled": 1, "numberMisscheduled": 0, "numberReady": 1},
        })
    };
    let speaker = |node: &Node| {
        let name = node.metadata.name.clone().unwrap();
        serde_json::from_value(json!({
            "metadata": {"name": format!("speaker-{name}"), "labels": {"component": "speaker"}},
            "spec": {"nodeName": name, "containers": []},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .unwrap()
    };
    let mut facts = ClusterFacts::default();
    facts.balancer.deployments = vec![serde_json::from_value(workload("controller")).unwrap()];
    facts.balancer.daemon_sets = vec![serde_json::from_value(workload("speaker")).unwrap()];
    facts.balancer.pods = nodes.iter().map(speaker).collect();
    facts.balancer.pools = Some(pools);
    facts.balancer.advertisements = Some(advertisements);
    facts.nodes = nodes;
    facts
}

/// Endpoints of a Service on these nodes.
pub(super) fn endpoints(
    service: &str,
    on: &[(&str, bool)],
) -> k8s_openapi::api::discovery::v1::EndpointSlice {
    let endpoint = |(node, ready): &(&str, bool)| {
        json!({"addresses": ["10.244.0.9"], "nodeName": node, "conditions": {"ready": ready, "serving": ready},
               "targetRef": {"kind": "Pod", "name": format!("{service}-on-{node}")}})
    };
    serde_json::from_value(json!({
        "addressType": "IPv4",
        "metadata": {"name": service, "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
        "endpoints": on.iter().map(endpoint).collect::<Vec<_>>(),
    }))
    .unwrap()
}

/// A warning about a Service.
pub(super) fn event(service: &str, reason: &str, message: &str) -> k8s_openapi::api::core::v1::Event {
    serde_json::from_value(json!({
        "metadata": {"name": service, "namespace": "default"},
        "involvedObject": {"kind": "Service", "name": service, "namespace": "default"},
        "type": "Warning",
        "reason": reason,
        "message": message,
    }))
    .unwrap()
}

/// Findings for golden files.
pub(super) fn shown(findings: &[Finding]) -> String {
    let one = |f: &Finding| {
        let grade = match f.severity {
            Severity::Pass => "pass",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        format!(
            "{grade} {} {}\n  checked:  {}\n  observed: {}\n  expected: {}\n  fix:      {}\n",
            f.name, f.subject, f.checked, f.observed, f.expected, f.fix
        )
    };
    findings.iter().map(one).collect()
}

/// A reason for golden files.
pub(super) fn told(reason: &Reason) -> String {
    format!("{}\n  {}\n  seen: {}\n  fix:  {}\n", reason.name, reason.words, reason.evidence, reason.fix)
}
