//! One SYN as a frame of its own, past the node's own tables, and what comes back. For IPv4 an ARP request goes
//! before it, as from any host.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{self, LinkAddr, MsgFlags};
use rackwright_proto::link::Mac;
use rackwright_proto::name::IfName;
use rackwright_proto::reach::Knocked;
use tokio::io::unix::AsyncFd;

use super::arp;
use super::checksum::octets;
use super::raw::{self, Card, Cards};
use super::syn::{Answer, Syn};
use super::sys;

/// How often the SYN is sent at most.
const TIMES: u32 = 5;
/// The most bytes of one packet that are looked at: the headers of an ICMP message and of what it quotes.
const PACKET: usize = 256;
/// Source ports: above those that the kernel itself hands out (`ip_local_port_range`, by default to 60999).
const PORTS: std::ops::RangeInclusive<u16> = 61_000..=65_535;

/// Knocks at `to` by way of `mac`, a few times until something comes back or `within` has passed. Needs
/// `CAP_NET_RAW`. Says in words why it could not.
pub async fn knock(link: &IfName, to: SocketAddr, mac: Mac, within: Duration) -> Result<Knocked, String> {
    let cards = Cards::look().map_err(|e| format!("list the links: {e}"))?;
    let card = cards.named(link.as_str()).ok_or_else(|| format!("there is no link {link}"))?;
    let ours = card.speaks_as()?;
    let family = if to.is_ipv4() { "IPv4" } else { "IPv6" };
    let from =
        card.source_for(to.ip()).ok_or_else(|| format!("{link} has no {family} address to knock from"))?;
    let from = SocketAddr::new(from, fastrand::u16(PORTS));
    let syn = Syn { from, to, sequence: fastrand::u32(..) };
    let door =
        Door::open(card, ours, syn, mac).map_err(|e| format!("open a packet socket on {link}: {e}"))?;
    let heard = tokio::time::timeout(within, door.knock_until_heard(spacing(within))).await;
    heard.unwrap_or(Ok(Knocked::Silence)).map_err(|e| format!("knock on {link}: {e}"))
}

/// How long to wait for an answer before the next try.
fn spacing(within: Duration) -> Duration {
    (within / 3).clamp(Duration::from_millis(100), Duration::from_secs(1))
}

/// Where one SYN goes out and its answer comes in.
struct Door {
    socket: AsyncFd<OwnedFd>,
    syn: Syn,
    /// What is sent with each knock, and where.
    frames: Vec<(Vec<u8>, LinkAddr)>,
}

impl Door {
    fn open(card: &Card, ours: Mac, syn: Syn, mac: Mac) -> io::Result<Self> {
        let ethertype = if syn.to.is_ipv4() { libc::ETH_P_IP } else { libc::ETH_P_IPV6 } as u16;
        let socket = raw::open(card, ethertype, Some(&mut answers_of(syn.to.ip())))?;
        let mut frames = Vec::new();
        // An ordinary host asks by ARP before it sends a SYN, and is known from then on. One that is not may be
        // asked back in the name of the very address, which a node that has this address too does not answer.
        if let (IpAddr::V4(from), IpAddr::V4(to)) = (syn.from.ip(), syn.to.ip()) {
            let question = arp::Packet::question(ours, from, to).build().to_vec();
            frames.push((question, sys::link_address(card.index(), libc::ETH_P_ARP as u16, mac.0)));
        }
        frames.push((syn.build(), sys::link_address(card.index(), ethertype, mac.0)));
        Ok(Self { socket: sys::awaited(socket)?, syn, frames })
    }

    fn knock(&self) -> io::Result<()> {
        for (bytes, to) in &self.frames {
            socket::sendto(self.socket.get_ref().as_raw_fd(), bytes, to, MsgFlags::empty())?;
        }
        Ok(())
    }

    async fn knock_until_heard(&self, every: Duration) -> io::Result<Knocked> {
        let began = Instant::now();
        let mut ticks = tokio::time::interval(every);
        let mut left = TIMES;
        loop {
            tokio::select! {
                _ = ticks.tick(), if left > 0 => {
                    left -= 1;
                    self.knock()?;
                }
                heard = self.hear() => {
                    let (answer, from) = heard?;
                    let micros = began.elapsed().as_micros() as u64;
                    return Ok(match answer {
                        Answer::Open => Knocked::Open { from, micros },
                        Answer::Refused => Knocked::Refused { from },
                        Answer::Rejected(why) => Knocked::Rejected { from, why },
                    });
                }
            }
        }
    }

