//! Which interface of a node carries a pool.

use ipnet::IpNet;
use rackwright_proto::finding::Finding;
use rackwright_proto::l2::Span;
use rackwright_proto::link::{Link, LinkKind, Network};

use super::say::{Say as _, error, list, pass, warning};
use super::{NodeInput, PoolInput, Speaker, Wanted, names, range};

/// The interface that carries one range of a pool on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carrier {
    /// The range.
    pub range: Span,
    /// The interface.
    pub link: String,
    /// The subnet on it in which the range lies.
    pub subnet: IpNet,
}

/// The interfaces that carry a pool on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// One for each range of the pool, in its order.
    pub carriers: Vec<Carrier>,
    /// What speaks for it, and what may bite nevertheless.
    pub findings: Vec<Finding>,
}

/// Chooses the interface that carries each range of a pool on a node, or tells why none can.
pub fn choose_interface(
    pool: &PoolInput,
    node: &NodeInput,
    speaker: &Speaker,
) -> Result<Choice, Vec<Finding>> {
    let candidates = candidates(pool, node).map_err(|missing| vec![missing])?;
    let (mut carriers, mut why) = (Vec::new(), Vec::new());
    for span in &pool.ranges {
        match carrier(pool, node, span, &candidates, speaker) {
            Ok(carrier) => carriers.push(carrier),
            Err(findings) => why.extend(findings),
        }
    }
    if why.is_empty() {
        let findings = praise_and_cautions(pool, node, &carriers);
        Ok(Choice { carriers, findings })
    } else {
        Err(why)
    }
}

/// The links that rack and advertisement leave to choose from.
fn candidates<'a>(pool: &PoolInput, node: &NodeInput<'a>) -> Result<Vec<&'a Link>, Finding> {
    let allowed = |link: &&Link| {
        let by_node = match &node.interface {
            Wanted::Auto => true,
            Wanted::Named(name) => *name == link.name,
        };
        by_node && pool.interfaces.as_ref().is_none_or(|names| names.contains(&link.name))
    };
    let links: Vec<_> = node.network.links.iter().filter(allowed).collect();
    if !links.is_empty() {
        return Ok(links);
    }
    let mut wanted: Vec<_> = pool.interfaces.clone().unwrap_or_default();
    if let Wanted::Named(name) = &node.interface {
        wanted.push(name.clone());
    }
    wanted.dedup();
    Err(error(names::POOL_INTERFACE, &pool.name)
        .on([&node.name])
        .checked(format!("which interface carries pool {}", pool.name))
        .observed(format!("the node has the interfaces {}", list(node.network.links.iter().map(|l| &l.name))))
        .expected(format!("an interface that is {}", wanted.join(" and also ")))
        .fix("name an interface that the node has, under `network` for the node or under `interfaces` of the advertisement"))
}

fn carrier(
    pool: &PoolInput,
    node: &NodeInput,
    span: &Span,
    candidates: &[&Link],
    speaker: &Speaker,
) -> Result<Carrier, Vec<Finding>> {
    let on_link: Vec<_> = candidates
        .iter()
        .filter_map(|link| subnet_around(node.network, link, span).map(|subnet| (*link, subnet)))
        .collect();
    if on_link.is_empty() {
        return Err(vec![off_link(pool, node, span, candidates, speaker)]);
    }
    let fit = |link: &Link| obstacles(pool, link, span, speaker).is_empty();
    let best = on_link.iter().filter(|(link, _)| fit(link));
    // The narrowest subnet wins, as in routing; then the link that came first.
    match best.max_by_key(|(link, subnet)| (subnet.prefix_len(), std::cmp::Reverse(link.index))) {
        Some((link, subnet)) => Ok(Carrier { range: span.clone(), link: link.name.clone(), subnet: *subnet }),
        None => Err(on_link
            .iter()
            .flat_map(|(link, _)| obstacles(pool, link, span, speaker))
            .map(|finding| finding.on([&node.name]))
            .collect()),
    }
}

/// The subnets that are on a link: those of its addresses, and those of routes without a next hop.
pub(super) fn subnets<'a>(network: &'a Network, link: &'a Link) -> impl Iterator<Item = IpNet> {
    let routed = network.routes.iter().filter(|route| {
        route.via.is_none() && route.to.prefix_len() > 0 && route.link.as_ref() == Some(&link.name)
    });
    link.addresses.iter().map(|address| address.net.trunc()).chain(routed.map(|route| route.to.trunc()))
}

/// The narrowest subnet on a link in which a range lies.
pub(super) fn subnet_around(network: &Network, link: &Link, span: &Span) -> Option<IpNet> {
    subnets(network, link).filter(|net| range::lies_in(span, net)).max_by_key(IpNet::prefix_len)
}

fn off_link(
    pool: &PoolInput,
    node: &NodeInput,
    span: &Span,
    candidates: &[&Link],
    speaker: &Speaker,
) -> Finding {
    let near = candidates.iter().filter(|link| {
        link.kind != LinkKind::Loopback && speaker.excludes(&link.name).is_none() && link.master.is_none()
    });
    let seen: Vec<_> = near
        .flat_map(|link| link.addresses.iter().map(move |a| (link, a.net)))
        .filter(|(_, net)| net.addr().is_ipv4() == span.first.is_ipv4())
        .map(|(link, net)| format!("{} on {}", net.trunc(), link.name))
        .collect();
    error(names::POOL_OFF_LINK, &pool.name)
        .on([&node.name])
        .checked(format!("whether {} of pool {} lies in a subnet of the node", range::show(span), pool.name))
        .observed(format!("subnets of the node: {}", list(seen)))
        .expected("all of the range in one subnet of an interface that may carry it: nobody asks for other addresses by ARP")
        .fix("choose a range of the node's own subnet, or leave the node out with `nodeSelectors` of the advertisement")
}

