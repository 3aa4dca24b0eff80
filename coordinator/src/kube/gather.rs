//! Asking a cluster all that planning and judging need: a number of requests that does not grow with its nodes.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use rackwright_proto::cluster::{ClusterLedger, ClusterStep};
use serde_json::Value;

use super::mesh::gather::{MeshWish, gather as mesh};
use super::{Api, KubeError, KubeFault, Selector};
use crate::cluster::facts::{BalancerFacts, ClusterFacts, DnsFacts, ProxyFacts};
use crate::rack::model::kubernetes::Injection;

/// Objects asked for at once: an API server has work of its own.
const AT_ONCE: usize = 8;
/// Where kubeadm keeps its add-ons.
const SYSTEM: &str = "kube-system";

/// What is to be known beyond what is always asked.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// The namespace of MetalLB; where it is empty, that of the receipts.
    pub balancer: String,
    /// The Services that the rack names: namespace and name.
    pub services: Vec<(String, String)>,
    /// Whose pods get a sidecar of Istio, where the rack says so.
    pub injection: Option<Injection>,
    /// What is to be known of Istio.
    pub mesh: MeshWish,
    /// Steps whose objects are to be looked at: what the rack wants.
    pub steps: Vec<ClusterStep>,
}

/// Asks for all of it. The receipts come with it.
///
/// # Errors
/// The cluster cannot be reached, or refuses.
pub async fn gather(api: &Api, wishes: &Wishes) -> Result<ClusterFacts, KubeError> {
    let version = api.version().await?.git;
    let system: Option<Namespace> = api.get(None, SYSTEM).await?;
    let ledger = super::receipts::load(api).await?;
    let workloads = Selector::namespace(SYSTEM).labels("k8s-app in (kube-proxy,kube-dns)");
    let pods = api.list::<Pod>(&workloads).await?.items;
    let services = api.list::<Service>(&Selector::all()).await?.items;
    let daemon_sets = api.list(&Selector::namespace(SYSTEM)).await?.items;
    let mut objects = wishes.steps.clone();
    // What is wanted still has the same key as what would undo it: one look serves both.
    let wanted: BTreeSet<String> = objects.iter().map(ClusterStep::key).collect();
    let undone = ledger.entries.iter().filter(|(key, _)| !wanted.contains(*key));
    objects.extend(undone.filter_map(|(_, entry)| entry.undo.clone()));
    Ok(ClusterFacts {
        uid: system.and_then(|n| n.metadata.uid).unwrap_or_default(),
        version,
        nodes: api.list::<Node>(&Selector::all()).await?.items,
        proxy: proxy(api, &pods, &daemon_sets).await?,
        dns: dns(api, &pods, &services).await?,
        balancer: balancer(api, namespace(wishes, &ledger), &objects).await?,
        mesh: mesh(api, &wishes.mesh, &ledger).await?,
        endpoints: endpoints(api, &wishes.services).await?,
        events: events(api, &wishes.services).await?,
        cilium: api.get(Some(SYSTEM), "cilium-config").await?,
        services: services.into_iter().filter(|s| is_balanced(s) || is_named(s, &wishes.services)).collect(),
        injection: super::injection::gather(api, wishes.injection.as_ref(), &ledger, &daemon_sets).await?,
        daemon_sets,
        ledger,
    })
}

/// Where MetalLB is: where the rack says, else where we once put it.
fn namespace<'a>(wishes: &'a Wishes, ledger: &'a ClusterLedger) -> &'a str {
    let ours = || {
        ledger.entries.keys().find_map(|key| {
            match key.strip_prefix("balancer/")?.split('/').collect::<Vec<_>>()[..] {
                // What is left where a revert left the rest alone.
                ["Namespace", _, name] => Some(name),
                ["Deployment" | "DaemonSet" | "IPAddressPool" | "L2Advertisement", place, _] => Some(place),
                _ => None,
            }
        })
    };
    match wishes.balancer.as_str() {
        "" => ours().unwrap_or_default(),
        said => said,
    }
}

fn is_balanced(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.type_.as_deref()) == Some("LoadBalancer")
}

fn is_named(service: &Service, names: &[(String, String)]) -> bool {
    let of = &service.metadata;
    names
        .iter()
        .any(|(namespace, name)| of.namespace.as_ref() == Some(namespace) && of.name.as_ref() == Some(name))
}

fn with_app(pods: &[Pod], app: &str) -> Vec<Pod> {
    let has =
        |pod: &&Pod| pod.metadata.labels.as_ref().and_then(|l| l.get("k8s-app")).is_some_and(|a| a == app);
    pods.iter().filter(has).cloned().collect()
}

