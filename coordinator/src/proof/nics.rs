//! Whose network interface a MAC address is.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rackwright_proto::l2::Span;
use rackwright_proto::link::{Link, LinkKind, Mac, Network};

use crate::network::{NodeInput, on_segment, subnet_around};

/// The network interfaces of all hosts that were heard from.
#[derive(Clone, Copy)]
pub(super) struct Nics<'a>(pub(super) &'a [NodeInput<'a>]);

/// An interface of a host.
#[derive(Clone, Copy)]
pub(super) struct Nic<'a> {
    pub(super) node: &'a str,
    pub(super) network: &'a Network,
    pub(super) link: &'a Link,
}

impl<'a> Nics<'a> {
    /// The hosts that have a MAC address, each with the one link that answers for an address: a VLAN and the ports
    /// of a bond have the MAC address of another link.
    pub(super) fn of(self, mac: Mac, ip: IpAddr) -> Vec<Nic<'a>> {
        let nic = |host: &'a NodeInput<'a>| {
            let mut links = host.network.links.iter().filter(|link| has(link, mac)).collect::<Vec<_>>();
            links.sort_by_key(|link| !carries(host.network, link, ip));
            links.first().map(|link| Nic { node: &host.name, network: host.network, link })
        };
        self.0.iter().filter_map(nic).collect()
    }

    /// The names of the hosts that have a MAC address.
    pub(super) fn nodes(self, mac: Mac) -> BTreeSet<&'a str> {
        let has_it = |host: &&NodeInput| host.network.links.iter().any(|link| has(link, mac));
        self.0.iter().filter(has_it).map(|host| host.name.as_str()).collect()
    }

    /// Its owner in words: `eth0 of w1`.
    pub(super) fn owner(self, mac: Mac, ip: IpAddr) -> String {
        let nics = self.of(mac, ip);
        let who: Vec<_> = nics.iter().map(|nic| format!("{} of {}", nic.link.name, nic.node)).collect();
        if who.is_empty() { "no host of the rack".into() } else { who.join(", ") }
    }

    /// It in words: `52:54:00:00:00:01 (eth0 of w1)`.
    pub(super) fn describe(self, mac: Mac, ip: IpAddr) -> String {
        format!("{mac} ({})", self.owner(mac, ip))
    }
}

/// Loopback has a MAC address of zeros, on every host.
fn has(link: &Link, mac: Mac) -> bool {
    link.kind != LinkKind::Loopback && link.mac == Some(mac)
}

/// Whether an address is one of the link's own segment.
pub(super) fn carries(network: &Network, link: &Link, ip: IpAddr) -> bool {
    on_segment(link) && subnet_around(network, link, &Span { first: ip, last: ip }).is_some()
}
