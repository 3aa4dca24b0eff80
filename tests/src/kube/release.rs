//! Which versions belong together: a Kubernetes, and what its kubeadm asks for.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::image::Image;

/// A version of Kubernetes that the lab can make a cluster of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Release {
    /// 1.37.2
    #[value(name = "1.37")]
    #[serde(rename = "1.37")]
    V1_37,
}

/// A Go module below `tests/kubelab/` whose tools the lab builds.
#[derive(Debug)]
pub(crate) struct Component {
    /// The directory's name.
    pub(crate) name: &'static str,
    /// The version of Kubernetes that the linker writes into the programs.
    pub(crate) version: Option<&'static str>,
    /// The programs that belong on every host, and the directory there.
    pub(crate) on_hosts: (&'static [&'static str], &'static str),
}

const KUBERNETES_1_37: Component = Component {
    name: "kubernetes-1.37",
    version: Some("1.37.2"),
    on_hosts: (&["kubeadm", "kubectl", "kubelet"], "usr/bin"),
};
pub(crate) const CNI: Component = Component {
    name: "cni-1.9.1",
    version: None,
    on_hosts: (&["bridge", "host-local", "loopback", "portmap"], "opt/cni/bin"),
};
const ETCD_3_7_0: Component = elsewhere("etcd-3.7.0");
const COREDNS_1_14_6: Component = elsewhere("coredns-1.14.6");
const PAUSE: Component = elsewhere("pause");

/// A component that lives in images only.
const fn elsewhere(name: &'static str) -> Component {
    Component { name, version: None, on_hosts: (&[], "") }
}

impl Release {
    /// The full version, without a `v`.
    pub fn version(self) -> &'static str {
        match self {
            Self::V1_37 => "1.37.2",
        }
    }

    /// The programs of the nodes and the control plane.
    pub(crate) fn kubernetes(self) -> &'static Component {
        match self {
            Self::V1_37 => &KUBERNETES_1_37,
        }
    }

    /// The name server, for the cluster and for the lab's own resolver.
    pub(crate) fn coredns(self) -> &'static Component {
        match self {
            Self::V1_37 => &COREDNS_1_14_6,
        }
    }

    /// The images that `kubeadm config images list` names, and one for workloads.
    pub(crate) fn images(self) -> Vec<Image> {
        let kubernetes = |program| {
            let name = format!("registry.k8s.io/{program}:v{}", self.version());
            Image::of(name, self.kubernetes(), program, &format!("usr/local/bin/{program}"))
        };
        let (etcd, coredns) = match self {
            Self::V1_37 => ("etcd:3.7.0-0", "coredns/coredns:v1.14.6"),
        };
        let etcd_component = match self {
            Self::V1_37 => &ETCD_3_7_0,
        };
        vec![
            kubernetes("kube-apiserver"),
            kubernetes("kube-controller-manager"),
            kubernetes("kube-scheduler"),
            kubernetes("kube-proxy").with_tools(&["conntrack", "ipset", "iptables", "ip6tables", "nft"]),
            Image::of(format!("registry.k8s.io/{etcd}"), etcd_component, "server", "usr/local/bin/etcd"),
            Image::of(format!("registry.k8s.io/{coredns}"), self.coredns(), "coredns", "coredns"),
            Image::of("registry.k8s.io/pause:3.10.2".to_owned(), &PAUSE, "pause", "pause"),
            Image::busybox("docker.io/library/busybox:lab"),
        ]
    }
}
