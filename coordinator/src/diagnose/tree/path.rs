//! What is wrong between nodes: routes, filters, sizes, and what kernels remember.

use std::net::IpAddr;

use rackwright_proto::examine::{Echoed, Examined, Tracked};
use rackwright_proto::link::{Link, LinkKind};
use rackwright_proto::reach::Transport;

use super::names::told;
use super::{NO_API, once};
use crate::diagnose::answers::{From, Name};
use crate::diagnose::case::{Case, Host};
use crate::diagnose::cause::Cause;
use crate::diagnose::verdict::{Found, Tested};
use crate::natural::Natural;
use crate::network::list;

/// How links of networks for pods are called.
const POD_LINKS: [&str; 9] = ["cni", "cbr", "cali", "flannel", "cilium", "lxc", "weave", "tunl", "kube-"];
/// Ports that tunnels of pods' networks use, by how their links are called, where the link does not say it.
const PORTS: [(&str, u16); 4] =
    [("flannel.1", 8472), ("cilium_vxlan", 8472), ("vxlan.calico", 4789), ("genev_sys", 6081)];

/// Two nodes, and an address of the second that the first sends to.
struct Way<'a> {
    from: &'a Host,
    to: &'a Host,
    /// An address of the second's pods.
    pods: IpAddr,
}

/// All ways between the pods of nodes that were heard.
fn ways(case: &Case) -> Vec<Way<'_>> {
    let nodes: Vec<&Host> = case.nodes().map(|(host, _)| host).collect();
    let mut ways = Vec::new();
    for from in &nodes {
        for to in nodes.iter().filter(|to| to.name != from.name) {
            let pods = to.pod_side(case.node(&to.name));
            ways.extend(pods.map(|pods| Way { from, to, pods }));
        }
    }
    ways
}

impl Way<'_> {
    fn arrives(&self, case: &Case, to: IpAddr) -> Option<bool> {
        Some(*case.echoes(self.from, to)?.small == Echoed::Answered)
    }

    /// Whether the nodes reach each other, and a packet for pods does not arrive.
    fn is_broken(&self, case: &Case) -> bool {
        let pods = self.arrives(case, self.pods);
        let node = self.to.address.and_then(|to| self.arrives(case, to));
        pods == Some(false) && node == Some(true)
    }
}

fn is_pods(link: &str, said: Option<&Examined>) -> bool {
    POD_LINKS.iter().any(|name| link.starts_with(name))
        || said.is_some_and(|said| said.tunnels.iter().any(|t| t.link == link))
}

pub(super) fn overlap(case: &Case) -> Tested {
    if let Some(found) = by_subnet(case).or_else(|| by_route(case)) {
        return Tested::Confirmed(found);
    }
    let known =
        case.cluster.as_ref().is_ok_and(|cluster| cluster.nodes.iter().any(|node| !node.pods.is_empty()));
    match known {
        true => Tested::RuledOut(
            "no route or subnet of a node covers them, but those of the pods' own network".into(),
        ),
        false => Tested::CannotTell("the ranges of the nodes' pods are not known".into()),
    }
}

/// A subnet that a node is on has the addresses of pods or Services.
fn by_subnet(case: &Case) -> Option<Found> {
    let cluster = case.cluster.as_ref().ok()?;
    let services: Vec<IpAddr> = cluster.dns.services.iter().copied().chain(cluster.api).collect();
    for (host, said) in case.nodes() {
        let outer = |link: &&Link| {
            let real = matches!(
                link.kind,
                LinkKind::Physical | LinkKind::Vlan | LinkKind::Bond | LinkKind::Wireless
            );
            let own = host.own_link().is_some_and(|own| own.name == link.name);
            (real || own) && !is_pods(&link.name, Some(said))
        };
        for (link, net) in
            host.network.links.iter().filter(outer).flat_map(|l| l.addresses.iter().map(move |a| (l, a.net)))
        {
            let pods = cluster
                .nodes
                .iter()
                .flat_map(|n| &n.pods)
                .find(|pods| pods.contains(&net.network()) || net.contains(&pods.network()));
            let service = services.iter().find(|ip| net.contains(*ip) && net.prefix_len() > 0);
            let what = match (pods, service) {
                (Some(pods), _) => format!("the pods' range {pods}"),
                (None, Some(ip)) => format!("the Service's address {ip}"),
                (None, None) => continue,
            };
            return Some(overlapping(
                &host.name,
                format!("{}: {} is on {}, which overlaps {what}", host.name, link.name, net.trunc()),
            ));
        }
    }
    None
}

