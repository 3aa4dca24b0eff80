use std::net::IpAddr;

use rackwright_proto::facts::{Disk, Facts, FullFacts, Listening, Swap, SwapArea, SysctlFile, SysctlLine};
use rackwright_proto::file::{FileSeen, FileStep, FileWant};
use rackwright_proto::finding::{Finding, Severity};
use rackwright_proto::kernel::{KernelSeen, KernelStep, ModuleSeen, ModuleStep, SysctlSeen, SysctlStep};
use rackwright_proto::link::{Link, LinkKind, Mac};
use rackwright_proto::name::NodeName;
use rackwright_proto::receipt::Entry;
use rackwright_proto::step::{HostStep, Seen};

use super::clock::Reading;
use super::host::Host;
use super::{NAMES, Waiver, apply_waivers, clock, host, identity, kernel, merged, names, row, sysctl};
use crate::network::fixtures;

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn golden(findings: &[Finding]) -> String {
    let mut text = Vec::new();
    let looked = crate::report::check::Looked { nodes: 2, ..Default::default() };
    crate::report::check::text(&mut text, findings, &looked, crate::report::plan::View::default()).unwrap();
    String::from_utf8(text).unwrap()
}

fn facts() -> Facts {
    let mut facts: Facts = serde_json::from_value(serde_json::json!({
        "basics": {"hostname": "w1", "machine_id": "1111", "boot_id": "b", "kernel": "6.12.0", "arch": "x86_64",
                   "systemd": true, "euid": 0},
        "machine": {"os_id": "debian", "os_version": "13", "os_name": "Debian GNU/Linux 13", "cpus": 4,
                    "memory_bytes": 8_u64 << 30, "cgroup": 2,
                    "resolv_conf": {"path": "/etc/resolv.conf", "nameservers": ["192.0.2.53"], "search": []}},
        "network": {"links": [], "routes": [], "neighbours": []},
        "swap": {"active": [], "fstab": null, "units": []},
        "sysctl_files": [], "clock": {"unix_ms": 0, "synchronised": true}, "seen": {}, "ledger": {},
    }))
    .unwrap();
    facts.full = Some(FullFacts {
        disk: Disk { total_bytes: 40 << 30, free_bytes: 30 << 30, fsync_us: Some(1_500) },
        ..FullFacts::default()
    });
    facts
}

fn link(name: &str, kind: LinkKind, mac: u8, address: &str) -> Link {
    Link { kind, ..fixtures::link(name, Some(Mac([0x52, 0x54, 0, 0, 0, mac])), &[address]) }
}

fn cp1(node: &NodeName) -> Host<'_> {
    Host { node, control_plane: true, kubernetes: true, metallb: true, swap_off: false }
}

#[test]
fn a_good_host_passes_everything() {
    let node = name("w1");
    let found = host::findings(&cp1(&node), &facts());
    let passed: Vec<String> = found.iter().map(|f| format!("{}: {}", f.name, f.observed)).collect();
    assert!(found.iter().all(|f| f.severity == Severity::Pass), "{}", golden(&found));
    insta::assert_snapshot!(passed.join("\n"));
}

#[test]
fn clones_are_found() {
    let mut facts = facts();
    facts.machine.product_uuid = Some("aaaa-bbbb".into());
    facts.network.links = vec![
        link("eth0", LinkKind::Physical, 1, "192.0.2.11/24"),
        link("docker0", LinkKind::Bridge, 2, "172.17.0.1/16"),
        link("kube-ipvs0", LinkKind::Other, 3, "10.96.0.1/32"),
    ];
    let mut third = facts.clone();
    third.basics.machine_id = String::new();
    third.basics.hostname = "w3".into();
    third.machine.product_uuid = None;
    third.network.links.truncate(0);
    let (a, b, c) = (name("w1"), name("w2"), name("w3"));
    insta::assert_snapshot!(golden(&identity::across(&[(&a, &facts), (&b, &facts), (&c, &third)])));
}

fn reading(node: &str, host_ms: u64, round_trip_ms: u64) -> Reading {
    Reading { node: name(node), host_ms, here_ms: 1_000_000 + round_trip_ms / 2, round_trip_ms }
}

#[test]
fn clocks_are_judged_against_the_median() {
    let readings = [
        reading("a", 1_000_000, 10),
        reading("b", 1_000_100, 10),
        reading("c", 1_003_000, 10),
        reading("d", 940_000, 10),
        reading("e", 1_000_050, 10),
    ];
    insta::assert_snapshot!(golden(&clock::skew(&readings)));
}

#[test]
fn a_slow_answer_is_no_skew() {
    let slow = Reading { node: name("b"), host_ms: 1_004_000, here_ms: 1_005_000, round_trip_ms: 10_000 };
    let found = clock::skew(&[reading("a", 1_000_000, 10), slow, reading("c", 1_000_000, 10)]);
    assert!(found.iter().all(|f| f.severity == Severity::Pass), "{found:#?}");
}

