//! Lists of the kernel's packet filter over netlink(7): nf_tables and connection tracking speak the same way
//! (`linux/netfilter/nfnetlink.h`). The namespace is the calling thread's.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use rackwright_proto::traces::Family;

/// How long the kernel may take for one part of an answer, in seconds.
const DEADLINE: i64 = 5;
/// The longest part of an answer; the kernel makes none longer than 32 KiB.
const PART: usize = 64 * 1024;
/// The most entries that are looked at: a host with so many chains has more than a cluster's.
const MOST: usize = 200_000;
/// Bytes of a message's head (`nlmsghdr`), and of that and what nfnetlink adds (`nfgenmsg`).
const HEAD: usize = 16;
const HEADS: usize = 20;

/// A list to ask for.
pub(super) struct List<'a> {
    /// What it is asked of: `NFNL_SUBSYS_NFTABLES`.
    pub(super) subsystem: i32,
    /// The message that asks, and the one that tells an entry.
    pub(super) ask: i32,
    pub(super) told: i32,
    /// Its family.
    pub(super) family: Family,
    /// Attributes that narrow it, each made by [`text`].
    pub(super) narrow: &'a [Vec<u8>],
}

/// The entries that are kept, from each one's attributes. Lists again what changed while it was listed, a few times:
/// a list that is torn is of no use.
pub(super) fn list<T>(what: &List<'_>, keep: impl Fn(&[u8]) -> Option<T>) -> io::Result<Vec<T>> {
    let mut tries = 5;
    loop {
        tries -= 1;
        match dump(what, &keep) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted && tries > 0 => {}
            result => return result,
        }
    }
}

fn dump<T>(what: &List<'_>, keep: impl Fn(&[u8]) -> Option<T>) -> io::Result<Vec<T>> {
    let socket = open()?;
    let kernel = NetlinkAddr::new(0, 0);
    let kind = |of: i32| (what.subsystem as u16) << 8 | of as u16;
    let request = request(what.family, kind(what.ask), what.narrow);
    socket::sendto(socket.as_raw_fd(), &request, &kernel, MsgFlags::empty())?;
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
                Message::Entry { kind: told, attributes } if told == kind(what.told) => {
                    seen += 1;
                    found.extend(keep(attributes));
                }
                Message::Entry { .. } => {}
            }
            if seen > MOST {
                return Err(io::Error::other(format!("more than {MOST} entries")));
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

/// A request to list everything of one family, narrowed by these attributes.
fn request(family: Family, kind: u16, narrow: &[Vec<u8>]) -> Vec<u8> {
    let family = match family {
        Family::Ip => libc::NFPROTO_IPV4,
        Family::Ip6 => libc::NFPROTO_IPV6,
    };
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut bytes = vec![0; HEADS];
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[8..12].copy_from_slice(&1u32.to_ne_bytes());
    bytes[HEAD] = family as u8;
    bytes.extend(narrow.iter().flatten());
    let length = bytes.len() as u32;
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
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

/// All attributes (`nlattr`) in these bytes: number and value.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (i32, &[u8])> {
    std::iter::from_fn(move || {
        let head: &[u8; 4] = bytes.first_chunk()?;
        let kind = i32::from(u16::from_ne_bytes([head[2], head[3]])) & libc::NLA_TYPE_MASK;
        let (this, rest) = chunk(bytes, u16::from_ne_bytes([head[0], head[1]]).into(), 4)?;
        bytes = rest;
        Some((kind, &this[4..]))
    })
}

/// The value at the end of a path of attributes, each inside of the one before.
pub(super) fn value<'a>(bytes: &'a [u8], path: &[i32]) -> Option<&'a [u8]> {
    path.iter().try_fold(bytes, |bytes, wanted| {
        attributes(bytes).find(|(kind, _)| kind == wanted).map(|(_, value)| value)
    })
}

/// The text of one attribute.
pub(super) fn attribute(bytes: &[u8], wanted: i32) -> Option<&str> {
    std::str::from_utf8(value(bytes, &[wanted])?).ok().map(|text| text.trim_end_matches('\0'))
}

/// An attribute that holds a text.
pub(super) fn text(kind: i32, text: &str) -> Vec<u8> {
    let length = text.len() + 5;
    let mut bytes = (length as u16).to_ne_bytes().to_vec();
    bytes.extend((kind as u16).to_ne_bytes());
    bytes.extend(text.bytes());
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
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
                    let _ = attribute(attributes, 3);
                }
            }
        }
    }

    #[test]
    fn attributes_that_are_written_are_read() {
        let inner = [text(1, "ip"), text(2, "kube-proxy")].concat();
        assert_eq!((attribute(&inner, 1), attribute(&inner, 2)), (Some("ip"), Some("kube-proxy")));
        assert_eq!((value(&inner, &[2, 1]), attribute(&inner, 3)), (None, None));
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
        assert_eq!(attribute(&bytes, 1), Some("filter"));
        assert_eq!(attribute(&bytes, 3), Some("KUBE-SERVICES"));
        assert_eq!(attribute(&bytes, 4), None);
    }

    #[test]
    fn a_list_that_was_torn_is_an_error() {
        let mut done = request(Family::Ip, 0, &[]);
        done[4..6].copy_from_slice(&(libc::NLMSG_DONE as u16).to_ne_bytes());
        let flags = (libc::NLM_F_DUMP_INTR as u16).to_ne_bytes();
        done[6..8].copy_from_slice(&flags);
        assert!(matches!(Messages(&done).next(), Some(Err(e)) if e.kind() == io::ErrorKind::Interrupted));
        done[6..8].fill(0);
        assert!(matches!(Messages(&done).next(), Some(Ok(Message::Done))));
    }
}
