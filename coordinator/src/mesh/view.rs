//! What is installed, read from the cluster's objects.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, Service};
use serde_json::Value;

use super::profile::Expected;
use super::release::Release;

/// The objects that tell of Istio, as the API gave them.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// Deployments of all namespaces that have one of the labels `app=istiod`, `operator.istio.io/component`,
    /// `istio.io/rev`, or are named `istio-operator` or so; more do no harm.
    pub deployments: Vec<Deployment>,
    /// DaemonSets of all namespaces; only `istio-cni-node` and `ztunnel` are looked at.
    pub daemon_sets: Vec<DaemonSet>,
    /// Services of the namespaces of those.
    pub services: Vec<Service>,
    /// All MutatingWebhookConfigurations.
    pub mutating: Vec<MutatingWebhookConfiguration>,
    /// All ValidatingWebhookConfigurations.
    pub validating: Vec<ValidatingWebhookConfiguration>,
    /// All objects of kind IstioOperator; `None` where the API knows no such kind.
    pub operators: Option<Vec<Value>>,
    /// Secrets of type `helm.sh/release.v1` with their metadata only: never their data.
    pub releases: Vec<Secret>,
    /// All namespaces.
    pub namespaces: Vec<Namespace>,
    /// Pods with the label `service.istio.io/canonical-name` or `security.istio.io/tlsMode`: those with a proxy.
    pub pods: Vec<Pod>,
}

/// What is installed of Istio.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// Control planes, by namespace and revision.
    pub planes: Vec<Plane>,
    /// In-cluster operators: `NAMESPACE/NAME` of their Deployments.
    pub operators: Vec<String>,
    /// IstioOperator objects.
    pub records: Vec<Record>,
    /// What `istio-injection: enabled` and names of revisions other than their own lead to.
    pub tags: Vec<Tag>,
    /// Helm's releases of Istio's charts.
    pub releases: Vec<HelmRelease>,
    /// Proxies beside workloads and in gateways, by version and revision.
    pub proxies: Vec<Proxies>,
}

/// A control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plane {
    /// Its namespace.
    pub namespace: String,
    /// The name of its Deployment.
    pub name: String,
    /// Its revision; `default` where it has none of its own.
    pub revision: String,
    /// Its version, where that can be told.
    pub release: Option<Release>,
    /// Who installed it.
    pub owner: Owner,
}

/// Who looks after a control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// `istioctl install`.
    Istioctl,
    /// The in-cluster operator.
    Operator,
    /// Helm's release of this name.
    Helm(String),
    /// It cannot be told: manifests applied by hand, another operator.
    Unknown(String),
}

/// An IstioOperator object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `spec.revision`; `default` where there is none.
    pub revision: String,
    /// Whether it is only the record of an `istioctl install`, which the operator leaves alone.
    pub is_record: bool,
    /// Whether it has a `profile` outside of `spec`, where nobody looks.
    pub stray_profile: bool,
}

/// A name of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The name: `default` for what `istio-injection: enabled` means.
    pub name: String,
    /// The revision that it leads to.
    pub revision: String,
    /// The webhook that says so.
    pub webhook: String,
}

/// Helm's release of one of Istio's charts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelmRelease {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Proxies of one version and revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxies {
    /// The revision that they were injected by; `default` where none is named.
    pub revision: String,
    /// Their version.
    pub release: Release,
    /// Some of them, `NAMESPACE/POD`.
    pub some: Vec<String>,
    /// How many there are.
    pub count: usize,
}

/// How an expected object stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is there, and ready if it is a workload.
    Ready,
    /// It is there, but not ready; in words.
    NotReady(String),
    /// It is not there.
    Absent,
}

impl View {
    /// What the objects tell.
    pub fn of(objects: &Objects) -> Self {
        let _ = objects;
        Self::default()
    }

    /// The control plane of a revision (`default` for the one without).
    pub fn plane(&self, revision: &str) -> Option<&Plane> {
        self.planes.iter().find(|plane| plane.revision == revision)
    }
}

/// How an expected object stands.
pub fn standing(expected: &Expected, objects: &Objects) -> Standing {
    let _ = (expected, objects);
    Standing::Absent
}
