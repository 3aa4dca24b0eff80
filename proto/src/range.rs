//! Ranges of addresses, as pools name them: a CIDR or `first-last`, IPv4 or IPv6.
//!
//! MetalLB takes the same two forms, but masks host bits silently and leaves mixed families and special
//! addresses to chance. Here they are refused, with what was likely meant.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Addresses from `first` to `last`, both included, of one family; unicast and of global or private scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

/// Why a text is no range of addresses. [`RangeError::meant`] says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// One end, or the part before the `/`, is no IP address.
    #[error("`{0}` is not an IP address")]
    NotAnAddress(String),
    /// The part after the `/` is no length for this family.
    #[error("`/{length}` is not a prefix length for {address}")]
    PrefixLength {
        /// The address before the `/`.
        address: IpAddr,
        /// What stood after the `/`.
        length: String,
    },
    /// One address and nothing else.
    #[error("`{0}` is one address, not a range")]
    Bare(IpAddr),
    /// A CIDR whose address is not the first of its network.
    #[error("`{address}/{}` has host bits set: the network is {network}", network.prefix_len())]
    HostBits {
        /// The address as written.
        address: IpAddr,
        /// The network that it lies in.
        network: IpNet,
    },
    /// An IPv4 and an IPv6 end.
    #[error("{first} and {last} are of different families")]
    MixedFamilies {
        /// As written.
        first: IpAddr,
        /// As written.
        last: IpAddr,
    },
    /// The first address comes after the last.
    #[error("{first} comes after {last}")]
    Reversed {
        /// As written.
        first: IpAddr,
        /// As written.
        last: IpAddr,
    },
    /// IPv4 dressed as IPv6 (`::ffff:192.0.2.1`).
    #[error("`{0}` holds IPv4-mapped addresses")]
    Mapped(String),
    /// A zone id such as `%eth0`.
    #[error("`{0}` has a zone id; a pool is not bound to one interface")]
    Zone(String),
    /// Addresses that no service can have.
    #[error("{range} holds {kind} addresses ({net})")]
    Special {
        /// The range, as `first-last`.
        range: String,
        /// What is special about them.
        kind: &'static str,
        /// The special network.
        net: IpNet,
    },
}

