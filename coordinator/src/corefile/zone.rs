//! The keys of server blocks: `[SCHEME://]ZONE[:PORT]`.

use std::collections::HashMap;

use ipnet::IpNet;

use super::lexer::Token;
use super::{CorefileError, Server, error};

/// How DNS is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Plain DNS over UDP and TCP.
    Dns,
    /// Over TLS (RFC 7858).
    Tls,
    /// Over QUIC (RFC 9250).
    Quic,
    /// Over gRPC.
    Grpc,
    /// Over HTTPS (RFC 8484).
    Https,
    /// Over HTTP/3.
    Https3,
    /// Over a Unix socket.
    Unix,
}

/// Schemes, longest first where one begins another.
const SCHEMES: [(&str, Transport); 7] = [
    ("dns", Transport::Dns),
    ("tls", Transport::Tls),
    ("quic", Transport::Quic),
    ("grpc", Transport::Grpc),
    ("https3", Transport::Https3),
    ("https", Transport::Https),
    ("unix", Transport::Unix),
];

impl Transport {
    /// The transport that a text begins with, and the rest.
    pub(super) fn split(text: &str) -> (Self, &str) {
        let found = SCHEMES
            .iter()
            .find_map(|(name, transport)| Some((*transport, text.strip_prefix(name)?.strip_prefix("://")?)));
        found.unwrap_or((Self::Dns, text))
    }

    /// The port where none is written.
    pub fn port(self) -> u16 {
        match self {
            Self::Dns => 53,
            Self::Tls | Self::Quic => 853,
            Self::Https | Self::Https3 | Self::Grpc => 443,
            Self::Unix => 0,
        }
    }

    fn scheme(self) -> &'static str {
        SCHEMES.iter().find(|(_, t)| *t == self).map_or("dns", |(name, _)| name)
    }
}

/// One key of a server block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// How it is asked.
    pub transport: Transport,
    /// The zones that it stands for, lower-case, each with its last dot: one, or the reverse zones of a network
    /// whose length is none of reverse DNS. Empty where only the pod's environment tells.
    pub zones: Vec<String>,
    /// The port that it listens on; `None` where only the pod's environment tells.
    pub port: Option<u16>,
    /// As written.
    pub token: Token,
}

impl Key {
    pub(super) fn of(text: &str, token: Token) -> Result<Self, CorefileError> {
        let (transport, rest) = Transport::split(&token.text);
        if token.has_variable() {
            return Ok(Self { transport, zones: Vec::new(), port: None, token });
        }
        let bad = |what: String| error(text, token.span.start, what);
        let (host, port) = host_port(rest).map_err(bad)?;
        let zones = zones(host).map_err(bad)?;
        Ok(Self { transport, zones, port: Some(port.unwrap_or(transport.port())), token })
    }
}

fn host_port(text: &str) -> Result<(&str, Option<u16>), String> {
    match text.rsplit_once(':') {
        Some((_, "")) => Err(format!("`{text}` ends with a colon; write the port after it, or remove it")),
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => match port.parse() {
            Ok(port) => Ok((host, Some(port))),
            Err(_) => Err(format!("{port} is no port; the highest is 65535")),
        },
        _ => Ok((text, None)),
    }
}

/// The zones of a key without its scheme and port.
fn zones(host: &str) -> Result<Vec<String>, String> {
    if let Ok(net) = host.parse::<IpNet>() {
        return Ok(reverse(net.trunc()));
    }
    if matches!(host, "" | ".") {
        return Ok(vec![".".to_owned()]);
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| (1..=63).contains(&label.len());
    if host.len() > 255 || !name.split('.').all(label) {
        return Err(format!("`{host}` is not a domain name"));
    }
    Ok(vec![format!("{}.", name.to_lowercase())])
}

/// The first zone that a text stands for, as CoreDNS compares it.
pub(super) fn first_zone(text: &str) -> String {
    let (_, rest) = Transport::split(text);
    let (host, _) = host_port(rest).unwrap_or((rest, None));
    let first = zones(host).ok().and_then(|zones| zones.into_iter().next());
    first.unwrap_or_else(|| text.to_lowercase())
}

/// The reverse zones of a network: one label is 8 bits of IPv4 or 4 bits of IPv6.
fn reverse(net: IpNet) -> Vec<String> {
    let step = if net.addr().is_ipv4() { 8 } else { 4 };
    let length = net.prefix_len().div_ceil(step) * step;
    let nets = net.subnets(length).expect("a longer prefix of the same family");
    nets.map(|net| reverse_zone(net, usize::from(length / step))).collect()
}

fn reverse_zone(net: IpNet, labels: usize) -> String {
    let (parts, suffix): (Vec<String>, _) = match net {
        IpNet::V4(net) => (net.addr().octets().iter().map(u8::to_string).collect(), "in-addr.arpa."),
        IpNet::V6(net) => {
            let nibbles = net.addr().octets().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
            (nibbles.map(|nibble| format!("{nibble:x}")).collect(), "ip6.arpa.")
        }
    };
    let names = parts.into_iter().take(labels).rev();
    names.chain([suffix.to_owned()]).collect::<Vec<_>>().join(".")
}

/// Refuses what CoreDNS refuses: two server blocks for the same zone on the same port, unless `bind` or `view`
/// tells them apart.
pub(super) fn no_zone_twice(text: &str, servers: &[Server]) -> Result<(), CorefileError> {
    let mut taken: HashMap<(Transport, &str, u16), Vec<&str>> = HashMap::new();
    for server in servers.iter().filter(|server| !server.has("view")) {
        let bound = bound(server);
        for key in &server.keys {
            for zone in &key.zones {
                let Some(port) = key.port else { continue };
                let here = taken.entry((key.transport, zone.as_str(), port)).or_default();
                let twice = bound
                    .iter()
                    .any(|a| here.contains(a) || (!here.is_empty() && a.is_empty()) || here.contains(&""));
                if twice {
                    return Err(served_twice(text, key, zone, port));
                }
                here.extend(&bound);
            }
        }
    }
    Ok(())
}

fn served_twice(text: &str, key: &Key, zone: &str, port: u16) -> CorefileError {
    let what = format!(
        "cannot serve {}://{zone}:{port} - it is already defined; one server block per zone and port",
        key.transport.scheme()
    );
    error(text, key.token.span.start, what)
}

/// The addresses that a server block binds; `""` for all.
fn bound(server: &Server) -> Vec<&str> {
    let binds = server.plugins.iter().filter(|p| p.name.text == "bind");
    let addresses: Vec<&str> = binds.flat_map(|p| &p.args).map(|token| token.text.as_str()).collect();
    if addresses.is_empty() { vec![""] } else { addresses }
}