#[test]
fn a_rack_in_another_year_is_told() {
    let found = clock::skew(&[reading("a", 100_000_000, 10), reading("b", 100_000_500, 10)]);
    let open: Vec<_> = found.into_iter().filter(|f| f.severity > Severity::Pass).collect();
    insta::assert_snapshot!(golden(&open));
    assert_eq!(clock::skew(&[]), vec![]);
}

#[test]
fn a_host_with_every_defect() {
    let node = name("cp1");
    let mut facts = facts();
    facts.basics.hostname = "CP_1".into();
    facts.basics.euid = 1000;
    facts.machine.cpus = 1;
    facts.machine.memory_bytes = 1 << 30;
    facts.machine.cgroup = 1;
    facts.machine.resolv_conf.nameservers = vec!["127.0.0.53".into()];
    facts.clock.synchronised = Some(false);
    facts.troubles = vec!["read /proc/swaps: permission denied".into()];
    let area = |device: &str, zram| SwapArea {
        device: device.into(),
        kind: "partition".into(),
        size_bytes: 512 << 20,
        used_bytes: 0,
        zram,
    };
    let fstab = "/dev/sda1 / ext4 defaults 0 1\n/dev/sdb none swap sw 0 0\n";
    let file = FileSeen::File {
        sha256: String::new(),
        text: Some(fstab.into()),
        mode: 0o644,
        uid: 0,
        gid: 0,
        owner: None,
        group: None,
    };
    facts.swap = Swap {
        active: vec![area("/dev/sdb", false), area("/dev/zram0", true)],
        fstab: Some(file),
        units: vec!["dev-zram0.swap".into()],
    };
    let listening = |port, program: Option<&str>| Listening {
        protocol: "tcp".into(),
        address: IpAddr::from([0, 0, 0, 0]),
        port,
        program: program.map(str::to_owned),
    };
    facts.full = Some(FullFacts {
        disk: Disk { total_bytes: 40 << 30, free_bytes: 1 << 30, fsync_us: Some(25_300) },
        listening: vec![listening(6443, Some("nginx")), listening(7946, None), listening(2379, Some("etcd"))],
        firewall: vec![
            "nftables: inet firewalld, ip filter".into(),
            "iptables (legacy): nat, filter".into(),
            "firewalld: running".into(),
        ],
        leftovers: vec!["/etc/kubernetes/manifests".into(), "link cni0".into()],
        ..FullFacts::default()
    });
    let mut found = host::findings(&cp1(&node), &facts);
    found.push(clock::synchronised(&node, &facts));
    insta::assert_snapshot!(golden(&found));
}

#[test]
fn another_hostname_than_the_node_is_a_warning() {
    let node = name("w9");
    let found = host::findings(&cp1(&node), &facts());
    let open: Vec<_> = found.into_iter().filter(|f| f.severity > Severity::Pass).collect();
    insta::assert_snapshot!(golden(&open));
    let mut mute = facts();
    mute.machine.resolv_conf.nameservers.clear();
    let found = host::findings(&cp1(&name("w1")), &mute);
    assert_eq!(found.iter().filter(|f| f.severity > Severity::Pass).count(), 1);
    assert!(found.iter().any(|f| f.name == "resolver-empty"));
    let short = host::findings(&cp1(&name("w1")), &{
        let mut facts = facts();
        facts.basics.hostname = "w1.example.org".into();
        facts
    });
    assert!(short.iter().all(|f| f.severity == Severity::Pass));
}

fn sysctl_step(key: &str, value: &str) -> HostStep {
    let (key, value) = (key.parse().unwrap(), value.to_owned());
    HostStep::Kernel(KernelStep::Sysctl(SysctlStep { key, value, after_module: None }))
}

fn sysctl_file(path: &str, lines: &[(u32, &str, Option<&str>)]) -> SysctlFile {
    let line = |(line, key, value): &(u32, &str, Option<&str>)| SysctlLine {
        line: *line,
        key: (*key).to_owned(),
        value: value.map(str::to_owned),
    };
    SysctlFile { path: path.into(), lines: lines.iter().map(line).collect() }
}

