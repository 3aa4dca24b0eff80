//! The first segment of a TCP connection (RFC 9293) and what comes back: bytes in, bytes out.

use std::net::SocketAddr;

use super::checksum;
use super::checksum::octets;

/// Protocol numbers.
const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// Bytes of an IPv4 header without options, and of an IPv6 header.
const HEADER4: usize = 20;
const HEADER6: usize = 40;
/// Bytes of the segment: its header and the one option of a maximum segment size.
const SEGMENT: u8 = 24;
/// Flags of a segment.
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// One SYN segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Syn {
    /// Who sends it.
    pub from: SocketAddr,
    /// Where to; of the same family.
    pub to: SocketAddr,
    /// Its sequence number.
    pub sequence: u32,
}

/// What a packet says in answer to a SYN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// SYN and ACK: somebody accepts.
    Open,
    /// RST: nobody listens.
    Refused,
    /// ICMP says that it cannot be reached, and why.
    Rejected(String),
}

/// The parts of an IP packet that matter here.
struct Packet<'a> {
    protocol: u8,
    source: &'a [u8],
    destination: &'a [u8],
    message: &'a [u8],
}

impl Syn {
    /// The packet as it goes on the wire, from the IP header on.
    pub fn build(&self) -> Vec<u8> {
        let mut segment = Vec::with_capacity(usize::from(SEGMENT));
        segment.extend(self.from.port().to_be_bytes());
        segment.extend(self.to.port().to_be_bytes());
        segment.extend(self.sequence.to_be_bytes());
        segment.extend([0; 4]);
        segment.extend([(SEGMENT / 4) << 4, SYN]);
        segment.extend(64_240u16.to_be_bytes());
        segment.extend([0; 4]);
        let most: u16 = if self.to.is_ipv4() { 1460 } else { 1440 };
        segment.extend([2, 4]);
        segment.extend(most.to_be_bytes());
        let sum = checksum::with_pseudo_header(self.from.ip(), self.to.ip(), TCP, &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        [self.header(), segment].concat()
    }

    fn header(&self) -> Vec<u8> {
        let addresses = [octets(self.from.ip()), octets(self.to.ip())].concat();
        if self.to.is_ipv6() {
            return [vec![0x60, 0, 0, 0, 0, SEGMENT, TCP, 64], addresses].concat();
        }
        // Type of service 0, identification 0 with "don't fragment" (RFC 6864), time to live 64.
        let length = HEADER4 as u8 + SEGMENT;
        let mut header = [vec![0x45, 0, 0, length, 0, 0, 0x40, 0, 64, TCP, 0, 0], addresses].concat();
        let sum = checksum::of(&[&header]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    }

    /// What a packet, from its IP header on, says about this SYN; `None` when it is about something else.
    /// Checksums are not looked at: a packet from the same machine has none yet.
    pub fn answer(&self, bytes: &[u8]) -> Option<Answer> {
        let packet = Packet::parse(bytes)?;
        if packet.destination != octets(self.from.ip()) {
            return None;
        }
        match packet.protocol {
            TCP => self.answered_by_segment(&packet),
            ICMP | ICMPV6 => self.answered_by_icmp(&packet),
            _ => None,
        }
    }

    fn answered_by_segment(&self, packet: &Packet<'_>) -> Option<Answer> {
        let head = packet.message.first_chunk::<14>()?;
        let to_us = packet.source == octets(self.to.ip())
            && head[..2] == self.to.port().to_be_bytes()
            && head[2..4] == self.from.port().to_be_bytes()
            && head[8..12] == self.sequence.wrapping_add(1).to_be_bytes();
        match head[13] & (SYN | RST | ACK) {
            flags if !to_us || flags & ACK == 0 => None,
            flags if flags & RST != 0 => Some(Answer::Refused),
            flags if flags & SYN != 0 => Some(Answer::Open),
            _ => None,
        }
    }

    /// "Destination unreachable" (RFC 792, RFC 4443) of the packet that it quotes.
    fn answered_by_icmp(&self, packet: &Packet<'_>) -> Option<Answer> {
        let ([kind, code, ..], quoted) = packet.message.split_first_chunk::<8>()?;
        let why = match (packet.protocol, *kind) {
            (ICMP, 3) => unreachable4(*code),
            (ICMPV6, 1) => unreachable6(*code),
            _ => return None,
        };
        let quoted = Packet::parse(quoted)?;
        let ours = quoted.protocol == TCP
            && quoted.source == octets(self.from.ip())
            && quoted.destination == octets(self.to.ip())
            && quoted.message.get(..2)? == self.from.port().to_be_bytes()
            && quoted.message.get(2..4)? == self.to.port().to_be_bytes()
            && quoted.message.get(4..8)? == self.sequence.to_be_bytes();
        ours.then_some(Answer::Rejected(why))
    }
}

impl<'a> Packet<'a> {
    /// An IP packet, perhaps cut short; of fragments only the first.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => {
                let length = usize::from(bytes[0] & 15) * 4;
                let header = bytes.get(..length.max(HEADER4))?;
                let is_first = (header[6] & 0x1f, header[7]) == (0, 0);
                is_first.then(|| Self {
                    protocol: header[9],
                    source: &header[12..16],
                    destination: &header[16..20],
                    message: &bytes[header.len()..],
                })
            }
            6 => {
                let (header, message) = bytes.split_at_checked(HEADER6)?;
                let (source, destination) = header[8..].split_at(16);
                Some(Self { protocol: header[6], source, destination, message })
            }
            _ => None,
        }
    }
}

