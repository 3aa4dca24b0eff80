//! What was observed of a cluster at one time: the API's own objects, as few as are needed. Values only.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use rackwright_proto::cluster::ClusterLedger;
use serde_json::Value;

use crate::injection::facts::InjectionFacts;
use crate::mesh::Objects;

/// A cluster.
#[derive(Debug, Clone, Default)]
pub struct ClusterFacts {
    /// `metadata.uid` of the namespace `kube-system`: who the cluster is.
    pub uid: String,
    /// `gitVersion` of the API server: `v1.37.2`.
    pub version: String,
    /// All nodes.
    pub nodes: Vec<Node>,
    /// kube-proxy.
    pub proxy: ProxyFacts,
    /// CoreDNS.
    pub dns: DnsFacts,
    /// MetalLB.
    pub balancer: BalancerFacts,
    /// Istio.
    pub mesh: MeshFacts,
    /// All Services of type LoadBalancer, and those that the rack names.
    pub services: Vec<Service>,
    /// Endpoints of the Services that the rack names.
    pub endpoints: Vec<EndpointSlice>,
    /// Events about the Services that the rack names.
    pub events: Vec<Event>,
    /// All DaemonSets of `kube-system`: who else may do kube-proxy's work.
    pub daemon_sets: Vec<DaemonSet>,
    /// ConfigMap `kube-system/cilium-config`.
    pub cilium: Option<ConfigMap>,
    /// Whose pods get a sidecar of Istio; empty where neither the rack nor the receipts say anything of it.
    pub injection: InjectionFacts,
    /// What we did here before.
    pub ledger: ClusterLedger,
}

/// kube-proxy as kubeadm installs it.
#[derive(Debug, Clone, Default)]
pub struct ProxyFacts {
    /// ConfigMap `kube-system/kube-proxy`.
    pub config: Option<ConfigMap>,
    /// DaemonSet `kube-system/kube-proxy`.
    pub daemon_set: Option<DaemonSet>,
    /// Its pods, and those of others that bear its label.
    pub pods: Vec<Pod>,
}

/// CoreDNS as kubeadm installs it.
#[derive(Debug, Clone, Default)]
pub struct DnsFacts {
    /// ConfigMap `kube-system/coredns`.
    pub config: Option<ConfigMap>,
    /// Deployment `kube-system/coredns`.
    pub deployment: Option<Deployment>,
    /// Service `kube-system/kube-dns`.
    pub service: Option<Service>,
    /// Pods with `k8s-app=kube-dns`.
    pub pods: Vec<Pod>,
    /// Endpoints of the Service.
    pub endpoints: Vec<EndpointSlice>,
}

/// MetalLB in the namespace that the rack says.
#[derive(Debug, Clone, Default)]
pub struct BalancerFacts {
    /// The namespace itself.
    pub namespace: Option<Namespace>,
    /// Deployments in it with `app=metallb` or `app.kubernetes.io/name=metallb`.
    pub deployments: Vec<Deployment>,
    /// DaemonSets in it of the same labels.
    pub daemon_sets: Vec<DaemonSet>,
    /// Pods in it.
    pub pods: Vec<Pod>,
    /// All `IPAddressPool`s in it; `None` where the API knows no such kind.
    pub pools: Option<Vec<Value>>,
    /// All `L2Advertisement`s in it.
    pub advertisements: Option<Vec<Value>>,
    /// All `ServiceL2Status`es in it (from MetalLB 0.14.9).
    pub announced: Option<Vec<Value>>,
    /// All `ConfigurationState`s in it (from MetalLB 0.15.3).
    pub states: Option<Vec<Value>>,
    /// `ValidatingWebhookConfiguration/metallb-webhook-configuration`.
    pub webhook: Option<ValidatingWebhookConfiguration>,
    /// Live objects of the manifest that the rack wants, by step key; absent ones are not in it.
    pub live: BTreeMap<String, Value>,
}

/// Istio, where the rack wants it or we once installed it; else nothing was asked.
#[derive(Debug, Clone, Default)]
pub struct MeshFacts {
    /// What tells of its control planes, their owners and their users.
    pub objects: Objects,
    /// ConfigMaps of its namespaces that bear a revision.
    pub configs: Vec<ConfigMap>,
    /// Secrets of its namespaces, by namespace and name; nobody asked what they hold.
    pub secrets: Vec<(String, String)>,
    /// Whether the API knows Istio's kinds.
    pub kinds: bool,
    /// Objects of Istio's kinds, some of them, in words: `VirtualService shop/web`. Asked only where they would go with
    /// what we remove.
    pub customs: Vec<String>,
}
