//! CoreDNS: its upstreams in the Corefile, and its pods anew when it changed.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, PodSpec};
use rackwright_proto::cluster::workload::Stamp;
use rackwright_proto::cluster::{ClusterStep, Family, TextStep, WorkloadKind, WorkloadStep};
use rackwright_proto::facts::ResolvConf;
use rackwright_proto::finding::Finding;

use super::{Scene, WantedStep, edited, labels, node_name};
use crate::cluster::{digest, look};
use crate::corefile::set_forward;
use crate::dns::{self, Policy, manager};
use crate::rack::model::kubernetes::Dns;

const ENTRY: &str = "Corefile";
const WHY: &str = "kubernetes.dns.forward";

fn wanted(scene: Scene<'_>) -> Option<&Dns> {
    scene.rack.kubernetes()?.dns.as_ref()
}

fn text(scene: Scene<'_>) -> Option<String> {
    look::text(scene.sight.facts.dns.config.as_ref(), ENTRY).text
}

pub(super) fn steps(scene: Scene<'_>) -> Vec<WantedStep> {
    let (Some(dns), Some(now)) = (wanted(scene).filter(|dns| !dns.forward.is_empty()), text(scene)) else {
        return Vec::new();
    };
    // What cannot be set is told by the gates.
    let Ok(want) = set_forward(&now, ".", &dns.forward) else { return Vec::new() };
    let stamped = look::deployment(scene.sight.facts.dns.deployment.as_ref()).stamp.is_some();
    let (stamp, changes) = (digest::stamp(&want), want != now);
    let (namespace, name) = ("kube-system".to_owned(), "coredns".to_owned());
    let text = TextStep { family: Family::Dns, namespace, name, entry: ENTRY.into(), want };
    let mut steps = vec![WantedStep { step: ClusterStep::Text(text), why: WHY.into() }];
    if changes || edited(scene, &steps[0].step) || stamped {
        steps.push(WantedStep { step: restart(stamp), why: WHY.into() });
    }
    steps
}

/// Every replica anew: one that only reloads keeps what it had when the new text is bad, and says so to nobody.
fn restart(stamp: String) -> ClusterStep {
    ClusterStep::Workload(WorkloadStep {
        family: Family::Dns,
        kind: WorkloadKind::Deployment,
        namespace: "kube-system".into(),
        name: "coredns".into(),
        stamp: Stamp::Is(stamp),
    })
}

pub(super) fn gates(scene: Scene<'_>) -> Vec<Finding> {
    let Some(corefile) = text(scene) else { return Vec::new() };
    let facts = &scene.sight.facts;
    let dns = wanted(scene);
    let metadata = facts.dns.config.as_ref().map(|c| c.metadata.clone()).unwrap_or_default();
    let nodes: Vec<dns::Node> = facts.nodes.iter().filter_map(|n| node(scene, n)).collect();
    dns::findings(&dns::Scene {
        corefile: &corefile,
        wanted: dns.map(|dns| dns.forward.as_slice()).unwrap_or_default(),
        allow_loop: dns.is_some_and(|dns| dns.allow_loop),
        service: &service(scene),
        pods: &pods(scene),
        policy: policy(facts.dns.deployment.as_ref().and_then(|d| d.spec.as_ref()?.template.spec.as_ref())),
        nodes: &nodes,
        manager: manager::recognise(
            metadata.name.as_deref().unwrap_or_default(),
            &labels(&metadata),
            &metadata.annotations.unwrap_or_default(),
        ),
    })
}

fn service(scene: Scene<'_>) -> Vec<IpAddr> {
    let spec = scene.sight.facts.dns.service.as_ref().and_then(|s| s.spec.as_ref());
    let addresses = spec.and_then(|s| s.cluster_ips.as_ref()).into_iter().flatten();
    addresses.filter_map(|ip| ip.parse().ok()).collect()
}

fn pods(scene: Scene<'_>) -> Vec<dns::Pod> {
    let pod = |pod: &k8s_openapi::api::core::v1::Pod| {
        let ips =
            pod.status.iter().flat_map(|s| s.pod_ips.iter().flatten()).filter_map(|ip| ip.ip.parse().ok());
        dns::Pod {
            name: pod.metadata.name.clone().unwrap_or_default(),
            node: pod.spec.as_ref().and_then(|s| s.node_name.as_ref()?.parse().ok()),
            addresses: ips.collect(),
        }
    };
    scene.sight.facts.dns.pods.iter().map(pod).collect()
}

fn policy(spec: Option<&PodSpec>) -> Policy {
    let own =
        |spec: &PodSpec| spec.dns_config.as_ref().and_then(|c| c.nameservers.clone()).unwrap_or_default();
    match spec.and_then(|s| s.dns_policy.as_deref()) {
        Some("None") => Policy::Own(spec.map(own).unwrap_or_default()),
        Some("ClusterFirst" | "ClusterFirstWithHostNet") => Policy::ClusterFirst,
        _ => Policy::Default,
    }
}

fn node(scene: Scene<'_>, node: &Node) -> Option<dns::Node> {
    let name = node_name(&node.metadata)?;
    let kubelet = scene.sight.traces.get(name.as_str()).and_then(|t| t.kubelet.clone());
    let unschedulable = node.spec.as_ref().is_some_and(|s| s.unschedulable == Some(true));
    let resolver = kubelet.as_ref().map(|k| ResolvConf {
        path: k.resolv_conf.clone(),
        nameservers: k.nameservers.clone(),
        search: Vec::new(),
    });
    let addresses = kubelet.iter().flat_map(|k| &k.cluster_dns).filter_map(|ip| ip.parse().ok());
    Some(dns::Node { schedulable: !unschedulable, resolver, cluster_dns: addresses.collect(), name })
}
