//! What a cluster left on a host: traces of kube-proxy in the kernel, and the kubelet's settings for DNS.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What a cluster left on a host. Read natively: no program is run, and no kernel module is loaded by asking.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterTraces {
    /// The addresses on the link `kube-ipvs0`, which kube-proxy of mode ipvs makes; `None` without that link.
    pub ipvs_link: Option<Vec<IpNet>>,
    /// How many virtual services IPVS has (`/proc/net/ip_vs`); `None` when the kernel has no IPVS now.
    pub ipvs_services: Option<u32>,
    /// The families that have an nftables table `kube-proxy`, which kube-proxy of mode nftables makes.
    pub nftables: Vec<Family>,
    /// The chains `KUBE-...` that iptables made by way of nftables, sorted; at most [`ClusterTraces::CHAINS`].
    pub chains: Vec<Chain>,
    /// Tables of legacy iptables: what chains those hold cannot be told natively.
    pub legacy: Vec<LegacyTable>,
    /// Live values by key: `net.ipv4.conf.all.arp_ignore`, `net.ipv4.conf.all.arp_announce`, and all of
    /// `net.ipv4.vs.*` that the kernel has now.
    pub sysctls: BTreeMap<String, String>,
    /// The kubelet's settings for DNS; `None` without `/var/lib/kubelet/config.yaml`.
    pub kubelet: Option<KubeletDns>,
    /// What could not be observed, with reason.
    pub troubles: Vec<String>,
}

impl ClusterTraces {
    /// The most chains that are told.
    pub const CHAINS: usize = 20_000;

    /// The iptables chains that kube-proxy made, of mode iptables or ipvs. The kubelet makes a few of its own,
    /// in every mode.
    pub fn proxy_chains(&self) -> impl Iterator<Item = &Chain> {
        self.chains.iter().filter(|chain| !chain.is_kubelets())
    }
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
}

/// One chain of packet filter rules.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// The family of its table.
    pub family: Family,
    /// Its table: `nat`.
    pub table: String,
    /// Its name: `KUBE-SERVICES`.
    pub name: String,
}

impl Chain {
    /// Whether the kubelet makes this chain, whatever mode kube-proxy has (KEP 3178).
    pub fn is_kubelets(&self) -> bool {
        matches!(self.name.as_str(), "KUBE-IPTABLES-HINT" | "KUBE-KUBELET-CANARY" | "KUBE-FIREWALL")
    }
}

/// One table of legacy iptables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LegacyTable {
    /// Its family.
    pub family: Family,
    /// Its name: `nat`.
    pub name: String,
}

/// The kubelet's settings for DNS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubeletDns {
    /// `clusterDNS`: what pods ask.
    pub cluster_dns: Vec<String>,
    /// `resolvConf`: the file that pods of `dnsPolicy: Default`, CoreDNS among them, get their upstreams from.
    /// The kubelet's default is `/etc/resolv.conf`; empty says none.
    pub resolv_conf: String,
    /// The name servers in that file, in order; empty where it has none or cannot be read.
    pub nameservers: Vec<String>,
}
