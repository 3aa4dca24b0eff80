//! Tables and chains of nftables, asked of the kernel itself over netlink(7)
//! (`linux/netfilter/nf_tables.h`). The namespace is the calling thread's.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use rackwright_proto::traces::{Chain, Family};

/// How long the kernel may take for one part of an answer, in seconds.
const DEADLINE: i64 = 5;
/// The longest part of an answer; the kernel makes none longer than 32 KiB.
const PART: usize = 64 * 1024;
/// The most entries that are looked at: a host with so many chains has more than a cluster's.
const MOST: usize = 200_000;
/// Bytes of a message's head (`nlmsghdr`), and of that and what nfnetlink adds (`nfgenmsg`).
const HEAD: usize = 16;
const HEADS: usize = 20;
/// Messages of nf_tables.
const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8;

/// What to list, with its attributes' numbers.
struct List {
    ask: i32,
    told: i32,
    table: i32,
    name: i32,
}

const TABLES: List = List {
    ask: libc::NFT_MSG_GETTABLE,
    told: libc::NFT_MSG_NEWTABLE,
    table: NFTA_TABLE_NAME,
    name: NFTA_TABLE_NAME,
};
const CHAINS: List = List {
    ask: libc::NFT_MSG_GETCHAIN,
    told: libc::NFT_MSG_NEWCHAIN,
    table: NFTA_CHAIN_TABLE,
    name: NFTA_CHAIN_NAME,
};
const NFTA_TABLE_NAME: i32 = 1;
const NFTA_CHAIN_TABLE: i32 = 1;
const NFTA_CHAIN_NAME: i32 = 3;

/// The names of all tables of one family.
pub(super) fn tables(family: Family) -> io::Result<Vec<String>> {
    list(family, &TABLES, |_, name| Some(name.to_owned()))
}

/// All chains of one family that are `wanted` by name.
pub(super) fn chains(family: Family, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<Chain>> {
    list(family, &CHAINS, |table, name| {
        wanted(name).then(|| Chain { family, table: table.into(), name: name.into() })
    })
}

/// Lists again what changed while it was listed, a few times: a list that is torn is of no use.
fn list<T>(family: Family, what: &List, keep: impl Fn(&str, &str) -> Option<T>) -> io::Result<Vec<T>> {
    let mut tries = 5;
    loop {
        tries -= 1;
        match dump(family, what, &keep) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted && tries > 0 => {}
            result => return result,
        }
    }
}

fn dump<T>(family: Family, what: &List, keep: impl Fn(&str, &str) -> Option<T>) -> io::Result<Vec<T>> {
    let socket = open()?;
    let kernel = NetlinkAddr::new(0, 0);
    socket::sendto(socket.as_raw_fd(), &request(family, what.ask as u16), &kernel, MsgFlags::empty())?;
    let (mut found, mut seen) = (Vec::new(), 0);
    let mut bytes = vec![0; PART];
    loop {
        let length = match socket::recv(socket.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            length => length?,
        };
        for message in Messages(&bytes[..length]) {
            match message? {
                Message::Done => return Ok(found),
                Message::Entry { kind, attributes } if kind == SUBSYSTEM | what.told as u16 => {
                    seen += 1;
                    let entry = attribute(attributes, what.table).zip(attribute(attributes, what.name));
                    found.extend(entry.and_then(|(table, name)| keep(table, name)));
                }
                Message::Entry { .. } => {}
            }
            if seen > MOST {
                return Err(io::Error::other(format!("more than {MOST} chains")));
            }
        }
    }
}

fn open() -> io::Result<OwnedFd> {
    let protocol = SockProtocol::NetlinkNetFilter;
    let socket = socket::socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    socket::setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(DEADLINE))?;
    Ok(socket)
}

