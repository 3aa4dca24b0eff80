//! Where `forward` sends queries.

use std::net::IpAddr;

use super::lexer::has_variable;
use super::zone::Transport;
use crate::rack::words::Upstream;

/// One TO of a `forward`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A resolver by its address.
    Server {
        /// How it is asked.
        transport: Transport,
        /// Its address.
        address: IpAddr,
        /// The port, the transport's own where none is written.
        port: u16,
        /// The name that it must prove to have, of `tls://ADDRESS%NAME`; or the zone of a link-local address.
        name: Option<String>,
    },
    /// A file like resolv.conf(5), whose nameservers are taken.
    File(String),
    /// A name, resolved when CoreDNS starts; only newest versions know it.
    Host(String),
    /// Something with an environment variable, whose value only the pod knows; as written.
    Variable(String),
}

impl Target {
    /// What a TO stands for.
    pub fn of(text: &str) -> Self {
        if has_variable(text) {
            return Self::Variable(text.to_owned());
        }
        let (transport, rest) = Transport::split(text);
        match server(rest) {
            Some((address, port, name)) => {
                Self::Server { transport, address, port: port.unwrap_or(transport.port()), name }
            }
            None if rest.starts_with(['/', '.']) => Self::File(rest.to_owned()),
            None => Self::Host(text.to_owned()),
        }
    }
}

impl From<&Upstream> for Target {
    fn from(upstream: &Upstream) -> Self {
        Self::of(&upstream.to_string())
    }
}

/// An address with or without a port, with or without `%NAME` before the port.
fn server(text: &str) -> Option<(IpAddr, Option<u16>, Option<String>)> {
    let (address, tail) = match text.split_once('%') {
        Some((address, tail)) => (address, Some(tail)),
        None => (text, None),
    };
    let Some(tail) = tail else {
        return address_port(address).map(|(address, port)| (address, port, None));
    };
    let (name, port) = match tail.rsplit_once(':') {
        Some((name, port)) => (name, Some(port.parse().ok()?)),
        None => (tail, None),
    };
    let address = address.trim_matches(['[', ']']).parse().ok()?;
    Some((address, port, Some(name.trim_end_matches(']').to_owned())))
}

fn address_port(text: &str) -> Option<(IpAddr, Option<u16>)> {
    let bare = text.trim_matches(['[', ']']).parse().ok().map(|address| (address, None));
    bare.or_else(|| {
        let (address, port) = text.rsplit_once(':')?;
        let bracketed = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
        let port = port.parse().ok()?;
        let address: IpAddr = bracketed.unwrap_or(address).parse().ok()?;
        // Without brackets an IPv6 address has no port.
        (address.is_ipv4() || bracketed.is_some()).then_some((address, Some(port)))
    })
}
