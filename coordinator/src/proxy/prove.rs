//! Whether a node lives what kube-proxy was told: its own word, the kernel's sysctls, and what a former mode left.

use rackwright_proto::finding::Finding;
use rackwright_proto::name::NodeName;

use super::word;
use crate::findings::Check;
use crate::rack::model::kubernetes::ProxyMode;

/// The most chains that a finding names.
const MOST_NAMED: usize = 3;

/// Chains that are kubelet's (and stay after it no longer makes them), not kube-proxy's.
const KUBELETS: [&str; 6] = [
    "KUBE-FIREWALL",
    "KUBE-IPTABLES-HINT",
    "KUBE-KUBELET-CANARY",
    "KUBE-MARK-DROP",
    "KUBE-MARK-MASQ",
    "KUBE-POSTROUTING",
];

/// How chains begin that mode iptables makes for each service, and mode ipvs does not.
const OF_SERVICES: [&str; 6] = ["KUBE-SVC-", "KUBE-SEP-", "KUBE-EXT-", "KUBE-SVL-", "KUBE-FW-", "KUBE-XLB-"];

/// What was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The mode.
    pub mode: ProxyMode,
    /// `strictARP`; of no effect outside of ipvs.
    pub strict_arp: bool,
}

/// A node as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The node.
    pub node: NodeName,
    /// What `/proxyMode` said (port 10249 on the node's loopback), or why it said nothing.
    pub mode: Result<String, String>,
    /// `net.ipv4.conf.all.arp_ignore`.
    pub arp_ignore: Option<u8>,
    /// `net.ipv4.conf.all.arp_announce`.
    pub arp_announce: Option<u8>,
    /// What there is of each mode.
    pub traces: Traces,
}

/// What the modes make in a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Traces {
    /// How many addresses the link `kube-ipvs0` has; `None` without that link.
    pub ipvs_addresses: Option<usize>,
    /// How many virtual servers IPVS has, whoever made them.
    pub ipvs_servers: usize,
    /// Tables of nftables by family and name: `ip kube-proxy`.
    pub nft_tables: Vec<String>,
    /// Chains of iptables, of all tables, both families and both backends: `KUBE-SERVICES`.
    pub chains: Vec<String>,
}

/// Every finding about the nodes, passes included; equal ones of several nodes are one.
pub fn findings(told: Told, live: &[Live]) -> Vec<Finding> {
    let all: Vec<Finding> = live.iter().flat_map(|node| of_node(told, node)).collect();
    crate::findings::merged(&all)
}

fn of_node(told: Told, live: &Live) -> Vec<Finding> {
    let mut found = vec![mode(told, live)];
    if told.mode == ProxyMode::Ipvs && told.strict_arp {
        found.push(strict_arp(live));
    }
    // While another mode runs, what it has made is no left-over.
    if live.mode.as_deref() == Ok(word(told.mode)) {
        found.extend(left_overs(told.mode, live));
    }
    found
}

fn mode(told: Told, live: &Live) -> Finding {
    let wanted = word(told.mode);
    let check = |name| Check::new(name, &[&live.node], "mode", "the mode that kube-proxy runs in", wanted);
    match &live.mode {
        Ok(mode) if mode == wanted => check("proxy-mode-differs").pass(mode),
        Ok(mode) => check("proxy-mode-differs").error(
            mode,
            "kube-proxy reads its configuration at its start only: delete its pod on this node; if that changes nothing, look at `mode` in ConfigMap kube-system/kube-proxy",
        ),
        Err(why) => check("proxy-not-answering").error(
            format!("nothing at 127.0.0.1:10249: {why}"),
            format!(
                "`kubectl -n kube-system get pods -o wide --field-selector spec.nodeName={}` and its logs say why kube-proxy does not run; or its metricsBindAddress is another",
                live.node
            ),
        ),
    }
}

/// Whether `net.ipv4.conf.all.arp_ignore` and `arp_announce` keep a node silent on addresses of other links (ip-sysctl of
/// the kernel's documentation).
pub fn is_strict(ignore: Option<u8>, announce: Option<u8>) -> bool {
    matches!((ignore, announce), (Some(1 | 2), Some(2)))
}

fn strict_arp(live: &Live) -> Finding {
    let check = Check::new(
        "strict-arp-not-live",
        &[&live.node],
        "strictARP",
        "net.ipv4.conf.all.arp_ignore and arp_announce, live",
        "1 and 2",
    );
    let (Some(ignore), Some(announce)) = (live.arp_ignore, live.arp_announce) else {
        return check.warning("they could not be read", "read them on the host: `sysctl net.ipv4.conf.all`");
    };
    let observed = format!("{ignore} and {announce}");
    if is_strict(Some(ignore), Some(announce)) {
        return check.pass(observed);
    }
    check.error(
        format!("{observed}: this node answers ARP for every service address on kube-ipvs0"),
        "something set them back after kube-proxy's start, as sysctl.d or tuned do: find it, then delete kube-proxy's pod on this node",
    )
}

fn left_overs(mode: ProxyMode, live: &Live) -> Vec<Finding> {
    let traces = &live.traces;
    let mut found = Vec::new();
    let check = |subject: &str| {
        let checked = format!("what a former mode left, now in mode {}", word(mode));
        Check::new("proxy-left-over", &[&live.node], subject, checked, "nothing")
    };
    if let (ProxyMode::Iptables | ProxyMode::Nftables, Some(addresses @ 1..)) = (mode, traces.ipvs_addresses)
    {
        let observed = format!(
            "kube-ipvs0 with {addresses} addresses, and {} virtual servers of IPVS: the node takes itself for every service and answers ARP for it",
            traces.ipvs_servers
        );
        found.push(check("ipvs").error(observed, fix(live)));
    }
    let tables: Vec<&str> =
        traces.nft_tables.iter().map(String::as_str).filter(|t| is_kube_proxys(t)).collect();
    if mode != ProxyMode::Nftables && !tables.is_empty() {
        let observed =
            format!("table {} of nftables: its rules come before or after ours", tables.join(", "));
        found.push(check("nftables").warning(observed, fix(live)));
    }
    let chains: Vec<&str> =
        traces.chains.iter().map(String::as_str).filter(|chain| is_left_over(mode, chain)).collect();
    if let Some(named) = name_some(&chains) {
        let observed = format!("{named} of iptables: they still match, with what was true then");
        found.push(check("iptables").warning(observed, fix(live)));
    }
    if found.is_empty() {
        found.push(check("").pass("nothing"));
    }
    found
}

fn is_kube_proxys(table: &str) -> bool {
    table.split_whitespace().last() == Some("kube-proxy")
}

/// In mode iptables all chains are its own; ipvs shares all but those of single services; nftables has none.
fn is_left_over(mode: ProxyMode, chain: &str) -> bool {
    match mode {
        ProxyMode::Iptables => false,
        ProxyMode::Ipvs => OF_SERVICES.iter().any(|prefix| chain.starts_with(prefix)),
        ProxyMode::Nftables => chain.starts_with("KUBE-") && !KUBELETS.contains(&chain),
    }
}

fn name_some(chains: &[&str]) -> Option<String> {
    let named = chains.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
    match chains.len() {
        0 => None,
        1..=MOST_NAMED => Some(format!("chain {named}")),
        many => Some(format!("{many} chains ({named}, ...)")),
    }
}

fn fix(live: &Live) -> String {
    format!(
        "drain and reboot {} (`kubectl drain`); without a reboot, run `kube-proxy --cleanup` on it and delete kube-proxy's pod there",
        live.node
    )
}
