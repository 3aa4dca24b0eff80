//! What others do meanwhile: somebody edits what we edit, the API server restarts.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rackwright_lab::{Spec, need_cluster};
use serde_json::Value;

use crate::cluster_desk::{Desk, touched};
use crate::operator::{coded, says};

/// A rack that edits both ConfigMaps, and nothing more of the cluster.
fn texts_only(nodes: usize) -> Desk {
    let desk = Desk::up(Spec::test(nodes));
    desk.edit("proxy: {mode: nftables}", "proxy: {mode: iptables}");
    let text = std::fs::read_to_string(desk.lab().rack_yaml()).unwrap();
    let metallb = text.split_once("  metallb:\n").unwrap().1;
    desk.edit(&format!("  metallb:\n{metallb}"), "");
    desk
}

fn corefile(desk: &Desk) -> String {
    desk.config_map("coredns")["data"]["Corefile"].as_str().unwrap().to_owned()
}

#[test]
fn texts_that_somebody_edits_meanwhile_are_left_alone() {
    need_cluster!();
    let desk = texts_only(2);
    a_stale_plan_is_refused(&desk);
    an_edit_during_the_run_is_noticed(&desk);
    other_entries_are_kept(&desk);
}

/// Between `plan -o` and `apply PLAN`.
fn a_stale_plan_is_refused(desk: &Desk) {
    desk.ends(4, &["plan", "--exit-code", "-o", "plan.json"]);
    let theirs = corefile(desk).replace("ready\n", "ready\n    log\n");
    desk.set_entry("coredns", "Corefile", &theirs);
    let versions = desk.versions();
    let refused = desk.ends(3, &["apply", "--yes", "plan.json"]);
    for word in ["stale", "Corefile of ConfigMap kube-system/coredns", "nothing was changed"] {
        says(&refused, word);
    }
    let written = touched(&versions, &desk.versions());
    assert!(written.is_empty(), "{written:?}");
    assert_eq!(desk.lab().host("cp1").read("ls /var/lib/rackwright/runs 2>/dev/null | wc -l").unwrap(), "0");

    // What does not concern the plan does not make it stale.
    desk.ends(4, &["plan", "--exit-code", "-o", "plan.json"]);
    desk.set_entry("coredns", "unrelated", "kept");
    let applied = desk.ends(0, &["apply", "--yes", "plan.json"]);
    says(&applied, "the cluster: ");
    assert_eq!(corefile(desk), theirs.replace("forward . /etc/resolv.conf", "forward . 192.0.2.53"));
    assert_eq!(desk.proxy_modes(), ["iptables"; 2]);
    assert_eq!(desk.config_map("coredns")["data"]["unrelated"], "kept");
}

/// Between the plan and the act of one run: it is stopped once it works on the hosts, before it works on the cluster.
fn an_edit_during_the_run_is_noticed(desk: &Desk) {
    desk.edit("forward: [192.0.2.53]", "forward: [192.0.2.53, 192.0.2.54]");
    desk.edit("modules: [overlay]", "modules: [overlay]\n  files: [{path: /etc/one, content: one}]");
    let mut run = desk.applying();
    run.until_it_says("cp1: ");
    run.signal(Signal::SIGSTOP);
    run.assert_works();
    let theirs = corefile(desk).replace("    log\n", "    log\n    debug\n");
    desk.set_entry("coredns", "Corefile", &theirs);
    run.signal(Signal::SIGCONT);
    let ended = coded(run.end(), 3);
    for word in ["Corefile", "kubectl-edit", "nothing of it was overwritten"] {
        says(&ended, word);
    }
    assert_eq!(corefile(desk), theirs);
    // The next run sees what is there, and goes on from it.
    let applied = desk.ends(0, &["apply", "--yes"]);
    says(&applied, "the cluster: ");
    assert!(corefile(desk).contains("    debug\n"), "{}", corefile(desk));
    assert!(corefile(desk).contains("forward . 192.0.2.53 192.0.2.54"), "{}", corefile(desk));
}

/// Something else of the same ConfigMap changes while a run is at work, and after.
fn other_entries_are_kept(desk: &Desk) {
    desk.edit("forward: [192.0.2.53, 192.0.2.54]", "forward: [192.0.2.53]");
    desk.edit("content: one", "content: two");
    let mut run = desk.applying();
    run.until_it_says("cp1: ");
    run.signal(Signal::SIGSTOP);
    run.assert_works();
    desk.set_entry("coredns", "unrelated", "changed");
    run.signal(Signal::SIGCONT);
    coded(run.end(), 0);
    let map = desk.config_map("coredns");
    assert_eq!(map["data"]["unrelated"], "changed");

    let reverted = desk.ends(0, &["revert", "--yes"]);
    let map = desk.config_map("coredns");
    assert_eq!(map["data"]["unrelated"], "changed");
    // What was there before us, with what others put in between: it was theirs when we came, or is told.
    says(&reverted, "the cluster: ");
    assert_eq!(desk.proxy_modes(), ["nftables"; 2]);
}

#[test]
fn an_api_server_that_restarts_is_waited_for() {
    need_cluster!();
    let desk = Desk::up(Spec::test(2));
    desk.edit("proxy: {mode: nftables}", "proxy: {mode: iptables}");
    desk.deploy_web("web", 1).unwrap();
    let mut run = desk.applying();
    run.until_it_says("cluster: [1/");
    run.assert_works();
    let server = desk.api_server("cp1").unwrap();
    kill(Pid::from_raw(server), Signal::SIGKILL).unwrap();
    run.until_it_says("cluster: cp1 does not answer");
    let ended = coded(run.end(), 0);
    says(&ended, "trying again for up to 60 s");
    says(&ended, "proven       default/web");
    // Each thing was done once.
    let proxy = desk.object(&["daemonset/kube-proxy", "--namespace=kube-system"]);
    assert_eq!(proxy["metadata"]["generation"], 2, "{proxy:#}");
    let pool = desk.object(&["ipaddresspools.metallb.io/first", "--namespace=metallb-system"]);
    assert_eq!(pool["metadata"]["generation"], 1, "{pool:#}");
    let lease = desk.object(&["lease/rackwright", "--namespace=kube-system"]);
    assert_eq!(lease["spec"]["holderIdentity"], Value::Null, "{lease:#}");
    let again = desk.json(0, &["apply", "--yes"]);
    assert_eq!(again["cluster"]["result"], "unchanged", "{again:#}");
}
