//! How the interfaces that carry pools behave: who answers ARP there, and for what.

use std::collections::BTreeSet;

use ipnet::IpNet;
use rackwright_proto::finding::Finding;
use rackwright_proto::link::{Link, LinkKind, Network};

use super::interface::sysctl_name;
use super::say::{Say as _, error, list, pass, warning};
use super::{ArpWanted, Choice, NodeInput, PoolInput, Scene, Speaker, names, range};

/// Routes that a DHCP client made (rtnetlink(7)).
const RTPROT_DHCP: u8 = 16;

/// Everything about the interfaces that carry a pool on a node.
pub(super) fn carrier_findings(pool: &PoolInput, node: &NodeInput, choice: &Choice) -> Vec<Finding> {
    let mut findings = Vec::new();
    let names: BTreeSet<_> = choice.carriers.iter().map(|carrier| &carrier.link).collect();
    for link in node.network.links.iter().filter(|link| names.contains(&link.name)) {
        if choice.carriers.iter().any(|c| c.link == link.name && c.range.first.is_ipv4()) {
            findings.extend(proxy_arp(node.network, link));
        }
    }
    findings.extend(
        choice.carriers.iter().filter_map(|carrier| leased(pool, node, &carrier.link, &carrier.subnet)),
    );
    findings.into_iter().map(|finding| finding.on([&node.name])).collect()
}

/// The ARP sysctls in force on every link where other machines can be.
pub(super) fn values_in_force(scene: &Scene) -> Vec<Finding> {
    let mut findings = Vec::new();
    for node in &scene.nodes {
        let links = node.network.links.iter().filter(|link| on_segment(link));
        let wanted = scene.wanted_of(&node.name);
        let said = links.flat_map(|link| sysctls(wanted, node.network, link));
        findings.extend(said.map(|finding| finding.on([&node.name])));
    }
    findings
}

fn proxy_arp(network: &Network, link: &Link) -> Option<Finding> {
    let name = &link.name;
    let [all, own] = [network.arp_all.proxy_arp, link.arp.proxy_arp];
    let key = format!("net.ipv4.conf.{}.proxy_arp", sysctl_name(name));
    (all.max(own) > 0).then(|| {
        warning(names::PROXY_ARP, name)
            .checked(format!("whether {name} answers ARP for other hosts"))
            .observed(format!("net.ipv4.conf.all.proxy_arp is {all}, {key} is {own}: either is enough"))
            .expected("0 for both, or every address may look taken and traffic for it may go astray")
            .fix(format!("sysctl -w net.ipv4.conf.all.proxy_arp=0 {key}=0, and in sysctl.d"))
    })
}

/// The values in force, each the maximum of `all` and the interface's own (ip-sysctl of the kernel's
/// documentation).
fn sysctls(wanted: ArpWanted, network: &Network, link: &Link) -> Vec<Finding> {
    let (all, own) = (&network.arp_all, &link.arp);
    let values = [
        ("arp_ignore", wanted.arp_ignore, all.arp_ignore, own.arp_ignore),
        ("arp_announce", wanted.arp_announce, all.arp_announce, own.arp_announce),
        ("rp_filter", wanted.rp_filter, all.rp_filter, own.rp_filter),
    ];
    let mut findings: Vec<_> = values
        .into_iter()
        .filter_map(|(key, wanted, all, own)| effective(&link.name, key, wanted?, all, own))
        .collect();
    let after = wanted.arp_ignore.unwrap_or(all.arp_ignore).max(own.arp_ignore);
    if after >= 8 {
        findings.retain(|finding| !finding.checked.contains("arp_ignore"));
        findings.push(ignores_all(&link.name, wanted.arp_ignore, all.arp_ignore, own.arp_ignore));
    }
    findings
}

/// Judges what will be in force once the plan has set `all` to the wanted value. What the interface itself has
/// above that, no value of `all` can undo.
fn effective(link: &str, key: &str, wanted: u8, all: u8, own: u8) -> Option<Finding> {
    let subject = format!("net.ipv4.conf.{}.{key}", sysctl_name(link));
    let now = all.max(own);
    let seen = format!("{key} is {all} for all and {own} for {link}, so {now} is in force");
    let checked = format!("the {key} in force on {link}");
    if own > wanted {
        let finding = error(names::ARP_EFFECTIVE, &subject).checked(checked).observed(seen);
        let finding = finding
            .expected(format!("{wanted}: the greater of the two is in force, whatever is set for all"));
        return Some(finding.fix(format!("sysctl -w {subject}={wanted}, and in sysctl.d")));
    }
    let observed = if now == wanted { seen } else { format!("{seen}; the plan sets it to {wanted} for all") };
    Some(
        pass(names::ARP_EFFECTIVE, &subject).checked(checked).observed(observed).expected(wanted.to_string()),
    )
}

fn ignores_all(link: &str, wanted: Option<u8>, all: u8, own: u8) -> Finding {
    let key = format!("net.ipv4.conf.{}.arp_ignore", sysctl_name(link));
    let (seen, fix) = match wanted {
        Some(wanted) if wanted >= 8 => (
            format!("the rack sets arp_ignore to {wanted} for all"),
            "set net.ipv4.conf.all.arp_ignore to 1 or 2 in the rack's hosts.sysctls, or leave it out"
                .to_owned(),
        ),
        _ => (
            format!("arp_ignore is {all} for all and {own} for {link}"),
            format!("sysctl -w net.ipv4.conf.all.arp_ignore=1 {key}=0, and in sysctl.d"),
        ),
    };
    error(names::ARP_IGNORE_ALL, &key)
        .checked(format!("whether {link} answers ARP at all"))
        .observed(format!("{seen}: with 8 the host answers nobody"))
        .expected("less than 8 for both")
        .fix(fix)
}

