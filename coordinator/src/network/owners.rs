//! Whose MAC address it is.

use std::collections::{BTreeMap, BTreeSet};

use rackwright_proto::link::{LinkKind, Mac};

use super::NodeInput;
use super::say::list;
use crate::natural::Natural;

/// The MAC addresses of all nodes, those of ports of bonds and bridges too.
pub(super) struct Owners<'a>(BTreeMap<Mac, BTreeSet<Natural<'a>>>);

impl<'a> Owners<'a> {
    pub(super) fn among(nodes: &'a [NodeInput]) -> Self {
        let mut owners = BTreeMap::<_, BTreeSet<_>>::new();
        for node in nodes {
            // Loopback has a MAC address of zeros, on every host.
            let links = node.network.links.iter().filter(|link| link.kind != LinkKind::Loopback);
            for mac in links.filter_map(|link| link.mac) {
                owners.entry(mac).or_default().insert(Natural(&node.name));
            }
        }
        Self(owners)
    }

    /// The nodes that have it: none, one, or several where MAC addresses are not unique.
    pub(super) fn of(&self, mac: Mac) -> impl Iterator<Item = &'a str> {
        self.0.get(&mac).into_iter().flatten().map(|node| node.0)
    }

    /// Whether a node has it.
    pub(super) fn knows(&self, mac: Mac) -> bool {
        self.0.contains_key(&mac)
    }

    /// It, with its owner in words.
    pub(super) fn describe(&self, mac: Mac) -> String {
        match self.0.get(&mac) {
            Some(nodes) => format!("{mac} ({})", list(nodes)),
            None => format!("{mac} (none of the nodes)"),
        }
    }
}
