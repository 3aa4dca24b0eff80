//! What tests of all rooms make hosts of.

use rackwright_proto::link::{Address, Link, LinkArp, LinkKind, Mac};

/// A wired link with these addresses, each with its prefix: up, connected, and of index 2.
pub(crate) fn link(name: &str, mac: Option<Mac>, addresses: &[&str]) -> Link {
    let address = |text: &&str| Address { net: text.parse().unwrap(), dynamic: false, secondary: false };
    Link {
        name: name.to_owned(),
        index: 2,
        kind: LinkKind::Physical,
        info_kind: String::new(),
        mac,
        mtu: 1500,
        up: true,
        carrier: true,
        broadcast: true,
        noarp: false,
        master: None,
        parent: None,
        vlan: None,
        bond_mode: None,
        addresses: addresses.iter().map(address).collect(),
        arp: LinkArp::default(),
    }
}
