//! Killed by SIGKILL at every place between two effects: what the next run makes of it.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use rackwright_agent::ledger::Book;
use rackwright_proto::event::{Outcome, Record, RunResult};
use rackwright_proto::fault::FaultKind;
use rackwright_proto::plan::{Confirm, Purpose};
use rackwright_proto::step::{Decision, HostStep};

use crate::tree::{Tree, absent, file, link, sysctl, tool, wanted};

/// More places than any plan of these tests has.
const ENOUGH: u32 = 500;

fn steps() -> Vec<(HostStep, Purpose)> {
    wanted(vec![
        file("/etc/old.conf", "new text\n", 0o644),
        file("/etc/modules-load.d/rackwright.conf", "overlay\n", 0o644),
        link("/usr/local/lib/rackwright/agent", "agent-0123456789abcdef"),
        sysctl("vm.overcommit_memory", "1"),
        absent("/etc/gone.conf"),
        link("/etc/link", "elsewhere"),
    ])
}

fn with_tool() -> Vec<(HostStep, Purpose)> {
    let mut steps = steps();
    steps.extend(wanted(tool().to_vec()));
    steps
}

/// Runs and dies at place `at`; false when the run ended before it got there.
fn dies(tree: &Tree, at: u32, id: &str) -> bool {
    let output = tree.agent(&["--die-at", &at.to_string(), "run", id]).output().unwrap();
    let killed = output.status.signal() == Some(9);
    assert!(killed || output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    killed
}

fn runs(tree: &Tree, id: &str) {
    let output = tree.agent(&["run", id]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// How often each step says that it changed something.
fn changes(tree: &Tree, ids: &[&str]) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for event in ids.iter().flat_map(|id| tree.events(id)) {
        if let Record::Outcome { step, outcome: Outcome::Changed { .. }, .. } = event.record {
            *counts.entry(step.key()).or_default() += 1;
        }
    }
    counts
}

async fn assert_converged(tree: &Tree, steps: &[(HostStep, Purpose)]) {
    for (step, _) in steps {
        let seen = rackwright_agent::step::observe(step, &tree.host).await.unwrap();
        assert_eq!(step.decide(&seen), Decision::Keep, "{}", step.title());
    }
}

/// The undo of all that is in effect, as the coordinator plans it.
fn undo(tree: &Tree) -> Vec<(HostStep, Purpose)> {
    let ledger = Book::current(&tree.host).unwrap();
    let mut entries: Vec<_> = ledger.entries.into_values().collect();
    entries.sort_by_key(|e| std::cmp::Reverse(e.order));
    entries.iter().filter_map(|e| e.step.inverse(&e.before)).map(|step| (step, Purpose::Undo)).collect()
}

#[tokio::test]
async fn wherever_a_run_dies_the_next_one_converges_and_undo_brings_back_the_bytes() {
    let steps = with_tool();
    let mut places = 0;
    for at in 1..ENOUGH {
        let tree = Tree::with_archive();
        let untouched = tree.everything();
        tree.keep_plan("first", &steps, None).await;
        if !dies(&tree, at, "first") {
            break;
        }
        places = at;
        tree.keep_plan("second", &steps, None).await;
        runs(&tree, "second");
        assert_converged(&tree, &steps).await;
        assert_eq!(tree.result("second"), Some(RunResult::Done), "died at {at}");
        let changes = changes(&tree, &["first", "second"]);
        assert!(changes.values().all(|n| *n == 1), "died at {at}: done twice: {changes:?}");
        let debris = tree.everything().into_keys().filter(|p| p.to_string_lossy().contains("/.rackwright-"));
        assert_eq!(debris.collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new(), "died at {at}");

        tree.keep_plan("undo", &undo(&tree), None).await;
        runs(&tree, "undo");
        assert_eq!(tree.everything(), untouched, "died at {at}");
        assert!(Book::current(&tree.host).unwrap().entries.is_empty(), "died at {at}");
    }
    assert!((30..ENOUGH - 1).contains(&places), "{places} places");
}

/// What a boot makes of the tree: live values are the kernel's, then those of sysctl.d.
fn boot(tree: &Tree) {
    tree.put("proc/sys/vm/overcommit_memory", b"0\n");
    tree.put("proc/sys/net/ipv4/conf/all/rp_filter", b"1\n");
    let text = std::fs::read_to_string(tree.at("etc/sysctl.d/90-rackwright.conf")).unwrap_or_default();
    for (key, value) in text.lines().filter_map(|line| line.split_once(" = ")) {
        tree.put(&format!("proc/sys/{}", key.replace('.', "/")), format!("{value}\n").as_bytes());
    }
}

/// The same value was set by the boot, not by a run: it is undone all the same.
#[tokio::test]
async fn what_a_boot_did_for_a_run_that_died_is_undone_too() {
    let steps = wanted(vec![
        file("/etc/sysctl.d/90-rackwright.conf", "vm.overcommit_memory = 1\n", 0o644),
        sysctl("vm.overcommit_memory", "1"),
    ]);
    for (at, after_boot) in (1..ENOUGH).flat_map(|at| [(at, "apply"), (at, "revert")]) {
        let tree = Tree::new();
        let untouched = tree.everything();
        tree.keep_plan("first", &steps, None).await;
        let died = dies(&tree, at, "first");
        boot(&tree);
        if after_boot == "apply" {
            tree.keep_plan("second", &steps, None).await;
            runs(&tree, "second");
            assert_converged(&tree, &steps).await;
        }
        // To remove a file of sysctl.d may be risky.
        tree.keep_plan("undo", &undo(&tree), Some(Confirm { within_s: 3600, probes: Vec::new() })).await;
        tree.put("var/lib/rackwright/runs/undo/confirmed", b"");
        runs(&tree, "undo");
        await_no_watchdog(&tree).await;
        assert_eq!(tree.everything(), untouched, "died at {at}, then {after_boot}");
        assert!(Book::current(&tree.host).unwrap().entries.is_empty(), "died at {at}");
        if !died {
            return;
        }
    }
    panic!("it never came to its end");
}

/// Also the live half of a risky change comes back by itself where only the boot brought it.
#[tokio::test]
async fn a_risky_value_that_only_a_boot_set_is_undone_with_its_file() {
    let steps = wanted(vec![
        file("/etc/sysctl.d/90-rackwright.conf", "net.ipv4.conf.all.rp_filter = 2\n", 0o644),
        sysctl("net.ipv4.conf.all.rp_filter", "2"),
    ]);
    let confirm = Confirm { within_s: 3600, probes: Vec::new() };
    for at in 1..ENOUGH {
        let tree = Tree::new();
        let untouched = tree.everything();
        tree.keep_plan("first", &steps, Some(confirm.clone())).await;
        tree.put("var/lib/rackwright/runs/first/confirmed", b"");
        let died = dies(&tree, at, "first");
        boot(&tree);
        let output = tree.agent(&["restore"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        await_no_watchdog(&tree).await;
        let stays = tree.everything() != untouched;
        let kept = tree.events("first").iter().any(|e| matches!(e.record, Record::Confirmed));
        assert_eq!(stays, kept, "died at {at}");
        if !died {
            return;
        }
    }
    panic!("it never came to its end");
}

#[tokio::test]
async fn an_undo_that_dies_anywhere_is_finished_by_the_next_one() {
    let steps = with_tool();
    for at in 1..ENOUGH {
        let tree = Tree::with_archive();
        let untouched = tree.everything();
        tree.keep_plan("first", &steps, None).await;
        runs(&tree, "first");
        tree.keep_plan("undo", &undo(&tree), None).await;
        let died = dies(&tree, at, "undo");
        tree.keep_plan("undo2", &undo(&tree), None).await;
        runs(&tree, "undo2");
        assert_eq!(tree.everything(), untouched, "died at {at}");
        assert!(Book::current(&tree.host).unwrap().entries.is_empty(), "died at {at}");
        if !died {
            return;
        }
    }
    panic!("it never came to its end");
}

#[tokio::test]
async fn risky_steps_of_a_run_that_died_are_undone_unless_they_were_confirmed() {
    let steps = wanted(vec![
        file("/etc/old.conf", "new text\n", 0o644),
        file("/etc/sysctl.d/90-rackwright.conf", "net.ipv4.conf.all.rp_filter = 2\n", 0o644),
        sysctl("net.ipv4.conf.all.rp_filter", "2"),
    ]);
    let confirm = Confirm { within_s: 3600, probes: Vec::new() };
    let mut undone = 0;
    for at in 1..ENOUGH {
        let tree = Tree::new();
        let untouched = tree.everything();
        tree.keep_plan("first", &steps, Some(confirm.clone())).await;
        // It awaits its confirmation, which is there already.
        tree.put("var/lib/rackwright/runs/first/confirmed", b"");
        let died = dies(&tree, at, "first");
        let output = tree.agent(&["restore"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        await_no_watchdog(&tree).await;
        if !died {
            assert_converged(&tree, &steps).await;
            assert!(undone > 10, "{undone}");
            return;
        }
        let records: Vec<_> = tree.events("first").into_iter().map(|e| e.record).collect();
        let kept = records.iter().any(|r| matches!(r, Record::Confirmed));
        if kept {
            assert_converged(&tree, &steps).await;
        } else {
            undone += 1;
            let mut now = tree.everything();
            let old = tree.at("etc/old.conf");
            now.insert(old.clone(), untouched[&old].clone());
            assert_eq!(now, untouched, "died at {at}");
        }
        let ledger = Book::current(&tree.host).unwrap();
        assert_eq!(ledger.entries.contains_key("kernel/sysctl/net.ipv4.conf.all.rp_filter"), kept);
    }
    panic!("it never came to its end");
}

/// A watchdog that has nothing left to watch ends, long before its time is up.
async fn await_no_watchdog(tree: &Tree) {
    let ended = async {
        while watchdogs(tree) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("a watchdog stays");
}

fn watchdogs(tree: &Tree) -> usize {
    let root = tree.at("").to_string_lossy().trim_end_matches('/').to_owned();
    let lines = std::fs::read_dir("/proc").unwrap().flatten().map(|e| e.path().join("cmdline"));
    let args = lines.filter_map(|line| std::fs::read_to_string(line).ok());
    args.filter(|args| args.contains(&root) && args.split('\0').any(|arg| arg == "watchdog")).count()
}

#[tokio::test]
async fn a_stale_step_is_refused_and_the_others_go_on() {
    let tree = Tree::new();
    tree.keep_plan("first", &steps(), None).await;
    tree.put("proc/sys/vm/overcommit_memory", b"2\n");
    runs(&tree, "first");
    assert_eq!(tree.result("first"), Some(RunResult::Failed));
    let faults: Vec<_> = tree
        .events("first")
        .into_iter()
        .filter_map(|e| match e.record {
            Record::Outcome { outcome: Outcome::Failed { fault }, .. } => Some(fault),
            _ => None,
        })
        .collect();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].kind, FaultKind::Stale);
    assert_eq!(faults[0].cause, "changed since the plan was made: planned from 0, now 2");
    assert_eq!(changes(&tree, &["first"]).len(), 5);
}

#[tokio::test]
async fn a_second_run_finds_nothing_to_do_and_a_plan_runs_once() {
    let tree = Tree::new();
    tree.keep_plan("first", &steps(), None).await;
    runs(&tree, "first");
    tree.keep_plan("second", &steps(), None).await;
    runs(&tree, "second");
    assert!(changes(&tree, &["second"]).is_empty());
    let intents = tree.events("second").into_iter().filter(|e| matches!(e.record, Record::Intent { .. }));
    assert_eq!(intents.count(), 0);
    let again = tree.agent(&["run", "second"]).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("was started before"));
}

#[tokio::test]
async fn drift_is_told_and_measured_and_old_runs_go() {
    let tree = Tree::new();
    for n in 0..55 {
        tree.keep_plan(&format!("run-{n}"), &steps(), None).await;
        runs(&tree, &format!("run-{n}"));
    }
    let left = std::fs::read_dir(tree.at("var/lib/rackwright/runs")).unwrap().count();
    assert_eq!(left, 50);
    tree.put("proc/sys/vm/overcommit_memory", b"2\n");
    std::fs::create_dir_all(tree.at("metrics")).unwrap();
    let output = tree.agent(&["drift", "--textfile", "/metrics"]).output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        said,
        "drifted: kernel/sysctl/vm.overcommit_memory: is 2, was left 1\n6 steps in effect, 1 drifted\n"
    );
    let metrics = std::fs::read_to_string(tree.at("metrics/rackwright.prom")).unwrap();
    assert!(metrics.contains("rackwright_steps_in_effect 6\n"), "{metrics}");
    assert!(metrics.contains("rackwright_steps_drifted 1\n"), "{metrics}");
    let sample = "rackwright_step_drifted{step=\"kernel/sysctl/vm.overcommit_memory\"} 1\n";
    assert!(metrics.contains(sample), "{metrics}");
    let output = tree.agent(&["restore"]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(std::fs::read(tree.at("proc/sys/vm/overcommit_memory")).unwrap(), b"1\n");
}
