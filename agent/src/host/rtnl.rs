//! The node's network over one rtnetlink(7) connection: four kinds of dumps, no program, no change.
//!
//! Per-link sysctls come with the link dump (`IFLA_INET_CONF`), so that a host with hundreds of veths costs no
//! file reads. The namespace is the calling thread's; [`Host::at`] does not move it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures_util::{Stream, TryStreamExt as _};
use ipnet::IpNet;
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::link::{Address, Link, LinkArp, LinkKind, Mac, Neighbour, Network, Route};
use rtnetlink::Handle;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    AfSpecInet, AfSpecUnspec, InetDevConf, InfoBond, InfoData, InfoVlan, LinkAttribute, LinkExtentMask,
    LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteNextHop, RouteType, RouteVia,
};

use super::Host;
use crate::fault::chain;

/// How long the kernel may take for all dumps.
const DEADLINE: Duration = Duration::from_secs(10);

/// The most entries that are kept of each kind: a rack's host is no Internet router.
const MOST: usize = 20_000;

/// Link names by index.
type Names = BTreeMap<u32, String>;

impl Host {
    /// Links with addresses and ARP sysctls, routes of the main table, and neighbours.
    pub async fn network(&self) -> Result<Network, Fault> {
        let fault = |kind, cause| Fault::new(kind, "ask the kernel for its network (rtnetlink)", cause);
        let (connection, handle, _unsolicited) =
            rtnetlink::new_connection().map_err(|e| fault(FaultKind::Host, chain(&e)))?;
        let work = async {
            tokio::select! {
                biased;
                () = connection => Err(fault(FaultKind::Host, "the kernel closed the connection".into())),
                network = dump(self, &handle) => network.map_err(|e| fault(FaultKind::Host, chain(&e))),
            }
        };
        tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| {
            Err(fault(FaultKind::Deadline, format!("no answer within {} s", DEADLINE.as_secs())))
        })
    }
}

async fn dump(host: &Host, handle: &Handle) -> Result<Network, rtnetlink::Error> {
    // The kernel runs one dump at a time on a socket. Statistics are the larger half of a link: not asked.
    let skip = vec![LinkExtentMask::SkipStats];
    let links = handle.link().get().set_filter_mask(AddressFamily::Unspec, skip).execute();
    let links = collect(links).await?;
    let names: Names = links.iter().filter_map(|m| Some((m.header.index, name_of(m)?))).collect();
    let mut network = Network { arp_all: arp_all(host), ..Network::default() };
    network.links = links.iter().filter_map(|message| link(host, message, &names)).collect();
    network.links.sort_by_key(|link| link.index);
    for message in collect(handle.address().get().execute()).await? {
        let link = network.links.binary_search_by_key(&message.header.index, |link| link.index);
        if let (Ok(at), Some(address)) = (link, address(&message)) {
            network.links[at].addresses.push(address);
        }
    }
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut ask = RouteMessage::default();
        ask.header.address_family = family;
        let messages = collect(handle.route().get(ask).execute()).await?;
        network.routes.extend(messages.iter().flat_map(|message| routes(message, &names)));
    }
    let neighbours = collect(handle.neighbours().get().execute()).await?;
    network.neighbours = neighbours.iter().filter_map(|message| neighbour(message, &names)).collect();
    Ok(network)
}

/// The values of `conf/all`, which every link's own combine with.
fn arp_all(host: &Host) -> LinkArp {
    let value = |key: &str| {
        host.word(format!("/proc/sys/net/ipv4/conf/all/{key}")).and_then(|v| v.parse().ok()).unwrap_or(0)
    };
    LinkArp {
        arp_ignore: value("arp_ignore"),
        arp_announce: value("arp_announce"),
        rp_filter: value("rp_filter"),
        proxy_arp: value("proxy_arp"),
        forwarding: value("forwarding"),
    }
}

fn link(host: &Host, message: &LinkMessage, names: &Names) -> Option<Link> {
    let flags = message.header.flags;
    let mut link = Link {
        name: name_of(message)?,
        index: message.header.index,
        kind: LinkKind::Other,
        info_kind: String::new(),
        mac: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        broadcast: flags.contains(LinkFlags::Broadcast),
        noarp: flags.contains(LinkFlags::Noarp),
        master: None,
        parent: None,
        vlan: None,
        bond_mode: None,
        addresses: Vec::new(),
        arp: LinkArp::default(),
    };
    message.attributes.iter().for_each(|attribute| fill(&mut link, attribute, names));
    link.kind = kind(host, &link, message.header.link_layer_type);
    let elsewhere = message.attributes.iter().any(|a| matches!(a, LinkAttribute::LinkNetNsId(_)));
    // The index below a link of another namespace, or the peer's of a veth, says nothing here.
    if link.kind != LinkKind::Vlan || elsewhere {
        link.parent = None;
    }
    Some(link)
}

