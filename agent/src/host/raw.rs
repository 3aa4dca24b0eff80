//! Links as packet(7) sockets see them: what a link can do, frames out, frames in.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::errno::Errno;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::libc;
use nix::net::if_::InterfaceFlags;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{self, AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType};
use rackwright_proto::link::Mac;

use super::{arp, ndp, sys};

/// The most bytes of one frame that are looked at.
const FRAME: usize = 512;
/// The most multicast groups that one socket joins; the kernel bounds a socket's option memory.
const GROUPS: usize = 64;

/// What one packet told about one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The address.
    pub ip: IpAddr,
    /// Who spoke.
    pub mac: Mac,
    /// What it said of the address.
    pub said: Said,
}

/// What a packet says of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// That the speaker has it, to whoever asked from this address.
    Answered(IpAddr),
    /// That the speaker has it, without being asked: it asks something itself in its name, or announces it.
    Claimed,
    /// That the speaker wants to know whether it is taken before it takes it.
    Sought,
}

/// A link of this host, with what it takes to speak on it.
#[derive(Debug, Clone)]
pub struct Card {
    /// Its name.
    pub name: String,
    index: u32,
    flags: InterfaceFlags,
    /// Its MAC address, if it is Ethernet.
    mac: Option<Mac>,
    ipv4: Vec<Ipv4Net>,
    ipv6: Vec<Ipv6Net>,
}

/// All links of this host.
#[derive(Debug, Clone, Default)]
pub struct Cards(Vec<Card>);

impl Cards {
    /// Asks the kernel for the links of the calling thread's network namespace.
    pub fn look() -> io::Result<Self> {
        let entries: Vec<_> = getifaddrs()?.collect();
        let mut cards: Vec<_> = entries.iter().filter_map(Card::of_link).collect();
        for entry in &entries {
            if let Some(card) = cards.iter_mut().find(|card| card.name == entry.interface_name) {
                card.learn_address(entry);
            }
        }
        Ok(Self(cards))
    }

    /// The link of that name.
    pub fn named(&self, name: &str) -> Option<&Card> {
        self.0.iter().find(|card| card.name == name)
    }

    /// The MAC addresses of all links.
    pub fn macs(&self) -> BTreeSet<Mac> {
        self.0.iter().filter_map(|card| card.mac).collect()
    }
}

impl Card {
    fn of_link(entry: &InterfaceAddress) -> Option<Self> {
        let link = entry.address.as_ref()?.as_link_addr()?;
        let ethernet = link.hatype() == libc::ARPHRD_ETHER && link.halen() == 6;
        Some(Self {
            name: entry.interface_name.clone(),
            index: link.ifindex() as u32,
            flags: entry.flags,
            mac: link.addr().filter(|_| ethernet).map(Mac),
            ipv4: Vec::new(),
            ipv6: Vec::new(),
        })
    }

    fn learn_address(&mut self, entry: &InterfaceAddress) {
        let Some(address) = entry.address.as_ref() else { return };
        if let Some(ip) = address.as_sockaddr_in().map(|a| a.ip()) {
            let mask = entry.netmask.as_ref().and_then(|m| m.as_sockaddr_in()).map(|m| m.ip());
            let mask = mask.unwrap_or(Ipv4Addr::BROADCAST);
            self.ipv4.extend(Ipv4Net::with_netmask(ip, mask));
        }
        if let Some(ip) = address.as_sockaddr_in6().map(|a| a.ip()) {
            let mask = entry.netmask.as_ref().and_then(|m| m.as_sockaddr_in6()).map(|m| m.ip());
            self.ipv6.extend(Ipv6Net::with_netmask(ip, mask.unwrap_or(Ipv6Addr::from(u128::MAX))));
        }
    }

    /// Our MAC address on this link, or why nobody can be asked here.
    pub fn speaks_as(&self) -> Result<Mac, String> {
        let name = &self.name;
        if !self.flags.contains(InterfaceFlags::IFF_UP) {
            return Err(format!("{name} is down"));
        }
        if !self.flags.contains(InterfaceFlags::IFF_RUNNING) {
            return Err(format!("{name} has no carrier"));
        }
        if self.flags.contains(InterfaceFlags::IFF_NOARP) {
            return Err(format!("{name} does not take part in ARP or neighbour discovery (NOARP)"));
        }
        self.mac.ok_or_else(|| format!("{name} is not an Ethernet link"))
    }

    /// Our address to ask for `target` from: the one of its subnet, or any.
    pub fn sender_for(&self, target: Ipv4Addr) -> Option<Ipv4Addr> {
        let near = self.ipv4.iter().find(|net| net.contains(&target));
        near.or(self.ipv4.first()).map(Ipv4Net::addr)
    }

    /// Our IPv6 link-local address.
    pub fn link_local(&self) -> Option<Ipv6Addr> {
        self.ipv6.iter().map(Ipv6Net::addr).find(Ipv6Addr::is_unicast_link_local)
    }

    /// Whether it is one of our addresses on this link.
    pub fn has(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.ipv4.iter().any(|net| net.addr() == ip),
            IpAddr::V6(ip) => self.ipv6.iter().any(|net| net.addr() == ip),
        }
    }

    /// Our address to speak to `target` from: the one of its subnet, or any but `target` itself; one that is
    /// good only on this link last.
    pub fn source_for(&self, target: IpAddr) -> Option<IpAddr> {
        let ipv4 = self.ipv4.iter().copied().map(IpNet::from);
        let mut ours: Vec<_> = ipv4.chain(self.ipv6.iter().copied().map(IpNet::from)).collect();
        ours.retain(|net| net.addr().is_ipv4() == target.is_ipv4() && net.addr() != target);
        let local = |ip| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        ours.iter().min_by_key(|net| (!net.contains(&target), local(net.addr()))).map(IpNet::addr)
    }

    /// Its index.
    pub(super) fn index(&self) -> u32 {
        self.index
    }
}

