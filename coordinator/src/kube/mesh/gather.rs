//! Asking a cluster about Istio, in a number of requests that does not grow with its nodes.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use rackwright_proto::cluster::mesh::{Installation, MeshWant};
use rackwright_proto::cluster::{ClusterLedger, ClusterStep};
use serde_json::Value;

use crate::cluster::facts::MeshFacts;
use crate::cluster::mesh::receipts;
use crate::kube::gather::{is_unknown, kind};
use crate::kube::{Api, KubeError, Selector};
use crate::mesh::Objects;
use crate::mesh::profile::NAMESPACE;

/// Where Istio and its operator are unless somebody says otherwise.
const HOMES: [&str; 2] = [NAMESPACE, "istio-operator"];
/// Labels of pods with a proxy of Istio's; gateways have it, too.
const PROXIES: &str = "service.istio.io/canonical-name";
/// Kinds of Istio's whose objects are its users': by what they are served as by all versions that we know.
const KINDS: &[(&str, &[&str])] = &[
    (
        "networking.istio.io/v1alpha3",
        &[
            "VirtualService",
            "Gateway",
            "DestinationRule",
            "ServiceEntry",
            "Sidecar",
            "EnvoyFilter",
            "WorkloadEntry",
        ],
    ),
    ("security.istio.io/v1beta1", &["AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"]),
    ("telemetry.istio.io/v1alpha1", &["Telemetry"]),
    ("extensions.istio.io/v1alpha1", &["WasmPlugin"]),
];
/// The most of them that are named.
const MOST: usize = 100;

/// What is to be known of Istio.
#[derive(Debug, Clone, Default)]
pub struct MeshWish {
    /// What the rack wants.
    pub wanted: Option<ClusterStep>,
    /// What is to be removed may take with it what others made.
    pub removing: bool,
}

/// Asks; nothing where the rack wants no Istio and receipts tell of none.
///
/// # Errors
/// The cluster cannot be reached, or refuses.
pub async fn gather(api: &Api, wish: &MeshWish, ledger: &ClusterLedger) -> Result<MeshFacts, KubeError> {
    let wanted = wish.wanted.as_ref().and_then(|step| match step {
        ClusterStep::Mesh(step) => Some(&step.install),
        _ => None,
    });
    let known: Vec<&Installation> = wanted.into_iter().chain(receipts(ledger)).collect();
    let mut facts = MeshFacts::default();
    if known.is_empty() {
        return Ok(facts);
    }
    let objects = &mut facts.objects;
    objects.namespaces = api.list::<Namespace>(&Selector::all()).await?.items;
    objects.mutating = api.list::<MutatingWebhookConfiguration>(&Selector::all()).await?.items;
    objects.validating = api.list::<ValidatingWebhookConfiguration>(&Selector::all()).await?.items;
    facts.kinds = knows(api, KINDS[0].0, KINDS[0].1[0]).await?;
    objects.operators = kind(api, "install.istio.io/v1alpha1", "IstioOperator", &Selector::all()).await?;
    for namespace in places(&known, objects) {
        inside(api, &namespace, &mut facts).await?;
    }
    if !facts.objects.deployments.is_empty() {
        // Only containers tell a proxy's version.
        let proxies = Selector::all().labels(PROXIES).bare_rest();
        facts.objects.pods = api.list::<Pod>(&proxies).await?.items;
    }
    if wish.removing && facts.kinds && takes_kinds(ledger) {
        facts.customs = customs(api).await?;
    }
    Ok(facts)
}

/// The namespaces to look into, of those that there are.
fn places(known: &[&Installation], objects: &Objects) -> BTreeSet<String> {
    let parts = known.iter().flat_map(|install| install.parts.iter().filter_map(|p| p.namespace.clone()));
    let hooks = objects.mutating.iter().filter(|hook| {
        let labels = hook.metadata.labels.as_ref();
        labels.is_some_and(|labels| labels.contains_key("istio.io/rev"))
    });
    let served = hooks
        .flat_map(|hook| hook.webhooks.iter().flatten())
        .filter_map(|hook| hook.client_config.service.as_ref().map(|service| service.namespace.clone()));
    let all = known.iter().map(|install| install.namespace.clone()).chain(parts).chain(served);
    let all: BTreeSet<String> = all.chain(HOMES.map(str::to_owned)).collect();
    let there = |name: &String| objects.namespaces.iter().any(|n| n.metadata.name.as_ref() == Some(name));
    all.into_iter().filter(there).collect()
}

async fn inside(api: &Api, namespace: &str, facts: &mut MeshFacts) -> Result<(), KubeError> {
    let here = Selector::namespace(namespace);
    let objects = &mut facts.objects;
    objects.deployments.extend(api.list(&here).await?.items);
    objects.daemon_sets.extend(api.list(&here).await?.items);
    objects.services.extend(api.list(&here).await?.items);
    let configs = here.clone().labels("istio.io/rev");
    facts.configs.extend(api.list::<ConfigMap>(&configs).await?.items);
    // Never what they hold.
    let secrets = api.list::<Secret>(&here.bare()).await?.items;
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    facts.secrets.extend(secrets.iter().map(|s| (of(&s.metadata.namespace), of(&s.metadata.name))));
    let helms = |secret: &Secret| of(&secret.metadata.name).starts_with("sh.helm.release.v1.");
    objects.releases.extend(secrets.into_iter().filter(helms));
    Ok(())
}

async fn knows(api: &Api, version: &str, kind: &str) -> Result<bool, KubeError> {
    match api.resource(version, kind).await {
        Ok(_) => Ok(true),
        Err(error) if is_unknown(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether undoing what receipts tell of takes Istio's kinds away.
fn takes_kinds(ledger: &ClusterLedger) -> bool {
    ledger.entries.values().any(|entry| match &entry.undo {
        Some(ClusterStep::Mesh(step)) => step.want == MeshWant::Gone { shared: true },
        _ => false,
    })
}

/// Some of the objects of Istio's kinds that others made.
///
/// # Errors
/// The cluster cannot be reached, or refuses.
pub async fn customs(api: &Api) -> Result<Vec<String>, KubeError> {
    let mut found = Vec::new();
    for (version, kinds) in KINDS {
        for name in *kinds {
            let objects = kind(api, version, name, &Selector::all().bare()).await?.unwrap_or_default();
            let theirs = objects.iter().filter(|object| !is_istios(object));
            found.extend(theirs.map(|object| {
                let of = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
                format!("{name} {}/{}", of("namespace"), of("name"))
            }));
            if found.len() >= MOST {
                found.truncate(MOST);
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// What an installation of Istio brings itself, such as the EnvoyFilters of old versions.
fn is_istios(object: &Value) -> bool {
    let labels = object["metadata"]["labels"].as_object();
    labels.is_some_and(|labels| {
        labels.contains_key("install.operator.istio.io/owning-resource")
            || labels.contains_key("operator.istio.io/component")
            || labels.get("release").is_some_and(|release| release == "istio")
    })
}
