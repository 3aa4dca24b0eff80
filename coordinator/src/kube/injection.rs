//! Asking a cluster whose pods get a sidecar: nothing, where nobody wants to know; else a few requests, and four for
//! each namespace that is named, several at once.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use rackwright_proto::cluster::ClusterLedger;

use super::{Api, KubeError, Selector};
use crate::fleet;
use crate::injection::facts::{InjectionFacts, places};
use crate::injection::hooks::Injectors;
use crate::injection::wins::{DEFAULT, REVISION};
use crate::mesh::profile::NAMESPACE;
use crate::rack::model::kubernetes::Injection;

/// The label of everything that belongs to an injector.
const INJECTOR: &str = "app=sidecar-injector";
/// The name of the DaemonSet of Istio's CNI plugin.
const CNI: &str = "istio-cni-node";
/// How many namespaces are asked for at once, by four requests each.
const AT_ONCE: usize = 4;

/// Asks for all that injection is about. `system` are the DaemonSets of kube-system.
///
/// # Errors
/// The cluster cannot be reached, or refuses.
pub async fn gather(
    api: &Api,
    wanted: Option<&Injection>,
    ledger: &ClusterLedger,
    system: &[DaemonSet],
) -> Result<InjectionFacts, KubeError> {
    let places = places(wanted, ledger);
    if places.is_empty() {
        return Ok(InjectionFacts::default());
    }
    let mut facts = injectors(api).await?;
    facts.namespaces = api.list::<Namespace>(&Selector::all()).await?.items;
    let is_cni = |set: &DaemonSet| set.metadata.name.as_deref() == Some(CNI);
    let theirs: Vec<DaemonSet> = api.list(&Selector::namespace(NAMESPACE).named(CNI)).await?.items;
    facts.cni = !theirs.is_empty() || system.iter().any(is_cni);
    let there: Vec<&String> = places.iter().filter(|place| facts.namespace(place).is_some()).collect();
    for found in fleet::each(AT_ONCE, there, |place| of_place(api, place)).await {
        let (deployments, daemon_sets, stateful_sets, pods) = found?;
        facts.deployments.extend(deployments);
        facts.daemon_sets.extend(daemon_sets);
        facts.stateful_sets.extend(stateful_sets);
        facts.pods.extend(pods);
    }
    Ok(facts)
}

/// Workloads and pods of one namespace.
async fn of_place(
    api: &Api,
    place: &str,
) -> Result<(Vec<Deployment>, Vec<DaemonSet>, Vec<StatefulSet>, Vec<Pod>), KubeError> {
    let here = Selector::namespace(place);
    let (deployments, daemon_sets, stateful_sets, pods) =
        tokio::try_join!(api.list(&here), api.list(&here), api.list(&here), api.list(&here))?;
    Ok((deployments.items, daemon_sets.items, stateful_sets.items, pods.items))
}

/// The injectors that there are, with their settings.
async fn injectors(api: &Api) -> Result<InjectionFacts, KubeError> {
    let webhooks = api.list::<MutatingWebhookConfiguration>(&Selector::all().labels(INJECTOR)).await?.items;
    let mut facts = InjectionFacts { webhooks, ..InjectionFacts::default() };
    if facts.webhooks.is_empty() {
        return Ok(facts);
    }
    let configs = api.list::<ConfigMap>(&Selector::namespace(NAMESPACE)).await?.items;
    facts.settings = configs.iter().filter_map(settings).collect::<BTreeMap<_, _>>();
    Ok(facts)
}

/// Revision and text of an injector's settings.
fn settings(config: &ConfigMap) -> Option<(String, String)> {
    let name = config.metadata.name.as_deref()?;
    if !name.starts_with("istio-sidecar-injector") {
        return None;
    }
    let labels = config.metadata.labels.as_ref();
    let revision = labels.and_then(|labels| labels.get(REVISION)).map_or(DEFAULT, String::as_str);
    Some((revision.to_owned(), config.data.as_ref()?.get("config")?.clone()))
}

/// What is known of one namespace and of the injectors, to tell why a pod of it has a sidecar or none.
///
/// # Errors
/// The cluster cannot be reached, or refuses.
pub async fn of_namespace(api: &Api, namespace: &str) -> Result<(Option<Namespace>, Injectors), KubeError> {
    let facts = injectors(api).await?;
    Ok((api.get(None, namespace).await?, facts.injectors()))
}