impl RangeError {
    /// What the operator likely meant, as advice.
    pub fn meant(&self) -> String {
        match self {
            Self::NotAnAddress(_) => {
                "write a CIDR (192.0.2.192/27) or first-last (192.0.2.200-192.0.2.219)".into()
            }
            Self::PrefixLength { address, .. } => format!("a number from 0 to {}", bits(*address)),
            Self::Bare(address) => format!("for this one address write {address}/{}", bits(*address)),
            Self::HostBits { address, network } => format!(
                "for the whole network write {network}; for what begins at {address} write {address}-{}",
                network.broadcast()
            ),
            Self::MixedFamilies { .. } => "write two ranges, one for each family".into(),
            Self::Reversed { first, last } => format!("did you mean {last}-{first}?"),
            Self::Mapped(_) => "write them as IPv4".into(),
            Self::Zone(text) => {
                format!("write it without `%…`: {}", without_zones(text))
            }
            Self::Special { .. } => "choose free unicast addresses of the nodes' own network".into(),
        }
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn without_zones(text: &str) -> String {
    let mut zone = false;
    text.chars()
        .filter(|c| {
            zone = (zone || *c == '%') && !matches!(c, '-' | '/' | ' ');
            !zone
        })
        .collect()
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

impl AddressRange {
    /// Both ends included.
    ///
    /// # Errors
    /// Ends of two families, in the wrong order, or with special addresses between them.
    pub fn new(first: IpAddr, last: IpAddr) -> Result<Self, RangeError> {
        if first.is_ipv4() != last.is_ipv4() {
            return Err(RangeError::MixedFamilies { first, last });
        }
        if first > last {
            return Err(RangeError::Reversed { first, last });
        }
        let range = Self { first, last };
        match range.special() {
            Some((_, "IPv4-mapped")) => Err(RangeError::Mapped(format!("{first}-{last}"))),
            Some((net, kind)) => Err(RangeError::Special { range: range.to_string(), kind, net }),
            None => Ok(range),
        }
    }

    /// Every address of a network.
    ///
    /// # Errors
    /// When the network holds special addresses.
    pub fn of_net(net: IpNet) -> Result<Self, RangeError> {
        Self::new(net.network(), net.broadcast())
    }

    /// The lowest address.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// The highest address.
    pub fn last(&self) -> IpAddr {
        self.last
    }

    /// How many addresses. Never 0.
    #[allow(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(&self) -> u128 {
        (number(self.last) - number(self.first)).saturating_add(1)
    }

    /// Whether the address lies in the range. Never true for the other family.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && self.first <= address && address <= self.last
    }

    /// Whether the two share an address.
    pub fn overlaps(&self, other: &AddressRange) -> bool {
        self.intersection(other).is_some()
    }

    /// The addresses that lie in both.
    pub fn intersection(&self, other: &AddressRange) -> Option<AddressRange> {
        self.cut(other.first, other.last)
    }

    /// The addresses of this range that lie in `net`.
    pub fn intersection_with(&self, net: IpNet) -> Option<AddressRange> {
        self.cut(net.network(), net.broadcast())
    }

    fn cut(&self, first: IpAddr, last: IpAddr) -> Option<AddressRange> {
        if first.is_ipv4() != self.first.is_ipv4() {
            return None;
        }
        let (first, last) = (self.first.max(first), self.last.min(last));
        (first <= last).then_some(AddressRange { first, last })
    }

    /// What remains without `other`: none, one or two ranges, in order.
    pub fn subtract(&self, other: &AddressRange) -> Vec<AddressRange> {
        let Some(hole) = self.intersection(other) else { return vec![*self] };
        let before = (hole.first > self.first)
            .then(|| AddressRange { first: self.first, last: self.at(number(hole.first) - 1) });
        let after = (hole.last < self.last)
            .then(|| AddressRange { first: self.at(number(hole.last) + 1), last: self.last });
        before.into_iter().chain(after).collect()
    }

    /// Whether the whole range lies in `net`.
    pub fn within(&self, net: IpNet) -> bool {
        net.contains(&self.first) && net.contains(&self.last)
    }

    /// The addresses in order, at most `limit` of them: an IPv6 range can hold more than anyone can count.
    pub fn iter(&self, limit: u32) -> impl Iterator<Item = IpAddr> + use<> {
        let this = *self;
        let from = number(self.first);
        let count = self.len().min(u128::from(limit));
        (0..count).map(move |offset| this.at(from + offset))
    }

    /// The address with this number, in this range's family.
    fn at(&self, number: u128) -> IpAddr {
        match self.first {
            // The number lies between two numbers of IPv4 addresses, so nothing is cut off.
            IpAddr::V4(_) => Ipv4Addr::from(number as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from(number).into(),
        }
    }

    /// The first special network that the range touches: RFC 6890's tables, as far as no service can be there.
    fn special(&self) -> Option<(IpNet, &'static str)> {
        const SPECIAL: [(&str, &str); 10] = [
            ("0.0.0.0/8", "unspecified"),
            ("127.0.0.0/8", "loopback"),
            ("169.254.0.0/16", "link-local"),
            ("224.0.0.0/4", "multicast"),
            ("240.0.0.0/4", "reserved"),
            ("::ffff:0:0/96", "IPv4-mapped"),
            ("::/128", "unspecified"),
            ("::1/128", "loopback"),
            ("fe80::/10", "link-local"),
            ("ff00::/8", "multicast"),
        ];
        SPECIAL.iter().find_map(|(net, kind)| {
            let net: IpNet = net.parse().expect("a network of the table");
            self.intersection_with(net).map(|_| (net, *kind))
        })
    }

    /// The network that has exactly these addresses, if there is one.
    fn as_net(&self) -> Option<IpNet> {
        let length = bits(self.first) - u8::try_from(self.len().trailing_zeros()).ok()?;
        let net = IpNet::new(self.first, length).ok()?;
        (self.len().is_power_of_two() && net.network() == self.first).then_some(net)
    }
}

fn parse_address(text: &str, whole: &str) -> Result<IpAddr, RangeError> {
    if text.contains('%') {
        return Err(RangeError::Zone(whole.to_owned()));
    }
    text.parse().map_err(|_| RangeError::NotAnAddress(text.to_owned()))
}

fn parse_cidr(address: &str, length: &str, whole: &str) -> Result<AddressRange, RangeError> {
    let address = parse_address(address.trim(), whole)?;
    let bad = || RangeError::PrefixLength { address, length: length.to_owned() };
    let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    let bits: u8 = digits.then(|| length.parse().ok()).flatten().ok_or_else(bad)?;
    let network = IpNet::new(address, bits).map_err(|_| bad())?.trunc();
    if network.addr() != address {
        return Err(RangeError::HostBits { address, network });
    }
    AddressRange::of_net(network)
}

impl FromStr for AddressRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let text = text.trim();
        if let Some((first, last)) = text.split_once('-') {
            return Self::new(parse_address(first.trim(), text)?, parse_address(last.trim(), text)?);
        }
        match text.split_once('/') {
            Some((address, length)) => parse_cidr(address, length.trim(), text),
            None => Err(RangeError::Bare(parse_address(text, text)?)),
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_net() {
            Some(net) => write!(f, "{net}"),
            None => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl TryFrom<String> for AddressRange {
    type Error = RangeError;
    fn try_from(text: String) -> Result<Self, RangeError> {
        text.parse()
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> String {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn range(text: &str) -> AddressRange {
        text.parse().expect("valid")
    }

    fn refused(text: &str) -> (String, String) {
        let error = text.parse::<AddressRange>().expect_err("refused");
        (error.to_string(), error.meant())
    }

    #[test]
    fn both_forms_and_families() {
        assert_eq!(range("192.0.2.200-192.0.2.219").len(), 20);
        assert_eq!(range("192.0.2.200 - 192.0.2.219"), range("192.0.2.200-192.0.2.219"));
        assert_eq!(range("192.0.2.192/26").len(), 64);
        assert_eq!(range("2001:db8::/64").len(), 1 << 64);
        assert_eq!(range("2001:db8::1-2001:db8::ff").len(), 255);
        assert_eq!(range("192.0.2.7/32").to_string(), "192.0.2.7/32");
        assert_eq!(range("192.0.2.0-192.0.2.255").to_string(), "192.0.2.0/24");
    }

    #[test]
    fn refusals_say_what_was_meant() {
        let cases = [
            ("192.168.1.245/28", "host bits", "192.168.1.245-192.168.1.255"),
            ("192.0.2.7", "one address", "192.0.2.7/32"),
            ("2001:db8::7", "one address", "2001:db8::7/128"),
            ("192.0.2.9-192.0.2.1", "comes after", "192.0.2.1-192.0.2.9"),
            ("192.0.2.9-2001:db8::", "different families", "two ranges"),
            ("::ffff:192.0.2.0/120", "IPv4-mapped", "as IPv4"),
            ("fe80::1%eth0-fe80::9%eth0", "zone id", "fe80::1-fe80::9"),
            ("224.0.0.0/24", "multicast", "unicast"),
            ("127.0.0.1-127.0.0.9", "loopback", "unicast"),
            ("169.254.1.0/24", "link-local", "unicast"),
            ("0.0.0.0/0", "unspecified", "unicast"),
            ("fe80::/64", "link-local", "unicast"),
            ("192.0.2.0/33", "prefix length", "0 to 32"),
            ("192.0.2.0/+4", "prefix length", "0 to 32"),
            ("192.0.2.0/", "prefix length", "0 to 32"),
            ("192.0.2.200-219", "`219` is not an IP address", "first-last"),
            ("", "`` is not an IP address", "CIDR"),
        ];
        for (text, why, meant) in cases {
            let (message, help) = refused(text);
            assert!(message.contains(why), "{text}: {message}");
            assert!(help.contains(meant), "{text}: {help}");
        }
    }

    /// A universe small enough to count: 192.0.2.0 to 192.0.2.63, or the same 64 in 2001:db8::/122.
    fn small(v6: bool) -> impl Strategy<Value = (AddressRange, BTreeSet<IpAddr>)> {
        (0u8..64, 0u8..64).prop_map(move |(a, b)| {
            let at = |n: u8| -> IpAddr {
                if v6 {
                    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()).into()
                } else {
                    Ipv4Addr::new(192, 0, 2, n).into()
                }
            };
            let (low, high) = (a.min(b), a.max(b));
            let range = AddressRange::new(at(low), at(high)).expect("ordered");
            (range, (low..=high).map(at).collect())
        })
    }

    fn any_small() -> impl Strategy<Value = (AddressRange, BTreeSet<IpAddr>)> {
        any::<bool>().prop_flat_map(small)
    }

    proptest! {
        #[test]
        fn agrees_with_sets((a, set_a) in any_small(), (b, set_b) in any_small()) {
            prop_assert_eq!(a.len(), set_a.len() as u128);
            prop_assert_eq!(a.iter(1000).collect::<BTreeSet<_>>(), set_a.clone());
            let both: BTreeSet<_> = set_a.intersection(&set_b).copied().collect();
            prop_assert_eq!(a.overlaps(&b), !both.is_empty());
            let cut: BTreeSet<_> = a.intersection(&b).into_iter().flat_map(|r| r.iter(1000)).collect();
            prop_assert_eq!(cut, both);
            let rest: BTreeSet<_> = set_a.difference(&set_b).copied().collect();
            let parts = a.subtract(&b);
            prop_assert!(parts.len() <= 2);
            prop_assert_eq!(parts.iter().map(AddressRange::len).sum::<u128>(), rest.len() as u128);
            prop_assert_eq!(parts.iter().flat_map(|r| r.iter(1000)).collect::<BTreeSet<_>>(), rest);
            for address in &set_b {
                prop_assert_eq!(a.contains(*address), set_a.contains(address));
            }
        }

        #[test]
        fn within_agrees_with_sets((a, set) in any_small(), length in 24u8..=32, at in 0u8..64) {
            let net: IpNet = IpNet::new(Ipv4Addr::new(192, 0, 2, at).into(), length).expect("valid").trunc();
            prop_assert_eq!(a.within(net), set.iter().all(|address| net.contains(address)));
        }

        #[test]
        fn display_parses_back((a, _) in any_small(), length in 8u8..=128, high in 0x2000u16..0x3fff) {
            prop_assert_eq!(range(&a.to_string()), a);
            let net = IpNet::new(Ipv6Addr::new(high, 7, 0, 1, 0, 9, 0, 3).into(), length).expect("valid").trunc();
            let wide = AddressRange::of_net(net).expect("global unicast");
            prop_assert_eq!(wide.to_string(), net.to_string());
            prop_assert_eq!(range(&wide.to_string()), wide);
        }

        #[test]
        fn never_panics(text in "[0-9a-f:./%x -]{0,40}") {
            if let Ok(range) = text.parse::<AddressRange>() {
                prop_assert_eq!(range.to_string().parse::<AddressRange>(), Ok(range));
            }
        }

        #[test]
        fn never_panics_on_anything(text in any::<String>()) {
            let _ = text.parse::<AddressRange>();
        }
    }
}
