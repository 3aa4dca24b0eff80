//! `rackwright plan`: the same bytes each time, applied as saved or refused as stale.

use std::fs;
use std::time::Duration;

use rackwright_lab::{Login, Spec, need_lab, run};

use crate::run::{Rack, State, assert_same};

/// A plan without what a busy disk says, which is measured anew each time.
fn steady(plan: &[u8]) -> String {
    let mut plan: serde_json::Value = serde_json::from_slice(plan).unwrap();
    plan["findings"].as_array_mut().unwrap().retain(|finding| finding["name"] != "disk-slow");
    plan.to_string()
}

#[test]
fn a_plan_has_the_same_bytes_twice_and_its_file_is_applied_as_it_is() {
    need_lab!();
    let rack = Rack::up(Spec::test(2));
    rack.ends(0, &["plan", "-o", "one.plan"]);
    rack.ends(0, &["plan", "-o", "two.plan"]);
    let [one, two] = ["one.plan", "two.plan"].map(|file| fs::read(rack.dir().join(file)).unwrap());
    assert_eq!(steady(&one), steady(&two));
    assert_eq!(steady(rack.ends(0, &["plan", "--json"]).stdout.as_bytes()), steady(&one));
    rack.ends(0, &["apply", "--yes", "one.plan"]);
    for host in rack.hosts() {
        assert_eq!(host.read("sysctl -n net.ipv4.ip_forward").unwrap(), "1");
        // What ran is what was saved.
        let plan: serde_json::Value = serde_json::from_slice(&one).unwrap();
        let saved = plan["nodes"].as_array().unwrap().iter().find(|n| n["node"] == host.name()).unwrap();
        let ran: serde_json::Value =
            serde_json::from_str(&host.read("cat /var/lib/rackwright/runs/*/plan.json").unwrap()).unwrap();
        assert_eq!(&ran["plan"], saved);
    }
    // The same file again speaks of hosts that are no more.
    rack.ends(3, &["apply", "--yes", "one.plan"]);
    assert!(rack.apply().stdout.contains("2 unchanged"));
}

#[test]
fn a_stale_plan_is_refused_with_what_changed_and_nothing_happens() {
    need_lab!();
    let rack = Rack::up(Spec::test(2));
    let host = rack.host("w1");
    rack.ends(0, &["plan", "-o", "saved.plan"]);

    host.read("sysctl -w net.ipv4.conf.all.arp_announce=1; mkdir -p /etc/sysctl.d; echo '# new' > /etc/sysctl.d/90-rackwright.conf")
        .unwrap();
    let before = rack.states();
    let refused = rack.ends(3, &["apply", "--yes", "saved.plan"]);
    assert!(
        refused.stderr.contains("stale") && refused.stderr.contains("nothing was changed"),
        "{}",
        refused.stderr
    );
    for told in ["w1", "net.ipv4.conf.all.arp_announce", "/etc/sysctl.d/90-rackwright.conf"] {
        assert!(refused.stdout.contains(told), "no {told} in {}", refused.stdout);
    }
    assert!(!refused.stdout.contains("cp1"), "{}", refused.stdout);
    assert_same(&before, &rack.states(), "a stale plan");
    host.read("sysctl -w net.ipv4.conf.all.arp_announce=0; rm /etc/sysctl.d/90-rackwright.conf").unwrap();

    let rack_file = fs::read_to_string(rack.rack_yaml()).unwrap();
    rack.edit("swap: off", "swap: keep");
    let before = rack.states();
    let refused = rack.ends(3, &["apply", "--yes", "saved.plan"]);
    assert!(refused.stderr.contains("was edited since"), "{}", refused.stderr);
    assert_same(&before, &rack.states(), "a plan of another rack");
    fs::write(rack.rack_yaml(), rack_file).unwrap();

    let id = host.read("cat /etc/machine-id").unwrap();
    host.read("tr 0-9a-f a-f0-9 < /etc/machine-id > /tmp/id && cat /tmp/id > /etc/machine-id").unwrap();
    let before = rack.states();
    let refused = rack.ends(3, &["apply", "--yes", "saved.plan"]);
    assert!(refused.stdout.contains("machine-id") && refused.stdout.contains(&id), "{}", refused.stdout);
    assert_same(&before, &rack.states(), "a plan for another machine");
    host.read(&format!("echo {id} > /etc/machine-id")).unwrap();

    rack.ends(0, &["apply", "--yes", "saved.plan"]);
}

#[test]
fn a_file_that_is_no_plan_is_refused() {
    need_lab!();
    let rack = Rack::up(Spec::test(1));
    rack.ends(0, &["plan", "-o", "saved.plan"]);
    let before = State::of(&rack.host("cp1"));
    let saved = fs::read_to_string(rack.dir().join("saved.plan")).unwrap();
    for (what, text) in [("cut", &saved[..saved.len() / 2]), ("empty", "{}"), ("other", "{\"format\": 999}")]
    {
        fs::write(rack.dir().join("bad.plan"), text).unwrap();
        let said = rack.ends(2, &["apply", "--yes", "bad.plan"]).stderr;
        assert!(said.contains("bad.plan") && said.contains("plan -o"), "{what}: {said}");
    }
    let changes = before.changes(&State::of(&rack.host("cp1")));
    assert!(changes.is_empty(), "{changes:#?}");
}

#[test]
#[ignore = "long: boots 64 hosts"]
fn the_plan_of_64_equal_nodes_fits_a_screen() {
    need_lab!();
    let rack = Rack::up(Spec::test(64).light().login(Login::Root));
    // All hosts share the machine's one neighbour table: 64 of them asking for each other overflow it.
    rack.edit("kubernetes:\n", "network: {probe: off}\nkubernetes:\n");
    let plan = run(rack.command(&["plan"]), None, Duration::from_secs(300)).unwrap();
    assert_eq!(plan.code, 0, "{}", plan.stderr);
    let (steps, _) = plan.stdout.split_once("\n\n").unwrap();
    assert!(steps.lines().count() <= 24, "{}", plan.stdout);
    assert!(plan.stdout.contains("on 64 nodes"), "{}", plan.stdout);
    assert!(plan.stdout.lines().all(|line| line.chars().count() <= 160), "{}", plan.stdout);
}