/// Which of the two protocols a socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// ARP, for IPv4.
    Arp,
    /// Neighbour discovery, for IPv6.
    Ndp,
}

impl Protocol {
    fn ethertype(self) -> u16 {
        match self {
            Self::Arp => libc::ETH_P_ARP as u16,
            Self::Ndp => libc::ETH_P_IPV6 as u16,
        }
    }
}

/// A socket that speaks one protocol on one link.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    index: u32,
    protocol: Protocol,
    /// Sockets that only keep multicast groups joined.
    members: Vec<UdpSocket>,
}

impl PacketSocket {
    /// Opens it. Needs `CAP_NET_RAW`.
    pub fn open(card: &Card, protocol: Protocol) -> io::Result<Self> {
        let fd = match protocol {
            Protocol::Arp => open(card, protocol.ethertype(), None)?,
            Protocol::Ndp => open(card, protocol.ethertype(), Some(&mut neighbour_discovery_only()))?,
        };
        Ok(Self { fd, index: card.index, protocol, members: Vec::new() })
    }

    /// Joins the solicited-node groups of these addresses, so that switches that snoop MLD pass on what other
    /// hosts ask there (RFC 4862 section 5.4.2). A group that cannot be joined is left out: advertisements go
    /// to all nodes and are heard without it.
    pub fn join_groups_of(&mut self, targets: impl Iterator<Item = Ipv6Addr>) {
        let groups: BTreeSet<_> = targets.map(ndp::solicited_node).collect();
        for some in groups.into_iter().collect::<Vec<_>>().chunks(GROUPS) {
            let Ok(member) = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) else { return };
            for group in some {
                let _ = member.join_multicast_v6(group, self.index);
            }
            self.members.push(member);
        }
    }

    /// Asks who has an address, as an ARP packet or neighbour solicitation of the socket's protocol.
    pub fn ask(&self, question: &Question) -> io::Result<()> {
        match question {
            Question::Arp(packet) => self.send(Mac([0xff; 6]), &packet.build()),
            Question::Ndp(packet) => self.send(ndp::multicast_mac(packet.destination), &packet.build()),
        }
    }

    fn send(&self, to: Mac, bytes: &[u8]) -> io::Result<()> {
        let to = sys::link_address(self.index, self.protocol.ethertype(), to.0);
        socket::sendto(self.fd.as_raw_fd(), bytes, &to, MsgFlags::empty())?;
        Ok(())
    }

    /// The next thing heard; `None` when nothing is left to read for now.
    pub fn hear(&self) -> io::Result<Option<Heard>> {
        let mut bytes = [0; FRAME];
        loop {
            let (length, from) = match socket::recvfrom::<LinkAddr>(self.fd.as_raw_fd(), &mut bytes) {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let heard = from.filter(is_for_us).and_then(|from| self.understand(&bytes[..length], &from));
            if heard.is_some() {
                return Ok(heard);
            }
        }
    }

    fn understand(&self, bytes: &[u8], from: &LinkAddr) -> Option<Heard> {
        match self.protocol {
            Protocol::Arp => arp::Packet::parse(bytes)?.heard(),
            Protocol::Ndp => ndp::Packet::parse(bytes)?.heard(Mac(from.addr()?)),
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A packet(7) socket for one EtherType on one link. Needs `CAP_NET_RAW`.
pub(super) fn open(
    card: &Card,
    ethertype: u16,
    filter: Option<&mut [libc::sock_filter]>,
) -> io::Result<OwnedFd> {
    // Of no protocol until it is bound, so that it never holds a frame of another link.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket::socket(AddressFamily::Packet, SockType::Datagram, flags, None)?;
    if let Some(program) = filter {
        sys::attach_filter(&fd, program)?;
    }
    socket::bind(fd.as_raw_fd(), &sys::link_address(card.index, ethertype, [0; 6]))?;
    Ok(fd)
}

/// A packet to ask with.
#[derive(Debug, Clone, Copy)]
pub enum Question {
    /// By ARP.
    Arp(arp::Packet),
    /// By neighbour solicitation.
    Ndp(ndp::Packet),
}

/// Not what we sent ourselves, and not what is for another host: a frame of a VLAN that has no link here
/// counts as that too.
fn is_for_us(from: &LinkAddr) -> bool {
    matches!(from.pkttype(), libc::PACKET_HOST | libc::PACKET_BROADCAST | libc::PACKET_MULTICAST)
}

/// Of all IPv6 packets, only solicitations and advertisements are worth waking up for.
fn neighbour_discovery_only() -> [libc::sock_filter; 7] {
    let load = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    let equals = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let verdict = libc::BPF_RET | libc::BPF_K;
    [
        sys::instruction(load, 0, 0, 6),
        sys::instruction(equals, 0, 4, libc::IPPROTO_ICMPV6 as u32),
        sys::instruction(load, 0, 0, 40),
        sys::instruction(equals, 1, 0, 135),
        sys::instruction(equals, 0, 1, 136),
        sys::instruction(verdict, 0, 0, FRAME as u32),
        sys::instruction(verdict, 0, 0, 0),
    ]
}

/// Waits until one of the sockets has something to read, at most `timeout`.
pub fn wait<'a>(sockets: impl Iterator<Item = &'a PacketSocket>, timeout: Duration) -> io::Result<()> {
    let mut fds: Vec<_> = sockets.map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)).collect();
    match ppoll(&mut fds, Some(timeout.into()), None) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
