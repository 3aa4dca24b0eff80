//! Ranges and probes against sets of addresses, in a universe small enough to list.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use proptest::prelude::*;

use super::*;

/// The universe: 192.0.2.0 to 192.0.2.63.
fn ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, n)
}

fn numbers() -> std::ops::Range<u8> {
    0..64
}

/// A node in the universe: its address, prefix length and gateway.
#[derive(Debug, Clone)]
struct Sketch {
    address: u8,
    prefix: u8,
    gateway: u8,
}

impl Sketch {
    fn network(&self, index: u8) -> Network {
        let mut network = network(index);
        let net = Ipv4Net::new(ip(self.address), self.prefix).unwrap();
        network.links[0].addresses[0].net = IpNet::V4(net);
        network.routes[0].via = Some(ip(self.gateway).into());
        network
    }

    /// The addresses of its subnet, by counting: those that differ in the last bits only.
    fn subnet(&self) -> impl Iterator<Item = u8> {
        let size = 1u32 << (32 - self.prefix);
        let block = u32::from(self.address) / size;
        (block * size..(block + 1) * size).map(|n| n as u8)
    }
}

fn sketch() -> impl Strategy<Value = Sketch> {
    (numbers(), 26..=32u8, numbers()).prop_map(|(address, prefix, gateway)| Sketch {
        address,
        prefix,
        gateway,
    })
}

fn ranges() -> impl Strategy<Value = Vec<(u8, u8)>> {
    let range = (numbers(), numbers()).prop_map(|(a, b)| (a.min(b), a.max(b)));
    prop::collection::vec(range, 1..4)
}

fn pool_of(ranges: &[(u8, u8)]) -> PoolInput {
    let ranges = ranges.iter().map(|(a, b)| Span { first: ip(*a).into(), last: ip(*b).into() }).collect();
    PoolInput { ranges, ..pool("first", &[]) }
}