async fn proxy(
    api: &Api,
    pods: &[Pod],
    sets: &[k8s_openapi::api::apps::v1::DaemonSet],
) -> Result<ProxyFacts, KubeError> {
    let named =
        |set: &&k8s_openapi::api::apps::v1::DaemonSet| set.metadata.name.as_deref() == Some("kube-proxy");
    Ok(ProxyFacts {
        config: api.get::<ConfigMap>(Some(SYSTEM), "kube-proxy").await?,
        daemon_set: sets.iter().find(named).cloned(),
        pods: with_app(pods, "kube-proxy"),
    })
}

async fn dns(api: &Api, pods: &[Pod], services: &[Service]) -> Result<DnsFacts, KubeError> {
    let named = |service: &&Service| {
        service.metadata.name.as_deref() == Some("kube-dns")
            && service.metadata.namespace.as_deref() == Some(SYSTEM)
    };
    Ok(DnsFacts {
        config: api.get(Some(SYSTEM), "coredns").await?,
        deployment: api.get(Some(SYSTEM), "coredns").await?,
        service: services.iter().find(named).cloned(),
        pods: with_app(pods, "kube-dns"),
        endpoints: endpoints(api, &[(SYSTEM.to_owned(), "kube-dns".to_owned())]).await?,
    })
}

async fn endpoints(api: &Api, services: &[(String, String)]) -> Result<Vec<EndpointSlice>, KubeError> {
    let mut found = Vec::new();
    for (namespace, name) in services {
        let of_service = Selector::namespace(namespace).labels(format!("kubernetes.io/service-name={name}"));
        found.extend(api.list::<EndpointSlice>(&of_service).await?.items);
    }
    Ok(found)
}

async fn events(api: &Api, services: &[(String, String)]) -> Result<Vec<Event>, KubeError> {
    let mut found = Vec::new();
    for (namespace, name) in services {
        let about = format!("involvedObject.kind=Service,involvedObject.name={name}");
        found.extend(api.list::<Event>(&Selector::namespace(namespace).fields(about)).await?.items);
    }
    Ok(found)
}

async fn balancer(api: &Api, namespace: &str, steps: &[ClusterStep]) -> Result<BalancerFacts, KubeError> {
    let mut facts = BalancerFacts { live: live(api, steps).await?, ..BalancerFacts::default() };
    if !namespace.is_empty() {
        facts.namespace = api.get(None, namespace).await?;
    }
    if facts.namespace.is_none() {
        return Ok(facts);
    }
    let here = Selector::namespace(namespace);
    facts.deployments = api.list(&here).await?.items;
    facts.daemon_sets = api.list(&here).await?.items;
    facts.pods = api.list(&here).await?.items;
    facts.pools = kind(api, "metallb.io/v1beta1", "IPAddressPool", &here).await?;
    facts.advertisements = kind(api, "metallb.io/v1beta1", "L2Advertisement", &here).await?;
    facts.announced = kind(api, "metallb.io/v1beta1", "ServiceL2Status", &here).await?;
    facts.states = kind(api, "metallb.io/v1beta1", "ConfigurationState", &here).await?;
    facts.webhook = api.get::<ValidatingWebhookConfiguration>(None, "metallb-webhook-configuration").await?;
    Ok(facts)
}

/// All objects of a kind; `None` where the API knows no such kind.
pub(super) async fn kind(
    api: &Api,
    version: &str,
    kind: &str,
    selector: &Selector,
) -> Result<Option<Vec<Value>>, KubeError> {
    let resource = match api.resource(version, kind).await {
        Ok(resource) => resource,
        Err(error) if is_unknown(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    match api.list_objects(&resource, selector).await {
        Ok(listed) => Ok(Some(listed.items)),
        Err(error) if is_unknown(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn is_unknown(error: &KubeError) -> bool {
    matches!(*error.fault, KubeFault::NotFound | KubeFault::NoSuchKind { .. })
}

/// The objects of these steps as they are, by step key.
async fn live(
    api: &Api,
    steps: &[ClusterStep],
) -> Result<std::collections::BTreeMap<String, Value>, KubeError> {
    let mut found = std::collections::BTreeMap::new();
    let objects: Vec<_> = steps
        .iter()
        .filter_map(|step| match step {
            // Pools and advertisements are listed as a whole.
            ClusterStep::Object(o) if !matches!(o.kind.as_str(), "IPAddressPool" | "L2Advertisement") => {
                Some((step.key(), o))
            }
            _ => None,
        })
        .collect();
    for some in objects.chunks(AT_ONCE) {
        let asked = some.iter().map(|(key, object)| async move {
            let live = super::act::get(api, object).await?;
            Ok::<_, KubeError>(live.map(|live| (key.clone(), live)))
        });
        found.extend(try_join_all(asked).await?.into_iter().flatten());
    }
    Ok(found)
}
