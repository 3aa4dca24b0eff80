//! kube-proxy, asked on each node itself: it tells its mode and its health on loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rackwright_proto::reach::{Asked, Reach, Reached};

/// How long an answer may take, in milliseconds.
const WITHIN_MS: u32 = 3_000;
/// The most of an unexpected answer that is shown.
const SHOWN: usize = 80;

/// Where kube-proxy answers on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doors {
    /// `metricsBindAddress` of its configuration, which serves `/proxyMode`.
    pub metrics: SocketAddr,
    /// `healthzBindAddress`, which serves `/healthz`.
    pub healthz: SocketAddr,
}

impl Default for Doors {
    /// What an empty configuration leads to.
    fn default() -> Self {
        Self::of("", "")
    }
}

impl Doors {
    /// From `metricsBindAddress` and `healthzBindAddress` as they are written; what cannot be read is taken for the
    /// default. Where it listens on all addresses, it is asked on loopback.
    pub fn of(metrics: &str, healthz: &str) -> Self {
        Self { metrics: door(metrics, 10249), healthz: door(healthz, 10256) }
    }
}

fn door(text: &str, port: u16) -> SocketAddr {
    let parsed = text.parse().or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, port)));
    let mut door = parsed.unwrap_or(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    match door.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => door.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => door.set_ip(std::net::Ipv6Addr::LOCALHOST.into()),
        _ => (),
    }
    door
}

/// What a node's kube-proxy said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The mode that it really has (`iptables`, `ipvs`, `nftables`), or why it did not say.
    pub mode: Result<String, String>,
    /// Whether it is healthy, or what it said instead.
    pub healthy: Result<(), String>,
}

/// What to ask a node.
pub fn ask(doors: &Doors) -> Vec<Asked> {
    let get = |address, path: &str| {
        Asked::new(Reach::Http { address, host: None, path: path.to_owned() }, WITHIN_MS)
    };
    vec![get(doors.metrics, "/proxyMode"), get(doors.healthz, "/healthz")]
}

/// What the answers of one node to [`ask`] say, in the same order.
pub fn told(reached: &[Reached]) -> Told {
    let mode = body(reached.first()).and_then(|body| match body.trim() {
        mode @ ("iptables" | "ipvs" | "nftables") => Ok(mode.to_owned()),
        other => Err(format!("it said `{}`, which is no mode", short(other))),
    });
    Told { mode, healthy: body(reached.get(1)).map(drop) }
}

fn body(reached: Option<&Reached>) -> Result<&str, String> {
    match reached {
        Some(Reached::Http { status: 200, body, .. }) => Ok(body),
        Some(Reached::Http { status, body, .. }) => Err(format!("it said {status}: {}", short(body.trim()))),
        Some(Reached::Failed { why }) => Err(why.clone()),
        Some(_) => Err("the node answered another question".into()),
        None => Err("the node did not report".into()),
    }
}

fn short(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect();
    if text.chars().count() > SHOWN { format!("{line}…") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_asked_where_its_kube_proxy_listens() {
        assert_eq!(Doors::default().metrics, "127.0.0.1:10249".parse().unwrap());
        let of = |metrics, healthz| {
            let doors = Doors::of(metrics, healthz);
            [doors.metrics.to_string(), doors.healthz.to_string()]
        };
        assert_eq!(of("0.0.0.0:10249", "[::]:10256"), ["127.0.0.1:10249", "[::1]:10256"]);
        assert_eq!(of("192.0.2.11", "::"), ["192.0.2.11:10249", "[::1]:10256"]);
        assert_eq!(of("nonsense", "127.0.0.1:1"), ["127.0.0.1:10249", "127.0.0.1:1"]);
    }

    #[test]
    fn answers_are_read_and_nothing_else_is_taken_for_a_mode() {
        let http =
            |status, body: &str| Reached::Http { status, server: String::new(), body: body.to_owned() };
        let good = told(&[http(200, "nftables\n"), http(200, "{}")]);
        assert_eq!(good, Told { mode: Ok("nftables".into()), healthy: Ok(()) });
        let refused = Reached::Failed { why: "connection refused".into() };
        let bad = told(&[refused, http(503, "{\"lastUpdated\": \"never\"}")]);
        assert_eq!(bad.mode, Err("connection refused".into()));
        assert_eq!(bad.healthy, Err("it said 503: {\"lastUpdated\": \"never\"}".into()));
        assert_eq!(told(&[]).healthy, Err("the node did not report".into()));
        assert!(told(&[http(200, &"<html>\u{1b}".repeat(40))]).mode.unwrap_err().len() < 130);
    }
}
