//! What a cluster leaves in a real kernel, in a network namespace of this machine.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test has no door"
)]
#![allow(missing_docs)]

mod segment;

use rackwright_agent::host::Host;
use rackwright_proto::traces::{Chain, ClusterTraces, Family};
use segment::{Space, possible};

fn traces(space: &Space) -> ClusterTraces {
    space.inside(|| Host::this().traces())
}

#[test]
fn chains_and_tables_are_read_from_the_kernel() {
    if !possible() {
        return;
    }
    let space = Space::new("node");
    let before = traces(&space);
    assert_eq!((before.nftables, before.chains, before.troubles), (vec![], vec![], vec![]));
    for rules in [
        "add table ip nat",
        "add chain ip nat KUBE-SERVICES",
        "add chain ip nat POSTROUTING",
        "add table ip6 mangle",
        "add chain ip6 mangle KUBE-KUBELET-CANARY",
        "add table ip6 kube-proxy",
        "add chain ip6 kube-proxy services",
        "add table inet kube-proxy",
        "add chain inet kube-proxy KUBE-NOT-IPTABLES",
    ] {
        space.nft(rules);
    }
    let found = traces(&space);
    assert_eq!(found.nftables, [Family::Ip6]);
    let chain = |family, table: &str, name: &str| Chain { family, table: table.into(), name: name.into() };
    let services = chain(Family::Ip, "nat", "KUBE-SERVICES");
    let kubelets = chain(Family::Ip6, "mangle", "KUBE-KUBELET-CANARY");
    assert_eq!(found.chains, [services.clone(), kubelets]);
    assert_eq!(found.proxy_chains().collect::<Vec<_>>(), [&services]);
    assert_eq!(found.troubles, Vec::<String>::new());
}

#[test]
fn many_chains_come_in_many_parts() {
    if !possible() {
        return;
    }
    let space = Space::new("node");
    space.nft("add table ip nat");
    let many: Vec<_> = (0..5000).map(|n| format!("add chain ip nat KUBE-SEP-{n:016}")).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), many.join("\n")).unwrap();
    space.exec(&["nft", "-f", file.path().to_str().unwrap()]);
    assert_eq!(traces(&space).chains.len(), 5000);
}

#[test]
fn the_link_of_ipvs_is_told_with_its_addresses() {
    if !possible() {
        return;
    }
    let space = Space::new("node");
    assert_eq!(traces(&space).ipvs_link, None);
    // A bridge: not every kernel that this runs on has the dummy links that kube-proxy makes.
    space.ip("link add kube-ipvs0 type bridge");
    assert_eq!(traces(&space).ipvs_link, Some(vec![]));
    space.ip("addr add 10.96.0.1/32 dev kube-ipvs0");
    space.ip("addr add fd00::1/128 dev kube-ipvs0");
    let addresses = ["10.96.0.1/32", "fd00::1/128"].map(|net| net.parse().unwrap());
    assert_eq!(traces(&space).ipvs_link, Some(addresses.to_vec()));
}
