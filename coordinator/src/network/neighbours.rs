//! Whether the nodes of one subnet hear each other, and whether each answers for itself alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use rackwright_proto::finding::Finding;
use rackwright_proto::l2::{Patience, Probe, Probed};
use rackwright_proto::link::{Link, Mac};

use super::owners::Owners;
use super::say::{self, Say as _, error, list, pass, warning};
use super::{NodeInput, arp, names, range};
use crate::natural::Natural;

/// How many others each node asks for: those that follow it by name, around the ring. Every node is asked for by
/// as many, and the work stays linear.
const SUCCESSORS: usize = 16;

/// A node's place in a subnet.
struct Place<'a> {
    node: &'a str,
    link: &'a Link,
    ip: IpAddr,
}

/// All subnets with the places of the nodes in them, one place a node, by name.
fn subnets<'a>(nodes: &'a [NodeInput<'a>]) -> BTreeMap<IpNet, Vec<Place<'a>>> {
    let mut subnets = BTreeMap::<_, Vec<Place>>::new();
    for node in nodes {
        for link in node.network.links.iter().filter(|link| arp::on_segment(link)) {
            for address in link.addresses.iter().filter(|address| !address.secondary) {
                let places = subnets.entry(address.net.trunc()).or_default();
                if !is_host_or_link_local(&address.net)
                    && places.last().is_none_or(|last| last.node != node.name)
                {
                    places.push(Place { node: &node.name, link, ip: address.net.addr() });
                }
            }
        }
    }
    subnets.values_mut().for_each(|places| places.sort_by_key(|place| Natural(place.node)));
    subnets.retain(|_, places| places.len() > 1);
    subnets
}

fn is_host_or_link_local(net: &IpNet) -> bool {
    let local = match net {
        IpNet::V4(net) => net.addr().is_link_local(),
        IpNet::V6(net) => net.addr().is_unicast_link_local(),
    };
    local || net.prefix_len() == net.max_prefix_len()
}

/// What each node is to ask as itself, so that every node of a subnet is asked for by its neighbours.
pub fn neighbour_probes(nodes: &[NodeInput], patience: Patience) -> BTreeMap<String, Vec<Probe>> {
    let mut wanted = BTreeMap::<(&str, &str), BTreeSet<IpAddr>>::new();
    let subnets = subnets(nodes);
    for places in subnets.values() {
        for (at, asker) in places.iter().enumerate() {
            let others = places.iter().cycle().skip(at + 1).take(SUCCESSORS.min(places.len() - 1));
            let ips = others.map(|other| other.ip).filter(|ip| *ip != asker.ip);
            wanted.entry((asker.node, &asker.link.name)).or_default().extend(ips);
        }
    }
    let mut probes = BTreeMap::<_, Vec<_>>::new();
    for ((node, link), ips) in wanted {
        let Ok(link) = link.parse() else { continue };
        let probe = Probe { link, spans: range::gather(ips), patience, as_ourselves: true };
        probes.entry(node.to_owned()).or_default().push(probe);
    }
    probes
}

/// What the askers heard of one node's address.
#[derive(Default)]
struct Hearing<'a> {
    heard_by: BTreeSet<Natural<'a>>,
    missed_by: BTreeSet<Natural<'a>>,
    macs: BTreeSet<Mac>,
}

/// Judges the answers to [`neighbour_probes`]: `asked` is what it returned, `probed` the answers of each node, in
/// the same order.
pub fn judge_neighbours(
    nodes: &[NodeInput],
    asked: &BTreeMap<String, Vec<Probe>>,
    probed: &BTreeMap<String, Vec<Probed>>,
) -> Vec<Finding> {
    let hearings = hearings(asked, probed);
    let mut findings = Vec::new();
    let owners = Owners::among(nodes);
    for (subnet, places) in subnets(nodes) {
        findings.extend(hearing(&subnet, &places, &hearings));
        findings.extend(places.iter().filter_map(|place| identity(&owners, place, hearings.get(&place.ip)?)));
    }
    findings.extend(not_probed(asked, probed));
    say::merge(findings)
}

fn hearings<'a>(
    asked: &'a BTreeMap<String, Vec<Probe>>,
    probed: &BTreeMap<String, Vec<Probed>>,
) -> BTreeMap<IpAddr, Hearing<'a>> {
    let mut hearings = BTreeMap::<_, Hearing>::new();
    for (node, probes) in asked {
        let outcomes = probed.get(node).map(Vec::as_slice).unwrap_or_default();
        for (probe, outcome) in probes.iter().zip(outcomes) {
            let answers: BTreeMap<_, _> = outcome.answers.iter().map(|a| (a.ip, &a.macs)).collect();
            for ip in addresses(probe) {
                let hearing = hearings.entry(ip).or_default();
                match answers.get(&ip).filter(|macs| !macs.is_empty()) {
                    Some(macs) => {
                        hearing.heard_by.insert(Natural(node));
                        hearing.macs.extend(macs.iter());
                    }
                    // Who could not ask has missed nothing.
                    None if outcome.trouble.is_none() => _ = hearing.missed_by.insert(Natural(node)),
                    None => (),
                }
            }
        }
    }
    hearings
}

fn addresses(probe: &Probe) -> impl Iterator<Item = IpAddr> {
    let spans = probe.spans.iter();
    spans.flat_map(|span| (0..range::count(span)).map(|n| range::after(span.first, n))).take(Probe::MOST)
}

