//! Listening sockets, from `/proc/net`. Not by sock_diag(7): asking it can load a kernel module.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rackwright_proto::facts::Listening;

use super::Host;
use super::read::LARGE;

/// The most processes and descriptors that are looked at to name a socket's program.
const MOST_DESCRIPTORS: usize = 100_000;

/// The tables: file, protocol, and the state of a socket that waits for the first packet of anybody:
/// `TCP_LISTEN`, and for UDP `TCP_CLOSE` (it is not connected).
const TABLES: [(&str, &str, &str); 4] =
    [("tcp", "tcp", "0A"), ("tcp6", "tcp", "0A"), ("udp", "udp", "07"), ("udp6", "udp", "07")];

/// A socket and the inode by which a process holds it.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    address: IpAddr,
    port: u16,
    inode: u64,
}

impl Host {
    /// Listening TCP and UDP ports of our own network namespace, and what could not be read.
    /// Programs are named as far as we may look into other processes.
    pub fn listening(&self) -> (Vec<Listening>, Vec<String>) {
        let (mut found, mut troubles) = (Vec::new(), Vec::new());
        for (file, protocol, state) in TABLES {
            // Absent where the kernel has no IPv6.
            match self.read_text(format!("/proc/net/{file}"), LARGE) {
                Ok(text) => {
                    found.extend(parse(&text.unwrap_or_default(), state).map(|socket| (protocol, socket)))
                }
                Err(e) => troubles.push(format!("read /proc/net/{file}: {e}")),
            }
        }
        let programs = self.programs(&found.iter().map(|(_, socket)| socket.inode).collect());
        let listening = found.into_iter().map(|(protocol, socket)| Listening {
            protocol: protocol.into(),
            address: socket.address,
            port: socket.port,
            program: programs.get(&socket.inode).cloned(),
        });
        let unique: BTreeSet<Listening> = listening.collect();
        (unique.into_iter().collect(), troubles)
    }

    /// The names of the processes that hold these sockets.
    fn programs(&self, inodes: &BTreeSet<u64>) -> BTreeMap<u64, String> {
        let mut programs = BTreeMap::new();
        let mut left = MOST_DESCRIPTORS;
        for process in self.names("/proc").into_iter().filter(|n| n.bytes().all(|b| b.is_ascii_digit())) {
            let descriptors = self.names(format!("/proc/{process}/fd"));
            left = left.saturating_sub(descriptors.len() + 1);
            if left == 0 || programs.len() == inodes.len() {
                break;
            }
            let targets =
                descriptors.iter().filter_map(|fd| self.link_target(format!("/proc/{process}/fd/{fd}")));
            let mine: Vec<u64> =
                targets.filter_map(|t| socket_inode(t.to_str()?)).filter(|i| inodes.contains(i)).collect();
            if mine.is_empty() {
                continue;
            }
            let Some(name) = self.word(format!("/proc/{process}/comm")) else { continue };
            for inode in mine {
                programs.entry(inode).or_insert_with(|| name.clone());
            }
        }
        programs
    }
}

/// `socket:[4711]`
fn socket_inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The sockets in `state` without a peer, of a table like `/proc/net/tcp` (proc_pid_net(5)).
fn parse(text: &str, state: &str) -> impl Iterator<Item = Socket> {
    text.lines().skip(1).filter_map(move |line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let (local, remote, inode) = (fields.get(1)?, fields.get(2)?, fields.get(9)?);
        if *fields.get(3)? != state || !remote.ends_with(":0000") {
            return None;
        }
        let (address, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        Some(Socket { address: parse_address(address)?, port, inode: inode.parse().ok()? })
    })
}

/// Words of 32 bits in the machine's byte order, as the kernel prints them.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn our_own_sockets_are_found_with_our_name() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
        connected.connect(udp.local_addr().unwrap()).unwrap();
        let (listening, troubles) = Host::this().listening();
        assert_eq!(troubles, Vec::<String>::new());
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
        let find = |protocol: &str, at: std::net::SocketAddr| {
            listening.iter().find(|l| l.protocol == protocol && l.address == at.ip() && l.port == at.port())
        };
        assert_eq!(find("tcp", tcp.local_addr().unwrap()).unwrap().program.as_deref(), Some(comm.trim()));
        assert!(find("udp", udp.local_addr().unwrap()).is_some());
        assert!(
            find("udp", connected.local_addr().unwrap()).is_none(),
            "a connected socket serves nobody else"
        );
    }

    proptest! {
        #[test]
        fn addresses_come_back_as_the_kernel_prints_them(v4: [u8; 4], v6: [u8; 16]) {
            let print = |bytes: &[u8]| -> String {
                let words = bytes.chunks(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap()));
                words.map(|word| format!("{word:08X}")).collect()
            };
            prop_assert_eq!(parse_address(&print(&v4)), Some(IpAddr::from(v4)));
            prop_assert_eq!(parse_address(&print(&v6)), Some(IpAddr::from(v6)));
        }

        #[test]
        fn no_text_breaks_the_parser(text in "([0-9A-F: ]|\n){0,200}|\\PC*") {
            parse(&text, "0A").for_each(drop);
            parse_address(&text);
        }
    }
}
