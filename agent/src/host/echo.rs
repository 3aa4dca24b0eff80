//! ICMP echo requests that must not be cut up on their way (RFC 792, RFC 1191): who answers, and to which size.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn};
use rackwright_proto::examine::{Echo, Echoed};
use tokio::io::unix::AsyncFd;

use super::{checksum, sys};

/// How often each is sent at most.
const TIMES: u32 = 3;
/// The most bytes of one packet that are looked at.
const PACKET: usize = 64;
/// Kinds of messages, and the code of one.
const REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const REQUEST: u8 = 8;
const TOO_BIG: u8 = 4;

/// Sends all of them, and waits until all are answered or `within` has passed. Needs `CAP_NET_RAW`.
pub async fn echo(echoes: &[Echo], within: Duration) -> Vec<Echoed> {
    if echoes.is_empty() {
        return Vec::new();
    }
    let mut said: Vec<Option<Echoed>> =
        echoes.iter().enumerate().map(|(at, echo)| refused(at, *echo)).collect();
    match Door::open() {
        Ok(door) => {
            let work = door.ask(echoes, &mut said, within / TIMES);
            if let Ok(Err(e)) = tokio::time::timeout(within, work).await {
                fail(&mut said, &format!("listen for echoes: {e}"));
            }
        }
        Err(e) => fail(&mut said, &format!("open a raw socket: {e}")),
    }
    said.into_iter().map(|said| said.unwrap_or(Echoed::Silence)).collect()
}

fn refused(at: usize, echo: Echo) -> Option<Echoed> {
    let why = match () {
        () if at >= Echo::MOST => format!("only {} echoes are sent at once", Echo::MOST),
        () if echo.to.is_ipv6() => "echoes are sent by IPv4 only".to_owned(),
        () if echo.bytes < Echo::LEAST => format!("{} bytes do not hold the headers", echo.bytes),
        () => return None,
    };
    Some(Echoed::Failed { why })
}

fn fail(said: &mut [Option<Echoed>], why: &str) {
    said.iter_mut().for_each(|said| _ = said.get_or_insert_with(|| Echoed::Failed { why: why.to_owned() }));
}

struct Door {
    socket: AsyncFd<OwnedFd>,
    /// What tells our echoes from those of others.
    ours: u16,
}

impl Door {
    fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket::socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Icmp)?;
        sys::never_fragment(&socket)?;
        Ok(Self { socket: sys::awaited(socket)?, ours: fastrand::u16(..) })
    }

    async fn ask(&self, echoes: &[Echo], said: &mut [Option<Echoed>], every: Duration) -> io::Result<()> {
        let mut ticks = tokio::time::interval(every);
        while said.iter().any(Option::is_none) {
            tokio::select! {
                _ = ticks.tick() => self.send_all(echoes, said),
                heard = self.hear() => {
                    if let Some((at, echoed)) = heard? && let Some(said) = said.get_mut(usize::from(at)) {
                        _ = said.get_or_insert(echoed);
                    }
                }
            }
        }
        Ok(())
    }

    fn send_all(&self, echoes: &[Echo], said: &mut [Option<Echoed>]) {
        for (at, (echo, said)) in echoes.iter().zip(said).enumerate().filter(|(_, (_, said))| said.is_none())
        {
            let IpAddr::V4(to) = echo.to else { continue };
            let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
            let bytes = request(self.ours, at as u16, echo.bytes);
            *said = match socket::sendto(self.socket.get_ref().as_raw_fd(), &bytes, &to, MsgFlags::empty()) {
                Ok(_) | Err(Errno::EAGAIN | Errno::ENOBUFS) => None,
                // Its own link takes no larger ones.
                Err(Errno::EMSGSIZE) => Some(Echoed::TooBig { mtu: 0 }),
                Err(e) => Some(Echoed::Failed { why: e.desc().to_lowercase() }),
            };
        }
    }

    /// The number of an echo and what came of it; `None` for what is not ours.
    async fn hear(&self) -> io::Result<Option<(u16, Echoed)>> {
        loop {
            let mut ready = self.socket.readable().await?;
            let mut bytes = [0; PACKET];
            match socket::recv(self.socket.get_ref().as_raw_fd(), &mut bytes, MsgFlags::empty()) {
                Ok(length) => return Ok(understood(&bytes[..length.min(PACKET)], self.ours)),
                Err(Errno::EAGAIN) => ready.clear_ready(),
                // What was said of an earlier packet.
                Err(_) => return Ok(None),
            }
        }
    }
}

