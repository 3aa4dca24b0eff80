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
    /// Variables that the linker sets.
    pub(crate) link: &'static [(&'static str, &'static str)],
    /// The programs that belong on every host, and the directory there.
    pub(crate) on_hosts: (&'static [&'static str], &'static str),
    /// Files to keep besides: the module, and the path in it.
    pub(crate) files: &'static [(&'static str, &'static str)],
}

impl Component {
    /// One that lives in images only.
    const fn named(name: &'static str) -> Self {
        Self { name, link: &[], on_hosts: (&[], ""), files: &[] }
    }
}

/// Without versions of their own, programs of Kubernetes call themselves `v0.0.0-master`, and refuse each other.
const KUBERNETES_1_37: Component = Component {
    link: &[
        ("k8s.io/component-base/version.gitVersion", "v1.37.2"),
        ("k8s.io/component-base/version.gitMajor", "1"),
        ("k8s.io/component-base/version.gitMinor", "37"),
    ],
    on_hosts: (&["kubeadm", "kubectl", "kubelet"], "usr/bin"),
    ..Component::named("kubernetes-1.37")
};
pub(crate) const CNI: Component = Component {
    on_hosts: (&["bridge", "host-local", "loopback", "portmap"], "opt/cni/bin"),
    ..Component::named("cni-1.9.1")
};
const ETCD_3_7_0: Component = Component::named("etcd-3.7.0");
const COREDNS_1_14_6: Component = Component::named("coredns-1.14.6");
const PAUSE: Component = Component::named("pause");
pub(crate) const METALLB_0_13: Component = Component {
    link: &[("go.universe.tf/metallb/internal/version.version", "0.13.10")],
    files: &[("go.universe.tf/metallb", "config/manifests/metallb-native.yaml")],
    ..Component::named("metallb-0.13.10")
};

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

    /// The images that `kubeadm config images list` names, MetalLB's, and one for workloads.
    pub(crate) fn images(self) -> Vec<Image> {
        let kubernetes = |program| {
            let name = format!("registry.k8s.io/{program}:v{}", self.version());
            Image::of(name, self.kubernetes(), program, &format!("usr/local/bin/{program}"))
        };
        let metallb = |program| {
            Image::of(format!("quay.io/metallb/{program}:v0.13.10"), &METALLB_0_13, program, program)
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
            metallb("controller"),
            metallb("speaker"),
            Image::busybox("docker.io/library/busybox:lab"),
        ]
    }
}
