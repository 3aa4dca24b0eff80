//! Every finding, word by word.

use rackwright_proto::finding::Severity;

use super::*;

/// A finding as an operator reads it.
fn show(findings: &[Finding]) -> String {
    let one = |finding: &Finding| {
        let severity = match finding.severity {
            Severity::Pass => "pass",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let Finding { name, subject, checked, observed, expected, fix, .. } = finding;
        let nodes = finding.nodes.join(", ");
        let fix = if fix.is_empty() { String::new() } else { format!("\n  fix: {fix}") };
        format!(
            "{severity} {name}: {subject} [{nodes}]\n  checked: {checked}\n  observed: {observed}\n  expected: {expected}{fix}\n"
        )
    };
    findings.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// Two nodes, of which the first is changed.
fn changed(change: impl FnOnce(&mut Network)) -> [Network; 2] {
    let mut networks = [network(1), network(2)];
    change(&mut networks[0]);
    networks
}

fn first_pool() -> Vec<PoolInput> {
    vec![pool("first", &[("192.0.2.200", "192.0.2.219")])]
}

/// What facts tell, of the first pool.
fn facts(change: impl FnOnce(&mut Network)) -> Vec<Finding> {
    judge_facts(&scene(&changed(change), first_pool()))
}

/// What facts tell of another pool.
fn of_pool(ranges: &[(&str, &str)]) -> Vec<Finding> {
    judge_facts(&scene(&changed(|_| ()), vec![pool("first", ranges)]))
}

fn skipped_by(version: &str) -> Vec<Finding> {
    let networks = changed(|network| network.links[0].name = "wlo1".into());
    let scene = Scene { speaker: Speaker::of_version(version), ..scene(&networks, first_pool()) };
    judge_facts(&scene)
}

fn named(interface: &str) -> Vec<Finding> {
    let networks = changed(|_| ());
    let mut scene = scene(&networks, first_pool());
    scene.nodes[0].interface = Wanted::Named(interface.into());
    judge_facts(&scene)
}

fn reserved() -> Vec<Finding> {
    let networks = changed(|_| ());
    let mut scene = scene(&networks, first_pool());
    scene.reserved = vec![
        RangeInput { what: "the pod network".into(), span: span("192.0.2.210", "192.0.2.255") },
        RangeInput { what: "the service network".into(), span: span("10.96.0.0", "10.111.255.255") },
        RangeInput { what: "the name server".into(), span: span("192.0.2.201", "192.0.2.201") },
    ];
    judge_facts(&scene)
}

fn heard_of() -> Vec<Finding> {
    facts(|network| {
        network.neighbours = vec![
            neighbour("192.0.2.201", STRANGER, "reachable"),
            neighbour("192.0.2.202", STRANGER, "stale"),
            neighbour("192.0.2.203", STRANGER, "failed"),
            neighbour("192.0.2.204", mac(2), "reachable"),
            neighbour("192.0.2.50", STRANGER, "reachable"),
        ];
    })
}

fn second_link(interfaces: Option<Vec<String>>) -> Vec<Finding> {
    let networks = changed(|network| {
        network.links.push(link("eth1", 3, "52:54:00:00:01:01", &["192.0.2.99/24"]));
    });
    let mut scene = scene(&networks, first_pool());
    scene.pools[0].interfaces = interfaces;
    judge_facts(&scene)
}

fn on_all(wanted: ArpWanted) -> BTreeMap<String, ArpWanted> {
    (0..4).map(|node| (name(node), wanted)).collect()
}

fn sysctls(all: LinkArp, own: LinkArp) -> Vec<Finding> {
    let networks = changed(|network| {
        network.arp_all = all;
        network.links[0].arp = own;
    });
    let wanted = ArpWanted { arp_ignore: Some(1), arp_announce: Some(2), rp_filter: Some(0) };
    judge_facts(&Scene { wanted: on_all(wanted), ..scene(&networks, first_pool()) })
}

/// What the answers tell, where `who` says which MACs answer for an address and which seek it.
fn answered(served: Option<&str>, who: impl Fn(&str, IpAddr) -> (Vec<Mac>, Vec<Mac>)) -> Vec<Finding> {
    let networks = changed(|_| ());
    let served = served.map(|ip| BTreeSet::from([ip.parse().unwrap()]));
    let scene = Scene { served, ..scene(&networks, first_pool()) };
    let asked = pool_probes(&scene);
    judge_pool_probes(&scene, &asked, &answers(&asked, who))
}

/// The same, where these MACs answer for 192.0.2.205 and 206.
fn claimed_by(served: Option<&str>, macs: &[Mac]) -> Vec<Finding> {
    let taken: [IpAddr; 2] = ["192.0.2.205", "192.0.2.206"].map(|ip| ip.parse().unwrap());
    answered(served, |_, ip| (if taken.contains(&ip) { macs.to_vec() } else { Vec::new() }, Vec::new()))
}

fn claimed_by_one_not_reached() -> Vec<Finding> {
    let networks = changed(|_| ());
    let mut scene = scene(&networks, vec![pool("first", &[("192.0.2.200", "192.0.2.200")])]);
    scene.pools[0].nodes.push("n3".into());
    let asked = pool_probes(&scene);
    judge_pool_probes(&scene, &asked, &answers(&asked, |_, _| (vec![mac(3)], Vec::new())))
}

fn sought() -> Vec<Finding> {
    let ip = "192.0.2.205".parse::<IpAddr>().unwrap();
    answered(None, |_, asked| {
        (Vec::new(), if asked == ip { vec![STRANGER, mac(1), mac(2)] } else { Vec::new() })
    })
}

/// Two nodes answer for what they have on `kube-ipvs0`.
fn silenced() -> Vec<Finding> {
    let mut networks = [network(1), network(2)];
    for network in &mut networks {
        network.links.push(link("kube-ipvs0", 9, "52:54:00:00:09:09", &["192.0.2.205/32"]));
    }
    let wanted = on_all(ArpWanted { arp_ignore: Some(1), arp_announce: Some(2), rp_filter: None });
    let scene = Scene { wanted, ..scene(&networks, first_pool()) };
    let asked = pool_probes(&scene);
    let vip = IpAddr::from([192, 0, 2, 205]);
    let who = |_: &str, ip| (if ip == vip { vec![mac(1), mac(2)] } else { Vec::new() }, Vec::new());
    judge_pool_probes(&scene, &asked, &answers(&asked, who))
}

fn own_address() -> Vec<Finding> {
    let networks = changed(|_| ());
    let scene = scene(&networks, vec![pool("first", &[("192.0.2.8", "192.0.2.15")])]);
    let asked = pool_probes(&scene);
    let who = |node: &str, ip| {
        let other = if node == "n1" { 2 } else { 1 };
        let theirs = IpAddr::from([192, 0, 2, 10 + other]);
        (if ip == theirs { vec![mac(other)] } else { Vec::new() }, Vec::new())
    };
    judge_pool_probes(&scene, &asked, &answers(&asked, who))
}

fn unasked() -> Vec<Finding> {
    let networks = changed(|_| ());
    let scene = scene(&networks, first_pool());
    let asked = pool_probes(&scene);
    let mut probed = answers(&asked, |_, _| (Vec::new(), Vec::new()));
    for outcome in probed.values_mut().flatten() {
        (outcome.asked, outcome.trouble) = (0, Some("eth0 has no carrier".into()));
    }
    judge_pool_probes(&scene, &asked, &probed)
}

fn alone() -> Vec<Finding> {
    let networks = [network(1)];
    let scene = Scene { patience: Patience::Quick, ..scene(&networks, first_pool()) };
    let asked = pool_probes(&scene);
    judge_pool_probes(&scene, &asked, &answers(&asked, |_, _| (Vec::new(), Vec::new())))
}

/// What three neighbours tell of each other, where `who` says which MACs one hears for another.
fn neighbours(who: impl Fn(&str, u8) -> Vec<Mac>) -> Vec<Finding> {
    let networks = [network(1), network(2), network(3)];
    let nodes = scene(&networks, Vec::new()).nodes;
    let asked = neighbour_probes(&nodes, Patience::Quick);
    let probed = answers(&asked, |node, ip| (who(node, range::number(ip) as u8 - 10), Vec::new()));
    judge_neighbours(&nodes, &asked, &probed)
}

fn neighbours_untold() -> Vec<Finding> {
    let networks = [network(1), network(2)];
    let nodes = scene(&networks, Vec::new()).nodes;
    let asked = neighbour_probes(&nodes, Patience::Quick);
    let mut probed = answers(&asked, |_, _| (Vec::new(), Vec::new()));
    probed.remove("n1");
    probed.get_mut("n2").unwrap()[0].trouble = Some("eth0 is down".into());
    judge_neighbours(&nodes, &asked, &probed)
}

fn mtus() -> Vec<Finding> {
    let mut networks = [network(1), network(2), network(3)];
    networks[1].links[0].mtu = 9000;
    // A second subnet on the same links is no second trouble.
    for (node, network) in (1..).zip(&mut networks) {
        let net = format!("2001:db8::{node}/64").parse().unwrap();
        network.links[0].addresses.push(Address { net, dynamic: false, secondary: false });
    }
    judge_facts(&scene(&networks, Vec::new()))
}

/// Two links of one node answer for it.
fn flux() -> Vec<Finding> {
    let second = Mac([0x52, 0x54, 0, 0, 1, 1]);
    let mut networks = [network(1), network(2)];
    networks[0].links.push(link("eth1", 3, &second.to_string(), &[]));
    let nodes = scene(&networks, Vec::new()).nodes;
    let asked = neighbour_probes(&nodes, Patience::Quick);
    let who = |node: &str, _| (if node == "n2" { vec![mac(1), second] } else { vec![mac(2)] }, Vec::new());
    judge_neighbours(&nodes, &asked, &answers(&asked, who))
}

fn cases() -> Vec<(&'static str, Vec<Finding>)> {
    let arp = |arp_ignore, arp_announce, rp_filter| LinkArp {
        arp_ignore,
        arp_announce,
        rp_filter,
        ..LinkArp::default()
    };
    let mut cases = vec![
        ("all well", facts(|_| ())),
        ("down", facts(|n| n.links[0].up = false)),
        ("no carrier", facts(|n| n.links[0].carrier = false)),
        ("no broadcast", facts(|n| n.links[0].broadcast = false)),
        ("noarp", facts(|n| n.links[0].noarp = true)),
        ("enslaved", facts(|n| n.links[0].master = Some("br0".into()))),
        ("wireless", facts(|n| n.links[0].kind = LinkKind::Wireless)),
        (
            "bond",
            facts(|n| (n.links[0].kind, n.links[0].bond_mode) = (LinkKind::Bond, Some("balance-alb".into()))),
        ),
        ("skipped by 0.13.10", skipped_by("0.13.10")),
        ("not skipped by 0.14", skipped_by("v0.14.9")),
        ("skipped by all", facts(|n| n.links[0].name = "veth0".into())),
        ("no such interface", named("eth7")),
        ("off link", of_pool(&[("198.51.100.10", "198.51.100.20"), ("192.0.2.250", "192.0.3.5")])),
        ("no link-local address", facts(|n| n.links[0].addresses.truncate(1))),
        ("network and broadcast", of_pool(&[("192.0.2.0", "192.0.2.0"), ("192.0.2.250", "192.0.2.255")])),
        ("node and gateway", of_pool(&[("192.0.2.1", "192.0.2.20")])),
        ("neighbour", heard_of()),
        ("reserved", reserved()),
        ("two interfaces", second_link(None)),
        ("two interfaces of which one", second_link(Some(vec!["eth0".into()]))),
        ("proxy arp", facts(|n| n.arp_all.proxy_arp = 1)),
        ("by dhcp", facts(|n| n.routes[0].protocol = 16)),
        (
            "vlan on a wireless link",
            facts(|n| {
                let below = Link { kind: LinkKind::Wireless, ..link("wlan0", 7, "52:54:00:00:00:01", &[]) };
                let vlan = &mut n.links[0];
                (vlan.name, vlan.kind, vlan.parent) =
                    ("wlan0.5".into(), LinkKind::Vlan, Some("wlan0".into()));
                vlan.arp.proxy_arp = 1;
                n.links.push(below);
            }),
        ),
        ("leased", facts(|n| n.links[0].addresses[0].dynamic = true)),
        ("sysctls to be planned", sysctls(arp(0, 0, 0), arp(1, 0, 0))),
        ("sysctls of the interface", sysctls(arp(1, 2, 0), arp(2, 1, 1))),
        ("arp ignore 8", sysctls(arp(1, 2, 0), arp(8, 0, 0))),
    ];
    cases.extend([
        ("overlap", {
            let ranges = [("192.0.2.200", "192.0.2.219"), ("192.0.2.219", "192.0.2.221")];
            let pools = vec![pool("first", &ranges), pool("second", &[("192.0.2.210", "192.0.2.215")])];
            judge_facts(&scene(&changed(|_| ()), pools))
        }),
        ("ipv6", {
            let networks = changed(|n| {
                n.links[0].addresses = vec![Address {
                    net: "2001:db8::11/64".parse().unwrap(),
                    dynamic: true,
                    secondary: false,
                }];
            });
            judge_facts(&scene(&networks, vec![pool("six", &[("2001:db8::", "2001:db8::ff")])]))
        }),
        ("nobody answers", answered(None, |_, _| (Vec::new(), Vec::new()))),
        ("asked alone", alone()),
        ("a stranger answers", claimed_by(None, &[STRANGER])),
        ("a stranger and a node answer", claimed_by(None, &[mac(1), STRANGER])),
        ("a node that was not reached answers", claimed_by_one_not_reached()),
        ("a node answers", claimed_by(None, &[mac(1)])),
        ("a node answers for what is not served", claimed_by(Some("192.0.2.205"), &[mac(1)])),
        ("two nodes answer", claimed_by(None, &[mac(1), mac(2)])),
        ("two nodes answer whom the plan silences", silenced()),
        ("a node has the address", own_address()),
        ("sought", sought()),
        ("not asked", unasked()),
        ("neighbours", neighbours(|_, of| vec![mac(of)])),
        (
            "neighbour unheard",
            neighbours(|by, of| if (by, of) == ("n1", 3) { vec![] } else { vec![mac(of)] }),
        ),
        ("neighbour elsewhere", neighbours(|_, of| vec![if of == 2 { STRANGER } else { mac(of) }])),
        ("neighbour twice", neighbours(|_, of| if of == 2 { vec![STRANGER, mac(2)] } else { vec![mac(of)] })),
        ("neighbour on two links", flux()),
        ("neighbours not asked", neighbours_untold()),
        ("mtus", mtus()),
    ]);
    cases
}

#[test]
fn every_word_is_golden() {
    let all = cases().into_iter().map(|(case, findings)| format!("=== {case}\n{}", show(&findings)));
    insta::assert_snapshot!(all.collect::<Vec<_>>().join("\n"));
}

#[test]
fn every_name_is_listed_once_and_shown_by_a_case() {
    let listed: Vec<_> = NAMES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert!(listed.is_sorted_by(|a, b| a < b), "sorted, each once");
    let said: BTreeSet<_> = cases().into_iter().flat_map(|(_, f)| f).map(|finding| finding.name).collect();
    assert_eq!(said, listed.into_iter().collect());
}

#[test]
fn every_finding_says_all_that_an_operator_needs() {
    for (case, findings) in cases() {
        for finding in findings {
            let Finding { name, checked, observed, expected, fix, .. } = &finding;
            assert!([checked, observed, expected].iter().all(|words| !words.is_empty()), "{case}: {name}");
            assert_eq!(fix.is_empty(), finding.severity == Severity::Pass, "{case}: {name}");
            assert!(
                ![checked, observed, expected, fix].iter().any(|words| words.contains(" free")),
                "{name}"
            );
        }
    }
}
