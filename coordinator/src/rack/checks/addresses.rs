//! Addresses: what pools must not hold.

use std::net::IpAddr;

use ipnet::IpNet;
use rackwright_proto::range::AddressRange;

use crate::rack::model::kubernetes::Pool;
use crate::rack::node::Rack;

use super::Found;

pub(super) fn check(rack: &Rack, found: &mut Found<'_>) {
    let Some(metallb) = rack.kubernetes().and_then(|k| k.metallb.as_ref()) else { return };
    let ranges = ranges(&metallb.pools);
    overlaps(&ranges, found);
    let taken = taken(rack);
    for range in &ranges {
        single_addresses(&taken, range, found);
        networks(rack, range, found);
        for (index, reserved) in rack.network().reserved.iter().enumerate() {
            if let Some(both) = range.range.intersection(&reserved.range) {
                let message = format!("{} is reserved (network.reserved[{index}]): {}", both, reserved.why);
                found.error(&range.path, message, without(&range.range, &both));
            }
        }
    }
}

/// One range of one pool, and its place.
struct Named<'a> {
    pool: &'a str,
    path: String,
    range: AddressRange,
}

fn ranges(pools: &[Pool]) -> Vec<Named<'_>> {
    let of = |(index, pool): (usize, &'_ Pool)| {
        let path = move |at| format!("kubernetes.metallb.pools[{index}].addresses[{at}]");
        pool.addresses
            .iter()
            .copied()
            .enumerate()
            .map(move |(at, range)| (path(at), range))
            .collect::<Vec<_>>()
    };
    let named = |(index, pool)| {
        of((index, pool)).into_iter().map(|(path, range)| Named { pool: pool.name.as_str(), path, range })
    };
    pools.iter().enumerate().flat_map(named).collect()
}

/// What to write instead, without the addresses that must not be there.
fn without(range: &AddressRange, hole: &AddressRange) -> String {
    let rest: Vec<String> = range.subtract(hole).iter().map(AddressRange::to_string).collect();
    match rest.is_empty() {
        true => "choose other addresses".into(),
        false => format!("without them it is [{}]", rest.join(", ")),
    }
}

/// Sorted by first address, only a neighbour can overlap with one that ends last so far.
fn overlaps(ranges: &[Named<'_>], found: &mut Found<'_>) {
    let mut sorted: Vec<&Named<'_>> = ranges.iter().collect();
    sorted.sort_by_key(|named| (named.range.first(), named.range.last()));
    let mut widest: Option<&Named<'_>> = None;
    for named in sorted {
        let both = widest.and_then(|w| Some((w, w.range.intersection(&named.range)?)));
        if let Some((other, both)) = both {
            let whose = match other.pool == named.pool {
                true => format!("another range of pool `{}`", named.pool),
                false => format!("pool `{}`", other.pool),
            };
            let message = format!("{both} is in {whose} too ({})", other.range);
            found.error(&named.path, message, without(&named.range, &both));
        }
        if widest.is_none_or(|w| !w.range.contains(named.range.last())) {
            widest = Some(named);
        }
    }
}

/// The addresses of nodes, jump hosts and gateways that a pool must not hold.
fn taken(rack: &Rack) -> Vec<(IpAddr, String)> {
    let mut taken = Vec::new();
    for node in rack.nodes() {
        taken.extend(node.address.ip().map(|ip| (ip, format!("the address of node {}", node.name))));
        for jump in node.ssh.jump.iter().flatten() {
            taken.extend(jump.address.ip().map(|ip| (ip, "the address of a jump host".to_owned())));
        }
        taken.extend(node.network.gateway.map(|ip| (ip, "the gateway's address".to_owned())));
    }
    taken.sort();
    taken.dedup();
    taken
}

fn single_addresses(taken: &[(IpAddr, String)], named: &Named<'_>, found: &mut Found<'_>) {
    for (ip, whose) in taken {
        if named.range.contains(*ip) {
            let message = format!("pool `{}` holds {ip}, {whose}", named.pool);
            let help =
                AddressRange::new(*ip, *ip).map_or_else(|e| e.meant(), |hole| without(&named.range, &hole));
            found.error(&named.path, message, help);
        }
    }
}

fn networks(rack: &Rack, named: &Named<'_>, found: &mut Found<'_>) {
    let clash = |net: IpNet| named.range.intersection_with(net);
    for (index, cidr) in rack.network().pod_cidrs.iter().enumerate() {
        if let Some(both) = clash(cidr.net()) {
            let message = format!("{both} lies in the network of pods, {cidr} (network.podCIDRs[{index}])");
            found.error(&named.path, message, "choose addresses of the nodes' own network");
        }
    }
    let (services, assumed) = rack.network().services();
    for cidr in services {
        let Some(both) = clash(cidr.net()) else { continue };
        if assumed {
            let message = format!("{both} lies in {cidr}, where kubeadm puts services");
            found.warning(&named.path, message, "say where services are in `network.serviceCIDRs`");
        } else {
            let message = format!("{both} lies in the network of services, {cidr}");
            found.error(&named.path, message, "choose addresses of the nodes' own network");
        }
    }
}
