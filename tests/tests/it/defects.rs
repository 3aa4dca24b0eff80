//! What is wrong with hosts is found, named, and stands in the way of `apply` where it must.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use rackwright_lab::{Defect, Spec, await_until, need_lab};
use serde_json::Value;

use crate::run::{Rack, assert_same, redacted};

/// The machine that the tests run on has its own findings, which hosts of the lab share.
const MACHINE: [&str; 8] = [
    "cgroup-v1",
    "clock-unsynchronised",
    "clock-skew",
    "module-unsupported",
    "module-missing",
    "disk-full",
    "disk-slow",
    "not-observed",
];

/// Said of every rack here: there are hosts for a cluster, and none on them yet.
const NO_CLUSTER: &str = "cluster-absent";

/// Errors and warnings of `check`, in the order told, but for what the machine brings.
fn problems(rack: &Rack, check: &Value) -> String {
    let mut text = String::new();
    for finding in check["findings"].as_array().unwrap() {
        let said = |field: &str| finding[field].as_str().unwrap_or_default();
        if said("severity") == "pass" || MACHINE.contains(&said("name")) || said("name") == NO_CLUSTER {
            continue;
        }
        let nodes: Vec<_> = finding["nodes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let _ = writeln!(
            text,
            "{}: {} {} on {}",
            said("severity"),
            said("name"),
            said("subject"),
            nodes.join(", ")
        );
        for field in ["observed", "expected", "fix", "waived"] {
            if finding[field].is_string() {
                let _ = writeln!(text, "  {field}: {}", said(field));
            }
        }
    }
    redacted(&text, rack)
}

#[test]
fn every_defect_of_a_host_is_named_with_its_cure() {
    need_lab!();
    let defects = [Defect::SysctlWinsLater, Defect::SecondNic, Defect::ProxyArp, Defect::WrongMtu];
    let mut spec = Spec::test(3).defect("w1", Defect::DuplicateMachineId).defect("w1", Defect::PoolNeighbour);
    for defect in defects {
        spec = spec.defect("w2", defect);
    }
    let rack = Rack::up(spec);
    let check = rack.json(3, &["check"]);
    insta::assert_snapshot!(problems(&rack, &check));
}

#[test]
fn healthy_hosts_have_no_findings_of_their_own() {
    need_lab!();
    let rack = Rack::up(Spec::test(2));
    assert_eq!(problems(&rack, &rack.json(0, &["check"])), "");
    let all = rack.ends(0, &["check", "--all"]).stdout;
    assert!(all.contains("pass: neighbours-heard"), "{all}");
    assert!(all.contains("warning: cluster-absent") && all.contains("prepared for `kubeadm init`"), "{all}");
    assert!(all.contains("pass: pool-no-conflict-seen first"), "{all}");
}

#[test]
fn a_pool_that_somebody_else_lives_in_stops_everything_until_it_is_waived() {
    need_lab!();
    let rack = Rack::up(Spec::test(2).defect("w1", Defect::PoolNeighbour));
    rack.ends(3, &["plan"]);
    let before = rack.states();
    let refused = rack.ends(3, &["apply", "--yes"]).stdout;
    assert!(refused.contains("error: pool-address-in-use first"), "{refused}");
    assert!(refused.contains("192.0.2.205") && refused.contains("02:52:57:00:00:cd"), "{refused}");
    assert_same(&before, &rack.states(), "a refused apply");

    let reason = "the printer moves out on Friday";
    rack.edit(
        "  swap: off\n",
        &format!("  swap: off\n  waive: [{{finding: pool-address-in-use, reason: {reason}}}]\n"),
    );
    let said = rack.apply().stdout;
    assert!(said.contains("waived: pool-address-in-use first") && said.contains(reason), "{said}");
    assert!(said.contains("2 changed"), "{said}");
}

#[test]
fn a_pool_is_fine_once_the_neighbour_is_gone_in_either_family() {
    need_lab!();
    let rack = Rack::up(Spec::test(2));
    rack.edit(
        "addresses: [192.0.2.200-192.0.2.219]",
        "addresses: [192.0.2.200-192.0.2.219, '2001:db8::f000-2001:db8::f00f']",
    );
    // The bridges' namespace is on the segment, and no node.
    let switch = |script: &str| {
        let mut ip = rackwright_lab::command("ip");
        ip.args(["netns", "exec", &rack.layout().switch]).args(script.split(' '));
        rackwright_lab::must(ip, script, Duration::from_secs(10)).unwrap();
    };
    switch("ip address add 192.0.2.219/24 dev seg0");
    switch("ip -6 address add 2001:db8::f005/64 dev seg0 nodad");
    let check = rack.json(3, &["check"]);
    let found = problems(&rack, &check);
    for address in ["192.0.2.219", "2001:db8::f005"] {
        assert!(found.contains(address), "{address} was not found: {found}");
    }
    assert!(!found.contains("192.0.2.218"), "{found}");
    let before = rack.states();
    rack.ends(3, &["apply", "--yes"]);
    assert_same(&before, &rack.states(), "a refused apply");
    switch("ip address del 192.0.2.219/24 dev seg0");
    switch("ip -6 address del 2001:db8::f005/64 dev seg0");
    assert_eq!(problems(&rack, &rack.json(0, &["check"])), "");
    rack.apply();
}

