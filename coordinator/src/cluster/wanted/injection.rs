//! Whose pods get a sidecar of Istio: labels of namespaces, workloads excluded, and pods of before restarted if the
//! rack says so.

use std::collections::{BTreeMap, BTreeSet};

use rackwright_proto::cluster::workload::{STAMP, Stamp};
use rackwright_proto::cluster::{ClusterStep, Family, LabelPlace, LabelsStep, WorkloadKind, WorkloadStep};
use rackwright_proto::finding::Finding;
use rackwright_proto::step::Decision;

use super::{Scene, WantedStep, edited};
use crate::cluster::digest;
use crate::findings::Check;
use crate::injection::facts::{InjectionFacts, Workload};
use crate::injection::hooks::Injectors;
use crate::injection::pods::{self, Stale, Today};
use crate::injection::wins::{DEFAULT, INJECT, INJECTION, Labels, NEVER, Namespace, REVISION};
use crate::rack::closest;
use crate::rack::model::kubernetes::{
    Injection, Istio, IstioProfile, WorkloadKind as RackKind, WorkloadName,
};

const WHY: &str = "kubernetes.istio.injection";
/// The label by which a namespace says what its pods may be (Pod Security admission).
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
/// Pods that are named one by one.
const NAMED: usize = 5;

/// What the rack says, and what there is.
#[derive(Clone, Copy)]
struct Wish<'a> {
    scene: Scene<'a>,
    istio: &'a Istio,
    facts: &'a InjectionFacts,
}

impl<'a> Wish<'a> {
    fn of(scene: Scene<'a>) -> Option<Self> {
        let istio = scene.rack.kubernetes()?.istio.as_ref()?;
        (istio.injection != Injection::default()).then_some(Self {
            scene,
            istio,
            facts: &scene.sight.facts.injection,
        })
    }

    fn revision(&self) -> &'a str {
        self.istio.revision.as_ref().map_or(DEFAULT, |revision| revision.as_str())
    }

    /// The namespaces that are labelled, each with what its pods shall get: those that are there and may be.
    fn namespaces(&self) -> impl Iterator<Item = (&'a str, bool)> {
        let Injection { namespaces, off, .. } = &self.istio.injection;
        let on = namespaces.iter().filter(|name| !off.contains(name)).map(|name| (name.as_str(), true));
        let facts = self.facts;
        on.chain(off.iter().map(|name| (name.as_str(), false)))
            .filter(|(name, on)| !(*on && NEVER.contains(name)))
            .filter(move |(name, _)| facts.namespace(name).is_some())
    }

    /// The labels of a namespace. Both are always spoken of: which one wins is then nobody's guess, and what was there
    /// before comes back.
    fn wanted_labels(&self, on: bool) -> BTreeMap<String, Option<String>> {
        let (legacy, revision) = match (on, self.revision()) {
            (false, _) => (Some("disabled"), None),
            (true, DEFAULT) => (Some("enabled"), None),
            (true, revision) => (None, Some(revision)),
        };
        let own = |value: Option<&str>| value.map(str::to_owned);
        BTreeMap::from([(INJECTION.to_owned(), own(legacy)), (REVISION.to_owned(), own(revision))])
    }

    fn excluded(&self, workload: &Workload<'_>) -> bool {
        self.istio.injection.exclude.iter().any(|name| is(name, workload))
    }

    /// The pods of a namespace that are not as they will be made once the rack is so.
    fn stale(&self, name: &str, on: bool) -> Vec<Stale> {
        let there = self.facts.namespace(name).and_then(|n| n.metadata.labels.clone());
        let labels = overlaid(there.unwrap_or_default(), &self.wanted_labels(on));
        let pod_labels = |workload: &Workload<'_>| match self.excluded(workload) {
            true => overlaid(workload.pod_labels(), &excluding()),
            false => workload.pod_labels(),
        };
        let injectors = self.injectors();
        pods::stale(
            self.facts,
            &Today {
                namespace: Namespace { name, labels: &labels },
                injectors: &injectors,
                version: Some((self.revision(), &self.istio.version)),
                labels: &pod_labels,
            },
        )
    }

    /// Those that are there, and the one that the rack installs.
    fn injectors(&self) -> Injectors {
        self.facts.injectors().with(self.revision())
    }
}