/// A route of another network is nearer than that to a node's pods.
fn by_route(case: &Case) -> Option<Found> {
    let hosts: Vec<IpAddr> = case
        .hosts
        .iter()
        .flat_map(|h| &h.network.links)
        .flat_map(|l| &l.addresses)
        .map(|a| a.net.addr())
        .collect();
    let mut found: Option<Found> = None;
    for way in ways(case).iter().filter(|way| way.arrives(case, way.pods) == Some(false)) {
        let Some(route) = way.from.route(way.pods).filter(|route| route.to.prefix_len() > 0) else {
            continue;
        };
        let link = route.link.as_deref().unwrap_or_default();
        let meant = route.via.is_some_and(|via| hosts.contains(&via) || case.owner(via).is_some());
        let said = way.from.examined.as_ref().ok();
        let own = way.from.own_link().is_some_and(|own| own.name == link);
        if meant || own || is_pods(link, said) {
            continue;
        }
        let line = format!(
            "{}: packets for {} (pods of {}) go out by {link}, by the route {}: no answer",
            way.from.name, way.pods, way.to.name, route.to
        );
        found = Some(match found {
            Some(mut found) => {
                found.nodes.push(way.from.name.clone());
                found.nodes = once(found.nodes);
                found.seen(line)
            }
            None => overlapping(&way.from.name, line),
        });
    }
    found
}

fn overlapping(node: &str, line: String) -> Found {
    Found::new(Cause::RangesOverlap, "another network there has the addresses of pods or Services, so that packets for those go astray")
        .on([node])
        .seen(line)
        .mend(format!("take that network away from {node}, or give it other addresses (a VPN: narrower routes)"))
        .mend("the ranges of a cluster are chosen when it is made (kubeadm: networking.podSubnet, networking.serviceSubnet): `rackwright check` compares them with the rack's networks before")
}

/// Links of a host that lead to other machines.
fn outer_links<'a>(host: &'a Host, said: &'a Examined) -> impl Iterator<Item = &'a Link> {
    host.network.links.iter().filter(|link| {
        let own = |ip: IpAddr| {
            matches!(ip, IpAddr::V4(_)) || matches!(ip, IpAddr::V6(ip) if !ip.is_unicast_link_local())
        };
        link.up
            && link.kind != LinkKind::Loopback
            && link.master.is_none()
            && link.addresses.iter().any(|address| own(address.net.addr()))
            && !is_pods(&link.name, Some(said))
    })
}

