//! Receipts of former builds are read for ever: files as they were stored in real clusters.
#![allow(clippy::unwrap_used)]

use rackwright_proto::cluster::receipt::Done;
use rackwright_proto::cluster::{ClusterLedger, ClusterSeen, ClusterStep, Family, TextSeen, TextStep};
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
