//! A coordinator that is killed in the middle of its work on a real cluster: the next one waits until the lock is free
//! and goes on, and revert still knows what was there before.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use rackwright_lab::{Cluster, Metallb, Release, Spec, need_cluster};
use rackwright_proto::cluster::ClusterLedger;

use crate::cluster_rack::{metallb, receipts, state, system, unlock, write, write_with};
use crate::operator::{Working, coded, expect, rackwright, says};

const IPTABLES: &str = "proxy: {mode: iptables}";
const DNS: &str = "dns: {forward: [192.0.2.53]}";

/// Kills a run so long after it told of its step of this number; false if the run ended without it.
fn killed_at(cluster: &Cluster, command: &str, step: usize, after: Duration) -> bool {
    let mut run = Working::start(cluster.lab(), rackwright(cluster.lab(), &[command, "--yes"]));
    let met = run.says_or_ends(&format!("cluster: [{step}/"));
    rackwright_lab::talk::say(format_args!(
        "{command} to be killed {after:?} after step {step}: {met}\n{}",
        run.talk()
    ));
    thread::sleep(after);
    run.kill();
    assert_loads(cluster);
    unlock(cluster);
    met
}

/// What is stored is whole whenever its writer dies.
#[track_caller]
fn assert_loads(cluster: &Cluster) {
    let text = receipts(cluster);
    if !text.is_empty() {
        let ledger: ClusterLedger = serde_json::from_str(&text).unwrap();
        assert_eq!(ledger.format, ClusterLedger::FORMAT, "{text}");
    }
}

#[test]
fn killed_between_any_two_steps_it_is_completed_or_reverted() {
    need_cluster!();
    let cluster = Cluster::up(Spec::test(2).kube(Release::V1_37)).unwrap();
    let lab = cluster.lab();
    let before = state(&cluster);
    write_with(&cluster, "1min", &[IPTABLES, DNS]);
    // Before it acts, while it acts, and while it waits for what it did.
    for (step, after) in [(1, 0), (1, 25), (2, 0), (2, 400), (3, 0), (3, 25), (4, 50)] {
        assert!(killed_at(&cluster, "apply", step, Duration::from_millis(after)), "no step {step}");
        expect(lab, &["revert", "--yes"], 0);
        assert_eq!(state(&cluster), before, "killed {after} ms after step {step}");
    }
    // Every apply is killed at its second step: each finds what the one before left.
    let mut kills = 0;
    while killed_at(&cluster, "apply", 2, Duration::from_millis(10)) {
        kills += 1;
        assert!(kills < 20, "it does not get on");
    }
    expect(lab, &["apply", "--yes"], 0);
    says(&expect(lab, &["apply", "--yes"], 0), "unchanged");
    expect(lab, &["status"], 0);
    // The same backwards.
    for step in [1, 2] {
        killed_at(&cluster, "revert", step, Duration::from_millis(10));
    }
    expect(lab, &["revert", "--yes"], 0);
    assert_eq!(state(&cluster), before);
}

#[test]
fn an_edit_that_was_meant_and_not_made_costs_no_receipt() {
    need_cluster!();
    let cluster = Cluster::up(Spec::test(2).kube(Release::V1_37)).unwrap();
    let lab = cluster.lab();
    let before = state(&cluster);
    write(&cluster, &[DNS]);
    expect(lab, &["apply", "--yes"], 0);
    write(&cluster, &["dns: {forward: [192.0.2.53, 192.0.2.1]}"]);
    for after in [0, 20, 60] {
        killed_at(&cluster, "apply", 1, Duration::from_millis(after));
        write(&cluster, &[&format!("dns: {{forward: [192.0.2.53, 192.0.2.{}]}}", 70 + after)]);
    }
    expect(lab, &["revert", "--yes"], 0);
    assert_eq!(state(&cluster), before);
}

#[test]
fn a_dead_runs_lock_is_waited_for_and_a_living_ones_refuses() {
    need_cluster!();
    let cluster = Cluster::up(Spec::test(2).kube(Release::V1_37)).unwrap();
    let lab = cluster.lab();
    write(&cluster, &[DNS]);
    let run = Working::start(lab, rackwright(lab, &["apply", "--yes"]));
    run.until_it_says("cluster: [1/");
    run.kill();
    let output = expect(lab, &["apply", "--yes"], 0);
    says(&output, "the cluster is still held by your run alice@");
    let holder = ["get", "lease", "rackwright", "--output=jsonpath={.spec.holderIdentity}"];
    assert_eq!(system(&cluster, &holder), "");

    // Stopped, it renews nothing, but it is not dead for others before its time is over.
    write(&cluster, &[DNS, IPTABLES]);
    let first = Working::start(lab, rackwright(lab, &["apply", "--yes"]));
    first.until_it_says("cluster: [1/");
    first.signal(Signal::SIGSTOP);
    let mut other = rackwright(lab, &["apply", "--yes"]);
    other.env("USER", "bob");
    let second = coded(crate::operator::ends(other), 3);
    says(&second, "another coordinator works on this cluster: alice@");
    says(&second, ", since 20");
    first.signal(Signal::SIGCONT);
    coded(first.end(), 0);
    expect(lab, &["revert", "--yes"], 0);
}

#[test]
#[ignore = "long: a run is killed at each of some forty steps"]
fn killed_at_every_step_of_a_whole_plan_it_gets_to_its_end() {
    need_cluster!();
    let cluster = Cluster::up(Spec::test(2).kube(Release::V1_37)).unwrap();
    let lab = cluster.lab();
    let before = state(&cluster);
    let pools =
        "pools: [{name: first, addresses: [192.0.2.200-192.0.2.219]}], advertisements: [{pools: [first]}]";
    write_with(&cluster, "1min", &[IPTABLES, DNS, &metallb(Metallb::V0_13, pools)]);
    for command in ["apply", "revert"] {
        let mut kills = 0;
        while killed_at(&cluster, command, 2, Duration::from_millis(10 * (kills % 4))) {
            kills += 1;
            assert!(kills < 100, "it does not get on");
        }
        expect(lab, &[command, "--yes"], 0);
    }
    assert_eq!(state(&cluster), before);
}