fn overlaid(mut labels: Labels, wanted: &BTreeMap<String, Option<String>>) -> Labels {
    for (key, value) in wanted {
        match value {
            Some(value) => _ = labels.insert(key.clone(), value.clone()),
            None => _ = labels.remove(key),
        }
    }
    labels
}

fn excluding() -> BTreeMap<String, Option<String>> {
    BTreeMap::from([(INJECT.to_owned(), Some("false".to_owned()))])
}

fn kind(of: RackKind) -> WorkloadKind {
    match of {
        RackKind::Deployment => WorkloadKind::Deployment,
        RackKind::DaemonSet => WorkloadKind::DaemonSet,
        RackKind::StatefulSet => WorkloadKind::StatefulSet,
    }
}

fn is(name: &WorkloadName, workload: &Workload<'_>) -> bool {
    kind(name.kind) == workload.kind
        && name.namespace.as_str() == workload.namespace()
        && name.name.as_str() == workload.name()
}

pub(super) fn steps(scene: Scene<'_>) -> Vec<WantedStep> {
    let Some(wish) = Wish::of(scene) else { return Vec::new() };
    let mut steps: Vec<ClusterStep> =
        wish.namespaces().map(|(name, on)| label(name, wish.wanted_labels(on))).collect();
    let workloads = wish.facts.workloads();
    let excluded = workloads.iter().filter(|workload| wish.excluded(workload));
    let excludes: Vec<ClusterStep> = excluded.map(exclude).collect();
    let restarted: BTreeSet<String> = excludes.iter().filter(|step| changes(wish, step)).map(place).collect();
    steps.extend(excludes);
    let restarts = wish.namespaces().flat_map(|(name, on)| restarts(wish, name, on));
    steps.extend(restarts.filter(|step| !restarted.contains(&place(step)) || edited(scene, step)));
    steps.into_iter().map(|step| WantedStep { step, why: WHY.into() }).collect()
}

fn label(name: &str, want: BTreeMap<String, Option<String>>) -> ClusterStep {
    ClusterStep::Labels(LabelsStep {
        family: Family::Mesh,
        api_version: "v1".into(),
        kind: "Namespace".into(),
        namespace: None,
        name: name.to_owned(),
        place: LabelPlace::Object,
        want,
        only: None,
    })
}

fn exclude(workload: &Workload<'_>) -> ClusterStep {
    ClusterStep::Labels(LabelsStep {
        family: Family::Mesh,
        api_version: "apps/v1".into(),
        kind: workload.kind.as_str().to_owned(),
        namespace: Some(workload.namespace().to_owned()),
        name: workload.name().to_owned(),
        place: LabelPlace::PodTemplate,
        want: excluding(),
        only: None,
    })
}

fn changes(wish: Wish<'_>, step: &ClusterStep) -> bool {
    let ClusterStep::Labels(step) = step else { return false };
    let seen = rackwright_proto::cluster::ClusterSeen::Labels(wish.facts.labels(step));
    matches!(ClusterStep::Labels(step.clone()).decide(&seen), Decision::Change { .. })
}

/// `Deployment shop/web`: the workload that a step is about.
fn place(step: &ClusterStep) -> String {
    match step {
        ClusterStep::Labels(step) => step.object(),
        ClusterStep::Workload(step) => format!("{} {}/{}", step.kind.as_str(), step.namespace, step.name),
        ClusterStep::Text(_) | ClusterStep::Object(_) | ClusterStep::Mesh(_) => step.title(),
    }
}

