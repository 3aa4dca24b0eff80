//! Planning on a cluster that holds Istio: what is planned is done, again is nothing, what others changed is told, and
//! revert leaves what was there.

use k8s_openapi::api::core::v1::Namespace;
use proptest::prelude::*;
use rackwright_proto::cluster::receipt::Done;
use rackwright_proto::cluster::{ClusterSeen, Family, ObjectSeen, ObjectStep, PlannedClusterStep};
use rackwright_proto::name::RunId;
use rackwright_proto::plan::Purpose;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::*;
use crate::cluster::facts::ClusterFacts;
use crate::cluster::look::look;
use crate::cluster::plan::{WantedStep, plan, revert};
use crate::mesh::{Release, Settings};

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

fn install(version: (u32, u32), revision: Option<&str>) -> Install {
    Install {
        release: Release::new(1, version.0, version.1),
        method: IstioMethod::Istioctl,
        profile: "default".into(),
        revision: revision.map(str::to_owned),
        namespace: "istio-system".into(),
        settings: Settings::None,
    }
}

fn wants(install: &Install) -> Vec<WantedStep> {
    let step = MeshStep {
        revision: install.rev().into(),
        want: MeshWant::Installed,
        install: installation(install, 60),
        take_over: false,
    };
    vec![WantedStep { step: ClusterStep::Mesh(Box::new(step)), why: "kubernetes.istio".into() }]
}

fn run() -> RunId {
    "20261123t142233-7k3f9x".parse().unwrap()
}

/// What istioctl would do.
fn act(facts: &mut MeshFacts, step: &MeshStep) {
    let own = |name: &str| step.revision == "default" && name == "istiod" || name.ends_with(&step.revision);
    let labels = json!({"istio.io/rev": step.revision, "operator.istio.io/component": "Pilot"});
    for part in &step.install.parts {
        // Removed is what bears the revision; installed is whatever is there.
        let bears =
            |meta: &ObjectMeta| meta.labels.as_ref().is_some_and(|l| l["istio.io/rev"] == step.revision);
        let is = |meta: &ObjectMeta| {
            meta.name.as_deref() == Some(part.name.as_str())
                && (step.want == MeshWant::Installed || bears(meta))
        };
        let objects = &mut facts.objects;
        objects.deployments.retain(|d| part.kind != "Deployment" || !is(&d.metadata));
        objects.services.retain(|s| part.kind != "Service" || !is(&s.metadata));
        objects.mutating.retain(|w| part.kind != Kind::Mutating.as_str() || !is(&w.metadata));
        objects.validating.retain(|w| part.kind != Kind::Validating.as_str() || !is(&w.metadata));
        if step.want != MeshWant::Installed {
            continue;
        }
        let mut labels = labels.clone();
        labels["app"] = if own(&part.name) { "istiod".into() } else { part.name.as_str().into() };
        let meta = json!({"name": part.name, "namespace": part.namespace, "labels": labels, "generation": 1});
        let image = format!("docker.io/istio/pilot:{}", step.install.version);
        match part.kind.as_str() {
            "Deployment" => objects.deployments.push(object(json!({
                "metadata": meta,
                "spec": {"replicas": 1, "selector": {}, "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "discovery", "image": image}]},
                }},
                "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1,
                           "readyReplicas": 1},
            }))),
            "Service" => {
                objects.services.push(object(json!({"metadata": meta, "spec": {"type": "ClusterIP"}})));
            }
            kind if kind == Kind::Mutating.as_str() => {
                objects.mutating.push(object(json!({"metadata": meta, "webhooks": []})));
            }
            _ => objects.validating.push(object(json!({"metadata": meta, "webhooks": []}))),
        }
    }
    let suffix = if step.revision == "default" { String::new() } else { format!("-{}", step.revision) };
    let name = format!("istio{suffix}");
    facts.configs.retain(|c| c.metadata.name.as_deref() != Some(name.as_str()));
    if step.want == MeshWant::Installed {
        let meta = json!({"name": name, "namespace": "istio-system"});
        facts.configs.push(object(json!({"metadata": meta, "data": {"mesh": step.install.settings}})));
        facts.kinds = true;
    }
    // As the step does it: only with the last control plane.
    if step.want == (MeshWant::Gone { shared: true }) && View::of(&facts.objects).planes.is_empty() {
        facts.kinds = false;
    }
}

