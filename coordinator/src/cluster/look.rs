//! What the facts tell of one step: pure, so that planning needs no further question.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rackwright_proto::cluster::workload::{HELD, STAMP};
use rackwright_proto::cluster::{
    ClusterSeen, ClusterStep, Family, ObjectSeen, ObjectStep, TextSeen, TextStep, WorkloadKind, WorkloadSeen,
    WorkloadStep,
};
use serde_json::Value;

use super::facts::ClusterFacts;

/// What the cluster has where `step` would put something.
pub fn look(facts: &ClusterFacts, step: &ClusterStep) -> ClusterSeen {
    match step {
        ClusterStep::Text(step) => ClusterSeen::Text(text(config_of(facts, step), &step.entry)),
        ClusterStep::Workload(step) => ClusterSeen::Workload(workload(facts, step)),
        ClusterStep::Object(step) => {
            ClusterSeen::Object(ObjectSeen::of(step.want.as_ref(), live(facts, step)))
        }
    }
}

fn config_of<'a>(facts: &'a ClusterFacts, step: &TextStep) -> Option<&'a ConfigMap> {
    match step.family {
        Family::Proxy => facts.proxy.config.as_ref(),
        Family::Dns => facts.dns.config.as_ref(),
        Family::Balancer | Family::Mesh => None,
    }
}

/// One entry of a ConfigMap.
pub fn text(config: Option<&ConfigMap>, entry: &str) -> TextSeen {
    let data = config.and_then(|c| c.data.as_ref());
    TextSeen {
        text: data.and_then(|data| data.get(entry)).cloned(),
        resource_version: config.and_then(|c| c.metadata.resource_version.clone()),
    }
}

fn workload(facts: &ClusterFacts, step: &WorkloadStep) -> WorkloadSeen {
    let is = |meta: &ObjectMeta| meta.name.as_deref() == Some(step.name.as_str());
    match (step.family, step.kind) {
        (Family::Proxy, WorkloadKind::DaemonSet) => daemon_set(facts.proxy.daemon_set.as_ref()),
        (Family::Dns, WorkloadKind::Deployment) => deployment(facts.dns.deployment.as_ref()),
        (Family::Balancer, WorkloadKind::DaemonSet) => {
            daemon_set(facts.balancer.daemon_sets.iter().find(|d| is(&d.metadata)))
        }
        (Family::Balancer, WorkloadKind::Deployment) => {
            deployment(facts.balancer.deployments.iter().find(|d| is(&d.metadata)))
        }
        (Family::Proxy, WorkloadKind::Deployment)
        | (Family::Dns, WorkloadKind::DaemonSet)
        | (Family::Mesh, _) => WorkloadSeen::default(),
    }
}

/// Whether a pod's condition `Ready` holds, and it is not on its way out.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// How far a DaemonSet is.
pub fn daemon_set(set: Option<&DaemonSet>) -> WorkloadSeen {
    let Some(DaemonSet { metadata, spec, status: Some(status) }) = set else {
        return WorkloadSeen { exists: set.is_some(), rolling: true, ..WorkloadSeen::default() };
    };
    let known = status.observed_generation >= metadata.generation;
    let updated = status.updated_number_scheduled.unwrap_or(0);
    WorkloadSeen {
        exists: true,
        stamp: spec.as_ref().and_then(|spec| stamp(spec.template.metadata.as_ref())),
        desired: number(status.desired_number_scheduled),
        ready: if known { number(updated.min(status.number_available.unwrap_or(0))) } else { 0 },
        rolling: !known || updated < status.desired_number_scheduled,
        held: metadata.annotations.as_ref().is_some_and(|all| all.contains_key(HELD)),
    }
}

/// How far a Deployment is.
pub fn deployment(deployment: Option<&Deployment>) -> WorkloadSeen {
    let Some(Deployment { metadata, spec: Some(spec), status }) = deployment else {
        return WorkloadSeen { exists: deployment.is_some(), rolling: true, ..WorkloadSeen::default() };
    };
    let status = status.clone().unwrap_or_default();
    let known = status.observed_generation >= metadata.generation;
    let desired = spec.replicas.unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or(0);
    WorkloadSeen {
        exists: true,
        stamp: stamp(spec.template.metadata.as_ref()),
        desired: number(desired),
        ready: if known { number(updated.min(status.available_replicas.unwrap_or(0))) } else { 0 },
        rolling: !known || updated < desired || status.replicas.unwrap_or(0) > updated,
        held: false,
    }
}

fn stamp(template: Option<&ObjectMeta>) -> Option<String> {
    template?.annotations.as_ref()?.get(STAMP).cloned()
}

fn number(of: i32) -> u32 {
    u32::try_from(of).unwrap_or(0)
}

pub(super) fn live<'a>(facts: &'a ClusterFacts, step: &ObjectStep) -> Option<&'a Value> {
    let named = |list: &'a Option<Vec<Value>>| {
        let is = |object: &&Value| object["metadata"]["name"] == step.name.as_str();
        list.as_deref().unwrap_or_default().iter().find(is)
    };
    match step.kind.as_str() {
        "IPAddressPool" => named(&facts.balancer.pools),
        "L2Advertisement" => named(&facts.balancer.advertisements),
        _ => facts.balancer.live.get(&ClusterStep::Object(Box::new(step.clone())).key()),
    }
}
