//! Sidecars that are there, and pods that are not as they would be made today.

use k8s_openapi::api::core::v1::{Container, Pod};
use rackwright_proto::cluster::WorkloadKind;
use serde_json::Value;

use super::facts::{InjectionFacts, Workload};
use super::hooks::Injectors;
use super::wins::{self, Labels, Namespace, REVISION, Verdict};
use crate::rack::words::Version;

/// The name of the sidecar's container.
pub const PROXY: &str = "istio-proxy";
/// The annotation by which the injector tells what it did.
const STATUS: &str = "sidecar.istio.io/status";

/// A sidecar that was injected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sidecar {
    /// Of which revision, where that can be told.
    pub revision: Option<String>,
    /// The tag of its image: `1.29.1`.
    pub tag: Option<String>,
}

/// A pod that is not as it would be made today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// Its name.
    pub pod: String,
    /// Its `metadata.uid`.
    pub uid: String,
    /// The workload that makes its like.
    pub workload: Option<(WorkloadKind, String)>,
    /// What is wrong with it: `without a sidecar`.
    pub words: String,
}

/// What pods of a namespace would be made like today.
pub struct Today<'a> {
    /// The namespace, with the labels that it shall have.
    pub namespace: Namespace<'a>,
    /// Who injects, and who is about to.
    pub injectors: &'a Injectors,
    /// The version of Istio that shall be there, and the revision that shall be of it.
    pub version: Option<(&'a str, &'a Version)>,
    /// The labels that the pods of a workload shall have, where they differ from those of its template.
    pub labels: &'a dyn Fn(&Workload<'_>) -> Labels,
}

/// The container of a pod that has the proxy, whichever way it came there; it may be among the init containers.
pub fn proxy(pod: &Pod) -> Option<&Container> {
    let spec = pod.spec.as_ref()?;
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    { all }.find(|container| container.name == PROXY)
}

/// The sidecar that was injected into a pod.
pub fn sidecar(pod: &Pod) -> Option<Sidecar> {
    let annotations = pod.metadata.annotations.as_ref()?;
    let status: Value = serde_json::from_str(annotations.get(STATUS)?).unwrap_or_default();
    let revision = status["revision"].as_str().map(str::to_owned);
    let image = proxy(pod).and_then(|container| container.image.as_deref()).unwrap_or_default();
    let name = image.split('@').next().unwrap_or_default();
    let tag = name.rsplit('/').next().and_then(|name| name.split_once(':')).map(|(_, tag)| tag.to_owned());
    Some(Sidecar { revision: revision.or_else(|| annotations.get(REVISION).cloned()), tag })
}

/// The pods of a namespace that are not as they would be made today.
pub fn stale(facts: &InjectionFacts, today: &Today<'_>) -> Vec<Stale> {
    let workloads = facts.workloads();
    let here =
        facts.pods.iter().filter(|pod| pod.metadata.namespace.as_deref() == Some(today.namespace.name));
    let mut found: Vec<Stale> = here
        .filter(|pod| lives(pod))
        .filter_map(|pod| {
            let owner = owner(pod).and_then(|(kind, name)| {
                let is = |w: &&Workload<'_>| {
                    (w.kind, w.namespace(), w.name()) == (kind, today.namespace.name, name.as_str())
                };
                workloads.iter().find(is)
            });
            let verdict = today.of(pod, owner);
            let words = differs(&verdict, sidecar(pod).as_ref(), today.version)?;
            Some(Stale {
                pod: pod.metadata.name.clone().unwrap_or_default(),
                uid: pod.metadata.uid.clone().unwrap_or_default(),
                workload: owner.map(|w| (w.kind, w.name().to_owned())),
                words,
            })
        })
        .collect();
    found.sort_by(|a, b| a.pod.cmp(&b.pod));
    found
}

impl Today<'_> {
    /// What a pod would get: by the template of its workload, or as it is.
    fn of(&self, pod: &Pod, owner: Option<&Workload<'_>>) -> Verdict {
        let template = owner.and_then(|workload| workload.template);
        let (metadata, spec) = match template {
            Some(template) => (template.metadata.as_ref(), template.spec.as_ref()),
            None => (Some(&pod.metadata), pod.spec.as_ref()),
        };
        let labels = match owner {
            Some(workload) => (self.labels)(workload),
            None => metadata.and_then(|m| m.labels.clone()).unwrap_or_default(),
        };
        let annotations = metadata.and_then(|m| m.annotations.clone()).unwrap_or_default();
        let host_network = spec.is_some_and(|spec| spec.host_network == Some(true));
        let pod = wins::Pod { labels: &labels, annotations: &annotations, host_network };
        wins::decide(self.namespace, pod, self.injectors)
    }
}

/// Whether a pod neither ended nor is about to.
fn lives(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed"))
}

/// The workload that a pod is of, as its owners tell.
fn owner(pod: &Pod) -> Option<(WorkloadKind, String)> {
    let owner = pod.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true))?;
    match owner.kind.as_str() {
        "DaemonSet" => Some((WorkloadKind::DaemonSet, owner.name.clone())),
        "StatefulSet" => Some((WorkloadKind::StatefulSet, owner.name.clone())),
        "ReplicaSet" => {
            let hash = pod.metadata.labels.as_ref()?.get("pod-template-hash")?;
            let name = owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
            Some((WorkloadKind::Deployment, name.to_owned()))
        }
        _ => None,
    }
}

fn differs(
    verdict: &Verdict,
    sidecar: Option<&Sidecar>,
    version: Option<(&str, &Version)>,
) -> Option<String> {
    match (verdict, sidecar) {
        (Verdict::Not { .. }, None) => None,
        (Verdict::Not { .. }, Some(_)) => Some("with a sidecar that it would not get today".into()),
        (Verdict::Injected { .. }, None) => Some("without a sidecar".into()),
        (Verdict::Injected { revision, .. }, Some(there)) => {
            if let Some(other) = there.revision.as_ref().filter(|other| *other != revision) {
                return Some(format!("with a sidecar of revision {other}, not {revision}"));
            }
            let (_, wanted) = version.filter(|(of, _)| of == revision)?;
            let tag = there.tag.as_deref()?;
            is_older(tag, wanted).then(|| format!("with a sidecar of version {tag}, older than {wanted}"))
        }
    }
}

/// Whether a tag such as `1.28.3-distroless` is of an older version. Other tags tell nothing.
fn is_older(tag: &str, wanted: &Version) -> bool {
    let number = tag.split('-').next().unwrap_or_default();
    let Ok(there) = number.parse::<Version>() else { return false };
    let key = |v: &Version| (v.major, v.minor, v.patch.unwrap_or(0));
    there.patch.is_some() && key(&there) < key(wanted)
}