/// What keeps a link from carrying a range; empty when nothing does.
fn obstacles(pool: &PoolInput, link: &Link, span: &Span, speaker: &Speaker) -> Vec<Finding> {
    let name = &link.name;
    let four = span.first.is_ipv4();
    let because = |finding: &str, observed: String, expected: &str, fix: String| {
        error(finding, &pool.name)
            .checked(format!("whether {name} can carry pool {}", pool.name))
            .observed(observed)
            .expected(expected)
            .fix(fix)
    };
    let mut found = Vec::new();
    if !link.up {
        let fix = format!(
            "bring it up (`ip link set {name} up`), and for good in the host's network configuration"
        );
        found.push(because(
            names::POOL_INTERFACE_DOWN,
            format!("{name} is down"),
            "an interface that is up",
            fix,
        ));
    } else if !link.carrier {
        let fix = format!("connect {name}, or name another interface for the pool");
        let observed = format!("{name} is up, but has no carrier");
        found.push(because(names::POOL_INTERFACE_DOWN, observed, "an interface that is connected", fix));
    }
    if link.noarp || (four && !link.broadcast) {
        let what = if link.noarp { "does not take part in ARP (NOARP)" } else { "cannot broadcast" };
        let fix = "name an Ethernet interface for the pool".to_owned();
        let expected = "an interface on which neighbours ask by ARP: MetalLB skips all others";
        found.push(because(names::POOL_INTERFACE_NO_ARP, format!("{name} {what}"), expected, fix));
    }
    if let Some(master) = &link.master {
        let fix = format!("move the addresses of {name} to {master}, and use {master}");
        let observed = format!("{name} is a port of {master}");
        let expected = "the bond or bridge itself: MetalLB skips its ports";
        found.push(because(names::POOL_INTERFACE_ENSLAVED, observed, expected, fix));
    }
    if let Some(pattern) = speaker.excludes(name) {
        found.push(excluded(because, name, pattern, speaker));
    }
    if !four && !has_link_local(link) {
        let fix = format!("enable IPv6 on {name}: `sysctl net.ipv6.conf.{name}.disable_ipv6=0`");
        let observed = format!("{name} has no IPv6 link-local address");
        let expected =
            "a link-local address (fe80::/10): MetalLB answers neighbour solicitations on no other interface";
        found.push(because(names::POOL_INTERFACE_NO_LINK_LOCAL, observed, expected, fix));
    }
    found
}

fn excluded(
    because: impl Fn(&str, String, &str, String) -> Finding,
    name: &str,
    pattern: &str,
    speaker: &Speaker,
) -> Finding {
    let observed =
        format!("MetalLB {} skips {name}: its exclusion list holds `{pattern}`", speaker.version());
    let newer = Speaker::default();
    let fix = if newer.excludes(name).is_none() {
        "use MetalLB 0.13.11 or newer, whose list matches whole names, or take the pattern out of `excludel2.yaml` in the ConfigMap metallb-excludel2"
    } else {
        "use another interface, or take the pattern out of `excludel2.yaml` in the ConfigMap metallb-excludel2"
    };
    because(
        names::POOL_INTERFACE_EXCLUDED,
        observed,
        "an interface that MetalLB announces on",
        fix.to_owned(),
    )
}

fn has_link_local(link: &Link) -> bool {
    link.addresses.iter().any(|a| matches!(a.net, IpNet::V6(net) if net.addr().is_unicast_link_local()))
}

/// That a pool is carried, and what may bite nevertheless.
fn praise_and_cautions(pool: &PoolInput, node: &NodeInput, carriers: &[Carrier]) -> Vec<Finding> {
    let carried = carriers.iter().map(|c| format!("{} on {} in {}", range::show(&c.range), c.link, c.subnet));
    let mut findings = vec![
        pass(names::POOL_INTERFACE, &pool.name)
            .on([&node.name])
            .checked(format!("which interface carries pool {}", pool.name))
            .observed(list(carried))
            .expected("an interface of the range's own subnet that MetalLB announces on"),
    ];
    let mut links: Vec<_> = carriers.iter().map(|c| &c.link).collect();
    links.sort();
    links.dedup();
    let links = links.into_iter().filter_map(|name| node.network.links.iter().find(|l| l.name == *name));
    findings.extend(links.filter_map(|link| caution(pool, link)).map(|finding| finding.on([&node.name])));
    findings
}

fn caution(pool: &PoolInput, link: &Link) -> Option<Finding> {
    let name = &link.name;
    let beware = |finding: &str| {
        warning(finding, &pool.name).checked(format!("what kind of interface carries pool {}", pool.name))
    };
    match (link.kind, link.bond_mode.as_deref()) {
        (LinkKind::Wireless, _) => Some(
            beware(names::POOL_INTERFACE_WIRELESS)
                .observed(format!("{name} is wireless"))
                .expected("a wired interface: access points and power saving lose ARP requests for addresses that the station was not given")
                .fix(format!("use a wired interface, or try `ip link set {name} promisc on` and make it last")),
        ),
        (LinkKind::Bond, Some(mode @ "balance-alb")) => Some(
            beware(names::POOL_INTERFACE_BOND)
                .observed(format!("{name} is a bond in mode {mode}"))
                .expected("a bond mode that leaves ARP alone: balance-alb answers different clients with different MAC addresses")
                .fix("use active-backup or 802.3ad"),
        ),
        _ => None,
    }
}
