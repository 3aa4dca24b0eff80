//! What a host can be asked to reach, from where it stands: HTTP, TCP, DNS, and one SYN past its own tables.
//!
//! Every question has a deadline. All questions of one request are asked at once, and answered in order.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::link::Mac;
use crate::name::IfName;

/// One question and how long its answer may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The question.
    pub reach: Reach,
    /// How long the answer may take, in milliseconds; at most [`Asked::LONGEST_MS`], from 1 on.
    pub within_ms: u32,
}

impl Asked {
    /// The longest that one question may take, in milliseconds; what asks for more gets this.
    pub const LONGEST_MS: u32 = 30_000;

    /// The most questions of one request; each further one fails and says so.
    pub const MOST: usize = 256;

    /// A question with its deadline.
    pub fn new(reach: Reach, within_ms: u32) -> Self {
        Self { reach, within_ms }
    }
}

/// One question about what can be reached from a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reach {
    /// A plain `GET`: what listens on a node's own loopback, such as kube-proxy, or a gateway.
    Http {
        /// Where.
        address: SocketAddr,
        /// The name to ask for (`Host`): visible ASCII without a blank; the address itself where there is none.
        #[serde(default)]
        host: Option<String>,
        /// What: `/proxyMode`. Visible ASCII that begins with a slash.
        path: String,
    },
    /// A TCP connection through the host's own stack, closed again at once.
    Tcp {
        /// Where.
        address: SocketAddr,
    },
    /// One question to one DNS server.
    Dns {
        /// Where, with the port.
        server: SocketAddr,
        /// Over what.
        transport: Transport,
        /// The whole name; a dot at its end makes no difference, search domains are not used.
        name: String,
        /// Of what kind.
        kind: RecordKind,
    },
    /// One TCP SYN as a frame of its own, from a link to a MAC, past the host's own service tables: on a node
    /// of the cluster kube-proxy answers for a Service's address locally, so that a connection made there
    /// proves nothing of the way from outside. It is sent as the link's own address; the kernel itself resets
    /// a connection that opens, once it has learnt by ARP where the address is.
    Knock {
        /// The link to send from.
        link: IfName,
        /// The address to knock at.
        address: IpAddr,
        /// The MAC to send to: who answers for that address.
        mac: Mac,
        /// The TCP port.
        port: u16,
    },
}

/// How DNS is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// One datagram each way, repeated while nobody answers.
    Udp,
    /// One connection.
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// The kind of DNS records asked for (RFC 1035 section 3.2.2, RFC 3596).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordKind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Name servers.
    Ns,
    /// Host information: what CoreDNS's `loop` asks itself with.
    Hinfo,
}

/// What a DNS server said of a question (RFC 1035 section 4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rcode(pub u8);

impl Rcode {
    /// No error.
    pub const NOERROR: Self = Self(0);
    /// The server failed: it has no upstream that answers, or it saw a loop.
    pub const SERVFAIL: Self = Self(2);
    /// There is no such name.
    pub const NXDOMAIN: Self = Self(3);
    /// The server will not say.
    pub const REFUSED: Self = Self(5);
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("NOERROR"),
            1 => f.write_str("FORMERR"),
            2 => f.write_str("SERVFAIL"),
            3 => f.write_str("NXDOMAIN"),
            4 => f.write_str("NOTIMP"),
            5 => f.write_str("REFUSED"),
            other => write!(f, "RCODE {other}"),
        }
    }
}

/// The outcome of one question, of the question's own kind or [`Reached::Failed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reached {
    /// A server answered, whatever it said.
    Http {
        /// Its status: 200.
        status: u16,
        /// Who it says it is (`Server`), at most [`Reached::SERVER`] bytes; empty where it says nothing.
        #[serde(default)]
        server: String,
        /// The first [`Reached::BODY`] bytes of what it said, as text.
        body: String,
    },
    /// A connection opened.
    Tcp {
        /// How long that took, in microseconds.
        micros: u64,
    },
    /// A server answered, whatever it said.
    Dns {
        /// What it said of the question.
        rcode: Rcode,
        /// The records of its answer section, names without the last dot: `192.0.2.1`, `ns.example`; of a kind
        /// that was not asked for: `CNAME www.example`. At most [`Reached::RECORDS`].
        answers: Vec<String>,
        /// Whether it cut its answer to fit a datagram: ask over TCP.
        truncated: bool,
        /// How long it took, in microseconds.
        micros: u64,
    },
    /// What came back from a knock.
    Knock(Knocked),
    /// No answer that could be understood.
    Failed {
        /// Why, as a short sentence: `connection refused`, `no answer within 2 s`.
        why: String,
    },
}

impl Reached {
    /// The most bytes of an HTTP body that are kept.
    pub const BODY: usize = 4096;

    /// The most bytes of a server's name that are kept.
    pub const SERVER: usize = 128;

    /// The most records of a DNS answer that are kept.
    pub const RECORDS: usize = 64;
}

/// What came back from a knock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Knocked {
    /// Somebody accepts connections there (SYN and ACK).
    Open {
        /// From which MAC that came.
        from: Mac,
        /// After how many microseconds.
        micros: u64,
    },
    /// Nobody listens there (RST).
    Refused {
        /// From which MAC that came.
        from: Mac,
    },
    /// Somebody said by ICMP that it cannot be reached: kube-proxy so rejects what has no endpoints.
    Rejected {
        /// From which MAC that came.
        from: Mac,
        /// What it said: `port unreachable`.
        why: String,
    },
    /// Nothing came back. A node may also have wanted to reject it: Linux sends few ICMP messages a second to
    /// one host, and those by which it redirects a neighbour are among them.
    Silence,
}
