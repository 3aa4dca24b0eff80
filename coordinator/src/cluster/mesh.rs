//! What the facts tell of Istio. Pure.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rackwright_proto::cluster::mesh::{
    Installation, MeshAct, MeshMethod, MeshPart, MeshRecord, MeshSeen, MeshStep, MeshWant,
};
use rackwright_proto::cluster::{ClusterEntry, ClusterLedger, ClusterStep};
use rackwright_proto::file::sha256_hex;
use rackwright_proto::step::Decision;
use serde_json::Value;

use super::digest;
use super::facts::MeshFacts;
use crate::mesh::view::{Owner, Standing, View, standing};
use crate::mesh::{Act, Expected, Install, Kind};
use crate::rack::model::kubernetes::IstioMethod;

/// How many characters of an object's hash are kept.
const SHORT: usize = 16;
/// What istiod itself sets in its webhooks, besides their `caBundle`.
const SET_BY_ISTIOD: &[&str] = &["failurePolicy"];
/// What the API gives to a Service.
const SET_BY_API: &[&str] = &["clusterIP", "clusterIPs", "healthCheckNodePort", "nodePort"];

/// What there is of a step's revision; `entry` is what we did of it before.
pub fn seen(facts: &MeshFacts, entry: Option<&ClusterEntry>, step: &MeshStep) -> MeshSeen {
    let view = View::of(&facts.objects);
    let plane = view.plane(&step.revision);
    let record = entry.and_then(|entry| entry.mesh.as_deref());
    let standings: Vec<(&MeshPart, Standing)> =
        step.install.parts.iter().map(|part| (part, stands(part, facts))).collect();
    let alone = view.planes.iter().all(|plane| plane.revision == step.revision);
    let lacks = standings.iter().filter_map(|(part, standing)| match standing {
        Standing::Ready => None,
        Standing::NotReady(why) => Some(format!("{part}: {why}")),
        Standing::Absent => Some(format!("{part}: not there")),
    });
    let there = standings.iter().filter(|(_, standing)| *standing != Standing::Absent);
    MeshSeen {
        there: plane.is_some(),
        version: plane.and_then(|plane| plane.release).map(|release| release.to_string()),
        ours: entry.is_some(),
        installed: record.map(|record| Box::new(record.install.clone())),
        edited: record.map(|record| edited(facts, record, alone)).unwrap_or_default(),
        lacks: lacks.collect(),
        parts: there.map(|(part, _)| (*part).clone()).collect(),
        owner: second_owner(&view, step),
        beside: view.planes.iter().map(|p| p.revision.clone()).filter(|r| *r != step.revision).collect(),
        kinds: facts.kinds,
    }
}

fn stands(part: &MeshPart, facts: &MeshFacts) -> Standing {
    expected(part).map_or(Standing::Absent, |expected| standing(&expected, &facts.objects))
}

/// Who else looks after the step's revision.
fn second_owner(view: &View, step: &MeshStep) -> Option<String> {
    let method = step.install.method;
    let governs = |record: &&crate::mesh::view::Record| !record.is_record && record.revision == step.revision;
    let record = view.records.iter().find(governs);
    if let (Some(operator), Some(record)) = (view.operators.first(), record)
        && method != MeshMethod::Operator
    {
        let (namespace, name) = (&record.namespace, &record.name);
        return Some(format!("the in-cluster operator {operator} (by IstioOperator {namespace}/{name})"));
    }
    match &view.plane(&step.revision)?.owner {
        Owner::Helm(release) if method != MeshMethod::Helm => Some(format!("Helm (release {release})")),
        _ => None,
    }
}