proptest! {
    #[test]
    fn a_pool_holds_what_its_set_of_addresses_holds(
        sketches in prop::collection::vec(sketch(), 1..5),
        ranges in ranges(),
    ) {
        let networks: Vec<_> = sketches.iter().zip(1..).map(|(sketch, n)| sketch.network(n)).collect();
        let findings = judge_facts(&scene(&networks, vec![pool_of(&ranges)]));
        let held: BTreeSet<_> = ranges.iter().flat_map(|(a, b)| *a..=*b).collect();
        let said = |name: &str| findings.iter().any(|finding| finding.name == name && finding.blocks());
        let subnets = || sketches.iter().filter(|sketch| sketch.prefix <= 30);
        let first = subnets().any(|sketch| held.contains(&sketch.subnet().min().unwrap()));
        let last = subnets().any(|sketch| held.contains(&sketch.subnet().max().unwrap()));
        prop_assert_eq!(said(names::POOL_HOLDS_NETWORK_ADDRESS), first);
        prop_assert_eq!(said(names::POOL_HOLDS_BROADCAST_ADDRESS), last);
        let has = |of: fn(&Sketch) -> u8| sketches.iter().any(|sketch| held.contains(&of(sketch)));
        prop_assert_eq!(said(names::POOL_HOLDS_NODE_ADDRESS), has(|sketch| sketch.address));
        prop_assert_eq!(said(names::POOL_HOLDS_GATEWAY), has(|sketch| sketch.gateway));
        let within = |sketch: &Sketch| held.iter().all(|n| sketch.subnet().any(|own| own == *n));
        let split = |sketch: &Sketch| ranges.iter().all(|(a, b)| {
            (*a..=*b).all(|n| sketch.subnet().any(|own| own == n))
        });
        prop_assert!(sketches.iter().all(|sketch| within(sketch) == split(sketch)));
        prop_assert_eq!(said(names::POOL_OFF_LINK), !sketches.iter().all(within));
        let overlap = ranges.iter().map(|(a, b)| usize::from(b - a) + 1).sum::<usize>() > held.len();
        prop_assert_eq!(said(names::POOLS_OVERLAP), overlap);
    }

    #[test]
    fn every_address_is_asked_for_by_two_who_can(
        count in 1..9u8,
        eligible in prop::collection::vec(any::<bool>(), 9),
        ranges in ranges(),
    ) {
        let networks: Vec<_> = (1..=count).map(network).collect();
        let mut scene = scene(&networks, vec![pool_of(&ranges)]);
        scene.pools[0].nodes.retain(|node| eligible[node[1..].parse::<usize>().unwrap() - 1]);
        let asked = pool_probes(&scene);
        for n in ranges.iter().flat_map(|(a, b)| *a..=*b) {
            let asks = |probes: &Vec<Probe>| {
                probes.iter().flat_map(|p| &p.spans).any(|span| range::holds(span, ip(n).into()))
            };
            prop_assert!(asked.values().filter(|probes| asks(probes)).count() >= usize::from(count.min(2)));
        }
        prop_assert_eq!(pool_probes(&scene), asked);
    }

    #[test]
    fn a_conflict_is_never_missed_and_never_made_up(
        ranges in ranges(),
        strangers in prop::collection::btree_set(numbers(), 0..3),
        vips in prop::collection::btree_map(numbers(), 1..4u8, 0..6),
    ) {
        let networks: Vec<_> = (1..4).map(network).collect();
        let mut scene = scene(&networks, vec![pool_of(&ranges)]);
        scene.nodes.iter_mut().for_each(|node| node.address = None);
        let asked = pool_probes(&scene);
        // Every node seeks what it asks for; the owner of a virtual address does not hear itself.
        let who = |by: &str, asked_for| {
            let n = range::number(asked_for) as u8;
            let server = vips.get(&n).filter(|server| format!("n{server}") != by).map(|server| mac(*server));
            let stranger = strangers.contains(&n).then_some(STRANGER);
            (server.into_iter().chain(stranger).collect(), (1..4).map(mac).filter(|m| name(usize::from(m.0[5]) - 1) != by).collect())
        };
        let said = judge_pool_probes(&scene, &asked, &answers(&asked, who));
        let held: BTreeSet<_> = ranges.iter().flat_map(|(a, b)| *a..=*b).collect();
        // The nodes' own addresses are 11 to 13; a node that answers for its own is a conflict too.
        let own = |n: &u8| vips.get(n).is_some_and(|server| 10 + server == *n);
        let conflict = held.iter().any(|n| strangers.contains(n) || own(n));
        prop_assert_eq!(said.iter().any(Finding::blocks), conflict, "{:?}", said);
        let silent = said.iter().any(|finding| finding.name == names::POOL_NO_CONFLICT_SEEN);
        prop_assert_eq!(silent, !conflict);
    }

    #[test]
    fn no_node_is_asked_too_much(count in 1..6u8, pools in 1..12usize) {
        let networks: Vec<_> = (1..=count)
            .map(|n| {
                let mut network = network(n);
                network.links[0].addresses[0].net = format!("10.0.0.{n}/8").parse().unwrap();
                network
            })
            .collect();
        let pools = (0..pools).map(|at| {
            pool(&format!("p{at}"), &[(&format!("10.{}.0.0", at + 1), &format!("10.{}.255.255", at + 1))])
        });
        for probes in pool_probes(&scene(&networks, pools.collect())).values() {
            let asked: u128 = probes.iter().flat_map(|probe| &probe.spans).map(range::count).sum();
            prop_assert!(asked <= Probe::MOST as u128);
        }
    }

    #[test]
    fn every_node_is_asked_for_by_its_neighbours_and_not_by_itself(count in 2..60u8) {
        let networks: Vec<_> = (1..=count).map(network).collect();
        let nodes = scene(&networks, Vec::new()).nodes;
        let asked = neighbour_probes(&nodes, Patience::Quick);
        let holds = |probes: &Vec<Probe>, n: u8| {
            probes.iter().flat_map(|p| &p.spans).any(|span| range::holds(span, ip(10 + n).into()))
        };
        for n in 1..=count {
            let askers = asked.values().filter(|probes| holds(probes, n)).count();
            prop_assert_eq!(askers, usize::from(count - 1).min(16));
            let own = &asked[&format!("n{n}")];
            prop_assert!(!holds(own, n));
        }
        let number = |ip| range::number(ip) as u8 - 10;
        let probed = answers(&asked, |_, ip| (vec![mac(number(ip))], Vec::new()));
        let said = judge_neighbours(&nodes, &asked, &probed);
        prop_assert!(said.iter().all(|finding| finding.name == names::NEIGHBOURS_HEARD), "{said:?}");
    }
}

