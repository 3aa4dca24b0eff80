//! Arithmetic of address ranges. A [`Span`] is both ends included, of one family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use rackwright_proto::l2::Span;

/// Whether an address lies in it; never one of the other family.
pub(super) fn holds(span: &Span, ip: IpAddr) -> bool {
    span.first.is_ipv4() == ip.is_ipv4() && span.first <= ip && ip <= span.last
}

/// Whether all of it lies in a subnet.
pub(super) fn lies_in(span: &Span, net: &IpNet) -> bool {
    net.contains(&span.first) && net.contains(&span.last)
}

/// What two ranges share.
pub(super) fn common(a: &Span, b: &Span) -> Option<Span> {
    let shared = Span { first: a.first.max(b.first), last: a.last.min(b.last) };
    (a.first.is_ipv4() == b.first.is_ipv4() && shared.first <= shared.last).then_some(shared)
}

/// How many addresses it has; the whole of IPv6 counts as one less.
pub(super) fn count(span: &Span) -> u128 {
    number(span.last).saturating_sub(number(span.first)).saturating_add(1)
}

/// An address as a number of its family.
pub(super) fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

/// The address that comes so many after one; the last of the family where there is none.
pub(super) fn after(ip: IpAddr, by: u128) -> IpAddr {
    let next = number(ip).saturating_add(by);
    match ip {
        IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(next).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => Ipv6Addr::from(next).into(),
    }
}

/// Cuts a range into pieces of at most `size` addresses, `most` addresses in all.
pub(super) fn pieces(span: &Span, size: u128, most: u128) -> Vec<Span> {
    let all = count(span).min(most);
    let starts = (0..all.div_ceil(size)).map(|n| n * size);
    starts
        .map(|start| Span {
            first: after(span.first, start),
            last: after(span.first, (start + size).min(all) - 1),
        })
        .collect()
}

/// Addresses as ranges, where they follow each other.
pub(crate) fn gather(ips: impl IntoIterator<Item = IpAddr>) -> Vec<Span> {
    let mut ips: Vec<_> = ips.into_iter().collect();
    ips.sort();
    ips.dedup();
    let mut spans: Vec<Span> = Vec::new();
    for ip in ips {
        match spans.last_mut() {
            Some(last) if last.last.is_ipv4() == ip.is_ipv4() && number(last.last) + 1 == number(ip) => {
                last.last = ip;
            }
            _ => spans.push(Span { first: ip, last: ip }),
        }
    }
    spans
}

/// `192.0.2.1-192.0.2.9`, or one address.
pub(super) fn show(span: &Span) -> String {
    if span.first == span.last { span.first.to_string() } else { format!("{}-{}", span.first, span.last) }
}

/// The addresses of an IPv4 subnet that no host can have: its network and its broadcast address. A /31 and a /32
/// have none (RFC 3021), nor has IPv6.
pub(super) fn unusable(net: &IpNet) -> Option<(Ipv4Addr, Ipv4Addr)> {
    match net {
        IpNet::V4(net) if net.prefix_len() <= 30 => Some((Ipv4Net::network(net), Ipv4Net::broadcast(net))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// 64 addresses of either family: few enough to list.
    fn ip() -> impl Strategy<Value = IpAddr> {
        (any::<bool>(), 0..64u32).prop_map(|(six, n)| {
            if six { Ipv6Addr::from(u128::from(n)).into() } else { Ipv4Addr::from(0x0a00_0000 + n).into() }
        })
    }

    fn span() -> impl Strategy<Value = Span> {
        (ip(), ip())
            .prop_filter("one family", |(a, b)| a.is_ipv4() == b.is_ipv4())
            .prop_map(|(a, b)| Span { first: a.min(b), last: a.max(b) })
    }

    fn members(span: &Span) -> BTreeSet<IpAddr> {
        (0..128).map(|n| after(span.first, n)).filter(|ip| *ip <= span.last).collect()
    }

    fn together(spans: &[Span]) -> BTreeSet<IpAddr> {
        spans.iter().flat_map(members).collect()
    }

    proptest! {
        #[test]
        fn ranges_are_sets_of_addresses(a in span(), b in span(), ip in ip()) {
            prop_assert_eq!(holds(&a, ip), members(&a).contains(&ip));
            prop_assert_eq!(count(&a), members(&a).len() as u128);
            let shared = common(&a, &b).map(|c| members(&c)).unwrap_or_default();
            prop_assert_eq!(shared, members(&a).intersection(&members(&b)).copied().collect());
        }

        #[test]
        fn pieces_are_the_whole(a in span(), size in 1..20u128, most in 0..80u128) {
            let pieces = pieces(&a, size, most);
            prop_assert!(pieces.iter().all(|piece| count(piece) <= size));
            prop_assert_eq!(together(&pieces), members(&a).into_iter().take(most as usize).collect());
            prop_assert_eq!(pieces.iter().map(count).sum::<u128>(), count(&a).min(most));
        }

        #[test]
        fn gathering_loses_and_adds_nothing(ips in prop::collection::btree_set(ip(), 0..40)) {
            prop_assert_eq!(together(&gather(ips.iter().copied())), ips);
        }

        #[test]
        fn a_range_lies_in_a_subnet_with_all_its_addresses(a in span(), of in ip(), bits in 0..=6u8) {
            let net = IpNet::new(of, if of.is_ipv4() { 32 } else { 128 } - bits).unwrap();
            prop_assert_eq!(lies_in(&a, &net), members(&a).iter().all(|ip| net.contains(ip)));
        }
    }

    #[test]
    fn the_end_of_a_family_is_no_end_of_the_world() {
        let all = Span { first: Ipv6Addr::UNSPECIFIED.into(), last: Ipv6Addr::from(u128::MAX).into() };
        assert_eq!(count(&all), u128::MAX);
        assert_eq!(pieces(&all, 256, 512).len(), 2);
        assert_eq!(after("255.255.255.255".parse().unwrap(), 1), IpAddr::V4(Ipv4Addr::BROADCAST));
        assert_eq!(gather([IpAddr::V6(u128::MAX.into()), IpAddr::V4(0.into())]).len(), 2);
    }
}
