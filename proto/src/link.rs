//! Links, addresses, routes and neighbours, as rtnetlink(7) tells them.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A MAC address; prints and parses as `52:54:00:00:00:01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::str::FromStr for Mac {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a MAC address like 52:54:00:00:00:01");
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Self(bytes)) }
    }
}

impl TryFrom<String> for Mac {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

/// What kind of link it is, as far as layer 2 ranges care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// A NIC without `IFLA_INFO_KIND`.
    Physical,
    /// IEEE 802.11 (`/sys/class/net/X/wireless` or `phy80211`).
    Wireless,
    /// 802.1Q VLAN on another link.
    Vlan,
    /// A bond.
    Bond,
    /// A Linux bridge.
    Bridge,
    /// One end of a veth pair.
    Veth,
    /// Loopback.
    Loopback,
    /// Anything else: dummy, tunnel, macvlan, wireguard, ...
    Other,
}

/// One link with its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its kind.
    pub kind: LinkKind,
    /// `IFLA_INFO_KIND` as the kernel says it, empty for a plain NIC: `vlan`, `bond`, `dummy`.
    #[serde(default)]
    pub info_kind: String,
    /// Its MAC address, if it has one of six bytes.
    pub mac: Option<Mac>,
    /// Bytes.
    pub mtu: u32,
    /// `IFF_UP`.
    pub up: bool,
    /// `IFF_LOWER_UP`.
    pub carrier: bool,
    /// `IFF_BROADCAST`.
    pub broadcast: bool,
    /// `IFF_NOARP`.
    pub noarp: bool,
    /// The link that this one is enslaved to (bond, bridge).
    #[serde(default)]
    pub master: Option<String>,
    /// The link below a VLAN.
    #[serde(default)]
    pub parent: Option<String>,
    /// VLAN id.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// Bond mode as sysfs names it (`active-backup`, `balance-alb`, ...).
    #[serde(default)]
    pub bond_mode: Option<String>,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// What its sysctls amount to.
    #[serde(default)]
    pub arp: LinkArp,
}

/// An address on a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Address with its prefix length.
    pub net: IpNet,
    /// Has a finite lifetime, so something (DHCP, router advertisements) leases it.
    #[serde(default)]
    pub dynamic: bool,
    /// `IFA_F_SECONDARY` or a temporary IPv6 address.
    #[serde(default)]
    pub secondary: bool,
}

/// Per-link sysctls that decide who answers ARP, each the written value of this link (`conf/LINK/...`).
/// Combine with [`Network::arp_all`] by maximum to get what the kernel does (ip-sysctl: "the max value from
/// conf/{all,interface} is used").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkArp {
    /// `net.ipv4.conf.LINK.arp_ignore`
    pub arp_ignore: u8,
    /// `net.ipv4.conf.LINK.arp_announce`
    pub arp_announce: u8,
    /// `net.ipv4.conf.LINK.rp_filter`
    pub rp_filter: u8,
    /// `net.ipv4.conf.LINK.proxy_arp`
    pub proxy_arp: u8,
    /// `net.ipv4.conf.LINK.forwarding`, without which `proxy_arp` answers nothing.
    #[serde(default)]
    pub forwarding: u8,
}

/// A route of the main table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination; `0.0.0.0/0` or `::/0` for a default route.
    pub to: IpNet,
    /// The next hop, none when on-link.
    #[serde(default)]
    pub via: Option<IpAddr>,
    /// The outgoing link's name, where it has one.
    #[serde(default)]
    pub link: Option<String>,
    /// `RTPROT_*` number; 16 is DHCP.
    #[serde(default)]
    pub protocol: u8,
    /// Priority; lower wins.
    #[serde(default)]
    pub metric: u32,
}

/// An entry of the neighbour table that has a link-layer address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Who.
    pub ip: IpAddr,
    /// Its MAC address.
    pub mac: Mac,
    /// On which link.
    pub link: String,
    /// The state's name: `reachable`, `stale`, `delay`, `probe`, `permanent`, `noarp`, `failed`.
    pub state: String,
}

/// All that a host knows about its network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Links in index order.
    pub links: Vec<Link>,
    /// Routes of the main table, both families.
    pub routes: Vec<Route>,
    /// Neighbours with a link-layer address.
    pub neighbours: Vec<Neighbour>,
    /// The `conf/all` values that combine with each link's own.
    #[serde(default)]
    pub arp_all: LinkArp,
}
