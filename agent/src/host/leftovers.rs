//! What a former cluster left on the node, and what of it would break a new one.

use rackwright_proto::link::Network;

use super::Host;
use super::firewall::Firewall;
use super::proxy;

/// Files and directories: kubeadm's preflight refuses some of them, old certificates and networks break the rest.
const PATHS: [&str; 15] = [
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/bootstrap-kubelet.conf",
    "/etc/kubernetes/controller-manager.conf",
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/scheduler.conf",
    "/etc/kubernetes/super-admin.conf",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/kubeadm-flags.env",
    "/var/lib/rancher/k3s",
    "/var/lib/rancher/rke2",
    "/var/lib/k0s",
    "/var/lib/calico",
    "/run/flannel/subnet.env",
    "/etc/calico",
    "/etc/cilium",
];

/// Directories that matter when something is in them.
const DIRECTORIES: [&str; 5] = [
    "/etc/kubernetes/manifests",
    "/etc/kubernetes/pki",
    "/etc/cni/net.d",
    "/var/lib/etcd",
    "/var/lib/kubelet/pods",
];

/// Links that only a cluster's network makes.
/// Not tunl0: the kernel itself makes it once the ipip module is there.
const LINKS: [&str; 7] =
    ["cni0", "flannel.1", "flannel-v6.1", "kube-bridge", "kube-ipvs0", "nodelocaldns", "vxlan.calico"];

/// The same, by how their names begin.
const LINK_PREFIXES: [&str; 2] = ["cali", "cilium_"];

/// Chains of packet filters, by how their names begin.
const CHAIN_PREFIXES: [&str; 4] = ["KUBE-", "CNI-", "cali-", "FLANNEL-"];

impl Host {
    /// What a former cluster left: a path, link, table or chain in each line.
    pub fn leftovers(&self, network: &Network, firewall: &Firewall) -> Vec<String> {
        let paths = PATHS.iter().filter(|path| self.exists(path)).map(|path| (*path).to_owned());
        let full = DIRECTORIES.iter().filter_map(|path| match self.names(path).len() {
            0 => None,
            count => Some(format!("{path} ({count} entries)")),
        });
        let mut found: Vec<_> = paths.chain(full).collect();
        found.extend(
            network.links.iter().filter(|l| is_cluster_link(&l.name)).map(|l| format!("link {}", l.name)),
        );
        found.extend(filter_leftovers(&firewall.nftables));
        found.extend(ipvs_leftovers(&self.word("/proc/net/ip_vs").unwrap_or_default()));
        found
    }
}

fn is_cluster_link(name: &str) -> bool {
    LINKS.contains(&name) || LINK_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// `kube-proxy`'s own nftables table, and per table the chains of cluster programs, counted.
fn filter_leftovers(nftables: &[String]) -> Vec<String> {
    let mut counts = std::collections::BTreeMap::new();
    let mut found = Vec::new();
    for entry in nftables {
        match entry.split(' ').collect::<Vec<_>>().as_slice() {
            [family, "kube-proxy"] => found.push(format!("nftables table {family} kube-proxy")),
            [family, table, chain] if CHAIN_PREFIXES.iter().any(|prefix| chain.starts_with(prefix)) => {
                *counts.entry(format!("{family} {table}")).or_insert(0u32) += 1;
            }
            _ => {}
        }
    }
    found.extend(
        counts.iter().map(|(table, count)| format!("{count} chains of a cluster in nftables table {table}")),
    );
    found
}

fn ipvs_leftovers(text: &str) -> Option<String> {
    let count = proxy::ipvs_services(text);
    (count > 0).then(|| format!("{count} IPVS virtual servers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_cluster_shows() {
        let tree = tempfile::tempdir().unwrap();
        for path in
            ["etc/kubernetes/admin.conf", "etc/cni/net.d/10-flannel.conflist", "var/lib/etcd/member/x"]
        {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::fs::create_dir_all(tree.path().join("etc/kubernetes/manifests")).unwrap();
        let ipvs = "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port\nTCP  0A600001:01BB rr\n  -> C0000201:192B      Masq    1\n";
        std::fs::create_dir_all(tree.path().join("proc/net")).unwrap();
        std::fs::write(tree.path().join("proc/net/ip_vs"), ipvs).unwrap();
        let nftables = ["ip kube-proxy", "ip nat KUBE-SERVICES", "ip nat KUBE-MARK-MASQ", "inet mine input"];
        let firewall = Firewall { nftables: nftables.map(str::to_owned).into(), ..Firewall::default() };
        let found = Host::at(tree.path()).leftovers(&Network::default(), &firewall);
        let wanted = [
            "/etc/kubernetes/admin.conf",
            "/etc/cni/net.d (1 entries)",
            "/var/lib/etcd (1 entries)",
            "nftables table ip kube-proxy",
            "2 chains of a cluster in nftables table ip nat",
            "1 IPVS virtual servers",
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn cluster_links_are_told_from_others() {
        assert!(["cni0", "cali0123", "kube-ipvs0", "cilium_host"].into_iter().all(is_cluster_link));
        assert!(!["eth0", "tunl0", "docker0", "veth1"].into_iter().any(is_cluster_link));
    }
}
