//! Scenes, and what is said of them: the words are golden, the arithmetic is compared with sets.

mod golden;
mod model;

use std::collections::BTreeMap;

use rackwright_proto::l2::{Answer, Probe, Probed};
use rackwright_proto::link::{Address, LinkArp, LinkKind, Mac, Neighbour, Route};

use super::*;

/// A wired link with these addresses, up and connected.
fn link(name: &str, index: u32, mac: &str, addresses: &[&str]) -> Link {
    Link { index, ..fixtures::link(name, Some(mac.parse().unwrap()), addresses) }
}

use rackwright_proto::link::Link;

/// The MAC address of the nth node's `eth0`.
fn mac(node: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, node])
}

/// A machine that is no node.
const STRANGER: Mac = Mac([0x02, 0xbb, 0xbb, 0, 0, 9]);

/// The nth node, 192.0.2.10+n/24 behind 192.0.2.1.
fn network(node: u8) -> Network {
    let ip = format!("192.0.2.{}/24", 10 + node);
    let eth0 = link("eth0", 2, &mac(node).to_string(), &[&ip, "fe80::1/64"]);
    let default = Route {
        to: "0.0.0.0/0".parse().unwrap(),
        via: Some("192.0.2.1".parse().unwrap()),
        link: Some("eth0".into()),
        protocol: 4,
        metric: 0,
    };
    Network { links: vec![eth0], routes: vec![default], neighbours: Vec::new(), arp_all: LinkArp::default() }
}

fn name(node: usize) -> String {
    format!("n{}", node + 1)
}

fn span(first: &str, last: &str) -> Span {
    Span { first: first.parse().unwrap(), last: last.parse().unwrap() }
}

fn pool(name: &str, ranges: &[(&str, &str)]) -> PoolInput {
    PoolInput {
        name: name.to_owned(),
        ranges: ranges.iter().map(|(first, last)| span(first, last)).collect(),
        nodes: Vec::new(),
        interfaces: None,
    }
}

/// A scene of these networks, all of whose nodes may announce all pools.
fn scene(networks: &[Network], mut pools: Vec<PoolInput>) -> Scene<'_> {
    let nodes: Vec<_> = networks
        .iter()
        .enumerate()
        .map(|(at, network)| NodeInput { name: name(at), address: None, interface: Wanted::Auto, network })
        .collect();
    for pool in &mut pools {
        pool.nodes = nodes.iter().map(|node| node.name.clone()).collect();
    }
    Scene {
        nodes,
        pools,
        reserved: Vec::new(),
        speaker: Speaker::default(),
        wanted: BTreeMap::new(),
        served: None,
        patience: Patience::Rfc5227,
    }
}

/// What every node would report if `who` told truly which MACs a node hears for an address.
fn answers(
    asked: &BTreeMap<String, Vec<Probe>>,
    who: impl Fn(&str, IpAddr) -> (Vec<Mac>, Vec<Mac>),
) -> BTreeMap<String, Vec<Probed>> {
    let report = |node: &str, probe: &Probe| {
        let spans = probe.spans.iter();
        let ips: Vec<_> =
            spans.flat_map(|s| (0..range::count(s)).map(|n| range::after(s.first, n))).collect();
        let answers = ips.iter().filter_map(|ip| {
            let (macs, seekers) = who(node, *ip);
            let answer = Answer { ip: *ip, macs, seekers };
            (!answer.macs.is_empty() || !answer.seekers.is_empty()).then_some(answer)
        });
        Probed {
            link: probe.link.clone(),
            answers: answers.collect(),
            asked: ips.len() as u32,
            trouble: None,
        }
    };
    asked
        .iter()
        .map(|(node, probes)| (node.clone(), probes.iter().map(|probe| report(node, probe)).collect()))
        .collect()
}

fn neighbour(ip: &str, mac: Mac, state: &str) -> Neighbour {
    Neighbour { ip: ip.parse().unwrap(), mac, link: "eth0".into(), state: state.into() }
}