/// The restarts of a namespace: of workloads with stale pods where the rack says so, and those that we did before,
/// as they are.
fn restarts(wish: Wish<'_>, name: &str, on: bool) -> Vec<ClusterStep> {
    let stale = wish.stale(name, on);
    let here = wish.facts.workloads().into_iter().filter(|w| w.namespace() == name);
    here.filter_map(|workload| {
        let theirs = |one: &&Stale| one.workload == Some((workload.kind, workload.name().to_owned()));
        let uids: Vec<&str> = stale.iter().filter(theirs).map(|one| one.uid.as_str()).collect();
        let now = stamp(&workload);
        let moves = wish.istio.injection.restart && workload.stands_still.is_none();
        let wanted = match (uids.is_empty(), moves, now) {
            // Whichever pods these are: once they are gone, nothing is left to do.
            (false, true, _) => digest::stamp(&uids.join("\n")),
            (_, _, Some(now)) => now,
            (_, _, None) => return None,
        };
        let (namespace, name) = (name.to_owned(), workload.name().to_owned());
        let stamp = Stamp::Is(wanted);
        let step = WorkloadStep { family: Family::Mesh, kind: workload.kind, namespace, name, stamp };
        let step = ClusterStep::Workload(step);
        (edited(wish.scene, &step) || (!uids.is_empty() && moves)).then_some(step)
    })
    .collect()
}

fn stamp(workload: &Workload<'_>) -> Option<String> {
    workload.template?.metadata.as_ref()?.annotations.as_ref()?.get(STAMP).cloned()
}

pub(super) fn gates(scene: Scene<'_>) -> Vec<Finding> {
    let Some(wish) = Wish::of(scene) else { return Vec::new() };
    let mut found = absent(wish);
    found.extend(workloads_absent(wish));
    for (name, on) in wish.namespaces() {
        if on {
            found.extend(forbidden(wish, name));
            found.extend(no_webhook(wish, name));
        }
        found.extend(stale(wish, name, on));
    }
    found
}

/// Namespaces that are not there, or that never inject.
fn absent(wish: Wish<'_>) -> Vec<Finding> {
    let Injection { namespaces, off, .. } = &wish.istio.injection;
    let names: Vec<&str> = wish.facts.namespaces.iter().filter_map(|n| n.metadata.name.as_deref()).collect();
    let missing = namespaces.iter().chain(off).map(|name| name.as_str()).filter(|name| !names.contains(name));
    let absent = missing.map(|name| {
        let near = closest(name, &names).map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
        Check::new("injection-namespace-absent", &[], name, "the namespace is there", "there").error(
            format!("there is no namespace {name}{near}"),
            format!(
                "`kubectl create namespace {name}`, or mend its name in the rack; waive this to label it by a later apply"
            ),
        )
    });
    let never = namespaces.iter().map(|name| name.as_str()).filter(|name| NEVER.contains(name));
    let never = never.map(|name| {
        Check::new("injection-namespace-never", &[], name, "its pods can get a sidecar", "they can").error(
            format!("Istio's injector leaves {name} alone, whatever its labels say"),
            format!("take {name} out of {WHY}.namespaces"),
        )
    });
    absent.chain(never).collect()
}

fn workloads_absent(wish: Wish<'_>) -> Vec<Finding> {
    let workloads = wish.facts.workloads();
    let missing = wish.istio.injection.exclude.iter().filter(|name| !workloads.iter().any(|w| is(name, w)));
    missing
        .map(|name| {
            let (kind, of) = (kind(name.kind), format!("{}/{}", name.namespace, name.name));
            let like = workloads.iter().filter(|w| w.name() == name.name.as_str()).map(|w| {
                format!(" (there is a {} {}/{})", w.kind.as_str(), w.namespace(), w.name())
            });
            let kind = kind.as_str();
            Check::new("injection-workload-absent", &[], of.as_str(), "the workload is there", "there").error(
                format!("there is no {kind} {of}{}", like.collect::<String>()),
                "mend its name, kind or namespace in the rack, or create it first; waive this to exclude it by a later apply",
            )
        })
        .collect()
}