/// Carries out a plan as a run does, with its receipts.
fn carry_out(facts: &mut ClusterFacts, steps: &[PlannedClusterStep]) {
    for planned in steps {
        let ClusterStep::Mesh(step) = &planned.step else { panic!("another shape") };
        let (key, now) = (planned.step.key(), look(facts, &planned.step));
        assert!(planned.seen.still(&now));
        if planned.purpose == Purpose::Want {
            let nothing = Done { sha256: String::new(), uid: None };
            facts.ledger.intend(&run(), &planned.step, &now, nothing, None);
        }
        act(&mut facts.mesh, step);
        if step.want == MeshWant::Installed {
            let record = record(&facts.mesh, &step.install);
            facts.ledger.done(&key, digest::mesh(&record));
            facts.ledger.installed(&key, record);
        }
        assert_eq!(planned.step.decide(&look(facts, &planned.step)), Decision::Keep, "{key}");
        if planned.purpose == Purpose::Undo {
            facts.ledger.undone(&key);
        }
    }
}

fn installed(install: &Install) -> ClusterFacts {
    let mut facts = ClusterFacts::default();
    let steps = plan(&facts, &wants(install)).steps;
    carry_out(&mut facts, &steps);
    facts
}

fn names(found: &[rackwright_proto::finding::Finding]) -> Vec<&str> {
    found.iter().map(|f| f.name.as_str()).collect()
}

fn namespace(name: &str, labels: Value) -> Namespace {
    object(json!({"metadata": {"name": name, "labels": labels}}))
}

fn seen_of(facts: &ClusterFacts, install: &Install) -> MeshSeen {
    match look(facts, &wants(install)[0].step) {
        ClusterSeen::Mesh(seen) => *seen,
        other => panic!("{other:?}"),
    }
}

#[test]
fn installed_is_unchanged_and_revert_leaves_nothing() {
    let wanted = install((29, 1), None);
    let mut facts = installed(&wanted);
    assert_eq!(plan(&facts, &wants(&wanted)).steps, []);
    let entry = &facts.ledger.entries["mesh/default"];
    let Some(ClusterStep::Mesh(undo)) = &entry.undo else { panic!("no undo") };
    assert_eq!(drifted(&facts.mesh, entry, undo), None);
    let undone = revert(&facts);
    assert_eq!(names(&undone.findings), [""; 0]);
    carry_out(&mut facts, &undone.steps);
    assert!(facts.ledger.entries.is_empty() && !facts.mesh.kinds);
    assert!(facts.mesh.objects.deployments.is_empty() && facts.mesh.configs.is_empty());
}

#[test]
fn what_somebody_changed_is_drift_and_no_revert_takes_it() {
    let wanted = install((29, 1), None);
    let mut facts = installed(&wanted);
    facts.mesh.configs[0].data = Some([("mesh".to_owned(), "by hand".to_owned())].into());
    facts.mesh.objects.services.clear();
    let seen = seen_of(&facts, &wanted);
    assert_eq!(seen.edited, ["ConfigMap istio-system/istio"]);
    assert!(seen.lacks.iter().any(|lack| lack == "Service istio-system/istiod: not there"), "{seen:?}");
    let planned = plan(&facts, &wants(&wanted));
    assert_eq!(planned.steps.len(), 1);
    assert_eq!(names(&revert(&facts).findings), ["cluster-changed-by-others"]);
    carry_out(&mut facts, &planned.steps);
    assert_eq!(plan(&facts, &wants(&wanted)).steps, []);
    assert_eq!(names(&revert(&facts).findings), [""; 0]);
}

#[test]
fn a_revision_goes_when_nobody_uses_it_and_after_the_new_one_is_there() {
    let (old, new) = (install((28, 5), None), install((29, 1), Some("1-29-1")));
    let mut facts = installed(&old);
    facts.mesh.objects.namespaces = vec![namespace("shop", json!({"istio-injection": "enabled"}))];
    let planned = plan(&facts, &wants(&new));
    assert_eq!(names(&planned.findings), ["mesh-revision-in-use"]);
    assert!(planned.findings[0].observed.contains("namespace shop"), "{:?}", planned.findings);
    assert_eq!(planned.steps.iter().map(|s| s.step.key()).collect::<Vec<_>>(), ["mesh/1-29-1"]);
    carry_out(&mut facts, &planned.steps);

    facts.mesh.objects.namespaces = vec![namespace("shop", json!({"istio.io/rev": "1-29-1"}))];
    let planned = plan(&facts, &wants(&new));
    assert_eq!(planned.steps.iter().map(|s| s.step.title()).collect::<Vec<_>>(), ["uninstall Istio 1.28.5"]);
    carry_out(&mut facts, &planned.steps);
    assert!(facts.mesh.kinds, "the new one needs them");
    assert_eq!(plan(&facts, &wants(&new)).steps, []);
    let undone = revert(&facts).steps;
    carry_out(&mut facts, &undone);
    assert!(!facts.mesh.kinds, "the last one takes them");
}