pub(super) fn reverse_path(case: &Case) -> Tested {
    let mut strict = Vec::new();
    for (host, said) in case.nodes() {
        let all = host.network.arp_all.rp_filter;
        let links: Vec<&Link> =
            outer_links(host, said).filter(|link| link.arp.rp_filter.max(all) == 1).collect();
        if links.is_empty() || outer_links(host, said).count() < 2 {
            continue;
        }
        strict.push(host.name.as_str());
        // What comes in may be questions to its pods, or answers to them.
        let broken = ways(case).into_iter().find(|way| way.to.name == host.name && way.is_broken(case));
        let unanswered = || {
            let own = |name: &Name| name.host.name == host.name && name.from == From::Pod && !name.good();
            case.names().find(own).map(|name| told(case, &name))
        };
        let sent = broken.map(|way| {
            format!("{} sends to {} (pods of {}): nothing comes back", way.from.name, way.pods, host.name)
        });
        let (false, Some(symptom)) = (said.rose.is_empty(), sent.or_else(unanswered)) else { continue };
        let names = list(links.iter().map(|link| &link.name));
        return Tested::Confirmed(
            Found::new(Cause::ReversePath, "it drops packets that come in by another link than answers would go out by")
                .on([host.name.as_str()])
                .seen(format!("{}: rp_filter is strict (1) on {names}; net.ipv4.conf.all.rp_filter is {all}", host.name))
                .seen(format!("{}: its counter of such drops rose while it was asked: {}", host.name, list(said.rose.keys())))
                .seen(symptom)
                .mend(format!("on {}: `sysctl -w net.ipv4.conf.all.rp_filter=2` (loose), and the same in /etc/sysctl.d", host.name))
                .mend("or send the pods' packets by the link that answers go out by: the CNI's choice of interface, and its routes"),
        );
    }
    Tested::RuledOut(match strict.is_empty() {
        true => "no node with several links filters strictly".into(),
        false => format!("{} filters strictly, but nothing is missing that was dropped for it", list(strict)),
    })
}

pub(super) fn overlay(case: &Case) -> Tested {
    let all = ways(case);
    let measured = all.iter().filter(|way| way.arrives(case, way.pods).is_some()).count();
    let broken: Vec<&Way> = all.iter().filter(|way| way.is_broken(case)).collect();
    if broken.is_empty() {
        let nodes = case.nodes().count();
        return match (measured, nodes) {
            (0, 0 | 1) => Tested::RuledOut("there is only one node, or only one was heard".into()),
            (0, _) => Tested::CannotTell("no address of another node's pods is known to send to".into()),
            _ => Tested::RuledOut(format!(
                "packets for pods arrive on all {measured} ways between {nodes} nodes"
            )),
        };
    }
    let pairs = once(broken.iter().map(|way| pair(way)));
    let words = "the nodes reach each other, but packets between their pods do not arrive";
    let mut found = Found::new(Cause::OverlayBlocked, words).on(culprits(&broken, case.nodes().count()));
    found = found.seen(format!(
        "no packet for pods arrives between {}; the nodes' own addresses answer",
        pairs.join("; between ")
    ));
    let tunnels = once(
        case.nodes()
            .flat_map(|(_, said)| &said.tunnels)
            .map(|t| (t.kind.as_str(), t.port.or_else(|| usual(&t.link)))),
    );
    let tunnels: Vec<_> = tunnels.into_iter().filter(|(kind, _)| *kind != "sit").collect();
    let ports: Vec<u16> = tunnels.iter().filter_map(|(_, port)| *port).collect();
    found = found.seen(match tunnels.as_slice() {
        [] => "pods' packets go between nodes as they are, without a tunnel".to_owned(),
        some => format!(
            "they go through a tunnel: {}",
            list(some.iter().map(|(kind, port)| match port {
                Some(port) => format!("{kind}, UDP port {port}"),
                None => (*kind).to_owned(),
            }))
        ),
    });
    let (rules, managers) = firewalls(case, &ports);
    found = rules.iter().fold(found, |found, rule| found.seen(rule.clone()));
    found = managers.iter().fold(found, |found, one| found.seen(one.clone()));
    Tested::Confirmed(let_pass(found, &ports, !managers.is_empty()))
}

fn usual(link: &str) -> Option<u16> {
    PORTS.iter().find(|(name, _)| link.starts_with(name)).map(|(_, port)| *port)
}

fn let_pass(found: Found, ports: &[u16], firewalld: bool) -> Found {
    match ports {
        [] => found
            .mend("let packets of the pods' range pass between all nodes, in the nodes' firewalls and in what lies between them (a switch, a cloud's check of source addresses)")
            .mend("and see that each node has a route to every other node's pods: `ip route`"),
        [port, ..] => {
            let found = found.mend(format!("let UDP port {port} pass between all nodes: in the rules named above, and in what lies between them (a cloud's security group)"));
            match firewalld {
                true => found.mend(format!("`firewall-cmd --permanent --add-port={port}/udp && firewall-cmd --reload` on each node")),
                false => found,
            }
        }
    }
}

