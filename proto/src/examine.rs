//! What a host is asked when something is wrong with its cluster: where the kubelet sends pods for names, what
//! kube-proxy made in the kernel, what the kernel does with packets, and what can be reached from the host and from a
//! pod on it. All of it is read; nothing is changed, and the whole takes as long as its longest question.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::reach::{Asked, Reached, Transport};
use crate::traces::{Chain, KubeletDns};

/// What to find out on one host, besides what is always looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Examine {
    /// Ports of Services that should be translated to endpoints here.
    pub services: Vec<ServicePort>,
    /// What to reach from the host itself.
    pub questions: Vec<Asked>,
    /// What to reach from the network of a pod on the host.
    pub from_pod: Vec<Asked>,
    /// The pods to ask from, by address, the first that is there; without one of them any pod that is no name server.
    pub pods: Vec<IpAddr>,
    /// Packets to send that must not be cut up on their way.
    pub echoes: Vec<Echo>,
    /// The same from the network of that pod.
    pub pod_echoes: Vec<Echo>,
    /// How long the echoes may take, in milliseconds; at most [`Asked::LONGEST_MS`].
    pub within_ms: u32,
}

/// A port of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServicePort {
    /// The Service's own address.
    pub address: IpAddr,
    /// UDP or TCP.
    pub transport: Transport,
    /// The port.
    pub port: u16,
}

/// One ICMP echo request that must not be fragmented (RFC 792, RFC 1191). IPv4 only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Echo {
    /// To whom.
    pub to: IpAddr,
    /// The whole packet with its IP header, in bytes; from [`Echo::LEAST`] on.
    pub bytes: u16,
}

impl Echo {
    /// The headers alone.
    pub const LEAST: u16 = 28;
    /// The most of one request; each further one fails and says so.
    pub const MOST: usize = 128;
}

/// What came of an echo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Echoed {
    /// It came back.
    Answered,
    /// Somebody said that it is too large.
    TooBig {
        /// What fits, in bytes; 0 where that was not said.
        mtu: u16,
    },
    /// Nothing came back.
    Silence,
    /// It could not be sent, and why.
    Failed {
        /// Why: `no route to host`.
        why: String,
    },
}

/// What was found on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Examined {
    /// Where the kubelet sends pods for names; `None` without its settings.
    pub kubelet: Option<KubeletNames>,
    /// How Services are translated here.
    pub translation: Translation,
    /// Connections that the kernel remembers to the addresses of [`Examine::services`], as they were before anything
    /// was asked; `None` where that cannot be read.
    pub tracked: Option<Vec<Tracked>>,
    /// Sysctls that decide about packets, by key; absent ones are not in it.
    pub sysctls: BTreeMap<String, String>,
    /// Chains that drop forwarded packets unless a rule lets them pass.
    pub closed_forward: Vec<Chain>,
    /// Rules of nftables that drop or reject, without those of kube-proxy; at most [`Examined::DROPS`].
    pub drops: Vec<DropRule>,
    /// Programs that keep rules in place: `firewalld: running`.
    pub managers: Vec<String>,
    /// Counters of the kernel that rose while the questions were asked: `IPReversePathFilter`, `in_martian_src`.
    pub rose: BTreeMap<String, u64>,
    /// Tunnels between hosts.
    pub tunnels: Vec<Tunnel>,
    /// The pods' networks as configured for the runtime, in its order.
    pub cni: Vec<CniFile>,
    /// Pods that have a network of their own here; at most [`Examined::SPACES`].
    pub spaces: Vec<PodSpace>,
    /// To [`Examine::questions`], in their order.
    pub reached: Vec<Reached>,
    /// To [`Examine::from_pod`].
    pub from_pod: FromPod,
    /// To [`Examine::echoes`], in their order.
    pub echoed: Vec<Echoed>,
    /// What could not be found out, with reason.
    pub troubles: Vec<String>,
}

impl Examined {
    /// The most rules that are told.
    pub const DROPS: usize = 64;
    /// The most pods that are told.
    pub const SPACES: usize = 256;
    /// The most connections that are told.
    pub const TRACKED: usize = 256;
}

/// Where the kubelet sends pods for names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubeletNames {
    /// `clusterDNS` and `resolvConf` of `/var/lib/kubelet/config.yaml`.
    pub dns: KubeletDns,
    /// `clusterDomain`; empty where it is not set.
    pub domain: String,
}

/// How Services are translated on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Translation {
    /// By what: `nftables`, `iptables`, `ipvs`; empty where nothing of kube-proxy was found.
    pub by: Vec<String>,
    /// For each of [`Examine::services`], in its order.
    pub rules: Vec<Rules>,
}

/// Whether a Service's port is translated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rules {
    /// There is a rule for it.
    Present,
    /// kube-proxy knows it, and that it has no endpoints.
    NoEndpoints,
    /// There is none.
    Absent,
    /// It cannot be told, and why.
    Unknown {
        /// Why.
        why: String,
    },
}

/// A connection that the kernel remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tracked {
    /// Who asks.
    pub from: IpAddr,
    /// Whom it asks.
    pub service: ServicePort,
    /// Who is to answer: an endpoint, or the Service's own address where nothing was translated.
    pub answers: IpAddr,
    /// Whether nothing ever came back.
    pub unreplied: bool,
}

/// A rule that drops or rejects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropRule {
    /// Family, table and chain: `inet filter input`.
    pub place: String,
    /// The hook that its chain is called from: `input`; empty where another chain calls it.
    pub hook: String,
    /// Its text, as nft(8) prints it, without counters.
    pub rule: String,
}

/// A tunnel between hosts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tunnel {
    /// Its link: `flannel.1`.
    pub link: String,
    /// Its kind, as the kernel says it: `vxlan`, `geneve`, `ipip`, `wireguard`.
    pub kind: String,
    /// The UDP port that it uses, where it says so.
    pub port: Option<u16>,
}

/// One configuration of pods' networks (CNI).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CniFile {
    /// Its path.
    pub path: String,
    /// The network's name.
    pub name: String,
    /// Its plugins: `bridge`, `portmap`.
    pub plugins: Vec<String>,
    /// The MTU that it gives to pods, where it says so.
    pub mtu: Option<u32>,
}

/// A pod's network on a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodSpace {
    /// Its addresses, without loopback and link-local ones.
    pub addresses: Vec<IpAddr>,
    /// Whether something listens on UDP port 53 in it: a name server.
    pub names: bool,
}

/// What was reached from a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromPod {
    /// The pod's address; `None` where none was there to ask from.
    pub pod: Option<IpAddr>,
    /// The outcomes, in the order of the questions; empty without a pod.
    pub reached: Vec<Reached>,
    /// To [`Examine::pod_echoes`], in their order; empty without a pod.
    pub echoed: Vec<Echoed>,
    /// Why nothing was asked; empty otherwise.
    pub why_not: String,
}
