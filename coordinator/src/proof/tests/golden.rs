//! Every case, word by word.

use std::collections::BTreeSet;

use rackwright_proto::finding::{Finding, Severity};
use rackwright_proto::link::{Address, Mac};
use rackwright_proto::reach::{Knocked, Reached};
use serde_json::json;

use super::world::*;
use crate::network::Wanted;
use crate::proof::case::{ServiceName, Stand, missing, waiting};
use crate::proof::{NAMES, Why, text};

/// A finding as an operator reads it.
pub(crate) fn show(findings: &[Finding]) -> String {
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
    findings.iter().map(one).collect()
}

fn why() -> Why {
    Why {
        name: "silent-no-endpoints".into(),
        words: "the Service has no ready endpoint, so MetalLB does not announce its address".into(),
        evidence: "0 of 2 endpoints are ready".into(),
        fix: "mend the pods".into(),
    }
}

fn refused() -> Reached {
    Reached::Knock(Knocked::Refused { from: mac("w1") })
}

fn silence() -> Reached {
    Reached::Knock(Knocked::Silence)
}

fn open() -> Reached {
    Reached::Knock(Knocked::Open { from: mac("w1"), micros: 300 })
}

/// What a port gives to all hosts.
fn port(reached: impl Fn() -> Reached + 'static) -> World {
    World::with(|world| world.port = Box::new(move |_, _| reached()))
}

fn everybody_hears(first: &'static [&'static str], again: &'static [&'static str]) -> World {
    World::with(|world| (world.first, world.again) = (announced(first), Some(announced(again))))
}

