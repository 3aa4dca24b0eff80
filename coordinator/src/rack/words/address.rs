//! Addresses, networks, interfaces and resolvers.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use rackwright_proto::name::{IfName, NameError};
use rackwright_proto::range::{AddressRange, RangeError};

use super::{AbsolutePath, WordError, dns_subdomain};

/// Where a host answers: an IP address, or a name to be resolved where the operator sits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostAddress {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A DNS name, lower-case.
    Name(String),
}

impl HostAddress {
    /// The address, unless it is a name.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }
}

impl FromStr for HostAddress {
    type Err = WordError;
    fn from_str(text: &str) -> Result<Self, WordError> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            if ip.is_unspecified() || ip.is_multicast() || ip.to_canonical() != ip {
                let help = "write the address that the host answers at, IPv4 as IPv4";
                return Err(WordError::new(format!("{ip} is no host's address"), help));
            }
            return Ok(Self::Ip(ip));
        }
        let name = text.to_ascii_lowercase();
        let last_is_number = name.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
        if dns_subdomain(&name) && !last_is_number {
            return Ok(Self::Name(name));
        }
        let help = if text.contains('@') {
            "write the user as `ssh: {user: NAME}`"
        } else if text.contains('/') {
            "write one address, without a prefix length"
        } else if text.parse::<SocketAddr>().is_ok() || text.matches(':').count() == 1 {
            "write the port as `port: NUMBER`"
        } else {
            "write an IPv4 or IPv6 address or a DNS name"
        };
        Err(WordError::new(format!("`{text}` is neither an IP address nor a DNS name"), help))
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A network in CIDR form without host bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr(IpNet);

impl Cidr {
    /// The network.
    pub fn net(&self) -> IpNet {
        self.0
    }
}

impl FromStr for Cidr {
    type Err = WordError;
    fn from_str(text: &str) -> Result<Self, WordError> {
        let range: AddressRange =
            text.parse().map_err(|e: RangeError| WordError::new(e.to_string(), e.meant()))?;
        match text.trim().parse() {
            Ok(net) => Ok(Self(net)),
            Err(_) => Err(WordError::new(
                format!("`{range}` is not a CIDR"),
                "write a network such as 10.244.0.0/16",
            )),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An upstream of CoreDNS's `forward`: an address with or without a port, over TLS, or a resolv.conf.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Upstream {
    /// A resolver.
    Server {
        /// Its address.
        address: IpAddr,
        /// Its port, 53 (853 with TLS) when left out.
        port: Option<u16>,
        /// `tls://`.
        tls: bool,
    },
    /// A file with `nameserver` lines, as the CoreDNS pod sees it.
    File(AbsolutePath),
}

impl FromStr for Upstream {
    type Err = WordError;
    fn from_str(text: &str) -> Result<Self, WordError> {
        if text.starts_with('/') {
            return text.parse().map(Self::File);
        }
        let (tls, rest) = match text.strip_prefix("tls://") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if let Ok(address) = rest.parse() {
            return Ok(Self::Server { address, port: None, tls });
        }
        let socket: SocketAddr = rest.parse().map_err(|_| {
            WordError::new(
                format!("`{text}` is not a resolver"),
                "write an IP address, IP:PORT, tls://IP, or a path such as /etc/resolv.conf",
            )
        })?;
        Ok(Self::Server { address: socket.ip(), port: Some(socket.port()), tls })
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Server { address, port, tls } => {
                f.write_str(if *tls { "tls://" } else { "" })?;
                match port {
                    Some(port) => SocketAddr::new(*address, *port).fmt(f),
                    None => address.fmt(f),
                }
            }
        }
    }
}

/// The interface that carries the rack's network.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum InterfaceChoice {
    /// The one whose on-link prefix holds the node's address or the pools.
    #[default]
    Auto,
    /// This one.
    Named(IfName),
}

impl FromStr for InterfaceChoice {
    type Err = WordError;
    fn from_str(text: &str) -> Result<Self, WordError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        text.parse().map(Self::Named).map_err(|e: NameError| {
            WordError::new(e.to_string(), "write `auto`, or a name as `ip link` shows it")
        })
    }
}

impl fmt::Display for InterfaceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Named(name) => name.fmt(f),
        }
    }
}

as_text!(HostAddress, Cidr, Upstream, InterfaceChoice);