/// What others changed of what an installation brought. What is missing is told as such. Beside another revision only
/// what is this one's own counts: gateways and webhooks of all went over to the one that was installed last.
fn edited(facts: &MeshFacts, record: &MeshRecord, alone: bool) -> Vec<String> {
    let mut now = live(facts, &record.install);
    let own = own(&record.install);
    let is_own = |name: &String| alone || own.contains(name);
    now.retain(|name, _| is_own(name));
    let differs = |(name, was): &(&String, &String)| now.get(*name).is_some_and(|now| now != *was);
    let gone = |name: &&String| name.starts_with("ConfigMap ") && is_own(name) && !now.contains_key(*name);
    let edited = record.live.iter().filter(differs).map(|(name, _)| name.clone());
    edited.chain(record.live.keys().filter(gone).map(|name| format!("{name} (removed)"))).collect()
}

/// What is of one revision alone, as records name it.
fn own(install: &Installation) -> Vec<String> {
    let istiod =
        install.parts.iter().filter(|part| part.name.starts_with("istiod") && part.kind == "Deployment");
    let configs =
        settings_of(install).into_iter().map(|name| format!("ConfigMap {}/{name}", install.namespace));
    istiod.map(MeshPart::to_string).chain(configs).collect()
}

/// What an installation brought, each object in short.
pub fn record(facts: &MeshFacts, install: &Installation) -> MeshRecord {
    MeshRecord { install: install.clone(), live: live(facts, install) }
}

fn live(facts: &MeshFacts, install: &Installation) -> BTreeMap<String, String> {
    let parts = install.parts.iter().filter_map(|part| Some((part.to_string(), part_digest(facts, part)?)));
    let configs = facts.configs.iter().filter_map(|config| {
        let name = config.metadata.name.as_deref()?;
        let ours = config.metadata.namespace.as_deref() == Some(install.namespace.as_str())
            && settings_of(install).iter().any(|of| of == name);
        let data = serde_json::to_value(&config.data).unwrap_or_default();
        ours.then(|| (format!("ConfigMap {}/{name}", install.namespace), short(&data)))
    });
    parts.chain(configs).collect()
}

/// The ConfigMaps that an installation's settings end up in.
fn settings_of(install: &Installation) -> Vec<String> {
    let istiod =
        install.parts.iter().find(|part| part.kind == "Deployment" && part.name.starts_with("istiod"));
    let suffix = istiod.and_then(|part| part.name.strip_prefix("istiod")).unwrap_or_default();
    ["istio", "istio-sidecar-injector"].map(|name| format!("{name}{suffix}")).to_vec()
}

fn part_digest(facts: &MeshFacts, part: &MeshPart) -> Option<String> {
    let objects = &facts.objects;
    let is = |meta: &ObjectMeta| {
        meta.name.as_deref() == Some(part.name.as_str()) && meta.namespace == part.namespace
    };
    let value = match part.kind.as_str() {
        "Deployment" => {
            let found = objects.deployments.iter().find(|d| is(&d.metadata))?;
            serde_json::to_value(found.spec.as_ref()?.template.spec.as_ref()).ok()?
        }
        "DaemonSet" => {
            let found = objects.daemon_sets.iter().find(|d| is(&d.metadata))?;
            serde_json::to_value(found.spec.as_ref()?.template.spec.as_ref()).ok()?
        }
        "Service" => {
            let found = objects.services.iter().find(|s| is(&s.metadata))?;
            without(serde_json::to_value(found.spec.as_ref()).ok()?, SET_BY_API)
        }
        "MutatingWebhookConfiguration" => {
            let found = objects.mutating.iter().find(|w| is(&w.metadata))?;
            without(serde_json::to_value(&found.webhooks).ok()?, SET_BY_ISTIOD)
        }
        _ => {
            let found = objects.validating.iter().find(|w| is(&w.metadata))?;
            without(serde_json::to_value(&found.webhooks).ok()?, SET_BY_ISTIOD)
        }
    };
    Some(short(&value))
}

fn without(mut value: Value, keys: &[&str]) -> Value {
    digest::without_ca_bundles(&mut value);
    strip(&mut value, keys);
    value
}

fn strip(value: &mut Value, keys: &[&str]) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, _| !keys.contains(&key.as_str()));
            fields.values_mut().for_each(|value| strip(value, keys));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| strip(item, keys)),
        _ => {}
    }
}

