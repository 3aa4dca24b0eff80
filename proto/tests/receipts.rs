//! Receipts of former builds are read for ever: files as they were stored in real clusters.
#![allow(clippy::unwrap_used)]

use rackwright_proto::cluster::mesh::{MeshAct, MeshRecord, MeshStep, MeshWant};
use rackwright_proto::cluster::receipt::Done;
use rackwright_proto::cluster::workload::Stamp;
use rackwright_proto::cluster::{
    ClusterLedger, ClusterSeen, ClusterStep, Family, LabelPlace, TextSeen, TextStep,
};
use rackwright_proto::event::RunResult;
use rackwright_proto::name::RunId;

fn load(text: &str) -> ClusterLedger {
    serde_json::from_str(text).unwrap()
}

/// What a whole apply stored: kube-proxy, CoreDNS and MetalLB 0.13.10 on Kubernetes 1.37.2.
#[test]
fn the_first_shape_of_a_clusters_receipts() {
    let ledger = load(include_str!("receipts/cluster-1.json"));
    assert_eq!((ledger.format, ledger.entries.len()), (1, 30));
    let last = ledger.last.unwrap();
    assert_eq!((last.run.to_string().as_str(), last.result), ("20261123t180517-bjxjif", RunResult::Done));
    for (key, entry) in &ledger.entries {
        assert!(entry.after.is_some() && entry.meant.is_none(), "{key}");
        // What undoes a step is about the same thing.
        assert_eq!(entry.undo.as_ref().map(ClusterStep::key).as_deref(), Some(key.as_str()));
    }
    let undo = |key: &str| ledger.entries[key].undo.clone().unwrap();
    let ClusterStep::Text(corefile) = undo("dns/corefile") else { panic!("another step") };
    assert!(corefile.want.starts_with(".:53 {\n") && corefile.want.ends_with("}\n"), "{}", corefile.want);
    let ClusterStep::Text(proxy) = undo("proxy/config") else { panic!("another step") };
    assert!(proxy.want.contains("\nmode: nftables\n"), "{}", proxy.want);
    assert!(matches!(undo("proxy/rollout"), ClusterStep::Workload(_)));
    for (key, entry) in ledger.entries.iter().filter(|(key, _)| key.starts_with("balancer/")) {
        let Some(ClusterStep::Object(object)) = &entry.undo else { panic!("{key}: another step") };
        assert!(object.want.is_none() && entry.after.as_ref().unwrap().uid.is_some(), "{key}");
    }
}

/// What undoes an installation of Istio, and what is on record of it.
fn mesh(ledger: &ClusterLedger) -> (&MeshStep, &MeshRecord) {
    let entry = &ledger.entries["mesh/default"];
    let Some(ClusterStep::Mesh(undo)) = &entry.undo else { panic!("another step") };
    (undo, entry.mesh.as_deref().unwrap())
}

fn runs(acts: &[MeshAct]) -> Vec<String> {
    let run = |act: &MeshAct| match act {
        MeshAct::Run(run) => Some(format!("{} {}", run.program, run.args[..2].join(" "))),
        _ => None,
    };
    acts.iter().filter_map(run).collect()
}

/// What a whole apply of Istio 1.29.1 by helm 3.22 stored, with a namespace that is injected and a workload restarted.
#[test]
fn receipts_of_a_mesh_by_helm() {
    let ledger = load(include_str!("receipts/cluster-1-mesh-helm.json"));
    assert_eq!((ledger.format, ledger.entries.len()), (1, 32));
    let (undo, record) = mesh(&ledger);
    assert_eq!(undo.want, MeshWant::Gone { shared: true });
    // What removes it is of the version that is there.
    assert_eq!(undo.install, record.install);
    assert_eq!(record.install.words(), "1.29.1 by helm, profile default");
    assert_eq!(runs(&undo.install.make), ["helm upgrade --install"; 3]);
    assert_eq!(runs(&undo.install.purge), ["helm uninstall --ignore-not-found"; 3]);
    assert_eq!((record.install.parts.len(), record.live.len()), (6, 8));
    assert!(record.live.contains_key("ConfigMap istio-system/istio"), "{:?}", record.live);
    let undo = |key: &str| ledger.entries[key].undo.clone().unwrap();
    let ClusterStep::Labels(labels) = undo("mesh/labels/Namespace/-/shop") else { panic!("another step") };
    assert_eq!((labels.place, labels.want["istio-injection"].as_deref()), (LabelPlace::Object, None));
    assert!(labels.only.is_some());
    let ClusterStep::Workload(restart) = undo("mesh/rollout/Deployment/shop/shop") else {
        panic!("another step")
    };
    assert_eq!(restart.stamp, Stamp::Absent);
    let ClusterStep::Object(namespace) = undo("mesh/Namespace/-/istio-system") else {
        panic!("another step")
    };
    assert_eq!(namespace.want, None);
}