fn kind(host: &Host, link: &Link, layer: LinkLayerType) -> LinkKind {
    let wireless =
        |file: &str| host.path(format!("/sys/class/net/{}/{file}", link.name)).symlink_metadata().is_ok();
    match (layer, link.info_kind.as_str()) {
        (LinkLayerType::Loopback, _) => LinkKind::Loopback,
        (_, "vlan") => LinkKind::Vlan,
        (_, "bond") => LinkKind::Bond,
        (_, "bridge") => LinkKind::Bridge,
        (_, "veth") => LinkKind::Veth,
        (LinkLayerType::Ether, "") if wireless("wireless") || wireless("phy80211") => LinkKind::Wireless,
        (LinkLayerType::Ether, "") => LinkKind::Physical,
        _ => LinkKind::Other,
    }
}

/// The first [`MOST`] messages of a dump; the rest is read and dropped, so that the next dump can begin.
async fn collect<T>(
    messages: impl Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Vec<T>, rtnetlink::Error> {
    let keep = |mut kept: Vec<T>, message| async move {
        if kept.len() < MOST {
            kept.push(message);
        }
        Ok(kept)
    };
    messages.try_fold(Vec::new(), keep).await
}

fn name_of(message: &LinkMessage) -> Option<String> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

fn mac_of(bytes: &[u8]) -> Option<Mac> {
    Some(Mac(bytes.try_into().ok()?))
}

fn fill(link: &mut Link, attribute: &LinkAttribute, names: &Names) {
    match attribute {
        LinkAttribute::Address(bytes) => link.mac = mac_of(bytes),
        LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
        LinkAttribute::Controller(index) => link.master = names.get(index).cloned(),
        LinkAttribute::Link(index) => link.parent = names.get(index).cloned(),
        LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| fill_info(link, info)),
        LinkAttribute::AfSpecUnspec(families) => {
            if let Some(conf) = families.iter().find_map(inet_conf) {
                link.arp = arp(conf);
            }
        }
        _ => {}
    }
}

fn fill_info(link: &mut Link, info: &LinkInfo) {
    match info {
        LinkInfo::Kind(kind) => link.info_kind = kind.to_string(),
        LinkInfo::Data(InfoData::Vlan(infos)) => {
            link.vlan = infos.iter().find_map(|info| match info {
                InfoVlan::Id(id) => Some(*id),
                _ => None,
            });
        }
        LinkInfo::Data(InfoData::Bond(infos)) => {
            link.bond_mode = infos.iter().find_map(|info| match info {
                InfoBond::Mode(mode) => Some(mode.to_string()),
                _ => None,
            });
        }
        _ => {}
    }
}

fn inet_conf(family: &AfSpecUnspec) -> Option<&InetDevConf> {
    let AfSpecUnspec::Inet(inet) = family else { return None };
    inet.iter().find_map(|item| match item {
        AfSpecInet::DevConf(conf) => Some(conf),
        _ => None,
    })
}

fn arp(conf: &InetDevConf) -> LinkArp {
    // The kernel takes any number for proxy_arp; what it means is yes or no.
    let small = |value: i32| u8::try_from(value).unwrap_or(u8::from(value != 0));
    LinkArp {
        arp_ignore: small(conf.arp_ignore),
        arp_announce: small(conf.arp_announce),
        rp_filter: small(conf.rp_filter),
        proxy_arp: small(conf.proxy_arp),
        forwarding: small(conf.forwarding),
    }
}

fn address(message: &AddressMessage) -> Option<Address> {
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    let (mut local, mut address, mut finite) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link `Address` is the peer's and `Local` ours.
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            AddressAttribute::CacheInfo(cache) => finite = cache.ifa_valid != u32::MAX,
            _ => {}
        }
    }
    let net = IpNet::new(local.or(address)?, message.header.prefix_len).ok()?;
    let dynamic = finite || !flags.contains(AddressFlags::Permanent);
    Some(Address { net, dynamic, secondary: flags.contains(AddressFlags::Secondary) })
}

