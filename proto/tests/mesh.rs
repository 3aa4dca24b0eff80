//! Steps of Istio: what follows from what is seen, and what undoes them.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rackwright_proto::cluster::mesh::{
    Installation, MeshMethod, MeshPart, MeshRecord, MeshSeen, MeshStep, MeshWant,
};
use rackwright_proto::cluster::receipt::Done;
use rackwright_proto::cluster::{ClusterLedger, ClusterSeen, ClusterStep};
use rackwright_proto::name::RunId;
use rackwright_proto::step::Decision;

fn install(version: &str, settings: &str) -> Installation {
    let part = |kind: &str, name: &str| MeshPart {
        kind: kind.into(),
        namespace: Some("istio-system".into()),
        name: name.into(),
    };
    Installation {
        method: MeshMethod::Istioctl,
        version: version.into(),
        profile: "default".into(),
        namespace: "istio-system".into(),
        settings: settings.into(),
        parts: vec![part("Deployment", "istiod"), part("Service", "istiod")],
        make: Vec::new(),
        remove: Vec::new(),
        purge: Vec::new(),
    }
}

fn wants(install: Installation) -> MeshStep {
    MeshStep { revision: "default".into(), want: MeshWant::Installed, install, take_over: false }
}

/// As it is right after this was installed.
fn whole(install: &Installation) -> MeshSeen {
    MeshSeen {
        there: true,
        version: Some(install.version.clone()),
        ours: true,
        installed: Some(Box::new(install.clone())),
        parts: install.parts.clone(),
        kinds: true,
        ..MeshSeen::default()
    }
}

fn step(step: MeshStep) -> ClusterStep {
    ClusterStep::Mesh(Box::new(step))
}

fn seen(seen: MeshSeen) -> ClusterSeen {
    ClusterSeen::Mesh(Box::new(seen))
}

fn decided(wanted: &MeshStep, is: MeshSeen) -> Decision {
    step(wanted.clone()).decide(&seen(is))
}

fn refused(decision: &Decision) -> &str {
    match decision {
        Decision::Refuse { why } => why,
        other => panic!("not refused: {other:?}"),
    }
}

fn changed(decision: &Decision) -> (&str, &str) {
    match decision {
        Decision::Change { from, to } => (from, to),
        other => panic!("no change: {other:?}"),
    }
}

#[test]
fn a_key_is_for_ever() {
    assert_eq!(step(wants(install("1.29.1", ""))).key(), "mesh/default");
    let named = MeshStep { revision: "1-29-1".into(), ..wants(install("1.29.1", "")) };
    assert_eq!(step(named.clone()).key(), "mesh/1-29-1");
    assert_eq!(step(named).title(), "install Istio 1.29.1, revision 1-29-1");
}

#[test]
fn what_is_missing_changed_or_not_ready_is_mended() {
    let wanted = wants(install("1.29.1", "a: 1\n"));
    let nothing = decided(&wanted, MeshSeen::default());
    assert_eq!(changed(&nothing), ("not there", "1.29.1 by istioctl, profile default"));
    let good = whole(&wanted.install);
    assert_eq!(decided(&wanted, good.clone()), Decision::Keep);
    let lacks = MeshSeen { lacks: vec!["Service istio-system/istiod: not there".into()], ..good.clone() };
    assert_eq!(
        changed(&decided(&wanted, lacks)),
        ("Service istio-system/istiod: not there", "there and ready")
    );
    let edited = MeshSeen { edited: vec!["ConfigMap istio-system/istio".into()], ..good.clone() };
    let decision = decided(&wanted, edited);
    assert_eq!(changed(&decision), ("changed by others: ConfigMap istio-system/istio", "as installed"));
    let cut_off = MeshSeen { installed: None, ..good.clone() };
    assert_eq!(changed(&decided(&wanted, cut_off)).0, "begun by a run that was cut off");
    let other = wants(install("1.29.1", "a: 2\n"));
    assert_eq!(changed(&decided(&other, good)), ("other settings", "the rack's settings"));
}

