//! What a node lives.

use rackwright_proto::finding::Severity;

use super::words;
use crate::proxy::prove::{Live, Told, Traces, findings};
use crate::rack::model::kubernetes::ProxyMode;

fn live(node: &str, mode: &str) -> Live {
    Live {
        node: node.parse().unwrap(),
        mode: Ok(mode.into()),
        arp_ignore: Some(1),
        arp_announce: Some(2),
        traces: Traces::default(),
    }
}

fn told(mode: ProxyMode) -> Told {
    Told { mode, strict_arp: true }
}

fn chains(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What all three modes leave, and kubelet's own.
fn everything() -> Traces {
    Traces {
        ipvs_addresses: Some(7),
        ipvs_servers: 9,
        nft_tables: chains(&["ip kube-proxy", "ip6 kube-proxy", "inet filter"]),
        chains: chains(&[
            "KUBE-FIREWALL",
            "KUBE-IPTABLES-HINT",
            "KUBE-KUBELET-CANARY",
            "KUBE-SERVICES",
            "KUBE-SVC-ERIFXISQEP7F7OF4",
            "KUBE-SEP-A",
            "KUBE-SEP-B",
            "CNI-FORWARD",
        ]),
    }
}

#[test]
fn a_node_that_does_as_told_passes() {
    let kubelets = chains(&["KUBE-FIREWALL", "KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"]);
    let nftables = Traces { nft_tables: chains(&["ip kube-proxy"]), chains: kubelets, ..Traces::default() };
    let iptables = Traces {
        chains: chains(&["KUBE-SERVICES", "KUBE-SVC-A"]),
        ipvs_addresses: Some(0),
        ..Traces::default()
    };
    let ipvs = Traces {
        ipvs_addresses: Some(3),
        ipvs_servers: 3,
        chains: chains(&["KUBE-SERVICES"]),
        ..Traces::default()
    };
    for (mode, word, traces) in [
        (ProxyMode::Nftables, "nftables", nftables),
        (ProxyMode::Iptables, "iptables", iptables),
        (ProxyMode::Ipvs, "ipvs", ipvs),
    ] {
        let found = findings(told(mode), &[Live { traces, ..live("w1", word) }]);
        assert!(found.iter().all(|f| f.severity == Severity::Pass), "{}", words(&found));
    }
}

#[test]
fn left_overs_are_told_from_what_the_mode_needs() {
    let modes =
        [(ProxyMode::Iptables, "iptables"), (ProxyMode::Ipvs, "ipvs"), (ProxyMode::Nftables, "nftables")];
    let found = modes.map(|(mode, word)| {
        words(&findings(told(mode), &[Live { traces: everything(), ..live("w1", word) }]))
    });
    insta::assert_snapshot!(found.join("\n"));
}

#[test]
fn a_node_that_does_not_as_told_is_named() {
    let silent = Live { mode: Err("connection refused".into()), ..live("w1", "") };
    let other = Live { traces: everything(), ..live("w2", "iptables") };
    let loud = Live { arp_ignore: Some(0), arp_announce: Some(0), ..live("w3", "ipvs") };
    let dark = Live { arp_ignore: None, ..live("w4", "ipvs") };
    insta::assert_snapshot!(words(&findings(told(ProxyMode::Ipvs), &[silent, other, loud, dark])));
}

#[test]
fn strict_arp_means_nothing_outside_of_ipvs() {
    let loud = Live { arp_ignore: Some(0), arp_announce: Some(0), ..live("w1", "nftables") };
    assert!(findings(told(ProxyMode::Nftables), &[loud]).iter().all(|f| f.severity == Severity::Pass));
}