    /// The next answer to the SYN, and the MAC that it came from.
    async fn hear(&self) -> io::Result<(Answer, Mac)> {
        let mut bytes = [0; PACKET];
        loop {
            let mut ready = self.socket.readable().await?;
            let received = ready.try_io(|fd| {
                socket::recvfrom::<LinkAddr>(fd.get_ref().as_raw_fd(), &mut bytes).map_err(io::Error::from)
            });
            // Not ready after all: wait on.
            let Ok(received) = received else { continue };
            let (length, from) = received?;
            let to_us = from.filter(|from| from.pkttype() == libc::PACKET_HOST);
            let Some(mac) = to_us.and_then(|from| from.addr()) else { continue };
            if let Some(answer) = self.syn.answer(&bytes[..length]) {
                return Ok((answer, Mac(mac)));
            }
        }
    }
}

/// Only ICMP, and TCP from `ip`, is worth waking up for.
fn answers_of(ip: IpAddr) -> Vec<libc::sock_filter> {
    let load = libc::BPF_LD | libc::BPF_ABS;
    let equals = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let verdict = libc::BPF_RET | libc::BPF_K;
    let (protocol_at, icmp, source_at) = match ip {
        IpAddr::V4(_) => (9, libc::IPPROTO_ICMP, 12),
        IpAddr::V6(_) => (6, libc::IPPROTO_ICMPV6, 8),
    };
    let octets = octets(ip);
    let words: Vec<_> =
        octets.chunks_exact(4).map(|w| u32::from_be_bytes([w[0], w[1], w[2], w[3]])).collect();
    // Each word of the source takes two instructions; after all of them it is accepted, then comes the refusal.
    let rest = words.len() as u8 * 2;
    let mut program = vec![
        sys::instruction(load | libc::BPF_B, 0, 0, protocol_at),
        sys::instruction(equals, rest + 1, 0, icmp as u32),
        sys::instruction(equals, 0, rest + 1, libc::IPPROTO_TCP as u32),
    ];
    for (at, word) in words.into_iter().enumerate() {
        program.push(sys::instruction(load | libc::BPF_W, 0, 0, source_at + 4 * at as u32));
        program.push(sys::instruction(equals, 0, rest - 2 * at as u8 - 1, word));
    }
    program.push(sys::instruction(verdict, 0, 0, PACKET as u32));
    program.push(sys::instruction(verdict, 0, 0, 0));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program of the few instructions that ours use.
    fn accepts(program: &[libc::sock_filter], packet: &[u8]) -> bool {
        let (mut at, mut value) = (0, 0);
        loop {
            let libc::sock_filter { code, jt, jf, k } = program[at];
            let start = k as usize;
            at += 1;
            match u32::from(code) {
                c if c == libc::BPF_LD | libc::BPF_ABS | libc::BPF_B => value = u32::from(packet[start]),
                c if c == libc::BPF_LD | libc::BPF_ABS | libc::BPF_W => {
                    value = u32::from_be_bytes(*packet[start..].first_chunk().unwrap());
                }
                c if c == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K => {
                    at += usize::from(if value == k { jt } else { jf });
                }
                _ => return k > 0,
            }
        }
    }

    #[test]
    fn the_filter_lets_in_tcp_of_the_address_and_icmp_of_anybody() {
        for [asked, other, here] in [
            ["192.0.2.200", "192.0.2.201", "192.0.2.1"],
            ["2001:db8::a:200", "2001:db8::b:200", "2001:db8::1"],
        ] {
            let from = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 80);
            let packet = |ip: &str| Syn { from: from(ip), to: from(here), sequence: 0 }.build();
            let program = answers_of(from(asked).ip());
            assert!(accepts(&program, &packet(asked)));
            assert!(!accepts(&program, &packet(other)));
            let mut udp = packet(asked);
            let mut icmp = packet(other);
            let (at, number) = if from(asked).is_ipv4() { (9, 1) } else { (6, 58) };
            (udp[at], icmp[at]) = (17, number);
            assert!(!accepts(&program, &udp));
            assert!(accepts(&program, &icmp));
        }
    }
}
