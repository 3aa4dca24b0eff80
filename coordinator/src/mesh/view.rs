//! What is installed, read from the cluster's objects.

mod proxies;
#[cfg(test)]
mod tests;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rackwright_proto::cluster::workload::WorkloadSeen;
use serde_json::Value;

use super::profile::{Expected, Kind};
use super::release::Release;
use crate::cluster::look;

/// The label by which everything of a revision is known.
pub(super) const REV: &str = "istio.io/rev";
/// The revision that has no name of its own.
pub const DEFAULT: &str = "default";
const HELM_RELEASE: &str = "meta.helm.sh/release-name";

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
    /// Pods with the label `service.istio.io/canonical-name`: those with a proxy. Their proxies' versions are known only
    /// of whole pods, not of their metadata alone: no label and no annotation of Istio's tells them.
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
///
/// The owner is told by what installers leave: Helm annotates its objects, istioctl and the operator label theirs
/// `operator.istio.io/managed`, and the operator's name the IstioOperator that they came of.
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
    /// Whether it has a `profile` outside of `spec`, where nobody reads it. It is seen only until the operator comes by:
    /// that of 1.23.2 writes the object back without it, as `spec: {profile: default}`.
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
    /// Their version, where that can be told.
    pub release: Option<Release>,
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
        let records: Vec<Record> = objects.operators.iter().flatten().map(Record::of).collect();
        let mut planes: Vec<Plane> =
            objects.deployments.iter().filter(|d| is_istiod(d)).map(|d| Plane::of(d, &records)).collect();
        planes.sort_by(|a, b| (&a.namespace, &a.revision).cmp(&(&b.namespace, &b.revision)));
        Self {
            planes,
            operators: objects
                .deployments
                .iter()
                .filter(|d| is_operator(d))
                .map(|d| path(&d.metadata))
                .collect(),
            records,
            tags: objects.mutating.iter().filter_map(Tag::of).collect(),
            releases: releases(objects),
            proxies: proxies::of(&objects.pods),
        }
    }

    /// The control plane of a revision (`default` for the one without).
    pub fn plane(&self, revision: &str) -> Option<&Plane> {
        self.planes.iter().find(|plane| plane.revision == revision)
    }

    /// Whether a name leads to a control plane that is there: its own revision, or a tag's.
    pub fn leads(&self, name: &str) -> bool {
        let tagged = self.tags.iter().find(|tag| tag.name == name).map(|tag| tag.revision.as_str());
        self.plane(tagged.unwrap_or(name)).is_some()
    }
}

fn text(of: &Option<String>) -> String {
    of.clone().unwrap_or_default()
}

/// `NAMESPACE/NAME`.
fn path(metadata: &ObjectMeta) -> String {
    format!("{}/{}", text(&metadata.namespace), text(&metadata.name))
}

pub(super) fn label<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

pub(super) fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

fn is_istiod(deployment: &Deployment) -> bool {
    let named = deployment
        .metadata
        .name
        .as_deref()
        .is_some_and(|name| name == "istiod" || name.starts_with("istiod-"));
    named
        && (label(&deployment.metadata, "app") == Some("istiod")
            || label(&deployment.metadata, REV).is_some())
}

/// The in-cluster operator, of whatever revision.
fn is_operator(deployment: &Deployment) -> bool {
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    let labelled = template.is_some_and(|metadata| label(metadata, "name") == Some("istio-operator"));
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    labelled || name == "istio-operator" || name.starts_with("istio-operator-")
}

impl Plane {
    fn of(deployment: &Deployment, records: &[Record]) -> Self {
        let metadata = &deployment.metadata;
        Self {
            namespace: text(&metadata.namespace),
            name: text(&metadata.name),
            revision: label(metadata, REV).unwrap_or(DEFAULT).to_owned(),
            release: release(deployment),
            owner: Owner::of(metadata, records),
        }
    }
}

/// What runs, by the image's tag; where that tells nothing, what the installer wrote down.
fn release(deployment: &Deployment) -> Option<Release> {
    let containers =
        deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).map(|pod| &pod.containers);
    let discovery = containers.into_iter().flatten().find(|container| container.name == "discovery");
    let running = discovery.and_then(|container| of_image(container.image.as_deref()?));
    let written = ["operator.istio.io/version", "app.kubernetes.io/version"];
    running.or_else(|| written.iter().find_map(|key| Release::parse(label(&deployment.metadata, key)?)))
}

/// The release of an image, by its tag.
pub(super) fn of_image(image: &str) -> Option<Release> {
    let (name, tag) = image.split('@').next()?.rsplit_once(':')?;
    // A colon before a slash is that of a port.
    (!tag.contains('/') && !name.is_empty()).then(|| Release::parse(tag)).flatten()
}