fn unreachable4(code: u8) -> String {
    match code {
        0 | 6 | 11 => "network unreachable".into(),
        1 | 7 | 12 => "host unreachable".into(),
        3 => "port unreachable".into(),
        9 | 10 | 13 => "prohibited by a firewall".into(),
        other => format!("unreachable (ICMP code {other})"),
    }
}

fn unreachable6(code: u8) -> String {
    match code {
        0 => "no route to it".into(),
        1 | 5 => "prohibited by a firewall".into(),
        3 => "host unreachable".into(),
        4 => "port unreachable".into(),
        other => format!("unreachable (ICMPv6 code {other})"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn syn(from: &str, to: &str) -> Syn {
        Syn { from: from.parse().unwrap(), to: to.parse().unwrap(), sequence: 0x0102_0304 }
    }

    fn four() -> Syn {
        syn("192.0.2.1:61234", "192.0.2.200:80")
    }

    fn six() -> Syn {
        syn("[2001:db8::1]:61234", "[2001:db8::200]:80")
    }

    /// An answering segment, without a right checksum.
    fn segment(syn: &Syn, flags: u8, acknowledged: u32) -> Vec<u8> {
        let back = Syn { from: syn.to, to: syn.from, sequence: 7 };
        let mut bytes = back.build();
        let at = if syn.to.is_ipv4() { HEADER4 } else { HEADER6 };
        bytes[at + 8..at + 12].copy_from_slice(&acknowledged.to_be_bytes());
        bytes[at + 13] = flags;
        bytes
    }

    /// ICMP from `from`, about `about`.
    fn icmp(from: &str, to: &Syn, [kind, code]: [u8; 2], about: &[u8]) -> Vec<u8> {
        let from = SocketAddr::new(from.parse().unwrap(), 0);
        let mut bytes = Syn { from, to: to.from, sequence: 0 }.header();
        match from.ip() {
            IpAddr::V4(_) => bytes[9] = ICMP,
            IpAddr::V6(_) => bytes[6] = ICMPV6,
        }
        bytes.extend([kind, code, 0, 0, 0, 0, 0, 0]);
        bytes.extend(about);
        bytes
    }

    #[test]
    fn a_syn_has_the_right_bytes() {
        // The checksums come from another implementation.
        #[rustfmt::skip]
        let expected = [
            0x45, 0, 0, 44, 0, 0, 0x40, 0, 64, 6, 0xb6, 0x02, 192, 0, 2, 1, 192, 0, 2, 200,
            0xef, 0x32, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, 0x60, 2, 0xfa, 0xf0, 0x24, 0xe3, 0, 0, 2, 4, 5, 0xb4,
        ];
        assert_eq!(four().build(), expected);
        let bytes = six().build();
        assert_eq!(bytes[..8], [0x60, 0, 0, 0, 0, 24, 6, 64]);
        let segment = [0x60, SYN, 0xfa, 0xf0, 0x4c, 0x4e, 0, 0, 2, 4, 5, 0xa0];
        assert_eq!(bytes[HEADER6 + 12..], segment);
    }

    #[test]
    fn both_checksums_are_right() {
        for syn in [four(), six()] {
            let bytes = syn.build();
            let (header, segment) = bytes.split_at(bytes.len() - usize::from(SEGMENT));
            assert_eq!(checksum::with_pseudo_header(syn.from.ip(), syn.to.ip(), TCP, segment), 0);
            if syn.to.is_ipv4() {
                assert_eq!(checksum::of(&[header]), 0);
            }
        }
    }

    #[test]
    fn segments_answer_only_what_they_acknowledge() {
        for syn in [four(), six()] {
            let next = syn.sequence + 1;
            assert_eq!(syn.answer(&segment(&syn, SYN | ACK, next)), Some(Answer::Open));
            assert_eq!(syn.answer(&segment(&syn, RST | ACK, next)), Some(Answer::Refused));
            assert_eq!(syn.answer(&segment(&syn, RST | ACK, next + 1)), None);
            assert_eq!(syn.answer(&segment(&syn, RST, next)), None);
            assert_eq!(syn.answer(&segment(&syn, ACK, next)), None);
            let other = Syn { to: SocketAddr::new(syn.to.ip(), 81), ..syn };
            assert_eq!(syn.answer(&segment(&other, SYN | ACK, next)), None);
            assert_eq!(syn.answer(&syn.build()), None);
        }
    }

    #[test]
    fn icmp_answers_when_it_quotes_the_syn() {
        let port = Some(Answer::Rejected("port unreachable".into()));
        let quoted = &four().build()[..28];
        assert_eq!(four().answer(&icmp("192.0.2.2", &four(), [3, 3], quoted)), port);
        assert_eq!(four().answer(&icmp("192.0.2.2", &four(), [11, 0], quoted)), None);
        let other = Syn { sequence: 9, ..four() }.build();
        assert_eq!(four().answer(&icmp("192.0.2.2", &four(), [3, 3], &other)), None);
        assert_eq!(six().answer(&icmp("2001:db8::2", &six(), [1, 4], &six().build())), port);
    }

    proptest! {
        #[test]
        fn no_packet_makes_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..128),
            four_not_six: bool,
            at: prop::sample::Index,
            length in 0..100usize,
        ) {
            let syn = if four_not_six { four() } else { six() };
            let _ = syn.answer(&bytes);
            let mut near = segment(&syn, SYN | ACK, syn.sequence + 1);
            near.extend(&bytes);
            let at = at.index(near.len());
            near[at] = bytes.first().copied().unwrap_or_default();
            near.truncate(length);
            let _ = syn.answer(&near);
        }
    }
}
