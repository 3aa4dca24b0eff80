//! What was observed of the namespaces that injection is about. Values only.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rackwright_proto::cluster::{
    ClusterLedger, LabelPlace, LabelsSeen, LabelsStep, WorkloadKind, WorkloadSeen, WorkloadStep,
};

use super::hooks::Injectors;
use super::wins::Labels;
use crate::cluster::look;
use crate::rack::model::kubernetes::Injection;

/// Whose pods get a sidecar, as the cluster has it.
#[derive(Debug, Clone, Default)]
pub struct InjectionFacts {
    /// All namespaces.
    pub namespaces: Vec<Namespace>,
    /// Deployments of the namespaces that injection is about.
    pub deployments: Vec<Deployment>,
    /// DaemonSets of them.
    pub daemon_sets: Vec<DaemonSet>,
    /// StatefulSets of them.
    pub stateful_sets: Vec<StatefulSet>,
    /// Pods of them.
    pub pods: Vec<Pod>,
    /// The webhooks of Istio's injectors.
    pub webhooks: Vec<MutatingWebhookConfiguration>,
    /// `config` of the ConfigMaps `istio-sidecar-injector`, by revision.
    pub settings: BTreeMap<String, String>,
    /// Whether Istio's CNI plugin is there, so that pods need no init container with rights.
    pub cni: bool,
}

/// The namespaces that injection is about: the rack's, and those where it was.
pub fn places(wanted: Option<&Injection>, ledger: &ClusterLedger) -> BTreeSet<String> {
    let mut places = BTreeSet::new();
    if let Some(wanted) = wanted {
        places.extend(wanted.namespaces.iter().chain(&wanted.off).map(ToString::to_string));
        places.extend(wanted.exclude.iter().map(|workload| workload.namespace.to_string()));
    }
    places.extend(ledger.entries.keys().filter_map(|key| match key.split('/').collect::<Vec<_>>()[..] {
        ["mesh", "labels", "Namespace", "-", name] => Some(name.to_owned()),
        ["mesh", "labels" | "rollout", _, namespace, _] => Some(namespace.to_owned()),
        _ => None,
    }));
    places
}

/// A workload, whatever its kind.
#[derive(Debug, Clone, Copy)]
pub struct Workload<'a> {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its metadata.
    pub metadata: &'a ObjectMeta,
    /// What its pods are made from.
    pub template: Option<&'a k8s_openapi::api::core::v1::PodTemplateSpec>,
    /// What keeps a change of the template from replacing its pods, if anything does.
    pub stands_still: Option<&'static str>,
}

impl Workload<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The labels of its pods.
    pub fn pod_labels(&self) -> Labels {
        let metadata = self.template.and_then(|template| template.metadata.as_ref());
        metadata.and_then(|metadata| metadata.labels.clone()).unwrap_or_default()
    }
}

impl InjectionFacts {
    /// All workloads.
    pub fn workloads(&self) -> Vec<Workload<'_>> {
        let deployments = self.deployments.iter().map(|one| {
            let paused = one.spec.as_ref().is_some_and(|spec| spec.paused == Some(true));
            Workload {
                kind: WorkloadKind::Deployment,
                metadata: &one.metadata,
                template: one.spec.as_ref().map(|spec| &spec.template),
                stands_still: paused.then_some("its rollout is paused"),
            }
        });
        let daemon_sets = self.daemon_sets.iter().map(|one| Workload {
            kind: WorkloadKind::DaemonSet,
            metadata: &one.metadata,
            template: one.spec.as_ref().map(|spec| &spec.template),
            stands_still: None,
        });
        let stateful_sets = self.stateful_sets.iter().map(|one| {
            let strategy = one.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
            let on_delete = strategy.and_then(|s| s.type_.as_deref()) == Some("OnDelete");
            let parted = strategy.and_then(|s| s.rolling_update.as_ref()?.partition).unwrap_or(0) > 0;
            Workload {
                kind: WorkloadKind::StatefulSet,
                metadata: &one.metadata,
                template: one.spec.as_ref().map(|spec| &spec.template),
                stands_still: match (on_delete, parted) {
                    (true, _) => Some("its update strategy is OnDelete"),
                    (false, true) => Some("its update strategy has a partition"),
                    (false, false) => None,
                },
            }
        });
        deployments.chain(daemon_sets).chain(stateful_sets).collect()
    }

    /// A workload by kind and name.
    pub fn workload(&self, kind: WorkloadKind, namespace: &str, name: &str) -> Option<Workload<'_>> {
        let is = |one: &Workload<'_>| (one.kind, one.namespace(), one.name()) == (kind, namespace, name);
        self.workloads().into_iter().find(is)
    }

    /// A namespace by name.
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.iter().find(|one| one.metadata.name.as_deref() == Some(name))
    }

    /// The injectors that there are.
    pub fn injectors(&self) -> Injectors {
        Injectors::read(&self.webhooks, &self.settings)
    }

    /// What there is of the labels that a step speaks of.
    pub fn labels(&self, step: &LabelsStep) -> LabelsSeen {
        let workload = || {
            let namespace = step.namespace.as_deref().unwrap_or_default();
            self.workload(kind(&step.kind)?, namespace, &step.name)
        };
        let (metadata, labels) = match step.place {
            LabelPlace::Object if step.kind == "Namespace" => {
                let metadata = self.namespace(&step.name).map(|one| &one.metadata);
                (metadata, metadata.and_then(|m| m.labels.clone()).unwrap_or_default())
            }
            LabelPlace::Object => {
                let metadata = workload().map(|one| one.metadata);
                (metadata, metadata.and_then(|m| m.labels.clone()).unwrap_or_default())
            }
            LabelPlace::PodTemplate => {
                let workload = workload();
                (workload.map(|one| one.metadata), workload.map(|one| one.pod_labels()).unwrap_or_default())
            }
        };
        LabelsSeen::of(step, metadata.and_then(|m| m.uid.as_deref()), &labels)
    }

    /// How far a workload is.
    pub fn seen(&self, step: &WorkloadStep) -> WorkloadSeen {
        let is = |metadata: &ObjectMeta| {
            metadata.name.as_deref() == Some(&step.name)
                && metadata.namespace.as_deref() == Some(&step.namespace)
        };
        match step.kind {
            WorkloadKind::Deployment => {
                look::deployment(self.deployments.iter().find(|one| is(&one.metadata)))
            }
            WorkloadKind::DaemonSet => {
                look::daemon_set(self.daemon_sets.iter().find(|one| is(&one.metadata)))
            }
            WorkloadKind::StatefulSet => {
                look::stateful_set(self.stateful_sets.iter().find(|one| is(&one.metadata)))
            }
        }
    }
}

/// A kind by Kubernetes' name.
pub fn kind(name: &str) -> Option<WorkloadKind> {
    [WorkloadKind::Deployment, WorkloadKind::DaemonSet, WorkloadKind::StatefulSet]
        .into_iter()
        .find(|kind| kind.as_str() == name)
}
