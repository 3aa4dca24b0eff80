//! What a diagnosis asks of the API: what planning asks, too, and a little more, many requests at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::cli::DiagnoseArgs;
use crate::cluster::facts::ClusterFacts;
use crate::cmd::{Context, cluster};
use crate::diagnose::case::Cluster;
use crate::diagnose::hook::Asks;
use crate::diagnose::read::{self, More, ObjectName};
use crate::kube::gather::{Wishes, gather};
use crate::kube::{Api, KubeError, Logs, Patience, Selector, act};
use crate::network::list;
use crate::rack::model::kubernetes::Kubernetes;
use crate::survey::Surveyed;

/// A cluster that does not answer is told as such, and not waited for.
const PATIENCE: Patience = Patience {
    read: Duration::from_secs(3),
    write: Duration::from_secs(3),
    trouble: Duration::from_millis(500),
};
/// Where MetalLB is unless the rack says otherwise.
const METALLB: &str = "metallb-system";
/// The most Services, webhooks and logs that are looked at.
const MOST_SERVICES: usize = 8;
const MOST_HOOKS: usize = 16;
const MOST_LOGS: usize = 8;
/// The end of a log.
const LOG_LINES: u32 = 60;
const LOG_BYTES: u64 = 32 * 1024;

/// The cluster as its API tells it, or why it was not heard. What else was not asked is added to `not_asked`.
pub(super) async fn ask(
    context: &Context,
    heard: &mut [Surveyed],
    args: &DiagnoseArgs,
    not_asked: &mut Vec<String>,
) -> Result<Cluster, String> {
    let none = Kubernetes::default();
    let kubernetes = context.loaded.rack.kubernetes().unwrap_or(&none);
    let api = match cluster::open(context, kubernetes, heard, PATIENCE).await {
        Ok(Some(api)) => api,
        Ok(None) => return Err("no control plane that was heard has a kubeconfig".into()),
        Err(fault) => return Err(fault.to_string()),
    };
    let lost = |error: KubeError| act::fault(&error).to_string();
    let services = services(&api, kubernetes, args).await.map_err(lost)?;
    let mut named = services.clone();
    named.push(("default".into(), "kubernetes".into()));
    let balancer = kubernetes.metallb.as_ref().map_or(METALLB.to_owned(), |m| m.namespace.to_string());
    let wishes = Wishes { balancer, services: named, ..Wishes::default() };
    let (facts, more) = tokio::join!(gather(&api, &wishes), more(&api, kubernetes, args));
    let facts = facts.map_err(lost)?;
    let mut more = more.unwrap_or_else(|error| {
        not_asked.push(format!("webhooks and Istio: {}", lost(error)));
        More::default()
    });
    if let (Some((namespace, name)), None) = (&args.pod, &more.pod) {
        not_asked.push(format!("Pod {namespace}/{name}: there is none of that name"));
    }
    more.services = services;
    more.named = args.service.is_some();
    more.logs = logs(&api, &facts, &more, not_asked).await;
    Ok(read::cluster(&facts, &more))
}

/// The Services that are looked at: the one that was named, else the rack's, else all of type LoadBalancer.
async fn services(
    api: &Api,
    kubernetes: &Kubernetes,
    args: &DiagnoseArgs,
) -> Result<Vec<ObjectName>, KubeError> {
    if let Some(named) = &args.service {
        return Ok(vec![named.clone()]);
    }
    let of_rack = kubernetes.services.iter();
    let gateways = kubernetes.istio.iter().flat_map(|istio| &istio.gateways).map(|gateway| &gateway.service);
    let names = of_rack.chain(gateways).map(|s| (s.namespace.to_string(), s.name.to_string()));
    let names: BTreeSet<ObjectName> = names.take(MOST_SERVICES).collect();
    if !names.is_empty() {
        return Ok(names.into_iter().collect());
    }
    let all = api.list::<Service>(&Selector::all()).await?.items;
    let balanced =
        all.into_iter().filter(|s| s.spec.as_ref().and_then(|s| s.type_.as_deref()) == Some("LoadBalancer"));
    let named = balanced.filter_map(|service| Some((service.metadata.namespace?, service.metadata.name?)));
    Ok(named.take(MOST_SERVICES).collect())
}

/// Webhooks, Istio, and the pod that was asked about.
async fn more(api: &Api, kubernetes: &Kubernetes, args: &DiagnoseArgs) -> Result<More, KubeError> {
    let pod = async {
        match &args.pod {
            Some((namespace, name)) => api.get::<Pod>(Some(namespace), name).await,
            None => Ok(None),
        }
    };
    let (hooks, mesh, pod) = tokio::join!(hooks(api), mesh(api, kubernetes), pod);
    let hooks = hooks?;
    let services: BTreeSet<&ObjectName> = hooks.iter().map(|asks| &asks.service).collect();
    let found = join_all(services.into_iter().map(|name| hooked(api, name))).await;
    let found: Vec<_> = found.into_iter().collect::<Result<_, _>>()?;
    let (hooked, slices): (Vec<Option<Service>>, Vec<Vec<EndpointSlice>>) = found.into_iter().unzip();
    let hooked = hooked.into_iter().flatten().collect();
    Ok(More { hooks, hooked, endpoints: slices.concat(), mesh: mesh?, pod: pod?, ..More::default() })
}