impl Owner {
    fn of(metadata: &ObjectMeta, records: &[Record]) -> Self {
        if let Some(release) = annotation(metadata, HELM_RELEASE) {
            return Self::Helm(release.to_owned());
        }
        let from = label(metadata, "install.operator.istio.io/owning-resource");
        let of_object = |record: &&Record| !record.is_record && Some(record.name.as_str()) == from;
        if records.iter().any(|record| of_object(&record)) {
            return Self::Operator;
        }
        match label(metadata, "operator.istio.io/managed") {
            Some(_) => Self::Istioctl,
            None => Self::Unknown(
                label(metadata, "app.kubernetes.io/managed-by").unwrap_or("nobody's label").to_owned(),
            ),
        }
    }

    /// In words, for a sentence that says who installed it.
    pub fn words(&self) -> String {
        match self {
            Self::Istioctl => "istioctl".into(),
            Self::Operator => "the in-cluster operator".into(),
            Self::Helm(release) => format!("Helm (release {release})"),
            Self::Unknown(who) => format!("somebody else ({who})"),
        }
    }
}

impl Record {
    fn of(object: &Value) -> Self {
        let at = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let name = at("/metadata/name");
        let ignored = at("/metadata/annotations/install.istio.io~1ignoreReconcile") == "true";
        let revision = at("/spec/revision");
        Self {
            namespace: at("/metadata/namespace").to_owned(),
            name: name.to_owned(),
            revision: if revision.is_empty() { DEFAULT } else { revision }.to_owned(),
            is_record: ignored || name.starts_with("installed-state"),
            stray_profile: object.get("profile").is_some(),
        }
    }
}

impl Tag {
    fn of(webhook: &MutatingWebhookConfiguration) -> Option<Self> {
        let name = label(&webhook.metadata, "istio.io/tag")?.to_owned();
        let revision = label(&webhook.metadata, REV).unwrap_or(DEFAULT).to_owned();
        Some(Self { name, revision, webhook: text(&webhook.metadata.name) })
    }
}

/// Releases that own what is there, and those by the names of Istio's own guides.
fn releases(objects: &Objects) -> Vec<HelmRelease> {
    let workloads = objects
        .deployments
        .iter()
        .map(|d| &d.metadata)
        .chain(objects.daemon_sets.iter().map(|d| &d.metadata));
    let istios = workloads.filter(|m| is_istios(m)).filter_map(|metadata| {
        let namespace = annotation(metadata, "meta.helm.sh/release-namespace")?.to_owned();
        Some(HelmRelease { namespace, name: annotation(metadata, HELM_RELEASE)?.to_owned() })
    });
    let stored = objects.releases.iter().filter_map(|secret| {
        let (name, _) =
            secret.metadata.name.as_deref()?.strip_prefix("sh.helm.release.v1.")?.rsplit_once(".v")?;
        let usual =
            ["istio-base", "istiod", "istio-cni", "ztunnel"].contains(&name) || name.starts_with("istiod-");
        usual.then(|| HelmRelease { namespace: text(&secret.metadata.namespace), name: name.to_owned() })
    });
    let mut all: Vec<HelmRelease> = istios.chain(stored).collect();
    all.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    all.dedup();
    all
}

fn is_istios(metadata: &ObjectMeta) -> bool {
    let name = metadata.name.as_deref().unwrap_or_default();
    name.starts_with("istio") || name == "ztunnel" || label(metadata, REV).is_some()
}

/// How an expected object stands.
pub fn standing(expected: &Expected, objects: &Objects) -> Standing {
    let is = |metadata: &ObjectMeta| {
        metadata.name.as_deref() == Some(expected.name.as_str()) && metadata.namespace == expected.namespace
    };
    let there = |found: bool| if found { Standing::Ready } else { Standing::Absent };
    match expected.kind {
        Kind::Deployment => match objects.deployments.iter().find(|d| is(&d.metadata)) {
            Some(found) => rolled_out(&look::deployment(Some(found))),
            None => Standing::Absent,
        },
        Kind::DaemonSet => match objects.daemon_sets.iter().find(|d| is(&d.metadata)) {
            Some(found) => rolled_out(&look::daemon_set(Some(found))),
            None => Standing::Absent,
        },
        Kind::Service => there(objects.services.iter().any(|s| is(&s.metadata))),
        Kind::Mutating => there(objects.mutating.iter().any(|w| is(&w.metadata))),
        Kind::Validating => there(objects.validating.iter().any(|w| is(&w.metadata))),
    }
}

fn rolled_out(seen: &WorkloadSeen) -> Standing {
    match seen.is_rolled_out() {
        true => Standing::Ready,
        false if seen.ready < seen.desired => {
            Standing::NotReady(format!("{} of {} pods ready", seen.ready, seen.desired))
        }
        false => Standing::NotReady("pods of a former version still run".into()),
    }
}