/// `None` where nobody was asked, so that nothing is known.
fn hearing(subnet: &IpNet, places: &[Place], hearings: &BTreeMap<IpAddr, Hearing>) -> Option<Finding> {
    let missed = |place: &&Place| hearings.get(&place.ip).is_some_and(|h| !h.missed_by.is_empty());
    let unheard: Vec<_> = places.iter().filter(missed).collect();
    let checked = format!("whether the nodes in {subnet} hear each other");
    if unheard.is_empty() {
        let heard =
            places.iter().filter(|p| hearings.get(&p.ip).is_some_and(|h| !h.heard_by.is_empty())).count();
        let finding = pass(names::NEIGHBOURS_HEARD, subnet)
            .on(places.iter().map(|place| place.node))
            .checked(checked)
            .observed(format!("{heard} of {} nodes were asked for, and answered", places.len()))
            .expected("an answer to everyone who asks");
        return (heard > 0).then_some(finding);
    }
    let seen = unheard.iter().map(|place| {
        let missed_by = list(&hearings[&place.ip].missed_by);
        format!("{} ({}) did not answer {missed_by}", place.node, place.ip)
    });
    let finding = error(names::NEIGHBOUR_UNHEARD, subnet)
        .on(unheard.iter().map(|place| place.node))
        .checked(checked)
        .observed(list(seen))
        .expected("an answer to everyone who asks: nodes with addresses of one subnet must be on one segment")
        .fix("look for a wrong VLAN, client isolation, a firewall that drops ARP (arptables, nftables), arp_ignore 8, or a subnet that is used at two sites");
    Some(finding)
}

/// Whether a node's address is answered for by that node, and once.
fn identity(owners: &Owners, place: &Place, hearing: &Hearing) -> Option<Finding> {
    let (node, ip) = (place.node, place.ip);
    let is_own = |mac: &Mac| owners.of(*mac).any(|owner| owner == node);
    let seen =
        format!("{ip} of {node}: answered by {}", list(hearing.macs.iter().map(|mac| owners.describe(*mac))));
    let checked = format!("who answers for {ip}, the address of {node}");
    let foreign = !hearing.macs.iter().all(is_own);
    let only = format!("only {node}{}", place.link.mac.map(|mac| format!(" ({mac})")).unwrap_or_default());
    let finding = match (hearing.macs.len(), foreign) {
        (0, _) | (1, false) => return None,
        (1, true) => error(names::NODE_ADDRESS_ELSEWHERE, ip).expected(only.clone()).fix(
            "give the other machine another address; or find the router that answers for it (proxy_arp)",
        ),
        (_, true) => error(names::NODE_ADDRESS_TWICE, ip)
            .expected(only.clone())
            .fix(format!("two machines have {ip}: give one of them another address")),
        (_, false) => warning(names::NODE_ADDRESS_TWICE, ip)
            .expected("one MAC address: the node answers on two interfaces of one segment")
            .fix("bond the two interfaces, give them different subnets, or set arp_ignore to 1"),
    };
    Some(finding.on([node]).checked(checked).observed(seen))
}

fn not_probed(asked: &BTreeMap<String, Vec<Probe>>, probed: &BTreeMap<String, Vec<Probed>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (node, probes) in asked {
        let outcomes = probed.get(node).map(Vec::as_slice).unwrap_or_default();
        for (at, probe) in probes.iter().enumerate() {
            let why = match outcomes.get(at) {
                Some(Probed { trouble: None, .. }) => continue,
                Some(Probed { trouble: Some(trouble), .. }) => trouble.as_str(),
                None => "the node did not report",
            };
            findings.push(
                warning(names::NEIGHBOURS_NOT_PROBED, &probe.link)
                    .on([node])
                    .checked(format!("whether the node can ask for its neighbours on {}", probe.link))
                    .observed(why)
                    .expected("a link on which the node can ask")
                    .fix("mend the link and check again"),
            );
        }
    }
    findings
}

/// Links of one subnet whose MTU differs. Links that share several subnets, as with IPv4 and IPv6, are told of once.
pub(super) fn differing_mtus(nodes: &[NodeInput]) -> Vec<Finding> {
    let mut subnets: Vec<_> = subnets(nodes).into_iter().collect();
    subnets.sort_by_key(|(_, places)| std::cmp::Reverse(places.len()));
    let mut told = Vec::<BTreeSet<(&str, &str)>>::new();
    let mut findings = Vec::new();
    for (subnet, places) in &subnets {
        let links = places.iter().map(|place| (place.node, place.link.name.as_str())).collect();
        if told.iter().any(|others| others.is_superset(&links)) {
            continue;
        }
        findings.extend(differing_mtu(subnet, places));
        told.push(links);
    }
    findings
}

fn differing_mtu(subnet: &IpNet, places: &[Place]) -> Option<Finding> {
    let mut mtus = BTreeMap::<_, Vec<_>>::new();
    for place in places {
        mtus.entry(place.link.mtu).or_default().push(format!("{} of {}", place.link.name, place.node));
    }
    if mtus.len() < 2 {
        return None;
    }
    // The usual MTU is the one of most links, the smaller where they are as many.
    let usual = mtus.iter().rev().max_by_key(|(_, links)| links.len()).map(|(mtu, _)| *mtu);
    let usual = usual.unwrap_or_default();
    let odd = places.iter().filter(|place| place.link.mtu != usual).map(|place| place.node);
    let finding = warning(names::MTU_DIFFERS, subnet)
        .on(odd)
        .checked(format!("the MTU of the links in {subnet}"))
        .observed(list(mtus.iter().map(|(mtu, links)| format!("{mtu} on {}", list(links)))))
        .expected("one MTU on all links of a segment: larger packets are dropped without a word")
        .fix(format!(
            "set the MTU of the others to {usual}, and for good in the host's network configuration"
        ));
    Some(finding)
}
