//! What one step's end means for the others.

use rackwright_proto::event::{Outcome, Record, RunResult};
use rackwright_proto::kernel::{KernelStep, ModuleStep, SysctlStep};
use rackwright_proto::plan::Confirm;
use rackwright_proto::step::HostStep;

use crate::tree::{Tree, file, sysctl, wanted};

fn module(name: &str) -> HostStep {
    HostStep::Kernel(KernelStep::Module(ModuleStep { name: name.parse().unwrap(), loaded: true }))
}

fn sysctl_of(module: &str, key: &str) -> HostStep {
    let (key, after_module) = (key.parse().unwrap(), Some(module.parse().unwrap()));
    HostStep::Kernel(KernelStep::Sysctl(SysctlStep { key, value: "1".into(), after_module }))
}

async fn outcomes(tree: &Tree, steps: Vec<HostStep>) -> Vec<Outcome> {
    let confirm = Confirm { within_s: 60, probes: Vec::new() };
    tree.keep_plan("one", &wanted(steps), Some(confirm)).await;
    assert!(tree.agent(&["run", "one"]).output().unwrap().status.success());
    let outcome = |r| if let Record::Outcome { outcome, .. } = r { Some(outcome) } else { None };
    tree.events("one").into_iter().filter_map(|e| outcome(e.record)).collect()
}

#[tokio::test]
async fn a_failed_step_stops_what_hangs_on_it_and_what_is_risky() {
    let tree = Tree::new();
    std::fs::create_dir(tree.at("etc/directory")).unwrap();
    let steps = vec![
        module("no_such_module"),
        sysctl_of("no_such_module", "net.bridge.bridge-nf-call-iptables"),
        file("/etc/directory", "x", 0o644),
        file("/etc/new.conf", "x", 0o644),
        sysctl("net.ipv4.conf.all.rp_filter", "2"),
    ];
    let ended = outcomes(&tree, steps).await;
    assert!(matches!(ended[0], Outcome::Failed { .. }), "{ended:?}");
    let Outcome::Skipped { why } = &ended[1] else { panic!("{ended:?}") };
    assert!(why.starts_with("it appears only with module no_such_module: load kernel module"), "{why}");
    assert!(matches!(&ended[2], Outcome::Failed { fault } if fault.cause.contains("is a directory")));
    assert!(matches!(ended[3], Outcome::Changed { .. }), "{ended:?}");
    let Outcome::Skipped { why } = &ended[4] else { panic!("{ended:?}") };
    assert_eq!(why, "an earlier step failed, and this one could cut the node off");
    assert_eq!(tree.result("one"), Some(RunResult::Failed));
}

#[tokio::test]
async fn what_a_kernel_without_modules_cannot_have_is_unsupported_and_no_failure() {
    let tree = Tree::new();
    std::fs::remove_file(tree.at("proc/modules")).unwrap();
    let key = "net.bridge.bridge-nf-call-iptables";
    let steps = vec![module("br_netfilter"), sysctl_of("br_netfilter", key)];
    let ended = outcomes(&tree, steps).await;
    assert!(ended.iter().all(|o| matches!(o, Outcome::Unsupported { .. })), "{ended:?}");
    assert_eq!(tree.result("one"), Some(RunResult::Done));

    // Built in without being listed: the key is there, so it is set.
    let tree = Tree::new();
    std::fs::remove_file(tree.at("proc/modules")).unwrap();
    tree.put("proc/sys/net/bridge/bridge-nf-call-iptables", b"0\n");
    let ended = outcomes(&tree, vec![module("br_netfilter"), sysctl_of("br_netfilter", key)]).await;
    assert!(matches!(ended[1], Outcome::Changed { .. }), "{ended:?}");
}

#[tokio::test]
async fn risky_steps_that_change_nothing_need_no_confirmation() {
    let tree = Tree::new();
    let risky = || sysctl("net.ipv4.conf.all.rp_filter", "1");
    let ended = outcomes(&tree, vec![risky(), sysctl("vm.overcommit_memory", "1"), risky()]).await;
    assert!(matches!(ended[0], Outcome::Changed { .. }), "what is safe comes first: {ended:?}");
    assert!(matches!(ended[1..], [Outcome::Unchanged { .. }, Outcome::Unchanged { .. }]), "{ended:?}");
    assert!(!tree.events("one").iter().any(|e| matches!(e.record, Record::Armed { .. })));
}
