//! Neighbour discovery for IPv6 (RFC 4861) and its duplicate address detection (RFC 4862): bytes in, bytes out.

use std::net::{IpAddr, Ipv6Addr};

use rackwright_proto::link::Mac;

use super::checksum;
use super::raw::{Heard, Said};

/// Bytes of an IPv6 header.
const HEADER: usize = 40;
/// IPv6 next header ICMPv6.
const ICMPV6: u8 = 58;
/// Packets of neighbour discovery have come over no router (RFC 4861 section 7.1).
const HOP_LIMIT: u8 = 255;
/// ICMPv6 type of a neighbour solicitation; an advertisement is one more.
const SOLICITATION: u8 = 135;
/// ICMPv6 type of a neighbour advertisement.
const ADVERTISEMENT: u8 = 136;
/// Bytes of either message before its options.
const MESSAGE: usize = 24;

/// What a packet of neighbour discovery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Who has the target?
    Solicitation,
    /// I have the target.
    Advertisement,
}

impl Message {
    /// The type of the one link-layer address option that this message may carry.
    fn option(self) -> u8 {
        match self {
            Self::Solicitation => 1,
            Self::Advertisement => 2,
        }
    }
}

/// A neighbour solicitation or advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Which of the two.
    pub message: Message,
    /// Who speaks; `::` while it looks for duplicates of its own address.
    pub source: Ipv6Addr,
    /// To whom.
    pub destination: Ipv6Addr,
    /// The address that it is about.
    pub target: Ipv6Addr,
    /// The speaker's link-layer address, where it is told.
    pub mac: Option<Mac>,
}

/// The multicast group that a host with this address listens to (RFC 4291 section 2.7.1).
pub fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = ip.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from(b) << 8 | u16::from(c))
}

/// The Ethernet address of an IPv6 multicast group (RFC 2464 section 7).
pub fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

impl Packet {
    /// A question for `target`: as `source` at `mac`, or as duplicate address detection asks, from `::`.
    pub fn question(ourselves: Option<(Ipv6Addr, Mac)>, target: Ipv6Addr) -> Self {
        Self {
            message: Message::Solicitation,
            source: ourselves.map_or(Ipv6Addr::UNSPECIFIED, |(ip, _)| ip),
            destination: solicited_node(target),
            target,
            mac: ourselves.map(|(_, mac)| mac),
        }
    }

    /// The packet as it goes on the wire, from the IPv6 header on.
    pub fn build(&self) -> Vec<u8> {
        let mut icmp = vec![0; MESSAGE];
        match self.message {
            Message::Solicitation => icmp[0] = SOLICITATION,
            Message::Advertisement => (icmp[0], icmp[4]) = (ADVERTISEMENT, 0x20),
        }
        icmp[8..24].copy_from_slice(&self.target.octets());
        if let Some(mac) = self.mac {
            icmp.extend([self.message.option(), 1]);
            icmp.extend(mac.0);
        }
        let sum = checksum(self.source, self.destination, &icmp);
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut bytes = vec![0x60, 0, 0, 0, 0, icmp.len() as u8, ICMPV6, HOP_LIMIT];
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(icmp);
        bytes
    }

    /// A packet from the wire, from the IPv6 header on; what follows it is ignored. `None` for anything that
    /// RFC 4861 sections 7.1.1 and 7.1.2 want discarded.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
        if header[0] >> 4 != 6 || header[6] != ICMPV6 || header[7] != HOP_LIMIT {
            return None;
        }
        let icmp = rest.get(..usize::from(u16::from_be_bytes([header[4], header[5]])))?;
        let message = match (icmp.first()?, icmp.get(1)?) {
            (&SOLICITATION, 0) => Message::Solicitation,
            (&ADVERTISEMENT, 0) => Message::Advertisement,
            _ => return None,
        };
        let (source, destination) = (address(header, 8)?, address(header, 24)?);
        let target = address(icmp, 8)?;
        // A message with a right checksum sums to zero with it.
        if target.is_multicast() || checksum(source, destination, icmp) != 0 {
            return None;
        }
        let mac = link_layer_option(message.option(), &icmp[MESSAGE..])?;
        Some(Self { message, source, destination, target, mac })
    }

    /// What it tells about who has an address: an advertisement answers for its target, or claims it where it
    /// goes to all, and a solicitation from `::` seeks it (RFC 4862 section 5.4.3). `frame_from` is the frame's own source, for packets that do not
    /// tell a link-layer address.
    pub fn heard(&self, frame_from: Mac) -> Option<Heard> {
        let mac = self.mac.unwrap_or(frame_from);
        let said = match self.message {
            Message::Advertisement if self.destination.is_multicast() => Said::Claimed,
            Message::Advertisement => Said::Answered(self.destination.into()),
            Message::Solicitation if self.source.is_unspecified() => Said::Sought,
            Message::Solicitation => return None,
        };
        Some(Heard { ip: IpAddr::V6(self.target), mac, said })
    }
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    bytes.get(at..)?.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets))
}