#[test]
fn files_that_win_at_the_next_boot_are_named() {
    let mut facts = facts();
    facts.sysctl_files = vec![
        sysctl_file("/usr/lib/sysctl.d/50-default.conf", &[(3, "net.ipv4.conf.all.rp_filter", Some("2"))]),
        sysctl_file("/etc/sysctl.d/90-rackwright.conf", &[(2, "net.ipv4.ip_forward", Some("1"))]),
        sysctl_file(
            "/etc/sysctl.d/95-hardening.conf",
            &[
                (1, "net.ipv4.conf.all.forwarding", Some("0")),
                (2, "net.ipv4.conf.*.arp_ignore", Some("0")),
                (3, "net.ipv4.conf.all.arp_announce", Some(" 2 ")),
                (7, "vm.swappiness", Some("60")),
            ],
        ),
        sysctl_file("/etc/sysctl.d/99-sysctl.conf", &[(4, "vm.swappiness", None)]),
    ];
    let steps = [
        sysctl_step("net.ipv4.ip_forward", "1"),
        sysctl_step("net.ipv4.conf.all.arp_ignore", "1"),
        sysctl_step("net.ipv4.conf.all.arp_announce", "2"),
        sysctl_step("net.ipv4.conf.all.rp_filter", "1"),
        sysctl_step("vm.swappiness", "10"),
    ];
    let node = name("w1");
    let steps: Vec<&HostStep> = steps.iter().collect();
    insta::assert_snapshot!(golden(&sysctl::overridden(&node, &steps, &facts)));
    facts.sysctl_files.clear();
    let found = sysctl::overridden(&node, &steps, &facts);
    assert_eq!((found.len(), found[0].severity), (1, Severity::Pass));
}

#[test]
fn what_a_kernel_cannot_have_is_told() {
    let node = name("w1");
    let module = |name: &str, seen: ModuleSeen| {
        let step =
            HostStep::Kernel(KernelStep::Module(ModuleStep { name: name.parse().unwrap(), loaded: true }));
        let seen = Seen::Kernel(KernelSeen::Module(seen));
        kernel::decided(&node, &step, &seen, &step.decide(&seen), "kube-proxy mode ipvs").unwrap()
    };
    let other = |step: HostStep, seen: Seen| {
        kernel::decided(&node, &step, &seen, &step.decide(&seen), "hosts of the rack").unwrap()
    };
    let held = ModuleSeen::Blacklisted { file: "/etc/modprobe.d/x.conf".into(), line: 3 };
    let file = HostStep::File(FileStep { path: "/etc/x".into(), want: FileWant::Absent });
    let entry = Entry {
        step: sysctl_step("vm.swappiness", "10"),
        before: Seen::Kernel(KernelSeen::Sysctl(SysctlSeen::Value { value: "60".into() })),
        after: None,
        order: 0,
        run: "r1".parse().unwrap(),
    };
    let now = Seen::Kernel(KernelSeen::Sysctl(SysctlSeen::Value { value: "1".into() }));
    insta::assert_snapshot!(golden(&[
        module("overlay", ModuleSeen::Loadable),
        module("ip_vs", ModuleSeen::NoModules),
        module("ip_vs_rr", ModuleSeen::Missing { release: "6.12.0".into() }),
        module("br_netfilter", held),
        other(sysctl_step("net.x.y", "1"), Seen::Kernel(KernelSeen::Sysctl(SysctlSeen::Absent))),
        other(file.clone(), Seen::File(FileSeen::Other { what: "directory".into() })),
        kernel::changed_since(&node, &entry, &now),
        kernel::not_observed(&node, &file),
    ]));
}

fn finding(name: &str, nodes: &[&str]) -> Finding {
    let nodes: Vec<NodeName> = nodes.iter().map(|n| n.parse().unwrap()).collect();
    super::Check::new(name, &nodes.iter().collect::<Vec<_>>(), "", "c", "e").error("o", "f")
}

#[test]
fn waivers_go_on_record_and_unused_ones_are_told() {
    let waiver = |finding: &str, nodes: &[&str]| Waiver {
        finding: finding.into(),
        nodes: nodes.iter().map(|n| name(n)).collect(),
        reason: "equal boards".into(),
    };
    let findings =
        vec![finding("mac-twice", &["a", "b"]), finding("disk-full", &["a"]), finding("not-root", &["b"])];
    let waivers = [waiver("mac-twice", &["a"]), waiver("disk-full", &[]), waiver("not-root", &["b"])];
    let found = apply_waivers(findings, &waivers);
    assert!(found[0].blocks(), "a waiver for one of two nodes does not cover both");
    assert_eq!(found[1].waived.as_deref(), Some("equal boards"));
    assert!(!found[2].blocks());
    assert_eq!(
        (found.len(), found[3].name.as_str(), found[3].severity),
        (4, "waiver-unused", Severity::Warning)
    );
    insta::assert_snapshot!(golden(&found));
}

#[test]
fn equal_findings_are_merged_in_order() {
    let found = [finding("disk-full", &["a"]), finding("not-root", &["a"]), finding("disk-full", &["b"])];
    let merged = merged(&found);
    assert_eq!(merged.iter().map(|f| f.nodes.len()).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn every_name_is_kebab_case_once_and_documented() {
    assert!(NAMES.is_sorted(), "keep the table sorted");
    let mut all: Vec<&str> = names().map(|(name, _)| *name).collect();
    let docs = include_str!("../../../docs/findings.md");
    for entry in names() {
        assert!(
            entry.0.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
            "{}",
            entry.0
        );
        assert!(docs.contains(&row(entry)), "docs/findings.md lacks this row:\n{}", row(entry));
    }
    all.sort_unstable();
    let mut once = all.clone();
    once.dedup();
    assert_eq!(once, all);
}
