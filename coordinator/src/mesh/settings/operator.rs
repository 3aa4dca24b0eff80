//! The IstioOperator (`install.istio.io/v1alpha1`), with every field that istioctl knows down to `components` and `k8s`.
//!
//! Source: Istio's `operator/pkg/apis/types.go` at 1.29.1, and `operator/v1alpha1/operator.proto` of its API at 1.17
//! and 1.23. What Kubernetes itself defines inside of `k8s`, `meshConfig` and `values` is passed on as it is.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A mapping that is passed on as it is.
pub type Free = Map<String, Value>;

/// An IstioOperator: what to install beside a profile's own choice.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IstioOperator {
    /// The version of the format.
    pub api_version: ApiVersion,
    /// The kind of file.
    pub kind: Kind,
    /// Its name and namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// What is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Spec>,
}

/// The version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ApiVersion {
    /// The only one there is.
    #[serde(rename = "install.istio.io/v1alpha1")]
    V1Alpha1,
}

/// The kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Kind {
    /// An IstioOperator.
    IstioOperator,
}

/// Name and namespace of an object.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Metadata {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Spec {
    /// The profile to start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Charts and profiles from a folder instead of those inside of istioctl.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub install_package_path: Option<String>,
    /// Where images come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The tag of all images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The namespace of the control plane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// An older minor version whose defaults shall hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compatibility_version: Option<String>,
    /// The mesh's own configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh_config: Option<Free>,
    /// The parts of Istio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub components: Option<Components>,
    /// Values of Istio's charts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Free>,
    /// Values that istioctl does not look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unvalidated_values: Option<Free>,
}

/// The parts of Istio.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Components {
    /// What is shared by all revisions: kinds of objects, accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// The control plane, istiod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pilot: Option<Component>,
    /// The CNI plugin that redirects traffic instead of init containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cni: Option<Component>,
    /// The node's proxy of ambient mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ztunnel: Option<Component>,
    /// A control plane that runs in another cluster; until 1.23.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub istiod_remote: Option<Component>,
    /// Gateways for traffic that comes in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_gateways: Option<Vec<Gateway>>,
    /// Gateways for traffic that goes out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_gateways: Option<Vec<Gateway>>,
}

/// What is shared by all revisions.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Base {
    /// Whether it is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// How its objects differ from those of the chart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s: Option<K8s>,
}

/// A part of Istio.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Component {
    /// Whether it is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Where its images come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The tag of its images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// How its objects differ from those of the chart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s: Option<K8s>,
}

/// A gateway.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Gateway {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its labels, by which objects of kind Gateway select it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub label: BTreeMap<String, String>,
    /// Where its images come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The tag of its images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// How its objects differ from those of the chart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s: Option<K8s>,
}

/// How a part's objects differ from those of the chart.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct K8s {
    /// Where its pods are scheduled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Free>,
    /// Environment variables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<EnvVar>>,
    /// Its autoscaler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hpa_spec: Option<HpaSpec>,
    /// When images are fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Labels of nodes that its pods run on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// How many of its pods may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_disruption_budget: Option<Free>,
    /// Annotations of its pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_annotations: Option<BTreeMap<String, String>>,
    /// The priority class of its pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// How it is found ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Free>,
    /// How many pods it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_count: Option<u32>,
    /// What its pods ask for and may have at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Its Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceSpec>,
    /// How its pods are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Free>,
    /// Taints of nodes that its pods tolerate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerations: Option<Vec<Free>>,
    /// Annotations of its Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_annotations: Option<BTreeMap<String, String>>,
    /// The rights of its pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<Free>,
    /// Volumes of its pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Vec<Free>>,
    /// Where its containers see them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_mounts: Option<Vec<Free>>,
    /// Changes to single objects, once the chart made them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlays: Option<Vec<Overlay>>,
}

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where its value comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<Free>,
}

/// An autoscaler.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HpaSpec {
    /// What it scales.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_target_ref: Option<Free>,
    /// The fewest pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<u32>,
    /// The most pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_replicas: Option<u32>,
    /// What it looks at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<Free>>,
    /// How fast it scales.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behavior: Option<Free>,
}

/// When images are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "Kubernetes' own words")]
pub enum ImagePullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// What pods ask for and may have at most.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// What they may have at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<BTreeMap<String, String>>,
    /// What they ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<BTreeMap<String, String>>,
    /// Claims of devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<Vec<Free>>,
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[allow(missing_docs, reason = "Kubernetes' own fields, as core/v1 ServiceSpec has them")]
pub struct ServiceSpec {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ServiceType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<ServicePort>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<BTreeMap<String, String>>,
    #[serde(rename = "clusterIP", skip_serializing_if = "Option::is_none")]
    pub cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs", skip_serializing_if = "Option::is_none")]
    pub cluster_ips: Option<Vec<String>>,
    #[serde(rename = "externalIPs", skip_serializing_if = "Option::is_none")]
    pub external_ips: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_affinity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_affinity_config: Option<Free>,
    #[serde(rename = "loadBalancerIP", skip_serializing_if = "Option::is_none")]
    pub load_balancer_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer_class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer_source_ranges: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocate_load_balancer_node_ports: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<TrafficPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal_traffic_policy: Option<TrafficPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_distribution: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_node_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish_not_ready_addresses: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_families: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_family_policy: Option<String>,
}

/// Types of Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "Kubernetes' own words")]
pub enum ServiceType {
    ClusterIP,
    NodePort,
    LoadBalancer,
    ExternalName,
}

/// Where a Service's traffic may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "Kubernetes' own words")]
pub enum TrafficPolicy {
    Cluster,
    Local,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "Kubernetes' own fields, as core/v1 ServicePort has them")]
pub struct ServicePort {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[schemars(range(min = 1))]
    pub port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// A number, or the name of a container's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<NumberOrName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

/// A number or a name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum NumberOrName {
    /// A number.
    Number(u16),
    /// A name.
    Name(String),
}

/// A change to one object, once the chart made it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Overlay {
    /// The object's API version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// The object's kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The object's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is changed in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<Patch>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Patch {
    /// Where: `spec.template.spec.containers.[name:discovery].args`.
    pub path: String,
    /// What shall stand there; nothing deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

impl IstioOperator {
    /// One without any wish.
    pub fn bare() -> Self {
        Self { api_version: ApiVersion::V1Alpha1, kind: Kind::IstioOperator, metadata: None, spec: None }
    }

    /// What is wanted; nothing where there is no `spec`.
    pub fn wishes(&self) -> std::borrow::Cow<'_, Spec> {
        self.spec
            .as_ref()
            .map_or_else(|| std::borrow::Cow::Owned(Spec::default()), std::borrow::Cow::Borrowed)
    }

    /// A value of `spec.values`, by JSON pointer.
    pub fn value(&self, pointer: &str) -> Option<&Value> {
        let (first, rest) =
            pointer.strip_prefix('/')?.split_once('/').map_or((&pointer[1..], ""), |(a, b)| (a, b));
        let value = self.spec.as_ref()?.values.as_ref()?.get(first)?;
        if rest.is_empty() { Some(value) } else { value.pointer(&format!("/{rest}")) }
    }
}
