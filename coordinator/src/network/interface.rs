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
    let candidates = candidates(pool, node)?;
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
fn candidates<'a>(pool: &PoolInput, node: &NodeInput<'a>) -> Result<Vec<&'a Link>, Vec<Finding>> {
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
    let missing = error(names::POOL_INTERFACE, &pool.name)
        .on([&node.name])
        .checked(format!("which interface carries pool {}", pool.name))
        .observed(format!("the node has the interfaces {}", list(node.network.links.iter().map(|l| &l.name))))
        .expected(format!("an interface that is {}", wanted.join(" and also ")))
        .fix("name an interface that the node has, under `network` for the node or under `interfaces` of the advertisement");
    Err(vec![missing])
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
pub(crate) fn subnet_around(network: &Network, link: &Link, span: &Span) -> Option<IpNet> {
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

/// Something that keeps a link from carrying a range: the finding's name, what was observed and expected, and the
/// fix.
type Obstacle = (&'static str, String, &'static str, String);

/// What keeps a link from carrying a range; empty when nothing does.
fn obstacles(pool: &PoolInput, link: &Link, span: &Span, speaker: &Speaker) -> Vec<Finding> {
    let four = span.first.is_ipv4();
    let all = [
        down(link),
        without_arp(link, four),
        enslaved(link),
        excluded(link, speaker),
        without_link_local(link).filter(|_| !four),
    ];
    let found = all.into_iter().flatten().map(|(name, observed, expected, fix)| {
        error(name, &pool.name)
            .checked(format!("whether {} can carry pool {}", link.name, pool.name))
            .observed(observed)
            .expected(expected)
            .fix(fix)
    });
    found.collect()
}

fn down(link: &Link) -> Option<Obstacle> {
    let name = &link.name;
    if !link.up {
        let fix = format!(
            "bring it up (`ip link set {name} up`), and for good in the host's network configuration"
        );
        return Some((names::POOL_INTERFACE_DOWN, format!("{name} is down"), "an interface that is up", fix));
    }
    let observed = format!("{name} is up, but has no carrier");
    let fix = format!("connect {name}, or name another interface for the pool");
    (!link.carrier).then_some((names::POOL_INTERFACE_DOWN, observed, "an interface that is connected", fix))
}

fn without_arp(link: &Link, four: bool) -> Option<Obstacle> {
    let what = match link.noarp {
        true => "does not take part in ARP (NOARP)",
        false if four && !link.broadcast => "cannot broadcast",
        false => return None,
    };
    let observed = format!("{} {what}", link.name);
    let expected = "an interface on which neighbours ask by ARP: MetalLB skips all others";
    Some((names::POOL_INTERFACE_NO_ARP, observed, expected, "name an Ethernet interface for the pool".into()))
}

fn enslaved(link: &Link) -> Option<Obstacle> {
    let (name, master) = (&link.name, link.master.as_ref()?);
    let fix = format!("move the addresses of {name} to {master}, and use {master}");
    let expected = "the bond or bridge itself: MetalLB skips its ports";
    Some((names::POOL_INTERFACE_ENSLAVED, format!("{name} is a port of {master}"), expected, fix))
}

fn excluded(link: &Link, speaker: &Speaker) -> Option<Obstacle> {
    let (name, pattern) = (&link.name, speaker.excludes(&link.name)?);
    let observed =
        format!("MetalLB {} skips {name}: its exclusion list holds `{pattern}`", speaker.version());
    let first = match Speaker::default().excludes(name) {
        Some(_) => "use another interface",
        None => "use MetalLB 0.13.11 or newer, whose list matches whole names",
    };
    let fix =
        format!("{first}, or take the pattern out of `excludel2.yaml` in the ConfigMap metallb-excludel2");
    Some((names::POOL_INTERFACE_EXCLUDED, observed, "an interface that MetalLB announces on", fix))
}

fn without_link_local(link: &Link) -> Option<Obstacle> {
    let name = &link.name;
    let local = |net: &IpNet| matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local());
    let missing = !link.addresses.iter().any(|address| local(&address.net));
    let observed = format!("{name} has no IPv6 link-local address");
    let expected =
        "a link-local address (fe80::/10): MetalLB answers neighbour solicitations on no other interface";
    let fix =
        format!("enable IPv6 on {name}: `sysctl -w net.ipv6.conf.{}.disable_ipv6=0`", sysctl_name(name));
    missing.then_some((names::POOL_INTERFACE_NO_LINK_LOCAL, observed, expected, fix))
}

/// A link's name as a part of a sysctl key, where a dot would be taken for a separator (sysctl.d(5)).
pub(super) fn sysctl_name(link: &str) -> String {
    link.replace('.', "/")
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
    // What holds for the link below a VLAN holds for the VLAN.
    let below = |link: &Link| node.network.links.iter().find(|l| Some(&l.name) == link.parent.as_ref());
    let links = links.flat_map(|link| [Some(link), below(link)]).flatten();
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
                .fix(format!("use a wired interface, or try `ip link set {name} promisc on` and make that permanent")),
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
