//! `rackwright apply`: hosts become what the rack says, by the account of their own tools.

use std::fs;

use rackwright_lab::{Host, Spec, need_lab};
use serde_json::Value;

use crate::run::{Rack, State, assert_same};

/// More than the lab's rack wants: files of every sort, a sysctl of one node.
const FILES: &str = "  files:
    - {path: /etc/motd, content: \"prepared\\n\"}
    - {path: /etc/sudoers.d/secret, content: \"# secret\\n\", mode: '0440'}
    - {path: /home/ops/note, content: \"for ops\\n\", mode: '0600', owner: ops, group: ops}
    - {path: /etc/copied.bin, source: copied.bin}
    - {path: /etc/old.conf, absent: true}
  swap: off
";

fn with_files(spec: Spec) -> Rack {
    let rack = Rack::up(spec);
    rack.edit("  swap: off\n", FILES);
    fs::write(rack.dir().join("copied.bin"), [0, 159, 146, 150]).unwrap();
    for host in rack.hosts() {
        host.read("echo old > /etc/old.conf").unwrap();
    }
    rack
}

fn runs(host: &Host) -> String {
    host.read("ls /var/lib/rackwright/runs; cat /var/lib/rackwright/runs/*/journal.jsonl | wc -l").unwrap()
}

#[track_caller]
fn assert_prepared(host: &Host) {
    let says = |script: &str, expected: &str| {
        assert_eq!(host.read(script).unwrap(), expected, "{script} on {}", host.name());
    };
    says("sysctl -n net.ipv4.ip_forward", "1");
    says("sysctl -n net.ipv4.conf.all.arp_ignore net.ipv4.conf.all.arp_announce", "1\n2");
    let lasting = host.read("grep '^[^#]' /etc/sysctl.d/90-rackwright.conf").unwrap();
    for line in
        ["net.ipv4.ip_forward = 1", "net.ipv4.conf.all.arp_ignore = 1", "net.ipv4.conf.all.arp_announce = 2"]
    {
        assert!(lasting.lines().any(|l| l == line), "no {line} in {lasting}");
    }
    // They lead to the live values at every boot, also where nothing of ours runs.
    says(
        "sysctl --system 2>/dev/null >&2; sysctl -n net.ipv4.ip_forward net.ipv4.conf.all.arp_ignore",
        "1\n1",
    );
    says("grep -x overlay /etc/modules-load.d/rackwright.conf", "overlay");
    says(
        "stat -c '%a %U:%G' /etc/modules-load.d/rackwright.conf /etc/sysctl.d/90-rackwright.conf",
        "644 root:root\n644 root:root",
    );
    says("systemctl is-enabled rackwright-restore.service rackwright-drift.timer", "enabled\nenabled");
    says("systemctl is-active rackwright-drift.timer", "active");
    says("systemctl list-unit-files --state=enabled --no-legend 'rackwright*' | wc -l", "2");
    says("systemctl --failed --no-legend", "");
    // The agent's own name is the hash of its bytes.
    says(
        "cd /usr/local/lib/rackwright && readlink agent | grep -q '^/usr/local/lib/rackwright/agent-' && \
         sha256sum \"$(readlink agent)\" | cut -c1-16 | grep -c \"$(readlink agent | sed s/.*agent-//)\"",
        "1",
    );
    says("stat -c '%a %U' /var/lib/rackwright /usr/local/lib/rackwright", "700 root\n755 root");
    says("find /usr/local/lib/rackwright -name '.*'", "");
}

/// What is left of an agent whose delivery a power cut ended, by a process that nobody can be any more.
fn leave_half_an_agent(host: &Host) {
    let home = "/usr/local/lib/rackwright";
    host.read(&format!("install -d -m 755 {home} && echo half > {home}/.agent-0123456789abcdef.4999999"))
        .unwrap();
}

#[test]
fn untouched_hosts_become_what_the_rack_says_and_then_nothing_is_left_to_do() {
    need_lab!();
    let rack = with_files(Spec::test(2));
    leave_half_an_agent(&rack.host("cp1"));
    let said = rack.apply().stdout;
    assert!(said.contains("2 changed, 0 unchanged, 0 failed, 0 not reached"), "{said}");
    assert!(said.contains("Next: `rackwright status`"), "{said}");
    for host in rack.hosts() {
        assert_prepared(&host);
        let says =
            |script: &str, expected: &str| assert_eq!(host.read(script).unwrap(), expected, "{script}");
        says("cat /etc/motd; stat -c '%a %U:%G' /etc/motd", "prepared\n644 root:root");
        says(
            "cat /etc/sudoers.d/secret; stat -c '%a %U:%G' /etc/sudoers.d/secret",
            "# secret\n440 root:root",
        );
        says("cat /home/ops/note; stat -c '%a %U:%G' /home/ops/note", "for ops\n600 ops:ops");
        says("od -An -tu1 /etc/copied.bin", "0 159 146 150");
        says("test -e /etc/old.conf || echo gone", "gone");
    }
    assert!(rack.ends(0, &["status"]).stdout.contains("2 nodes, 0 drifted"));

    let (states, journals) = (rack.states(), rack.hosts().iter().map(runs).collect::<Vec<_>>());
    let said = rack.apply().stdout;
    assert!(said.contains("0 changed, 2 unchanged"), "{said}");
    let plan = rack.ends(0, &["plan", "--exit-code"]).stdout;
    assert!(plan.contains("nothing to do"), "{plan}");
    assert_same(&states, &rack.states(), "an apply with nothing to do");
    assert_eq!(rack.hosts().iter().map(runs).collect::<Vec<_>>(), journals, "a run was pushed for nothing");
}

#[test]
fn what_goes_from_the_rack_goes_from_the_hosts_and_nothing_else_does() {
    need_lab!();
    let rack = with_files(Spec::test(1));
    let host = rack.host("cp1");
    host.read("echo welcome > /etc/motd; chmod 0640 /etc/motd").unwrap();
    rack.edit("{net.ipv4.ip_forward: 1}", "{net.ipv4.ip_forward: 1, net.ipv4.conf.all.log_martians: 1}");
    // Any that the machine's kernel has.
    let module =
        host.read("ls /sys/module | grep -vE 'overlay|netfilter|conntrack|ip_vs' | head -1").unwrap();
    rack.edit("modules: [overlay]", &format!("modules: [overlay, {module}]"));
    rack.apply();
    assert_eq!(host.read("sysctl -n net.ipv4.conf.all.log_martians; cat /etc/motd").unwrap(), "1\nprepared");
    assert!(host.read("cat /etc/modules-load.d/rackwright.conf").unwrap().contains(&module));
    let before = State::of(&host);

    rack.edit(", net.ipv4.conf.all.log_martians: 1", "");
    rack.edit(&format!("modules: [overlay, {module}]"), "modules: [overlay]");
    rack.edit("    - {path: /etc/motd, content: \"prepared\\n\"}\n", "");
    rack.edit("    - {path: /etc/old.conf, absent: true}\n", "");
    let plan = rack.ends(4, &["plan", "--exit-code"]).stdout;
    for undone in [
        "undo: set net.ipv4.conf.all.log_martians = 0",
        "undo: restore /etc/motd",
        "undo: restore /etc/old.conf",
    ] {
        assert!(plan.contains(undone), "no {undone:?} in\n{plan}");
    }
    rack.apply();
    let is = host.read(
        "sysctl -n net.ipv4.conf.all.log_martians; cat /etc/motd; stat -c %a /etc/motd; cat /etc/old.conf",
    );
    assert_eq!(is.unwrap(), "0\nwelcome\n640\nold");
    assert_prepared(&host);
    let touched = [
        "log_martians",
        "/etc/motd",
        "/etc/old.conf",
        "90-rackwright.conf",
        "modules-load.d/rackwright.conf",
        "/var/lib/rackwright",
    ];
    let changes = before.changes(&State::of(&host));
    let others: Vec<_> = changes.iter().filter(|line| !touched.iter().any(|t| line.contains(t))).collect();
    assert!(others.is_empty(), "{others:#?}");
    assert!(rack.apply().stdout.contains("1 unchanged"));
}

#[test]
fn a_dead_host_stops_nobody_and_is_caught_up_later() {
    need_lab!();
    let rack = Rack::up(Spec::test(3));
    rack.host("w1").kill().unwrap();
    let output = rack.ends(1, &["apply", "--yes"]);
    assert!(output.stdout.contains("2 changed, 0 unchanged, 0 failed, 1 not reached"), "{}", output.stdout);
    assert!(output.stdout.contains("not reached  w1"), "{}", output.stdout);
    for name in ["cp1", "w2"] {
        assert_prepared(&rack.host(name));
    }
    // The command that the summary names is the one that helps.
    assert!(output.stdout.contains("Next: `rackwright apply`"), "{}", output.stdout);
    let status = rack.json(1, &["status"]);
    let states: Vec<_> =
        status["nodes"].as_array().unwrap().iter().map(|n| n["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["known", "not-reached", "known"]);
    // Nor does a control plane that is not heard: whether there is a cluster is not known then.
    rack.host("cp1").kill().unwrap();
    let check = rack.ends(1, &["check"]);
    assert!(
        check.stdout.contains("cluster-unreachable") && !check.stdout.contains("cluster-absent"),
        "{}",
        check.stdout
    );
    rack.host("cp1").boot().unwrap();
    rack.host("w1").boot().unwrap();
    assert!(rack.apply().stdout.contains("1 changed, 2 unchanged, 0 failed, 0 not reached"));
    assert_prepared(&rack.host("w1"));
}

#[test]
fn only_the_named_nodes_are_touched() {
    need_lab!();
    let rack = Rack::up(Spec::test(2));
    let before = State::of(&rack.host("w1"));
    rack.ends(0, &["apply", "--yes", "-n", "cp1"]);
    assert_prepared(&rack.host("cp1"));
    let changes = before.changes(&State::of(&rack.host("w1")));
    assert!(changes.is_empty(), "{changes:#?}");
    // A worker alone says nothing of the cluster.
    let output = rack.ends(0, &["apply", "--yes", "-n", "w1"]);
    assert!(output.stderr.contains("cluster: left alone"), "{}", output.stderr);
    assert!(!output.stdout.contains("kubeadm init"), "{}", output.stdout);
    let output = rack.ends(2, &["apply", "--yes", "-n", "w9"]);
    assert!(output.stderr.contains("has no node `w9`"), "{}", output.stderr);
}

#[test]
fn nothing_happens_without_a_yes() {
    need_lab!();
    let rack = Rack::up(Spec::test(1));
    rack.ends(0, &["plan"]);
    let before = rack.states();
    let output = rack.ends(2, &["apply"]);
    assert!(output.stdout.contains("set net.ipv4.ip_forward = 1"), "the plan is shown: {}", output.stdout);
    assert!(output.stderr.contains("say --yes"), "{}", output.stderr);
    assert_same(&before, &rack.states(), "an apply that nobody agreed to");
}

/// `["format"]` and `["kind"]` and the fields that every reader may rely on.
#[track_caller]
fn assert_shape(value: &Value, kind: &str, fields: &[&str]) {
    assert_eq!(value["kind"], kind, "{value:#}");
    assert!(value["format"].is_u64(), "{value:#}");
    for field in fields {
        assert!(!value[field].is_null(), "no {field} in {value:#}");
    }
}

#[test]
fn everything_is_told_to_programs_too() {
    need_lab!();
    let rack = Rack::up(Spec::test(1));
    let check = rack.json(0, &["check"]);
    assert_shape(&check, "check", &["nodes", "counts", "findings"]);
    assert_eq!(check["counts"]["errors"], 0);
    for field in ["name", "severity", "nodes", "checked", "observed", "expected", "fix"] {
        assert!(!check["findings"][0][field].is_null(), "no {field} in {:#}", check["findings"][0]);
    }
    let plan = rack.json(0, &["plan"]);
    assert_eq!(plan["nodes"][0]["node"], "cp1");
    assert!(plan["nodes"][0]["steps"].as_array().unwrap().len() > 5);
    let applied = rack.json(0, &["apply", "--yes"]);
    assert_shape(&applied, "apply", &["run", "counts", "nodes", "next"]);
    assert_eq!(applied["counts"]["changed"], 1);
    assert_eq!(applied["nodes"][0]["result"], "changed");
    assert!(applied["nodes"][0]["steps"].as_array().unwrap().len() > 5);
    let again = rack.json(0, &["apply", "--yes"]);
    assert_shape(&again, "apply", &["counts", "nodes", "next"]);
    assert_eq!((&again["nodes"][0]["result"], &again["run"]), (&Value::from("unchanged"), &Value::Null));
    let status = rack.json(0, &["status"]);
    assert_shape(&status, "status", &["drifted", "nodes"]);
    assert_eq!(status["nodes"][0]["last"]["run"], applied["run"]);
    let reverted = rack.json(0, &["revert", "--yes"]);
    assert_eq!(reverted["counts"]["changed"], 1);
}