/// Rules that drop a tunnel's packets, and programs that may.
fn firewalls(case: &Case, ports: &[u16]) -> (Vec<String>, Vec<String>) {
    let drops = |rule: &str| {
        let mut words = rule.split(|c: char| !c.is_ascii_alphanumeric());
        words.any(|word| word.parse().is_ok_and(|number: u16| ports.contains(&number)))
    };
    let of = |(host, said): (&Host, &Examined)| {
        let rules = said.drops.iter().filter(|rule| drops(&rule.rule));
        rules
            .map(|rule| format!("{}: rule of {}: `{}`", host.name, rule.place, rule.rule))
            .collect::<Vec<_>>()
    };
    let managed = |(host, said): (&Host, &Examined)| {
        said.managers.iter().map(|one| format!("{}: {one}", host.name)).collect::<Vec<_>>()
    };
    (case.nodes().flat_map(of).collect(), case.nodes().flat_map(managed).collect())
}

/// `cp1 and w1`, whichever way.
fn pair(way: &Way) -> String {
    let (a, b) = (way.from.name.as_str(), way.to.name.as_str());
    if a < b { format!("{a} and {b}") } else { format!("{b} and {a}") }
}

/// The nodes that are on: the one that is on all ways that are broken, if there is one, else all of them.
fn culprits(broken: &[&Way], hosts: usize) -> Vec<String> {
    let mut nodes = once(broken.iter().flat_map(|way| [way.from.name.as_str(), way.to.name.as_str()]));
    nodes.sort_by(|a, b| Natural(a).cmp(&Natural(b)));
    let on_all = |name: &&&str| broken.iter().all(|way| way.from.name == **name || way.to.name == **name);
    let common: Vec<_> = nodes.iter().filter(on_all).collect();
    match common.as_slice() {
        [one] if hosts > 2 => vec![(**one).to_owned()],
        _ => nodes.into_iter().map(str::to_owned).collect(),
    }
}

pub(super) fn large(case: &Case) -> Tested {
    let nodes: Vec<&Host> = case.heard().map(|(host, _)| host).collect();
    let (mut lost, mut arrived, mut unknown) = (Vec::new(), 0, 0);
    for from in &nodes {
        // Also to hosts that were not heard: a session is the first that large packets are missing to.
        for to in case.hosts.iter().filter(|to| to.name != from.name) {
            let Some(address) = to.address else { continue };
            let pods = to.pod_side(case.node(&to.name));
            let by_hosts =
                [Some(address), pods].into_iter().flatten().map(|ip| (ip, case.echoes(from, ip), false));
            let by_pods = pods.into_iter().map(|ip| (ip, case.pod_echoes(from, ip), true));
            for (address, echoes, of_pod) in by_hosts.chain(by_pods) {
                let Some(echoes) = echoes.filter(|e| *e.small == Echoed::Answered) else { continue };
                match echoes.large {
                    Some((bytes, Echoed::Silence)) => {
                        lost.push((Way { from, to, pods: address }, bytes, of_pod))
                    }
                    Some((_, Echoed::Answered | Echoed::TooBig { .. })) => arrived += 1,
                    _ => unknown += 1,
                }
            }
        }
    }
    if lost.is_empty() {
        return match (arrived, unknown) {
            (0, 0) if nodes.len() < 2 => {
                Tested::RuledOut("there is only one node, or only one was heard".into())
            }
            (0, _) => Tested::CannotTell("no packet to another node came back".into()),
            _ => Tested::RuledOut(format!("packets as large as the links take arrive on all {arrived} ways")),
        };
    }
    let broken: Vec<&Way> = lost.iter().map(|(way, ..)| way).collect();
    let words =
        "small packets between nodes arrive and large ones vanish, so that connections open and then hang";
    let mut found = Found::new(Cause::LargePacketsLost, words).on(culprits(&broken, case.hosts.len()));
    for (way, bytes, of_pod) in lost.iter().take(4) {
        let who = if *of_pod { "a pod on " } else { "" };
        found = found.seen(format!(
            "{who}{} sends to {} ({}): a packet of 84 bytes is answered, one of {bytes} is not",
            way.from.name, way.pods, way.to.name
        ));
    }
    let mtus = nodes.iter().filter_map(|host| {
        host.own_link().map(|link| format!("{} {} on {}", host.name, link.mtu, link.name))
    });
    found = found.seen(format!("MTU of the nodes' links: {}", list(mtus)));
    let by_size = |(host, said): (&Host, &Examined)| {
        let rules = said.drops.iter().filter(|rule| rule.rule.contains(" length "));
        rules
            .map(|rule| format!("{}: rule of {}: `{}`", host.name, rule.place, rule.rule))
            .collect::<Vec<_>>()
    };
    found = case.heard().flat_map(by_size).fold(found, |found, rule| found.seen(rule));
    found = lost
        .iter()
        .filter_map(|(way, ..)| Some((&way.to.name, way.to.examined.as_ref().err()?)))
        .take(1)
        .fold(found, |found, (name, why)| found.seen(format!("{name} itself: {why}")));
    Tested::Confirmed(
        found
            .mend("give all links of the segment, and the switch's ports, one MTU: `ip link set dev LINK mtu 1500`, and for good in the network's configuration")
            .mend("or give the pods a smaller one (the CNI's `mtu`: what passes, less 50 bytes for VXLAN), and let ICMP `fragmentation needed` pass"),
    )
}