#[test]
fn one_minor_version_at_a_time() {
    let from = |version: &str| whole(&install(version, ""));
    let wanted = wants(install("1.29.1", ""));
    assert_eq!(changed(&decided(&wanted, from("1.29.0"))), ("1.29.0", "1.29.1"));
    assert_eq!(changed(&decided(&wanted, from("1.28.5"))), ("1.28.5", "1.29.1"));
    assert_eq!(changed(&decided(&wanted, from("1.30.0"))), ("1.30.0", "1.29.1"));
    let why = decided(&wanted, from("1.26.2"));
    assert_eq!(refused(&why), "from 1.26.2 to 1.29.1 goes past a minor version; go to 1.27 first");
    let back = decided(&wants(install("1.26.2", "")), from("1.29.1"));
    assert!(refused(&back).ends_with("go to 1.28 first"), "{back:?}");
}

#[test]
fn what_belongs_to_somebody_else_is_left_alone() {
    let wanted = wants(install("1.29.1", ""));
    let good = whole(&wanted.install);
    let owned = MeshSeen {
        owner: Some("the in-cluster operator istio-operator/istio-operator".into()),
        ..good.clone()
    };
    assert!(refused(&decided(&wanted, owned.clone())).contains("in-cluster operator"));
    let gone = MeshStep { want: MeshWant::Gone { shared: true }, ..wanted.clone() };
    assert!(refused(&decided(&gone, owned)).contains("would undo what is done"));
    let foreign = MeshSeen { ours: false, installed: None, ..good.clone() };
    assert!(refused(&decided(&wanted, foreign.clone())).contains("not by us"));
    let taken = MeshStep { take_over: true, ..wanted.clone() };
    assert_eq!(changed(&decided(&taken, foreign.clone())).0, "installed by others");
    // Nobody knows how it was made: nothing would bring it back.
    let undo = step(taken).inverse(&seen(foreign)).unwrap();
    assert_eq!((undo.key().as_str(), undo.decide(&seen(good.clone()))), ("mesh/default", Decision::Keep));
    let by_helm =
        MeshStep { install: Installation { method: MeshMethod::Helm, ..wanted.install.clone() }, ..wanted };
    assert!(refused(&decided(&by_helm, good)).contains("helm cannot take it over"));
}

#[test]
fn gone_is_gone_with_all_its_parts() {
    let wanted = wants(install("1.29.1", ""));
    let good = whole(&wanted.install);
    let ClusterStep::Mesh(gone) = step(wanted.clone()).inverse(&seen(MeshSeen::default())).unwrap() else {
        panic!("another shape")
    };
    assert_eq!(gone.want, MeshWant::Gone { shared: true });
    assert_eq!(changed(&decided(&gone, good.clone())), ("1.29.1", "gone"));
    let rest = MeshSeen { there: false, version: None, ..good.clone() };
    assert_eq!(changed(&decided(&gone, rest.clone())).0, "Deployment istio-system/istiod is left");
    // Gateways of the revision beside.
    assert_eq!(decided(&gone, MeshSeen { beside: vec!["1-29-1".into()], ..rest }), Decision::Keep);
    assert_eq!(decided(&gone, MeshSeen::default()), Decision::Keep);
    // With Istio's kinds there before us, they stay.
    let kinds = MeshSeen { kinds: true, ..MeshSeen::default() };
    let ClusterStep::Mesh(gone) = step(wanted).inverse(&seen(kinds)).unwrap() else {
        panic!("another shape")
    };
    assert_eq!(gone.want, MeshWant::Gone { shared: false });
}

fn run() -> RunId {
    "20261123t142233-7k3f9x".parse().unwrap()
}