fn short(value: &Value) -> String {
    sha256_hex(value.to_string().as_bytes())[..SHORT].to_owned()
}

/// Who still uses a revision, in words; empty when it may go.
pub fn users(facts: &MeshFacts, revision: &str) -> Vec<String> {
    let label = |namespace: &Namespace, key: &str| {
        namespace.metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned()
    };
    let uses = |namespace: &&Namespace| match label(namespace, "istio-injection").as_deref() {
        Some("enabled") => leads_to(facts, revision),
        Some(_) => false,
        None => label(namespace, "istio.io/rev").as_deref() == Some(revision),
    };
    let named = facts.objects.namespaces.iter().filter(uses).filter_map(|n| n.metadata.name.clone());
    let mut users: Vec<String> = named.map(|name| format!("namespace {name}")).collect();
    for proxies in View::of(&facts.objects).proxies.iter().filter(|p| p.revision == revision && p.count > 0) {
        let more = if proxies.count > proxies.some.len() { " and others" } else { "" };
        users.push(format!("{} proxies ({}{more})", proxies.count, proxies.some.join(", ")));
    }
    users
}

/// Whether `istio-injection: enabled` means this revision.
fn leads_to(facts: &MeshFacts, revision: &str) -> bool {
    match View::of(&facts.objects).tags.iter().find(|tag| tag.name == "default") {
        Some(tag) => tag.revision == revision,
        None => revision == "default",
    }
}

/// What a namespace of Istio's holds that no installation brought: workloads, Services, and Secrets such as the
/// certificates of a gateway.
pub fn foreign(facts: &MeshFacts, namespace: &str, ledger: &ClusterLedger) -> Vec<String> {
    let parts: Vec<&MeshPart> =
        ledger.entries.values().filter_map(installed).flat_map(|i| &i.parts).collect();
    let ours = |kind: &str, meta: &ObjectMeta| {
        let known = |part: &&&MeshPart| part.kind == kind && meta.name.as_deref() == Some(part.name.as_str());
        let labels = meta.labels.iter().flatten().map(|(key, _)| key.as_str());
        parts.iter().any(|part| known(&part)) || { labels }
            .any(|key| key == "istio.io/rev" || key.starts_with("operator.istio.io/"))
    };
    let here = |meta: &ObjectMeta| meta.namespace.as_deref() == Some(namespace);
    let objects = &facts.objects;
    let lists: [(&str, Vec<&ObjectMeta>); 3] = [
        ("Deployment", objects.deployments.iter().map(|d| &d.metadata).collect()),
        ("DaemonSet", objects.daemon_sets.iter().map(|d| &d.metadata).collect()),
        ("Service", objects.services.iter().map(|s| &s.metadata).collect()),
    ];
    let mut found: Vec<String> = Vec::new();
    for (kind, metas) in lists {
        let theirs = metas.into_iter().filter(|meta| here(meta) && !ours(kind, meta));
        found.extend(theirs.map(|meta| format!("{kind} {}", meta.name.as_deref().unwrap_or_default())));
    }
    let secrets = facts.secrets.iter().filter(|(place, name)| place == namespace && !is_istios(name));
    found.extend(secrets.map(|(_, name)| format!("Secret {name}")));
    found
}

/// Secrets that Istio itself or Helm puts there. `cacerts` is not among them: it is an operator's own authority.
fn is_istios(secret: &str) -> bool {
    let token = secret.contains("-token-") && secret.starts_with("istio");
    secret == "istio-ca-secret" || secret.starts_with("sh.helm.release.v1.") || token
}

/// What we installed, as far as receipts tell.
fn installed(entry: &ClusterEntry) -> Option<&Installation> {
    match (&entry.mesh, &entry.undo) {
        (Some(record), _) => Some(&record.install),
        (None, Some(ClusterStep::Mesh(step))) => Some(&step.install),
        _ => None,
    }
}