#[test]
fn a_lone_node_or_one_on_a_segment_of_its_own_asks_nobody() {
    let mut networks = [network(1), network(2)];
    networks[1].links[0].addresses[0].net = "198.51.100.2/24".parse().unwrap();
    assert!(neighbour_probes(&scene(&networks, Vec::new()).nodes, Patience::Quick).is_empty());
}

#[test]
fn bridges_of_containers_are_no_segment() {
    let mut networks = [network(1), network(2)];
    for (network, docker) in networks.iter_mut().zip(["docker0", "br-0123456789ab"]) {
        network.links =
            vec![Link { kind: LinkKind::Bridge, ..link(docker, 5, "02:42:00:00:00:01", &["172.17.0.1/16"]) }];
    }
    assert!(neighbour_probes(&scene(&networks, Vec::new()).nodes, Patience::Quick).is_empty());
}

#[test]
fn addresses_of_services_on_the_ipvs_link_are_nobody_elses() {
    let mut networks = [network(1), network(2)];
    for network in &mut networks {
        network.links.push(Link {
            kind: LinkKind::Other,
            noarp: true,
            ..link("kube-ipvs0", 9, "52:54:00:00:09:09", &["192.0.2.200/32"])
        });
    }
    let scene = scene(&networks, vec![pool("first", &[("192.0.2.200", "192.0.2.219")])]);
    assert!(!judge_facts(&scene).iter().any(Finding::blocks));
}

#[test]
fn the_zeros_of_loopback_are_nobodys_mac() {
    let mut networks = [network(1)];
    networks[0]
        .links
        .push(Link { kind: LinkKind::Loopback, ..link("lo", 1, "00:00:00:00:00:00", &["127.0.0.1/8"]) });
    assert!(!owners::Owners::among(&scene(&networks, Vec::new()).nodes).knows(Mac([0; 6])));
}

/// What keeps kube-proxy's nodes from answering must not be held up by their answers.
#[test]
fn answers_that_the_plan_silences_hold_nothing_up() {
    let vip = "192.0.2.200".parse::<IpAddr>().unwrap();
    let mut networks = [network(1), network(2), network(3)];
    for network in &mut networks[..2] {
        network.links.push(link("kube-ipvs0", 9, "52:54:00:00:09:09", &["192.0.2.200/32"]));
    }
    let strict = ArpWanted { arp_ignore: Some(1), arp_announce: Some(2), rp_filter: None };
    let judged = |networks: &[Network], strict_on: &[&str], macs: &[Mac]| {
        let mut scene = scene(networks, vec![pool("first", &[("192.0.2.200", "192.0.2.219")])]);
        scene.wanted = strict_on.iter().map(|node| ((*node).to_owned(), strict)).collect();
        let asked = pool_probes(&scene);
        let who = |_: &str, ip| (if ip == vip { macs.to_vec() } else { Vec::new() }, Vec::new());
        let found = judge_pool_probes(&scene, &asked, &answers(&asked, who));
        assert!(!found.iter().any(|finding| finding.name == names::POOL_NO_CONFLICT_SEEN), "{found:?}");
        let twice = found.into_iter().find(|finding| finding.name == names::VIP_ANSWERED_TWICE).unwrap();
        (twice.blocks(), twice.observed)
    };
    let (both, all) = ([mac(1), mac(2)], [mac(1), mac(2), mac(3)]);
    let (blocks, observed) = judged(&networks, &["n1", "n2"], &both);
    assert!(!blocks && observed.contains("kube-ipvs0"), "{observed}");
    // One that does not have it there may announce it.
    assert!(!judged(&networks, &["n1", "n2"], &all).0);
    assert!(judged(&networks, &[], &both).0);
    assert!(judged(&networks, &["n1"], &all).0);
    networks.iter_mut().for_each(|network| network.arp_all.arp_ignore = 1);
    assert!(judged(&networks, &["n1", "n2"], &both).0);
}