/// What a whole apply of Istio 1.29.1 by istioctl stored, and what a coordinator had stored that was killed meanwhile: by
/// that alone it can be removed.
#[test]
fn receipts_of_a_mesh_by_istioctl_whole_and_cut_off() {
    let whole = load(include_str!("receipts/cluster-1-mesh-istioctl.json"));
    let (undo, record) = mesh(&whole);
    assert_eq!(record.install.words(), "1.29.1 by istioctl, profile default");
    assert_eq!(runs(&undo.install.remove), ["bin/istioctl uninstall --skip-confirmation"]);
    let MeshAct::Run(run) = &undo.install.make[0] else { panic!("another act") };
    assert!(run.files["settings.json"].contains("IstioOperator"), "{:?}", run.files);
    let cut_off = load(include_str!("receipts/cluster-1-mesh-cut-off.json"));
    let entry = &cut_off.entries["mesh/default"];
    assert!(entry.mesh.is_none() && entry.after.is_none());
    assert_eq!(entry.undo.as_ref(), whole.entries["mesh/default"].undo.as_ref());
}

/// What a whole apply of Istio 1.23.2 by its operator stored: its removal needs the API and the tool.
#[test]
fn receipts_of_a_mesh_by_its_operator() {
    let ledger = load(include_str!("receipts/cluster-1-mesh-operator.json"));
    let (undo, record) = mesh(&ledger);
    assert_eq!(record.install.words(), "1.23.2 by operator, profile default");
    assert!(matches!(&undo.install.purge[0], MeshAct::Delete { kind, .. } if kind == "IstioOperator"));
    assert_eq!(
        runs(&undo.install.purge),
        ["bin/istioctl operator remove", "bin/istioctl uninstall --skip-confirmation"]
    );
    let is = |act: &&MeshAct| matches!(act, MeshAct::Apply(object) if object["kind"] == "IstioOperator");
    assert_eq!(undo.install.make.iter().filter(is).count(), 1);
    assert_eq!(undo.install.namespaces(), ["istio-operator", "istio-system"].into());
    assert!(ledger.entries.contains_key("mesh/Namespace/-/istio-operator"));
}

/// What a coordinator that was killed while CoreDNS restarted had stored.
#[test]
fn the_first_shape_of_receipts_of_a_run_that_was_cut_off() {
    let ledger = load(include_str!("receipts/cluster-1-cut-off.json"));
    let meant: Vec<&str> = ledger
        .entries
        .iter()
        .filter(|(_, entry)| entry.meant.is_some())
        .map(|(key, _)| key.as_str())
        .collect();
    assert_eq!(meant, ["dns/rollout"]);
    let entry = &ledger.entries["dns/rollout"];
    assert!(entry.meant.as_ref().is_some_and(|meant| entry.is_ours(meant)));
    assert!(entry.after.as_ref().is_some_and(|after| entry.is_ours(after)));
}

/// Whatever the moment of a run's end: what is there then is known to be ours, and what was there first is kept.
#[test]
fn an_intent_forgets_neither_what_was_done_nor_what_was_there_first() {
    let of = |text: &str| Done { sha256: text.to_owned(), uid: None };
    let seen =
        |text: &str| ClusterSeen::Text(TextSeen { text: Some(text.to_owned()), ..TextSeen::default() });
    let step = |want: &str| {
        let (namespace, name, entry) = ("kube-system".into(), "coredns".into(), "Corefile".into());
        ClusterStep::Text(TextStep { family: Family::Dns, namespace, name, entry, want: want.into() })
    };
    let run: RunId = "20261123t180517-bjxjif".parse().unwrap();
    let mut ledger = ClusterLedger::default();
    let intend = |ledger: &mut ClusterLedger, now: &str, want: &str| {
        ledger.intend(&run, &step(want), &seen(now), of(now), Some(of(want)));
    };
    intend(&mut ledger, "theirs", "one");
    ledger.done("dns/corefile", of("one"));
    // Cut off before it acts, and once after.
    intend(&mut ledger, "one", "two");
    assert!(["one", "two"].iter().all(|text| ledger.entries["dns/corefile"].is_ours(&of(text))));
    intend(&mut ledger, "two", "three");
    assert!(["two", "three"].iter().all(|text| ledger.entries["dns/corefile"].is_ours(&of(text))));
    assert!(!ledger.entries["dns/corefile"].is_ours(&of("one")));
    assert_eq!(ledger.entries["dns/corefile"].undo, Some(step("theirs")));
}
