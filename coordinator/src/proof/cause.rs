//! Why a host answers for an address without MetalLB.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::nics::Nic;
use crate::network::IPVS_LINK;
use crate::network::say::list;

/// A cause with its remedy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cause {
    node: String,
    what: String,
    fix: String,
}

/// What on a host makes its kernel answer on a link for an address, besides MetalLB's speaker.
pub(super) fn causes(nic: Nic, ip: IpAddr) -> Vec<Cause> {
    [in_ipvs(nic, ip), on_a_link(nic, ip), by_proxy(nic, ip)].into_iter().flatten().collect()
}

fn has(nic: Nic, link: &str, ip: IpAddr) -> bool {
    let mut links = nic.network.links.iter().filter(|known| known.name == link);
    links.any(|link| link.addresses.iter().any(|address| address.net.addr() == ip))
}

/// With arp_ignore 0 the kernel answers for the addresses of every link (ip-sysctl of the kernel's documentation).
fn in_ipvs(nic: Nic, ip: IpAddr) -> Option<Cause> {
    let ignore = nic.network.arp_all.arp_ignore.max(nic.link.arp.arp_ignore);
    let link = &nic.link.name;
    (ip.is_ipv4() && ignore == 0 && has(nic, IPVS_LINK, ip)).then(|| Cause {
        node: nic.node.to_owned(),
        what: format!(
            "kube-proxy in ipvs mode without strictARP ({ip} on {IPVS_LINK}, and arp_ignore 0 on {link})"
        ),
        fix: "set `strictARP: true` for kube-proxy".into(),
    })
}

fn on_a_link(nic: Nic, ip: IpAddr) -> Option<Cause> {
    let link = nic.network.links.iter().find(|link| link.name != IPVS_LINK && has(nic, &link.name, ip))?;
    let (node, link) = (nic.node, &link.name);
    Some(Cause {
        node: node.to_owned(),
        what: format!("{ip} is an address of its own {link}"),
        fix: format!(
            "take {ip} off {link} of {node}, and find who put it there (kube-vip, keepalived, by hand)"
        ),
    })
}

fn by_proxy(nic: Nic, ip: IpAddr) -> Option<Cause> {
    let value = nic.network.arp_all.proxy_arp.max(nic.link.arp.proxy_arp);
    let (node, link) = (nic.node, &nic.link.name);
    (ip.is_ipv4() && value > 0).then(|| Cause {
        node: node.to_owned(),
        what: format!("proxy_arp is on for {link}"),
        fix: format!("turn proxy_arp off on {node}, for all and for {link}"),
    })
}

/// What was seen, and on which nodes: `w1 and w2: proxy_arp is on for eth0`.
pub(super) fn seen(causes: &[Cause]) -> Vec<String> {
    let mut nodes = BTreeMap::<&str, BTreeSet<&str>>::new();
    causes.iter().for_each(|cause| _ = nodes.entry(&cause.what).or_default().insert(&cause.node));
    nodes.into_iter().map(|(what, nodes)| format!("{}: {what}", list(nodes))).collect()
}

/// All remedies, each once.
pub(super) fn fixes(causes: &[Cause]) -> String {
    let fixes: BTreeSet<_> = causes.iter().map(|cause| cause.fix.as_str()).collect();
    fixes.into_iter().collect::<Vec<_>>().join("; ")
}
