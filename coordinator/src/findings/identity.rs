//! What must differ between hosts: hostname, machine-id, product_uuid, MAC addresses, addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rackwright_proto::facts::Facts;
use rackwright_proto::finding::Finding;
use rackwright_proto::link::{Link, LinkKind, Network};
use rackwright_proto::name::NodeName;

use super::Check;

/// Everything that two nodes share and must not.
pub fn across(nodes: &[(&NodeName, &Facts)]) -> Vec<Finding> {
    let mut found = hostnames(nodes);
    found.extend(machine_ids(nodes));
    found.extend(product_uuids(nodes));
    found.extend(macs(nodes));
    found.extend(addresses(nodes));
    found
}

fn hostnames(nodes: &[(&NodeName, &Facts)]) -> Vec<Finding> {
    let check = |nodes: &[&NodeName], name: &str| {
        let expected = "a hostname of its own on each node";
        Check::new("hostname-twice", nodes, name, "hostnames across nodes", expected)
    };
    twice(nodes, "hostname", check, "run `hostnamectl set-hostname NAME` on all but one of them", |facts| {
        BTreeSet::from([facts.basics.hostname.clone()])
    })
}

fn machine_ids(nodes: &[(&NodeName, &Facts)]) -> Vec<Finding> {
    let fix = "on all but one of them: `rm /etc/machine-id /var/lib/dbus/machine-id; systemd-machine-id-setup`, then reboot";
    let check = |nodes: &[&NodeName], id: &str| {
        let expected = "a machine-id of its own on each node";
        Check::new("machine-id-twice", nodes, id, "machine-ids across nodes", expected)
    };
    let mut found = twice(nodes, "machine-id", check, fix, |facts| match facts.basics.machine_id.as_str() {
        "" => BTreeSet::new(),
        id => BTreeSet::from([id.to_owned()]),
    });
    found.extend(nodes.iter().filter(|(_, facts)| facts.basics.machine_id.is_empty()).map(|(node, _)| {
        Check::new("machine-id-empty", &[node], "", "/etc/machine-id", "128 bits in hex")
            .error("empty or missing", "run `systemd-machine-id-setup` on the host")
    }));
    found
}

/// Boards are sold with equal ones, and most of Kubernetes only shows it: a warning, where machine-id is an error.
fn product_uuids(nodes: &[(&NodeName, &Facts)]) -> Vec<Finding> {
    let by_uuid = gather(nodes, |facts| facts.machine.product_uuid.iter().cloned().collect());
    let finding = |(uuid, on): (String, Vec<&NodeName>)| {
        let checked = "product_uuids across nodes";
        Check::new("product-uuid-twice", &on, uuid, checked, "a product_uuid of its own on each node")
            .warning(
                format!("the same on {} nodes", on.len()),
                "give virtual machines their own UUID; with equal boards, waive it",
            )
    };
    by_uuid.into_iter().filter(|(_, on)| on.len() > 1).map(finding).collect()
}

fn macs(nodes: &[(&NodeName, &Facts)]) -> Vec<Finding> {
    let check = |nodes: &[&NodeName], mac: &str| {
        let expected = "a MAC address of its own on each node";
        Check::new("mac-twice", nodes, mac, "MAC addresses across nodes", expected)
    };
    let fix = "set another MAC address on all but one of them; clones of a virtual machine often share it";
    twice(nodes, "MAC address", check, fix, |facts| {
        outward_links(&facts.network).filter_map(|l| l.mac).map(|m| m.to_string()).collect()
    })
}

fn addresses(nodes: &[(&NodeName, &Facts)]) -> Vec<Finding> {
    let check = |nodes: &[&NodeName], address: &str| {
        let expected = "each address on one node only";
        Check::new("address-twice", nodes, address, "addresses across nodes", expected)
    };
    twice(nodes, "address", check, "remove the address from all but one of them", |facts| {
        let links = outward_links(&facts.network);
        links
            .flat_map(|l| &l.addresses)
            .map(|a| a.net.addr())
            .filter(is_unicast)
            .map(|a| a.to_string())
            .collect()
    })
}

fn is_unicast(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}

/// Links that lead out of the host and carry an address. Host-internal bridges (docker0, virbr0) and the dummy
/// and veth links of pods have equal MACs and addresses on every node, and that is all right.
fn outward_links(network: &Network) -> impl Iterator<Item = &Link> {
    network.links.iter().filter(|link| {
        let addressed = link.addresses.iter().any(|a| is_unicast(&a.net.addr()));
        addressed && !link.noarp && leads_out(link, network)
    })
}

fn leads_out(link: &Link, network: &Network) -> bool {
    use LinkKind::{Bond, Bridge, Loopback, Other, Physical, Veth, Vlan, Wireless};
    match link.kind {
        Physical | Wireless | Vlan | Bond | Veth => true,
        Bridge => network.links.iter().any(|member| {
            member.master.as_deref() == Some(&link.name)
                && matches!(member.kind, Physical | Wireless | Vlan | Bond)
        }),
        Loopback | Other => false,
    }
}

fn gather<'a>(
    nodes: &[(&'a NodeName, &Facts)],
    values: impl Fn(&Facts) -> BTreeSet<String>,
) -> BTreeMap<String, Vec<&'a NodeName>> {
    let mut by_value: BTreeMap<String, Vec<&NodeName>> = BTreeMap::new();
    for (node, facts) in nodes {
        for value in values(facts) {
            by_value.entry(value).or_default().push(node);
        }
    }
    by_value
}

/// An error for each value on more than one node, or one pass.
fn twice(
    nodes: &[(&NodeName, &Facts)],
    what: &str,
    check: impl Fn(&[&NodeName], &str) -> Check,
    fix: &str,
    values: impl Fn(&Facts) -> BTreeSet<String>,
) -> Vec<Finding> {
    let by_value = gather(nodes, values);
    let error = |(value, on): (&String, &Vec<&NodeName>)| {
        check(on, value).error(format!("the same {what} on {} nodes", on.len()), fix)
    };
    let found: Vec<Finding> = by_value.iter().filter(|(_, on)| on.len() > 1).map(error).collect();
    if found.is_empty() && !nodes.is_empty() {
        return vec![check(&[], "").pass(format!("each {what} once, on {} nodes", nodes.len()))];
    }
    found
}