/// An echo request that makes a packet of `bytes`.
fn request(ours: u16, at: u16, bytes: u16) -> Vec<u8> {
    let mut message = vec![0; usize::from(bytes) - 20];
    message[0] = REQUEST;
    message[4..6].copy_from_slice(&ours.to_be_bytes());
    message[6..8].copy_from_slice(&at.to_be_bytes());
    let sum = checksum::of(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// What a packet with its IP header says of one of our echoes.
fn understood(packet: &[u8], ours: u16) -> Option<(u16, Echoed)> {
    let message = after_header(packet)?;
    let head: &[u8; 8] = message.first_chunk()?;
    match head {
        [REPLY, 0, ..] => Some((number(message, ours)?, Echoed::Answered)),
        [UNREACHABLE, code, _, _, _, _, high, low] => {
            let asked = after_header(&message[8..])?;
            let at = number(asked, ours).filter(|_| asked.first() == Some(&REQUEST))?;
            let mtu = u16::from_be_bytes([*high, *low]);
            match *code {
                TOO_BIG => Some((at, Echoed::TooBig { mtu })),
                _ => Some((
                    at,
                    Echoed::Failed { why: format!("{} said: {}", sender(packet)?, in_words(*code)) },
                )),
            }
        }
        _ => None,
    }
}

fn after_header(packet: &[u8]) -> Option<&[u8]> {
    packet.get(usize::from(packet.first()? & 0x0f) * 4..)
}

fn number(message: &[u8], ours: u16) -> Option<u16> {
    let head: &[u8; 8] = message.first_chunk()?;
    (u16::from_be_bytes([head[4], head[5]]) == ours).then(|| u16::from_be_bytes([head[6], head[7]]))
}

fn sender(packet: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(packet.get(12..16)?).ok().map(Ipv4Addr::from)
}

fn in_words(code: u8) -> String {
    match code {
        0 => "network unreachable".into(),
        1 => "host unreachable".into(),
        3 => "port unreachable".into(),
        9 | 10 | 13 => "prohibited".into(),
        code => format!("unreachable (code {code})"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(message: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 9, 192, 0, 2, 1];
        packet.extend(message);
        packet
    }

    #[test]
    fn answers_and_refusals_are_told_apart() {
        let mut reply = request(7, 3, 60);
        assert_eq!(checksum::of(&[&reply]), 0);
        reply[0] = REPLY;
        assert_eq!(understood(&packet(&reply), 7), Some((3, Echoed::Answered)));
        assert_eq!(understood(&packet(&reply), 8), None);
        let quoted = packet(&request(7, 5, 60));
        let mut refusal = vec![UNREACHABLE, TOO_BIG, 0, 0, 0, 0];
        refusal.extend(1400u16.to_be_bytes());
        refusal.extend(&quoted);
        assert_eq!(understood(&packet(&refusal), 7), Some((5, Echoed::TooBig { mtu: 1400 })));
        refusal[1] = 13;
        let why = "192.0.2.9 said: prohibited".to_owned();
        assert_eq!(understood(&packet(&refusal), 7), Some((5, Echoed::Failed { why })));
    }

    #[tokio::test]
    async fn what_cannot_be_sent_says_so() {
        let echoes =
            [Echo { to: [127, 0, 0, 1].into(), bytes: 27 }, Echo { to: "::1".parse().unwrap(), bytes: 100 }];
        let said = echo(&echoes, Duration::from_millis(50)).await;
        assert!(said.iter().all(|said| matches!(said, Echoed::Failed { .. })), "{said:?}");
    }

    proptest! {
        #[test]
        fn no_packet_makes_it_panic(bytes: Vec<u8>, ours: u16) {
            let _ = understood(&bytes, ours);
        }
    }
}