/// The unicast routes of the main table in one message: one for each next hop.
fn routes(message: &RouteMessage, names: &Names) -> Vec<Route> {
    let table = message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    let main = u32::from(RouteHeader::RT_TABLE_MAIN);
    if table.unwrap_or(u32::from(message.header.table)) != main || message.header.kind != RouteType::Unicast {
        return Vec::new();
    }
    let Some(route) = route(message, names) else { return Vec::new() };
    let hops = message.attributes.iter().find_map(|a| match a {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    });
    match hops {
        Some(hops) => hops.iter().map(|hop| by_hop(&route, hop, names)).collect(),
        None => vec![route],
    }
}

fn route(message: &RouteMessage, names: &Names) -> Option<Route> {
    let any = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let destination = message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Destination(address) => ip_of(address),
        _ => None,
    });
    let to = IpNet::new(destination.unwrap_or(any), message.header.destination_prefix_length).ok()?;
    let metric = message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    let protocol = message.header.protocol.into();
    let link = message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Oif(index) => names.get(index).cloned(),
        _ => None,
    });
    Some(Route { to, via: gateway(&message.attributes), link, protocol, metric: metric.unwrap_or(0) })
}

fn by_hop(route: &Route, hop: &RouteNextHop, names: &Names) -> Route {
    let (via, link) = (gateway(&hop.attributes), names.get(&hop.interface_index).cloned());
    Route { via, link, ..route.clone() }
}

/// The next hop; for an IPv4 route it can be an IPv6 address (RFC 5549).
fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip_of(address),
        RouteAttribute::Via(RouteVia::Inet(ip)) => Some(IpAddr::V4(*ip)),
        RouteAttribute::Via(RouteVia::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    })
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

fn neighbour(message: &NeighbourMessage, names: &Names) -> Option<Neighbour> {
    let (mut ip, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => ip = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => ip = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = mac_of(bytes),
            _ => {}
        }
    }
    let (ip, mac) = (ip?, mac?);
    // The kernel lists group addresses, and itself on the loopback: nobody's neighbours.
    if ip.is_multicast() || ip.is_loopback() || mac.0[0] & 1 == 1 || mac.0 == [0; 6] {
        return None;
    }
    let link = names.get(&message.header.ifindex)?.clone();
    Some(Neighbour { ip, mac, link, state: state_name(message.header.state).into() })
}

fn state_name(state: NeighbourState) -> &'static str {
    match state {
        NeighbourState::Incomplete => "incomplete",
        NeighbourState::Reachable => "reachable",
        NeighbourState::Stale => "stale",
        NeighbourState::Delay => "delay",
        NeighbourState::Probe => "probe",
        NeighbourState::Failed => "failed",
        NeighbourState::Noarp => "noarp",
        NeighbourState::Permanent => "permanent",
        _ => "none",
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::{BondMode, InfoKind};

    use super::*;

    fn message(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.attributes = attributes;
        message
    }

    /// Kernels without these drivers run no test of them; `tests/kernel.rs` asks those that have them.
    #[test]
    fn vlan_and_bond_data_are_understood() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("sys/class/net/wlan0/phy80211")).unwrap();
        let host = Host::at(tree.path());
        let names = Names::from([(1, "bond0".to_owned()), (2, "bond0.7".to_owned())]);
        let link = |name: &str, infos, more: Vec<LinkAttribute>| {
            let first = vec![LinkAttribute::IfName(name.into()), LinkAttribute::LinkInfo(infos)];
            super::link(&host, &message(2, [first, more].concat()), &names).unwrap()
        };
        let data = InfoData::Bond(vec![InfoBond::MiiMon(100), InfoBond::Mode(BondMode::Ieee8023Ad)]);
        let bond = link("bond0", vec![LinkInfo::Kind(InfoKind::Bond), LinkInfo::Data(data)], vec![]);
        assert_eq!((bond.kind, bond.bond_mode.as_deref()), (LinkKind::Bond, Some("802.3ad")));
        let vlan =
            || vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(7)]))];
        let here = link("bond0.7", vlan(), vec![LinkAttribute::Link(1)]);
        let seen = (here.kind, here.vlan, here.parent.as_deref(), here.info_kind.as_str());
        assert_eq!(seen, (LinkKind::Vlan, Some(7), Some("bond0"), "vlan"));
        let elsewhere = link("x", vlan(), vec![LinkAttribute::Link(1), LinkAttribute::LinkNetNsId(0)]);
        assert_eq!(elsewhere.parent, None, "that index is another namespace's");
        assert_eq!(link("wlan0", vec![], vec![]).kind, LinkKind::Wireless);
        assert_eq!(link("eth0", vec![], vec![]).kind, LinkKind::Physical);
    }
}