#[test]
fn what_others_made_of_istios_kinds_stays() {
    let mut facts = installed(&install((29, 1), None));
    facts.mesh.customs = vec!["VirtualService shop/web".into()];
    let undone = revert(&facts);
    assert_eq!(names(&undone.findings), ["holds-others"]);
    assert!(undone.findings[0].observed.contains("VirtualService shop/web"));
    carry_out(&mut facts, &undone.steps);
    assert!(facts.mesh.kinds);
}

#[test]
fn a_namespace_is_not_istios_alone() {
    let wanted = install((29, 1), None);
    let mut facts = installed(&wanted);
    let secret = |name: &str| ("istio-system".to_owned(), name.to_owned());
    facts.mesh.secrets = vec![secret("istio-ca-secret"), secret("sh.helm.release.v1.istiod.v1")];
    assert_eq!(foreign(&facts.mesh, "istio-system", &facts.ledger), [""; 0]);
    facts.mesh.secrets.extend([secret("shop-certificate"), secret("cacerts")]);
    let theirs = json!({"metadata": {"name": "kiali", "namespace": "istio-system"}});
    facts.mesh.objects.deployments.push(object(theirs));
    let found = foreign(&facts.mesh, "istio-system", &facts.ledger);
    assert_eq!(found, ["Deployment kiali", "Secret shop-certificate", "Secret cacerts"]);
}

/// A namespace that a run made for Istio.
fn made(facts: &mut ClusterFacts, name: &str) {
    let live = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "uid": name}});
    let step = ClusterStep::Object(Box::new(ObjectStep {
        family: Family::Mesh,
        api_version: "v1".into(),
        kind: "Namespace".into(),
        namespace: None,
        name: name.into(),
        want: Some(live.clone()),
    }));
    let nothing = Done { sha256: String::new(), uid: None };
    facts.ledger.intend(&run(), &step, &ClusterSeen::Object(ObjectSeen::default()), nothing, None);
    facts.ledger.done(&step.key(), digest::object(&live));
    let undo = step.inverse(&ClusterSeen::Object(ObjectSeen::default())).unwrap();
    facts.balancer.live.insert(undo.key(), live);
}

fn titles(planned: &crate::cluster::plan::Planned) -> Vec<String> {
    planned.steps.iter().map(|s| s.step.title()).collect()
}

#[test]
fn a_namespace_goes_after_what_is_in_it_and_stays_with_what_stays() {
    let wanted = Install { method: IstioMethod::Operator, ..install((23, 2), None) };
    let mut facts = installed(&wanted);
    // Made by a later run than what is in it.
    made(&mut facts, "istio-operator");
    made(&mut facts, "istio-system");
    let undone =
        ["uninstall Istio 1.23.2", "delete Namespace istio-system", "delete Namespace istio-operator"];
    assert_eq!(titles(&revert(&facts)), undone);

    let elsewhere = Install { namespace: "mesh".into(), ..install((24, 0), Some("new")) };
    facts.mesh.objects.namespaces = vec![namespace("shop", json!({"istio-injection": "enabled"}))];
    let planned = plan(&facts, &wants(&elsewhere));
    assert_eq!(titles(&planned), ["install Istio 1.24.0, revision new"]);
    facts.mesh.objects.namespaces.clear();
    let planned = plan(&facts, &wants(&elsewhere));
    assert_eq!(titles(&planned)[1..], undone);

    facts.mesh.configs[0].data = Some([("mesh".to_owned(), "by hand".to_owned())].into());
    let left = revert(&facts);
    assert_eq!(titles(&left), [""; 0]);
    assert_eq!(names(&left.findings), ["cluster-changed-by-others", "holds-others", "holds-others"]);
}

proptest! {
    /// Whatever order of racks: each comes to rest, and revert leaves nothing of ours.
    #[test]
    fn again_is_nothing_and_revert_leaves_nothing(racks in proptest::collection::vec((28u32..30, 0u32..2, any::<bool>()), 1..4)) {
        let mut facts = ClusterFacts::default();
        for (minor, patch, named) in racks {
            let wanted = install((minor, patch), named.then_some("canary"));
            // Nobody uses the revision before: it goes within two runs.
            for _ in 0..2 {
                let planned = plan(&facts, &wants(&wanted));
                carry_out(&mut facts, &planned.steps);
            }
            prop_assert_eq!(plan(&facts, &wants(&wanted)).steps, vec![]);
            prop_assert_eq!(facts.ledger.entries.len(), 1);
        }
        let undone = revert(&facts);
        carry_out(&mut facts, &undone.steps);
        prop_assert!(facts.ledger.entries.is_empty() && !facts.mesh.kinds);
        prop_assert!(facts.mesh.objects.deployments.is_empty());
    }
}