#[test]
fn nodes_that_do_not_hear_each_other_are_named() {
    need_lab!();
    let rack = Rack::up(Spec::test(3));
    // As on a switch with private ports: these two hear everybody but each other.
    let port = |host: &str| rack.layout().host(host).unwrap().nics[0].port.clone();
    let isolate = |host: &str, state: &str| {
        let mut bridge = rackwright_lab::command("bridge");
        bridge.args(["-n", &rack.layout().switch, "link", "set", "dev", &port(host), "isolated", state]);
        rackwright_lab::must(bridge, "isolate a port", Duration::from_secs(10)).unwrap();
    };
    for host in ["w1", "w2"] {
        isolate(host, "on");
    }
    insta::assert_snapshot!(problems(&rack, &rack.json(3, &["check"])));
    for host in ["w1", "w2"] {
        isolate(host, "off");
    }
    assert_eq!(problems(&rack, &rack.json(0, &["check"])), "");
}

#[test]
fn a_sysctl_file_that_wins_later_is_foretold_and_outlived() {
    need_lab!();
    let rack = Rack::up(Spec::test(1).defect("cp1", Defect::SysctlWinsLater));
    let host = rack.host("cp1");
    let said = rack.apply().stdout;
    assert!(said.contains("warning: sysctl-overridden net.ipv4.ip_forward on cp1"), "{said}");
    assert!(said.contains("/etc/sysctl.d/99-zz-local.conf:2 sets it to 0"), "{said}");
    assert_eq!(host.read("sysctl -n net.ipv4.ip_forward net.ipv4.conf.all.arp_ignore").unwrap(), "1\n1");
    host.reboot().unwrap();
    // At boot the other file did win, for a moment: the restore unit ran after it and said so.
    let journal = || {
        let said = host.read("journalctl -b -u rackwright-restore.service -o cat --no-pager").unwrap();
        if said.contains("set net.ipv4.ip_forward = 1: was 0, is 1 again") { Ok(()) } else { Err(said) }
    };
    await_until("the restore unit tells what it put back", Duration::from_secs(20), journal).unwrap();
    assert_eq!(host.read("sysctl -n net.ipv4.ip_forward net.ipv4.conf.all.arp_ignore").unwrap(), "1\n1");
    rack.ends(0, &["status"]);
    // Without that unit the finding's prophecy comes true.
    rack.edit("  swap: off\n", "  swap: off\n  watch: {restore: false}\n");
    rack.apply();
    host.reboot().unwrap();
    assert_eq!(host.read("sysctl -n net.ipv4.ip_forward net.ipv4.conf.all.arp_ignore").unwrap(), "0\n0");
    let status = rack.ends(4, &["status"]).stdout;
    assert!(status.contains("drift: set net.ipv4.ip_forward = 1"), "{status}");
    // The cure that it names is one.
    host.read("rm /etc/sysctl.d/99-zz-local.conf").unwrap();
    let said = rack.apply().stdout;
    assert!(!said.contains("sysctl-overridden"), "{said}");
    host.reboot().unwrap();
    rack.ends(0, &["status"]);
}

#[test]
fn a_second_address_of_a_node_in_the_pool_is_found() {
    need_lab!();
    let rack = Rack::up(Spec::test(2));
    rack.host("w1").read("ip address add 192.0.2.210/24 dev eth0").unwrap();
    let found = problems(&rack, &rack.json(3, &["check"]));
    assert!(found.contains("error: pool-holds-node-address first"), "{found}");
    assert!(found.contains("192.0.2.210") && found.contains("w1"), "{found}");
}

#[test]
fn a_waiver_that_meets_nothing_is_told() {
    need_lab!();
    let rack = Rack::up(Spec::test(1));
    rack.edit(
        "  swap: off\n",
        "  swap: off\n  waive: [{finding: machine-id-twice, reason: not so any more}]\n",
    );
    let found = problems(&rack, &rack.json(0, &["check"]));
    assert!(found.contains("warning: waiver-unused machine-id-twice"), "{found}");
    assert!(fs::read_to_string(rack.rack_yaml()).unwrap().contains("waive"));
}