/// Pod Security that keeps istio-init from being made: it wants NET_ADMIN and NET_RAW, and runs as root.
fn forbidden(wish: Wish<'_>, name: &str) -> Option<Finding> {
    let labels = wish.facts.namespace(name)?.metadata.labels.as_ref()?;
    let level = labels.get(ENFORCE).filter(|level| matches!(level.as_str(), "baseline" | "restricted"))?;
    if wish.facts.cni || wish.istio.profile == Some(IstioProfile::Ambient) {
        return None;
    }
    let check = Check::new(
        "injection-forbidden",
        &[],
        name,
        "Pod Security lets pods with a sidecar be made",
        "privileged, or Istio's CNI plugin",
    );
    let observed = format!(
        "namespace {name} enforces {level}, and istio-init needs NET_ADMIN and NET_RAW: the API server will refuse its pods"
    );
    let fix = format!(
        "install Istio's CNI plugin (`components.cni.enabled: true`), or `kubectl label namespace {name} {ENFORCE}=privileged --overwrite`"
    );
    // A file with more settings may well bring the plugin.
    Some(if wish.istio.file.is_some() { check.warning(observed, fix) } else { check.error(observed, fix) })
}

/// A namespace that is labelled already, and nobody answers for it: its pods come without, and nothing says so.
fn no_webhook(wish: Wish<'_>, name: &str) -> Option<Finding> {
    let ClusterStep::Labels(step) = label(name, wish.wanted_labels(true)) else { return None };
    let there = wish.facts.injectors();
    let served = match wish.revision() {
        DEFAULT => there.default().is_some(),
        revision => there.named(revision).is_some(),
    };
    if served || wish.facts.labels(&step).labels != step.want {
        return None;
    }
    let check = Check::new("injection-no-webhook", &[], name, "a webhook serves its revision", "one");
    Some(check.warning(
        format!("new pods of {name} get no sidecar: none serves {} ({})", wish.revision(), there.words()),
        "`rackwright apply` installs Istio again where it is gone; `istioctl tag list` tells who serves what",
    ))
}

fn stale(wish: Wish<'_>, name: &str, on: bool) -> Option<Finding> {
    let mut stale = wish.stale(name, on);
    let stands = |one: &Stale| -> Option<&'static str> {
        let (kind, workload) = one.workload.as_ref()?;
        wish.facts.workload(*kind, name, workload)?.stands_still
    };
    if wish.istio.injection.restart {
        stale.retain(|one| one.workload.is_none() || stands(one).is_some());
    }
    if stale.is_empty() {
        return None;
    }
    let checked = "its pods are as they would be made today";
    let check = Check::new("injection-stale", &[], name, checked, "restarted since");
    let named = stale.iter().take(NAMED).map(|one| format!("{} {}", one.pod, one.words));
    let mut observed = named.collect::<Vec<_>>().join("; ");
    if stale.len() > NAMED {
        observed += &format!("; and {} more", stale.len() - NAMED);
    }
    Some(check.warning(observed, how_to_restart(name, &stale, wish.istio.injection.restart, stands)))
}

fn how_to_restart(
    namespace: &str,
    stale: &[Stale],
    restart: bool,
    stands: impl Fn(&Stale) -> Option<&'static str>,
) -> String {
    if restart {
        let whys: BTreeSet<&str> =
            stale.iter().map(|one| stands(one).unwrap_or("no workload makes them anew")).collect();
        let whys = whys.into_iter().collect::<Vec<_>>().join("; ");
        return format!("restart them by hand: {whys}");
    }
    let workloads: BTreeSet<String> = stale
        .iter()
        .filter_map(|one| one.workload.as_ref())
        .map(|(kind, name)| format!("{}/{name}", kind.as_str().to_lowercase()))
        .collect();
    match workloads.is_empty() {
        true => "delete them, and have them made again: no workload does".to_owned(),
        false => {
            let workloads = workloads.into_iter().take(NAMED).collect::<Vec<_>>().join(" ");
            format!(
                "`kubectl -n {namespace} rollout restart {workloads}`, or `restart: true` under {WHY} and apply"
            )
        }
    }
}
