//! A prepared host stays prepared without any coordinator, and tells when it does not.

use std::time::Duration;

use rackwright_lab::{Spec, await_until, need_lab};

use crate::run::{Rack, State};

#[test]
fn a_reboot_changes_nothing_and_drift_is_found_and_mended() {
    need_lab!();
    let rack = Rack::up(Spec::test(1));
    rack.edit(
        "  swap: off\n",
        "  swap: off\n  watch: {drift: {every: 1h, textfile: /var/lib/node_exporter}}\n",
    );
    let host = rack.host("cp1");
    host.read("mkdir -p /var/lib/node_exporter").unwrap();
    rack.apply();
    let (files, sysctls) = (State::tree(&host), State::sysctls(&host));
    host.reboot().unwrap();
    assert_eq!(
        host.read("systemctl show -P Result -P ExecMainStatus rackwright-restore.service").unwrap(),
        "success\n0"
    );
    assert_ne!(host.read("systemctl show -P ExecMainExitTimestamp rackwright-restore.service").unwrap(), "");
    assert_eq!(host.read("systemctl is-active rackwright-drift.timer").unwrap(), "active");
    assert_eq!(host.read("systemctl --failed --no-legend").unwrap(), "");
    let changes = sysctls.changes(&State::sysctls(&host));
    assert!(changes.is_empty(), "{changes:#?}");
    let mut changes = files.changes(&State::tree(&host));
    changes.retain(|line| !line.contains("/var/lib/rackwright"));
    assert!(changes.is_empty(), "{changes:#?}");
    assert!(rack.ends(0, &["status"]).stdout.contains("1 node, 0 drifted"));
    assert!(rack.apply().stdout.contains("1 unchanged"));

    host.read("sysctl -w net.ipv4.conf.all.arp_ignore=0 && systemctl start rackwright-drift.service")
        .unwrap();
    let metrics = host.read("cat /var/lib/node_exporter/rackwright.prom").unwrap();
    assert!(metrics.contains("rackwright_steps_drifted 1"), "{metrics}");
    assert_eq!(
        metrics.lines().filter(|l| l.starts_with("rackwright_step_drifted") && l.ends_with(" 1")).count(),
        1
    );
    let journal = || {
        let said = host.read("journalctl -u rackwright-drift.service -o cat --no-pager").unwrap();
        if said.contains("net.ipv4.conf.all.arp_ignore") { Ok(()) } else { Err(said) }
    };
    await_until("the drift is in the journal", Duration::from_secs(20), journal).unwrap();
    let status = rack.ends(4, &["status"]).stdout;
    assert!(status.contains("drift: set net.ipv4.conf.all.arp_ignore = 1  now 0"), "{status}");
    assert!(status.contains("1 node, 1 drifted"), "{status}");

    let plan = rack.json(4, &["plan", "--exit-code"]);
    let changed: Vec<_> =
        plan["nodes"][0]["steps"].as_array().unwrap().iter().map(|s| s["decision"].to_string()).collect();
    assert_eq!(changed.iter().filter(|d| d.contains("change")).count(), 1, "{changed:#?}");
    let before = State::sysctls(&host);
    assert!(rack.apply().stdout.contains("1 change\n"));
    let changes = before.changes(&State::sysctls(&host));
    assert_eq!(
        changes,
        ["- sysctl net.ipv4.conf.all.arp_ignore: 0", "+ sysctl net.ipv4.conf.all.arp_ignore: 1"]
    );
    host.read("systemctl start rackwright-drift.service").unwrap();
    assert!(
        host.read("cat /var/lib/node_exporter/rackwright.prom")
            .unwrap()
            .contains("rackwright_steps_drifted 0")
    );
    rack.ends(0, &["status"]);
}

#[test]
fn power_that_is_cut_leaves_a_prepared_host() {
    need_lab!();
    let rack = Rack::up(Spec::test(1));
    let host = rack.host("cp1");
    rack.apply();
    let sysctls = State::sysctls(&host);
    host.kill().unwrap();
    host.boot().unwrap();
    let changes = sysctls.changes(&State::sysctls(&host));
    assert!(changes.is_empty(), "{changes:#?}");
    assert!(rack.apply().stdout.contains("1 unchanged"));
}

#[test]
fn what_the_kernel_changes_along_with_forwarding_is_drift_too() {
    need_lab!();
    let rack = Rack::up(Spec::test(1));
    let host = rack.host("cp1");
    rack.apply();
    // Switching forwarding off makes the kernel heed ICMP redirects again.
    host.read("sysctl -w net.ipv4.ip_forward=0").unwrap();
    let status = rack.ends(4, &["status"]).stdout;
    assert!(status.contains("net.ipv4.ip_forward") && status.contains("accept_redirects"), "{status}");
    rack.apply();
    let is = host.read("sysctl -n net.ipv4.ip_forward net.ipv4.conf.all.accept_redirects").unwrap();
    assert_eq!(is, "1\n0");
    rack.ends(0, &["status"]);
}