/// Walks the options for a link-layer address. `None` when they are malformed.
fn link_layer_option(kind: u8, mut options: &[u8]) -> Option<Option<Mac>> {
    let mut found = None;
    while let [this, units, ..] = options {
        let length = usize::from(*units) * 8;
        if length == 0 || length > options.len() {
            return None;
        }
        if (*this, *units) == (kind, 1) {
            found = options[2..].first_chunk().map(|mac| Mac(*mac));
        }
        options = &options[length..];
    }
    options.is_empty().then_some(found)
}

/// The checksum of an ICMPv6 message and its pseudo-header.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, icmp: &[u8]) -> u16 {
    checksum::with_pseudo_header(source.into(), destination.into(), ICMPV6, icmp)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packets() -> impl Strategy<Value = Packet> {
        let message = prop_oneof![Just(Message::Solicitation), Just(Message::Advertisement)];
        let ip = || any::<u128>().prop_map(Ipv6Addr::from);
        let target = ip().prop_filter("not multicast", |ip| !ip.is_multicast());
        (message, ip(), ip(), target, any::<Option<[u8; 6]>>()).prop_map(
            |(message, source, destination, target, mac)| Packet {
                message,
                source,
                destination,
                target,
                mac: mac.map(Mac),
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_built_is_parsed(packet in packets(), padding in 0..32usize) {
            let mut bytes = packet.build();
            bytes.resize(bytes.len() + padding, 0);
            prop_assert_eq!(Packet::parse(&bytes), Some(packet));
        }

        #[test]
        fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = Packet::parse(&bytes);
        }

        #[test]
        fn nor_on_what_is_nearly_right(
            packet in packets(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            length in 0..90usize,
        ) {
            let mut bytes = packet.build();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(length);
            let _ = Packet::parse(&bytes);
        }

        #[test]
        fn one_flipped_bit_of_the_message_is_noticed(packet in packets(), bit in 0..192usize) {
            let mut bytes = packet.build();
            bytes[HEADER + bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Packet::parse(&bytes), None);
        }
    }

    #[test]
    fn a_question_goes_to_the_group_of_its_target() {
        let target: Ipv6Addr = "2001:db8::1:22ab:cdef".parse().unwrap();
        let packet = Packet::question(None, target);
        assert_eq!(packet.destination.to_string(), "ff02::1:ffab:cdef");
        assert_eq!(multicast_mac(packet.destination).to_string(), "33:33:ff:ab:cd:ef");
        let bytes = packet.build();
        assert_eq!(bytes.len(), HEADER + MESSAGE, "no option may go with the unspecified source");
        assert_eq!(bytes[7], 255);
    }

    #[test]
    fn a_packet_that_came_over_a_router_is_no_answer() {
        let mut bytes = Packet::question(None, "2001:db8::1".parse().unwrap()).build();
        bytes[7] = 254;
        assert_eq!(Packet::parse(&bytes), None);
    }

    #[test]
    fn only_an_advertisement_to_one_host_is_an_answer() {
        let [ours, theirs, all] = ["fe80::1", "fe80::2", "ff02::1"].map(|ip| ip.parse::<Ipv6Addr>().unwrap());
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let question = Packet::question(Some((ours, mac)), theirs);
        let answer =
            Packet { message: Message::Advertisement, source: theirs, destination: ours, ..question };
        let said = |packet: Packet| packet.heard(mac).map(|heard| heard.said);
        assert_eq!(said(question), None);
        assert_eq!(said(Packet::question(None, theirs)), Some(Said::Sought));
        assert_eq!(said(answer), Some(Said::Answered(ours.into())));
        assert_eq!(said(Packet { destination: all, ..answer }), Some(Said::Claimed));
    }
}