/// A request to list everything of one family.
fn request(family: Family, kind: u16) -> [u8; HEADS] {
    let family = match family {
        Family::Ip => libc::NFPROTO_IPV4,
        Family::Ip6 => libc::NFPROTO_IPV6,
    };
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut bytes = [0; HEADS];
    bytes[..4].copy_from_slice(&(HEADS as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&(SUBSYSTEM | kind).to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[8..12].copy_from_slice(&1u32.to_ne_bytes());
    bytes[HEAD] = family as u8;
    bytes
}

/// One message of a list.
enum Message<'a> {
    /// The list is complete.
    Done,
    /// An entry.
    Entry { kind: u16, attributes: &'a [u8] },
}

/// The messages in what was received.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = io::Result<Message<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let (message, rest) = chunk(self.0, u32::from_ne_bytes(*self.0.first_chunk()?) as usize, HEAD)?;
        self.0 = rest;
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        let flags = i32::from(u16::from_ne_bytes([message[6], message[7]]));
        Some(match i32::from(kind) {
            libc::NLMSG_DONE if flags & libc::NLM_F_DUMP_INTR == 0 => Ok(Message::Done),
            _ if flags & libc::NLM_F_DUMP_INTR != 0 => Err(io::ErrorKind::Interrupted.into()),
            libc::NLMSG_ERROR => Err(error(&message[HEAD..])),
            _ => Ok(Message::Entry { kind, attributes: message.get(HEADS..).unwrap_or_default() }),
        })
    }
}

/// What `NLMSG_ERROR` carries: the negative of an errno.
fn error(payload: &[u8]) -> io::Error {
    let number = payload.first_chunk().map_or(libc::EPROTO, |bytes| -i32::from_ne_bytes(*bytes));
    io::Error::from_raw_os_error(number)
}

/// The text of one attribute (`nlattr`).
fn attribute(mut attributes: &[u8], wanted: i32) -> Option<&str> {
    loop {
        let head: &[u8; 4] = attributes.first_chunk()?;
        let kind = i32::from(u16::from_ne_bytes([head[2], head[3]])) & libc::NLA_TYPE_MASK;
        let (this, rest) = chunk(attributes, u16::from_ne_bytes([head[0], head[1]]).into(), 4)?;
        if kind == wanted {
            return std::str::from_utf8(&this[4..]).ok().map(|text| text.trim_end_matches('\0'));
        }
        attributes = rest;
    }
}

/// The first `length` bytes, at least `least`, and what comes after them, aligned to four.
fn chunk(bytes: &[u8], length: usize, least: usize) -> Option<(&[u8], &[u8])> {
    let this = bytes.get(..length).filter(|this| this.len() >= least)?;
    Some((this, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(mut bytes: Vec<u8>, length in 0..80u32) {
            let _ = (attribute(&bytes, 1), Messages(&bytes).count());
            bytes.splice(0..bytes.len().min(4), length.to_ne_bytes());
            for message in Messages(&bytes).flatten() {
                if let Message::Entry { attributes, .. } = message {
                    let _ = attribute(attributes, NFTA_CHAIN_NAME);
                }
            }
        }
    }

    #[test]
    fn attributes_are_found_behind_others() {
        let mut bytes = vec![];
        for (kind, text) in [(1u16, "filter\0"), (2, "12345678"), (3, "KUBE-SERVICES\0")] {
            bytes.extend((text.len() as u16 + 4).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(text.bytes());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        assert_eq!(attribute(&bytes, NFTA_CHAIN_TABLE), Some("filter"));
        assert_eq!(attribute(&bytes, NFTA_CHAIN_NAME), Some("KUBE-SERVICES"));
        assert_eq!(attribute(&bytes, 4), None);
    }

    #[test]
    fn a_list_that_was_torn_is_an_error() {
        let mut done = request(Family::Ip, 0).to_vec();
        done[4..6].copy_from_slice(&(libc::NLMSG_DONE as u16).to_ne_bytes());
        let flags = (libc::NLM_F_DUMP_INTR as u16).to_ne_bytes();
        done[6..8].copy_from_slice(&flags);
        assert!(matches!(Messages(&done).next(), Some(Err(e)) if e.kind() == io::ErrorKind::Interrupted));
        done[6..8].fill(0);
        assert!(matches!(Messages(&done).next(), Some(Ok(Message::Done))));
    }
}