/// Webhooks whose failure refuses what was wanted.
async fn hooks(api: &Api) -> Result<Vec<Asks>, KubeError> {
    let all = Selector::all();
    let (validating, mutating) = tokio::join!(
        api.list::<ValidatingWebhookConfiguration>(&all),
        api.list::<MutatingWebhookConfiguration>(&all)
    );
    let mut found = Vec::new();
    for one in validating?.items {
        let name = format!("ValidatingWebhookConfiguration/{}", one.metadata.name.unwrap_or_default());
        let hooks = one.webhooks.into_iter().flatten();
        found.extend(hooks.filter_map(|hook| refusing(&name, hook.failure_policy, hook.client_config)));
    }
    for one in mutating?.items {
        let name = format!("MutatingWebhookConfiguration/{}", one.metadata.name.unwrap_or_default());
        let hooks = one.webhooks.into_iter().flatten();
        found.extend(hooks.filter_map(|hook| refusing(&name, hook.failure_policy, hook.client_config)));
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(MOST_HOOKS);
    Ok(found)
}

fn refusing(name: &str, policy: Option<String>, client: WebhookClientConfig) -> Option<Asks> {
    let service = client.service.filter(|_| policy.as_deref() != Some("Ignore"))?;
    Some(Asks::new(name, service))
}

/// A webhook's Service, and its endpoints.
async fn hooked(
    api: &Api,
    (namespace, name): &ObjectName,
) -> Result<(Option<Service>, Vec<EndpointSlice>), KubeError> {
    let of = Selector::namespace(namespace).labels(format!("kubernetes.io/service-name={name}"));
    let (service, slices) =
        tokio::join!(api.get::<Service>(Some(namespace), name), api.list::<EndpointSlice>(&of));
    Ok((service?, slices?.items))
}

/// Pods of istiod, and of gateways: those of the well-known labels, and of the rack's gateways.
async fn mesh(api: &Api, kubernetes: &Kubernetes) -> Result<Option<(Vec<Pod>, Vec<Pod>)>, KubeError> {
    let known = Selector::all().labels("app in (istiod,istio-ingressgateway,istio-egressgateway)");
    let pods = api.list::<Pod>(&known).await?.items;
    let is = |pod: &Pod, app: &str| {
        pod.metadata.labels.as_ref().and_then(|l| l.get("app")).is_some_and(|a| a == app)
    };
    let (istiod, mut gateways): (Vec<Pod>, Vec<Pod>) = pods.into_iter().partition(|pod| is(pod, "istiod"));
    for gateway in kubernetes.istio.iter().flat_map(|istio| &istio.gateways) {
        let (namespace, name) = (gateway.service.namespace.as_str(), gateway.service.name.as_str());
        let service: Option<Service> = api.get(Some(namespace), name).await?;
        let labels = service.and_then(|service| service.spec?.selector).into_iter().flatten();
        let labels: Vec<String> = labels.map(|(key, value)| format!("{key}={value}")).collect();
        if !labels.is_empty() {
            let found =
                api.list::<Pod>(&Selector::namespace(namespace).labels(labels.join(","))).await?.items;
            let new =
                found.into_iter().filter(|pod| !gateways.iter().any(|g| g.metadata.uid == pod.metadata.uid));
            gateways.extend(new.collect::<Vec<_>>());
        }
    }
    let there = !istiod.is_empty() || !gateways.is_empty();
    Ok(there.then_some((istiod, gateways)))
}

/// Ends of the logs of pods that are not ready, with that of the container's former life.
async fn logs(
    api: &Api,
    facts: &ClusterFacts,
    more: &More,
    not_asked: &mut Vec<String>,
) -> BTreeMap<String, String> {
    let mesh = more.mesh.iter().flat_map(|(istiod, gateways)| istiod.iter().chain(gateways));
    let pods = facts.dns.pods.iter().chain(mesh).chain(&more.pod).map(|pod| read::pod(pod, &BTreeMap::new()));
    // CoreDNS that ends after a few seconds is ready until then.
    let wanted: Vec<_> =
        pods.filter(|pod| (!pod.ready || pod.restarts > 0) && pod.node.is_some()).take(MOST_LOGS).collect();
    let read = wanted.iter().map(|pod| async move {
        let (namespace, name) = pod.name.split_once('/').unwrap_or_default();
        let which = |previous| Logs {
            previous,
            tail_lines: Some(LOG_LINES),
            limit_bytes: Some(LOG_BYTES),
            ..Logs::default()
        };
        let (before, now) = (which(true), which(false));
        let before = async {
            match pod.restarts > 0 && !pod.ready {
                true => api.pod_log(namespace, name, &before).await.unwrap_or_default(),
                false => String::new(),
            }
        };
        let (before, now) = tokio::join!(before, api.pod_log(namespace, name, &now));
        // A container that has not begun has no log.
        let failed = now.is_err() && before.is_empty();
        (pod.name.clone(), format!("{before}\n{}", now.unwrap_or_default()), failed)
    });
    let read = join_all(read).await;
    let failed: Vec<&String> = read.iter().filter(|(_, _, failed)| *failed).map(|(name, ..)| name).collect();
    if !failed.is_empty() {
        not_asked
            .push(format!("the logs of {}: there are none yet, or they could not be read", list(failed)));
    }
    read.into_iter().map(|(name, log, _)| (name, log)).collect()
}