/// The namespaces that an installation of ours is in.
pub fn places<'a>(ledger: &'a ClusterLedger, key: &str) -> BTreeSet<&'a str> {
    ledger.entries.get(key).and_then(installed).map(Installation::namespaces).unwrap_or_default()
}

/// All installations that receipts tell of, and those that would come back.
pub fn receipts(ledger: &ClusterLedger) -> impl Iterator<Item = &Installation> {
    ledger.entries.values().flat_map(|entry| {
        let undo = match &entry.undo {
            Some(ClusterStep::Mesh(step)) => Some(&step.install),
            _ => None,
        };
        entry.mesh.as_ref().map(|record| &record.install).into_iter().chain(undo)
    })
}

/// What is no longer as we installed it; none while it is.
pub fn drifted(facts: &MeshFacts, entry: &ClusterEntry, undo: &MeshStep) -> Option<String> {
    let Some(record) = &entry.mesh else { return Some("not known: a run was cut off here".into()) };
    let (want, install) = (MeshWant::Installed, record.install.clone());
    let step = MeshStep { want, install, revision: undo.revision.clone(), take_over: false };
    match step.decide(&seen(facts, Some(entry), &step)) {
        Decision::Keep => None,
        Decision::Change { from, .. } => Some(from),
        Decision::Unsupported { why } | Decision::Refuse { why } => Some(why),
    }
}

/// Whether what is there is no longer what we installed, so that an undo leaves it alone. What was cut off is ours.
pub fn is_changed(seen: &MeshSeen) -> bool {
    let other = |installed: &Installation| seen.version.as_ref().is_some_and(|now| *now != installed.version);
    !seen.edited.is_empty() || seen.installed.as_deref().is_some_and(other)
}

/// What an installation comes to, with the commands as data; `seconds` bounds each wait for workloads.
pub fn installation(install: &Install, seconds: u32) -> Installation {
    let parts = crate::mesh::profile::expected(install);
    Installation {
        method: method(install.method),
        version: install.release.to_string(),
        profile: install.profile.clone(),
        namespace: install.namespace.clone(),
        settings: settings(install),
        parts: parts.into_iter().map(part).collect(),
        make: install.acts(seconds).into_iter().map(act).collect(),
        remove: install.removal(false, seconds).into_iter().map(act).collect(),
        purge: install.removal(true, seconds).into_iter().map(act).collect(),
    }
}

/// The operator's own settings as lines to compare; empty where there are none.
fn settings(install: &Install) -> String {
    let all: Value = serde_json::from_str(&install.canonical()).unwrap_or_default();
    match &all["settings"] {
        Value::Null => String::new(),
        // Values always serialise.
        settings => serde_json::to_string_pretty(settings).unwrap_or_default() + "\n",
    }
}

fn method(method: IstioMethod) -> MeshMethod {
    match method {
        IstioMethod::Istioctl => MeshMethod::Istioctl,
        IstioMethod::Operator => MeshMethod::Operator,
        IstioMethod::Helm => MeshMethod::Helm,
    }
}

fn act(act: Act) -> MeshAct {
    match act {
        Act::Run(run) => MeshAct::Run(run),
        Act::Apply(object) => MeshAct::Apply(object),
        Act::Delete { api_version, kind, namespace, name } => {
            MeshAct::Delete { api_version, kind, namespace, name }
        }
        Act::Await(parts) => MeshAct::Await(parts.into_iter().map(part).collect()),
    }
}

fn part(expected: Expected) -> MeshPart {
    let Expected { kind, namespace, name } = expected;
    MeshPart { kind: kind.as_str().to_owned(), namespace, name }
}

fn expected(part: &MeshPart) -> Option<Expected> {
    let kinds = [Kind::Deployment, Kind::DaemonSet, Kind::Service, Kind::Mutating, Kind::Validating];
    let kind = kinds.into_iter().find(|kind| kind.as_str() == part.kind)?;
    Some(Expected { kind, namespace: part.namespace.clone(), name: part.name.clone() })
}