fn leased(pool: &PoolInput, node: &NodeInput, link: &str, subnet: &IpNet) -> Option<Finding> {
    // An IPv6 address with a lifetime comes from router advertisements, and says nothing of a range.
    let links = node.network.links.iter().filter(|known| known.name == link);
    let mut addresses = links.flat_map(|link| &link.addresses).filter(|a| a.net.addr().is_ipv4());
    let routes = || node.network.routes.iter().filter(|route| route.link.as_deref() == Some(link));
    let by_dhcp = routes().any(|route| route.protocol == RTPROT_DHCP && route.to.addr().is_ipv4());
    let address = addresses.find(|a| (a.dynamic || by_dhcp) && a.net.trunc() == *subnet)?;
    Some(
        warning(names::POOL_IN_DHCP_SUBNET, &pool.name)
            .checked(format!("whether a DHCP server hands out addresses in the subnet of pool {}", pool.name))
            .observed(format!("{} on {link} of {} is leased", address.net, node.name))
            .expected(format!(
                "a pool that the DHCP server of {subnet} never hands out; its bounds cannot be asked for"
            ))
            .fix(format!(
                "exclude {} on the DHCP server, then waive this",
                list(pool.ranges.iter().map(range::show))
            )),
    )
}

/// Nodes with two interfaces in one subnet: both answer ARP for either's addresses, and for pools.
pub(super) fn two_interfaces_in_one_subnet(scene: &Scene) -> Vec<Finding> {
    scene.nodes.iter().flat_map(|node| twins(scene, node)).collect()
}

fn twins(scene: &Scene, node: &NodeInput) -> Vec<Finding> {
    let links: Vec<_> = node.network.links.iter().filter(|link| on_segment(link)).collect();
    let mut found = Vec::new();
    for (at, first) in links.iter().enumerate() {
        for second in &links[at + 1..] {
            let pairs = ipv4_subnets(first).flat_map(|a| ipv4_subnets(second).map(move |b| (a, b)));
            let mut shared = pairs.filter(|(a, b)| a.contains(b) || b.contains(a));
            if let Some((a, b)) = shared.next() {
                // Of two that are nested, the narrower is what they share.
                let subnet = if a.contains(&b) { b } else { a };
                found.push(twin(scene, node, &first.name, &second.name, &subnet));
            }
        }
    }
    found
}

fn ipv4_subnets(link: &Link) -> impl Iterator<Item = IpNet> {
    let subnet = |net: &IpNet| match net {
        IpNet::V4(net) => net.prefix_len() < 32 && !net.addr().is_link_local(),
        IpNet::V6(_) => false,
    };
    link.addresses.iter().map(|address| address.net.trunc()).filter(subnet)
}

fn twin(scene: &Scene, node: &NodeInput, first: &str, second: &str, subnet: &IpNet) -> Finding {
    let both = |pool: &&PoolInput| {
        let open =
            |link: &str| pool.interfaces.as_ref().is_none_or(|names| names.iter().any(|name| name == link));
        let near = pool.ranges.iter().any(|span| range::lies_in(span, subnet));
        pool.nodes.contains(&node.name) && near && open(first) && open(second)
    };
    let pools: Vec<_> = scene.pools.iter().filter(both).map(|pool| &pool.name).collect();
    let finding = if pools.is_empty() { warning } else { error };
    let (expected, fix) = if pools.is_empty() {
        (
            "one interface in a subnet: Linux answers ARP on either for the addresses of both".to_owned(),
            String::new(),
        )
    } else {
        let pools = list(pools);
        let why = "MetalLB answers on both, with two MAC addresses".to_owned();
        (
            format!("one interface for pool {pools}: {why}"),
            format!("set `interfaces: [{first}]` in the advertisement of {pools}, or "),
        )
    };
    finding(names::TWO_INTERFACES_ONE_SUBNET, subnet)
        .on([&node.name])
        .checked("whether a node has two interfaces in one subnet")
        .observed(format!("{first} and {second} are both in {subnet}"))
        .expected(expected)
        .fix(format!("{fix}give {second} another subnet or bond the two"))
}

/// Whether a link is on a real segment, where other machines can be: not a tunnel, and not the host's own bridge
/// or cable to its containers.
pub(crate) fn on_segment(link: &Link) -> bool {
    let kind = matches!(
        link.kind,
        LinkKind::Physical
            | LinkKind::Wireless
            | LinkKind::Vlan
            | LinkKind::Bond
            | LinkKind::Bridge
            | LinkKind::Veth
    );
    let usable = link.up && link.carrier && link.broadcast && !link.noarp && link.master.is_none();
    kind && usable && Speaker::default().excludes(&link.name).is_none() && !is_docker_bridge(&link.name)
}

/// `br-` and the first 12 hexadecimal digits of a Docker network's id.
fn is_docker_bridge(name: &str) -> bool {
    name.strip_prefix("br-").is_some_and(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit()))
}