pub(super) fn stale(case: &Case) -> Tested {
    let Ok(cluster) = &case.cluster else { return Tested::CannotTell(NO_API.into()) };
    let pods: Vec<IpAddr> = cluster.dns.pods.iter().filter_map(|pod| pod.address).collect();
    if pods.is_empty() || cluster.dns.endpoints == 0 {
        return Tested::Beside;
    }
    let (mut told, mut early, mut found) = (Vec::new(), 0, None::<Found>);
    for (host, said) in case.nodes() {
        let Some(tracked) = &said.tracked else { continue };
        told.push(host.name.as_str());
        let names = |t: &&Tracked| {
            t.service.transport == Transport::Udp && cluster.dns.services.contains(&t.service.address)
        };
        early +=
            tracked.iter().filter(names).filter(|t| t.unreplied && t.answers == t.service.address).count();
        let gone: Vec<&Tracked> = tracked
            .iter()
            .filter(names)
            .filter(|t| !pods.contains(&t.answers) && t.answers != t.service.address)
            .collect();
        let Some(one) = gone.first() else { continue };
        let line = format!(
            "{}: {} to {} led to {}, which is no pod of CoreDNS: from {}",
            host.name,
            count(gone.len()),
            one.service.address,
            one.answers,
            list(once(gone.iter().map(|t| t.from)))
        );
        let node = host.name.clone();
        found = Some(match found {
            Some(mut found) => {
                found.nodes.push(node);
                found.seen(line)
            }
            None => Found::new(Cause::StaleNat, "its kernel goes on leading clients of the DNS Service to a pod that is no more, as long as they ask from the same port")
                .on([node.clone()])
                .seen(line)
                .mend(format!("on {node}: `conntrack -D -p udp -d {} --dport 53`", one.service.address))
                .mend("where it comes back: the log of kube-proxy there, which should do this itself"),
        });
    }
    match (found, told.is_empty(), early) {
        (Some(found), ..) => Tested::Confirmed(found),
        (None, true, _) => Tested::CannotTell("no node told what its kernel remembers".into()),
        (None, false, 0) => {
            Tested::RuledOut(format!("all that is remembered on {} leads to pods that are there", list(told)))
        }
        (None, false, some) => Tested::CannotTell(format!(
            "{} from before there were rules are remembered; they go within 30 s unless a client repeats them",
            count(some)
        )),
    }
}

fn count(connections: usize) -> String {
    if connections == 1 { "1 connection".into() } else { format!("{connections} connections") }
}
