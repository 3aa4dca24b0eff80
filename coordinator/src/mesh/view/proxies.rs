//! Proxies beside workloads and in gateways, counted by revision and version.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::{DEFAULT, Proxies, REV, annotation, label, of_image, path};
use crate::mesh::release::Release;

/// The proxy's container; among the init containers where Kubernetes has sidecars of its own.
const CONTAINER: &str = "istio-proxy";
/// How many are named.
const SOME: usize = 3;

pub(super) fn of(pods: &[Pod]) -> Vec<Proxies> {
    let mut groups: BTreeMap<(String, Option<Release>), Vec<String>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| stays(pod)) {
        if let Some(key) = key(pod) {
            groups.entry(key).or_default().push(path(&pod.metadata));
        }
    }
    let group = |((revision, release), mut pods): ((String, Option<Release>), Vec<String>)| {
        let count = pods.len();
        pods.sort();
        pods.truncate(SOME);
        Proxies { revision, release, some: pods, count }
    };
    groups.into_iter().map(group).collect()
}

/// Whether a pod has not ended and is not about to.
fn stays(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed"))
}

/// Revision and version of a pod's proxy; none for a pod without one. Of a pod whose containers are not known, its
/// annotation tells.
fn key(pod: &Pod) -> Option<(String, Option<Release>)> {
    let status = annotation(&pod.metadata, "sidecar.istio.io/status");
    let status: Option<Value> = status.and_then(|text| serde_json::from_str(text).ok());
    let containers =
        pod.spec.iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let proxy = containers.into_iter().find(|container| container.name == CONTAINER);
    if pod.spec.is_some() && proxy.is_none() || pod.spec.is_none() && status.is_none() {
        return None;
    }
    let injected_by =
        status.as_ref().and_then(|status| status["revision"].as_str()).filter(|rev| !rev.is_empty());
    let revision = injected_by.or_else(|| label(&pod.metadata, REV)).unwrap_or(DEFAULT).to_owned();
    Some((revision, proxy.and_then(|proxy| of_image(proxy.image.as_deref()?))))
}