fn heard() -> Vec<(&'static str, World)> {
    let strangers = |_: &str| vec![STRANGER];
    let both = |host: &str| if host == "w1" { vec![STRANGER] } else { vec![mac("w1"), STRANGER] };
    let only_cp1 = |host: &str| if host == "cp1" { vec![mac("w1")] } else { Vec::new() };
    vec![
        ("all is well", World::new()),
        (
            "an old MetalLB, not asked from here",
            World::with(|world| {
                world.facts.balancer.announced = None;
                world.facts.events =
                    vec![event("w2", "2026-01-01T00:00:00Z"), event("w1", "2026-01-01T00:05:00Z")];
                world.change_service(|service| {
                service["spec"]["ports"] = json!([{"port": 443}, {"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]);
            });
                world.here = None;
            }),
        ),
        (
            "nobody answers, and it is known why",
            World::with(|world| {
                (world.first, world.again, world.silent) =
                    (announced(&[]), Some(announced(&[])), vec![why()]);
            }),
        ),
        ("nobody answers", everybody_hears(&[], &[])),
        (
            "a node hears itself",
            World::with(|world| {
                world.networks.retain(|host, _| host == "w1");
                world.hear_always(|_| vec![mac("w1")]);
            }),
        ),
        (
            "nobody else to ask",
            World::with(|world| {
                world.networks.retain(|host, _| host == "w1");
                world.first = announced(&[]);
            }),
        ),
        (
            "no host on the segment",
            World::with(|world| {
                world.networks.values_mut().for_each(|network| network.links[0].addresses.clear());
            }),
        ),
        ("hosts that cannot ask", World::with(|world| world.broken = vec!["cp1", "out"])),
        ("asked once", World::with(|world| world.again = None)),
        (
            "a stranger answers",
            World::with(|world| {
                world.hear_always(strangers);
                world.networks.remove("w2");
            }),
        ),
        ("a stranger answers, too", World::with(|world| world.hear_always(both))),
        ("a host that is no node answers", everybody_hears(&["out"], &["out"])),
        (
            "only one host hears",
            World::with(|world| {
                world.hear_always(only_cp1);
            }),
        ),
        ("it moves", everybody_hears(&["w1"], &["w2"])),
        ("it is lost", everybody_hears(&["w1"], &[])),
        (
            "it has two addresses, one of IPv6",
            World::with(|world| {
                world.change_service(|service| {
                    service["status"]["loadBalancer"]["ingress"] =
                        json!([{"ip": "192.0.2.200"}, {"ip": "2001:db8::200"}]);
                });
            }),
        ),
    ]
}

fn wrong() -> Vec<(&'static str, World)> {
    let second_nic = |host: &str| if host == "w1" { Vec::new() } else { vec![SECOND, mac("w1")] };
    vec![
        (
            "speakers do not see each other",
            World::with(|world| {
                (world.first, world.again) = (announced(&["w1", "w2"]), Some(announced(&["w1", "w2"])));
                world.facts.balancer.announced = Some(vec![status("w2", &[]), status("w1", &[])]);
            }),
        ),
        (
            "ipvs without strictARP",
            World::with(|world| {
                let all = &["cp1", "w1", "w2"];
                (world.first, world.again) = (announced(all), Some(announced(all)));
                world
                    .networks
                    .iter_mut()
                    .filter(|(host, _)| *host != "out")
                    .for_each(|(_, n)| ipvs(n, "192.0.2.200"));
            }),
        ),
        (
            "proxy_arp",
            World::with(|world| {
                (world.first, world.again) = (announced(&["w1", "out"]), Some(announced(&["w1", "out"])));
                world.networks.get_mut("out").unwrap().links[0].arp.proxy_arp = 1;
            }),
        ),
        (
            "a node on two interfaces",
            World::with(|world| {
                world.networks.get_mut("w1").unwrap().links.push(link("eth1", SECOND, &["192.0.2.21/24"]));
                world.hear_always(second_nic);
            }),
        ),
        (
            "two hosts with one MAC address",
            World::with(|world| {
                world.networks.get_mut("w2").unwrap().links[0].mac = Some(mac("w1"));
            }),
        ),
        (
            "another node than MetalLB says",
            World::with(|world| {
                world.facts.balancer.announced = Some(vec![status("w2", &[])]);
            }),
        ),
        (
            "a node by hand",
            World::with(|world| {
                world.facts.balancer.announced = Some(vec![status("w2", &[])]);
                let address =
                    Address { net: "192.0.2.200/32".parse().unwrap(), dynamic: false, secondary: false };
                world.networks.get_mut("w1").unwrap().links[0].addresses.push(address);
            }),
        ),
        (
            "another interface than the advertisement's",
            World::with(|world| {
                world.facts.balancer.advertisements =
                    Some(vec![json!({"spec": {"ipAddressPools": ["first"], "interfaces": ["eth1"]}})]);
            }),
        ),
        (
            "another interface than MetalLB says",
            World::with(|world| {
                world.facts.balancer.announced = Some(vec![status("w1", &["eth1", "eth2"])]);
            }),
        ),
    ]
}

const SECOND: Mac = Mac([0x52, 0x54, 0, 0, 1, 2]);

fn ports() -> Vec<(&'static str, World)> {
    let rejected = || Reached::Knock(Knocked::Rejected { from: mac("w1"), why: "port unreachable".into() });
    let no_endpoints = |world: &mut World| world.facts.endpoints = vec![slice(&[("w1", false)])];
    let policy = |world: &mut World, on: &str| {
        world.change_service(|service| service["spec"]["externalTrafficPolicy"] = json!("Local"));
        world.facts.endpoints = vec![slice(&[(on, true)])];
    };
    let mut cases = vec![
        ("port refused", port(refused)),
        ("port rejected", port(rejected)),
        ("port silent", port(silence)),
        ("not knocked", port(|| Reached::Failed { why: "the link has no address".into() })),
        ("an answer from elsewhere", port(|| Reached::Knock(Knocked::Open { from: SECOND, micros: 1 }))),
        ("not from here", World::with(|world| world.here = Some(false))),
        (
            "externalIPs",
            World::with(|world| {
                world.change_service(|service| service["spec"]["externalIPs"] = json!(["198.51.100.7"]));
            }),
        ),
    ];
    let mut change = |name, reached: fn() -> Reached, change: &dyn Fn(&mut World)| {
        let mut world = port(reached);
        change(&mut world);
        cases.push((name, world));
    };
    change("port rejected without endpoints", rejected, &no_endpoints);
    change("port silent without local endpoint", silence, &|world| policy(world, "w2"));
    change("port silent with local endpoint", silence, &|world| policy(world, "w1"));
    change("port silent and kube-proxy not ready", silence, &|world| world.proxy_pod("w1", "False"));
    change("port silent to other sources", silence, &|world| {
        world.change_service(|service| {
            service["spec"]["loadBalancerSourceRanges"] = json!(["203.0.113.0/24"])
        });
    });
    change("port silent to one that may not come", open, &|world| {
        world.change_service(|service| {
            service["spec"]["loadBalancerSourceRanges"] = json!(["192.0.2.0/28"]);
        });
        world.networks.get_mut("out").unwrap().links[0].addresses[0].net = "192.0.2.77/24".parse().unwrap();
        world.port = Box::new(|host, _| if host == "out" { silence() } else { open() });
    });
    change("port silent to one", open, &|world| {
        world.change_service(|service| service["spec"]["loadBalancerSourceRanges"] = json!(["192.0.2.0/24"]));
        world.port = Box::new(|host, _| if host == "out" { silence() } else { open() });
    });
    change("one port of three", open, &|world| {
        world.change_service(|service| {
            service["spec"]["ports"] = json!([{"port": 80}, {"port": 443}, {"port": 8443}]);
        });
        world.port = Box::new(|_, port| if port == 80 { open() } else { refused() });
    });
    cases
}

/// What is said without asking anybody.
fn stands() -> Vec<(&'static str, Vec<Finding>)> {
    let name = ServiceName { namespace: "default".into(), name: "web".into() };
    let pending = Why {
        name: "service-no-pool".into(),
        words: "there is no address pool".into(),
        evidence: String::new(),
        fix: "make one".into(),
    };
    vec![("missing", vec![missing(&name)]), ("pending", vec![waiting(&name, &pending)])]
}

fn cases() -> Vec<(&'static str, World)> {
    [heard(), wrong(), ports()].into_iter().flatten().collect()
}

#[test]
fn every_word_is_golden() {
    let stands = stands().into_iter().map(|(case, findings)| format!("=== {case}\n{}", show(&findings)));
    let told = cases().into_iter().map(|(case, world)| {
        let proofs = world.proofs();
        let each = proofs.iter().map(|proof| format!("> {}\n{}", text::line(proof), show(&proof.findings)));
        format!("=== {case}\n{}", each.collect::<String>())
    });
    insta::assert_snapshot!(stands.chain(told).collect::<Vec<_>>().join("\n"));
}

#[test]
fn only_worlds_in_which_all_is_well_are_proven() {
    let proven: Vec<_> =
        cases().into_iter().filter(|(_, w)| w.proofs().iter().all(|p| p.proven)).map(|(n, _)| n).collect();
    let well = [
        "all is well",
        "an old MetalLB, not asked from here",
        "it has two addresses, one of IPv6",
        "an answer from elsewhere",
        "not from here",
        "externalIPs",
    ];
    assert_eq!(proven, well);
}

#[test]
fn every_name_is_sorted_and_shown_by_a_case() {
    let listed: BTreeSet<_> = NAMES.iter().map(|(name, _)| *name).collect();
    assert!(NAMES.is_sorted());
    let of_services = cases().into_iter().flat_map(|(_, world)| world.proofs()).flat_map(|p| p.findings);
    let others = stands().into_iter().flat_map(|(_, findings)| findings);
    let said: BTreeSet<_> = of_services
        .chain(others)
        .chain(crate::proof::dns::said_in_cases())
        .chain(crate::proof::gateway::tests::said_in_cases())
        .map(|finding| finding.name)
        .collect();
    let missing: Vec<_> = listed.iter().filter(|name| !said.contains(**name)).collect();
    assert!(missing.is_empty(), "no case says {missing:?}");
    // What is not of this room are the reasons that it was given.
    let given: Vec<_> = said.iter().filter(|name| !listed.contains(name.as_str())).collect();
    assert_eq!(given, ["service-no-pool", "silent-no-endpoints"]);
}

#[test]
fn every_finding_says_all_that_an_operator_needs() {
    for finding in cases().into_iter().flat_map(|(_, world)| world.proofs()).flat_map(|p| p.findings) {
        let Finding { name, checked, observed, expected, fix, .. } = &finding;
        assert!([checked, observed, expected].iter().all(|words| !words.is_empty()), "{name}");
        assert_eq!(fix.is_empty(), finding.severity == Severity::Pass, "{name}");
    }
}

#[test]
fn a_service_without_address_or_of_another_type_waits() {
    let stand =
        |change: fn(&mut serde_json::Value)| World::with(|world| world.change_service(change)).stand();
    assert_eq!(stand(|service| service["status"] = json!({})), Stand::Waiting);
    assert_eq!(stand(|service| service["spec"]["type"] = json!("ClusterIP")), Stand::Waiting);
    assert_eq!(stand(|service| service["metadata"]["name"] = json!("other")), Stand::Missing);
}

#[test]
fn interfaces_are_taken_from_an_advertisement_only_where_it_is_clear() {
    let of = |ads: serde_json::Value| {
        let world = World::with(|world| world.facts.balancer.advertisements = Some(object(ads)));
        let Stand::Assigned(cases) = world.stand() else { panic!("it has an address") };
        cases[0].interfaces.clone()
    };
    let one = |spec| of(json!([{"spec": spec}]));
    assert_eq!(one(json!({"interfaces": ["eth0"]})), Some(["eth0".to_owned()].into()));
    assert_eq!(one(json!({"interfaces": ["eth0"], "ipAddressPools": ["other"]})), None);
    assert_eq!(one(json!({"interfaces": ["eth0"], "ipAddressPoolSelectors": [{}]})), None);
    assert_eq!(of(json!([{"spec": {"interfaces": ["eth0"]}}, {"spec": {}}])), None);
    assert_eq!(of(json!([])), None);
}

#[test]
fn a_vlan_on_the_same_mac_is_told_apart_by_its_subnet() {
    let world = World::with(|world| {
        let network = world.networks.get_mut("w1").unwrap();
        let mut vlan = link("eth0.7", mac("w1"), &["192.0.2.11/24"]);
        std::mem::swap(&mut vlan, &mut network.links[0]);
        vlan.addresses.clear();
        network.links.insert(0, vlan);
    });
    assert!(world.hosts().iter().all(|host| host.interface == Wanted::Auto));
    assert_eq!(world.proofs()[0].owner.as_ref().unwrap().link, "eth0.7");
}
