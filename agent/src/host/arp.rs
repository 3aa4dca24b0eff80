//! ARP for IPv4 over Ethernet (RFC 826) and its probes (RFC 5227): bytes in, bytes out.

use std::net::Ipv4Addr;

use rackwright_proto::link::Mac;

use super::raw::{Heard, Said};

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub const LENGTH: usize = 28;

/// Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses.
const HEAD: [u8; 6] = [0, 1, 0x08, 0, 6, 4];

/// What an ARP packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `ares_op$REQUEST`
    Request,
    /// `ares_op$REPLY`
    Reply,
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// What it is for.
    pub operation: Operation,
    /// Who speaks.
    pub sender_mac: Mac,
    /// For which address; `0.0.0.0` in a probe.
    pub sender_ip: Ipv4Addr,
    /// Zeros in a request.
    pub target_mac: Mac,
    /// Who is asked for.
    pub target_ip: Ipv4Addr,
}

impl Packet {
    /// A question for `target`: from `sender_ip`, or as an RFC 5227 probe where that is `0.0.0.0`.
    pub fn question(sender_mac: Mac, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Self {
        Self { operation: Operation::Request, sender_mac, sender_ip, target_mac: Mac([0; 6]), target_ip }
    }

    /// The packet as it goes on the wire.
    pub fn build(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..6].copy_from_slice(&HEAD);
        bytes[7] = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        bytes[8..14].copy_from_slice(&self.sender_mac.0);
        bytes[14..18].copy_from_slice(&self.sender_ip.octets());
        bytes[18..24].copy_from_slice(&self.target_mac.0);
        bytes[24..28].copy_from_slice(&self.target_ip.octets());
        bytes
    }

    /// A packet from the wire; padding after it is ignored. `None` for anything but a request or reply for
    /// IPv4 over Ethernet.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LENGTH] = bytes.first_chunk()?;
        if bytes[..6] != HEAD {
            return None;
        }
        let operation = match [bytes[6], bytes[7]] {
            [0, 1] => Operation::Request,
            [0, 2] => Operation::Reply,
            _ => return None,
        };
        let mac = |at: usize| bytes[at..].first_chunk().map(|mac| Mac(*mac));
        let ip = |at: usize| bytes[at..].first_chunk::<4>().map(|ip| Ipv4Addr::from(*ip));
        Some(Self {
            operation,
            sender_mac: mac(8)?,
            sender_ip: ip(14)?,
            target_mac: mac(18)?,
            target_ip: ip(24)?,
        })
    }

    /// What it tells about who has an address (RFC 5227 section 2.1.1): any packet claims its sender address,
    /// and a probe seeks its target.
    pub fn heard(&self) -> Option<Heard> {
        let (ip, said) = match (self.sender_ip.is_unspecified(), self.operation) {
            (false, Operation::Reply) => (self.sender_ip, Said::Answered(self.target_ip.into())),
            (false, Operation::Request) => (self.sender_ip, Said::Claimed),
            (true, Operation::Request) => (self.target_ip, Said::Sought),
            (true, Operation::Reply) => return None,
        };
        Some(Heard { ip: ip.into(), mac: self.sender_mac, said })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packets() -> impl Strategy<Value = Packet> {
        let operation = prop_oneof![Just(Operation::Request), Just(Operation::Reply)];
        (operation, any::<[u8; 6]>(), any::<u32>(), any::<[u8; 6]>(), any::<u32>()).prop_map(
            |(operation, sender, sender_ip, target, target_ip)| Packet {
                operation,
                sender_mac: Mac(sender),
                sender_ip: sender_ip.into(),
                target_mac: Mac(target),
                target_ip: target_ip.into(),
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_built_is_parsed(packet in packets(), padding in 0..32usize) {
            let mut bytes = packet.build().to_vec();
            bytes.resize(LENGTH + padding, 0);
            prop_assert_eq!(Packet::parse(&bytes), Some(packet));
        }

        #[test]
        fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(packet) = Packet::parse(&bytes) {
                prop_assert_eq!(&packet.build()[..], &bytes[..LENGTH]);
            }
        }

        #[test]
        fn no_cut_packet_is_accepted(packet in packets(), length in 0..LENGTH) {
            prop_assert_eq!(Packet::parse(&packet.build()[..length]), None);
        }
    }

    #[test]
    fn a_probe_has_the_bytes_of_rfc_5227() {
        let probe = Packet::question(
            Mac([0x52, 0x54, 0, 0, 0, 1]),
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::new(192, 0, 2, 200),
        );
        let expected =
            [0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 200];
        assert_eq!(probe.build(), expected);
    }

    #[test]
    fn a_probe_seeks_a_reply_answers_and_a_question_claims() {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let [mine, wanted] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 200)];
        let probe = Packet::question(mac, Ipv4Addr::UNSPECIFIED, wanted);
        assert_eq!(probe.heard(), Some(Heard { ip: wanted.into(), mac, said: Said::Sought }));
        let question = Packet::question(mac, mine, wanted);
        assert_eq!(question.heard(), Some(Heard { ip: mine.into(), mac, said: Said::Claimed }));
        let reply = Packet { operation: Operation::Reply, ..question };
        let said = Said::Answered(wanted.into());
        assert_eq!(reply.heard(), Some(Heard { ip: mine.into(), mac, said }));
        assert_eq!(Packet { operation: Operation::Reply, ..probe }.heard(), None);
    }
}