#[test]
fn what_all_share_goes_with_the_last_of_ours() {
    let mut ledger = ClusterLedger::default();
    let nothing = Done { sha256: String::new(), uid: None };
    let first = wants(install("1.28.5", ""));
    let second = MeshStep { revision: "1-29-1".into(), ..wants(install("1.29.1", "")) };
    let before = MeshSeen::default();
    ledger.intend(&run(), &step(first), &seen(before.clone()), nothing.clone(), None);
    let now = MeshSeen { kinds: true, beside: vec!["default".into()], ..before };
    ledger.intend(&run(), &step(second), &seen(now), nothing, None);
    let shares = |ledger: &ClusterLedger, key: &str| match &ledger.entries[key].undo {
        Some(ClusterStep::Mesh(undo)) => undo.want,
        other => panic!("{other:?}"),
    };
    assert_eq!(shares(&ledger, "mesh/default"), MeshWant::Gone { shared: true });
    assert_eq!(shares(&ledger, "mesh/1-29-1"), MeshWant::Gone { shared: false });
    ledger.undone("mesh/default");
    assert_eq!(shares(&ledger, "mesh/1-29-1"), MeshWant::Gone { shared: true });
    ledger.undone("mesh/1-29-1");
    assert!(ledger.entries.is_empty());
}

#[test]
fn receipts_know_what_removes_what_is_there_now() {
    let mut ledger = ClusterLedger::default();
    let nothing = Done { sha256: String::new(), uid: None };
    let wanted = step(wants(install("1.28.5", "")));
    ledger.intend(&run(), &wanted, &seen(MeshSeen::default()), nothing, None);
    let record = MeshRecord { install: install("1.29.1", "b: 1\n"), live: [].into() };
    ledger.installed("mesh/default", record);
    let text = serde_json::to_string(&ledger).unwrap();
    let read: ClusterLedger = serde_json::from_str(&text).unwrap();
    assert_eq!(read, ledger);
    let entry = &read.entries["mesh/default"];
    assert_eq!(entry.undo.as_ref().unwrap().title(), "uninstall Istio 1.29.1");
    assert_eq!(entry.mesh.as_ref().unwrap().install.settings, "b: 1\n");
}

fn version() -> impl Strategy<Value = String> {
    (26u32..31, 0u32..3).prop_map(|(minor, patch)| format!("1.{minor}.{patch}"))
}

fn any_seen() -> impl Strategy<Value = MeshSeen> {
    let installed = proptest::option::of((version(), "[ab]"));
    let told = (any::<bool>(), any::<bool>(), any::<bool>(), proptest::option::of(version()));
    let troubles = (proptest::option::of("x"), proptest::option::of("y"));
    (told, installed, troubles).prop_map(|((there, ours, kinds, version), installed, (edit, lack))| {
        MeshSeen {
            there,
            ours,
            kinds,
            version: version.filter(|_| there),
            installed: installed.map(|(version, settings)| Box::new(install(&version, &settings))),
            edited: edit.into_iter().collect(),
            lacks: lack.into_iter().collect(),
            ..MeshSeen::default()
        }
    })
}

proptest! {
    /// Nothing is kept but what is whole, of that version, with those settings, and by us.
    #[test]
    fn kept_is_only_what_is_as_wanted(version in version(), is in any_seen()) {
        let wanted = wants(install(&version, "a"));
        if decided(&wanted, is.clone()) == Decision::Keep {
            let installed = is.installed.clone().unwrap();
            prop_assert!(is.there && is.lacks.is_empty() && is.edited.is_empty());
            prop_assert!(is.version.is_none_or(|v| v == version));
            prop_assert_eq!(&installed.settings, "a");
        }
    }

    /// Whatever is done can be undone, and its undoing ends.
    #[test]
    fn an_inverse_is_of_the_same_key(version in version(), is in any_seen()) {
        let wanted = step(wants(install(&version, "a")));
        let undo = wanted.inverse(&seen(is.clone())).unwrap();
        prop_assert_eq!(undo.key(), wanted.key());
        let ClusterStep::Mesh(undo) = undo else { panic!("another shape") };
        let after = match undo.want {
            MeshWant::Installed => whole(&undo.install),
            MeshWant::Gone { .. } => MeshSeen::default(),
            MeshWant::Left => is,
        };
        prop_assert_eq!(decided(&undo, after), Decision::Keep);
    }

    #[test]
    fn what_it_saw_is_what_a_plan_is_bound_to(is in any_seen(), version in version()) {
        prop_assert!(seen(is.clone()).still(&seen(is.clone())));
        let other = MeshSeen { there: true, version: Some(format!("{version}9")), ..is.clone() };
        prop_assert!(!seen(is).still(&seen(other)));
    }
}
