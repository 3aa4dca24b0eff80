//! Which versions belong together: a Kubernetes, and what its kubeadm asks for.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::image::Image;

/// A version of Kubernetes that the lab can make a cluster of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Release {
    /// 1.30.14
    #[value(name = "1.30")]
    #[serde(rename = "1.30")]
    V1_30,
    /// 1.37.2
    #[value(name = "1.37")]
    #[serde(rename = "1.37")]
    V1_37,
}

/// A version of MetalLB that the lab has images of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
pub enum Metallb {
    /// 0.13.10
    #[default]
    #[value(name = "0.13")]
    #[serde(rename = "0.13")]
    V0_13,
    /// 0.16.1
    #[value(name = "0.16")]
    #[serde(rename = "0.16")]
    V0_16,
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
    /// Files and directories to keep besides: the module, and the path in it.
    pub(crate) files: &'static [(&'static str, &'static str)],
}

impl Component {
    /// One that lives in images only.
    pub(super) const fn named(name: &'static str) -> Self {
        Self { name, link: &[], on_hosts: (&[], ""), files: &[] }
    }
}

/// Without versions of their own, programs of Kubernetes call themselves `v0.0.0-master`, and refuse each other.
const KUBERNETES_1_30: Component = Component {
    link: &[
        ("k8s.io/component-base/version.gitVersion", "v1.30.14"),
        ("k8s.io/component-base/version.gitMajor", "1"),
        ("k8s.io/component-base/version.gitMinor", "30"),
    ],
    on_hosts: ON_HOSTS,
    ..Component::named("kubernetes-1.30")
};
const KUBERNETES_1_37: Component = Component {
    link: &[
        ("k8s.io/component-base/version.gitVersion", "v1.37.2"),
        ("k8s.io/component-base/version.gitMajor", "1"),
        ("k8s.io/component-base/version.gitMinor", "37"),
    ],
    on_hosts: ON_HOSTS,
    ..Component::named("kubernetes-1.37")
};
const ON_HOSTS: (&[&str], &str) = (&["kubeadm", "kubectl", "kubelet"], "usr/bin");
const CNI: Component = Component {
    on_hosts: (&["bridge", "host-local", "loopback", "portmap"], "opt/cni/bin"),
    ..Component::named("cni-1.9.1")
};
const CRICTL: Component = Component {
    link: &[("github.com/kubernetes-sigs/cri-tools/pkg/version.Version", "v1.30.0")],
    on_hosts: (&["crictl"], "usr/bin"),
    ..Component::named("crictl-1.30.0")
};
const ETCD_3_5_15: Component = Component::named("etcd-3.5.15");
const ETCD_3_7_0: Component = Component::named("etcd-3.7.0");
const COREDNS_1_11_3: Component = Component::named("coredns-1.11.3");
const COREDNS_1_14_6: Component = Component::named("coredns-1.14.6");
const PAUSE: Component = Component::named("pause");
const METALLB_0_13: Component = Component {
    link: &[("go.universe.tf/metallb/internal/version.version", "0.13.10")],
    files: MANIFEST,
    ..Component::named("metallb-0.13.10")
};
const METALLB_0_16: Component = Component { files: MANIFEST, ..Component::named("metallb-0.16.1") };
const MANIFEST: &[(&str, &str)] = &[("go.universe.tf/metallb", "config/manifests/metallb-native.yaml")];

impl Release {
    /// The full version, without a `v`.
    pub fn version(self) -> &'static str {
        match self {
            Self::V1_30 => "1.30.14",
            Self::V1_37 => "1.37.2",
        }
    }

    /// The mode of kube-proxy in clusters of the lab; nftables is of age since 1.31.
    pub fn proxy_mode(self) -> &'static str {
        match self {
            Self::V1_30 => "iptables",
            Self::V1_37 => "nftables",
        }
    }

    /// The programs of the nodes and the control plane.
    pub(crate) fn kubernetes(self) -> &'static Component {
        match self {
            Self::V1_30 => &KUBERNETES_1_30,
            Self::V1_37 => &KUBERNETES_1_37,
        }
    }

    /// What else hosts have: the plugins of the network, and crictl where kubeadm still insists on it.
    pub(crate) fn tools(self) -> &'static [&'static Component] {
        match self {
            Self::V1_30 => &[&CNI, &CRICTL],
            Self::V1_37 => &[&CNI],
        }
    }

    /// The name server, for the cluster and for the lab's own resolver.
    pub(crate) fn coredns(self) -> &'static Component {
        match self {
            Self::V1_30 => &COREDNS_1_11_3,
            Self::V1_37 => &COREDNS_1_14_6,
        }
    }

    /// The images that `kubeadm config images list` names, and one for workloads.
    pub(crate) fn images(self) -> Vec<Image> {
        let kubernetes = |program| {
            let name = format!("registry.k8s.io/{program}:v{}", self.version());
            Image::of(name, self.kubernetes(), program, &format!("usr/local/bin/{program}"))
        };
        let (etcd, etcd_component, coredns, pauses) = match self {
            // containerd's own sandboxes are of the newer one.
            Self::V1_30 => ("etcd:3.5.15-0", &ETCD_3_5_15, "coredns:v1.11.3", &["3.9", "3.10.2"][..]),
            Self::V1_37 => ("etcd:3.7.0-0", &ETCD_3_7_0, "coredns:v1.14.6", &["3.10.2"][..]),
        };
        let mut images = vec![
            kubernetes("kube-apiserver"),
            kubernetes("kube-controller-manager"),
            kubernetes("kube-scheduler"),
            kubernetes("kube-proxy").with_tools(&["conntrack", "ipset", "iptables", "ip6tables", "nft"]),
            Image::of(format!("registry.k8s.io/{etcd}"), etcd_component, "server", "usr/local/bin/etcd"),
            Image::of(format!("registry.k8s.io/coredns/{coredns}"), self.coredns(), "coredns", "coredns"),
            Image::busybox("docker.io/library/busybox:lab"),
        ];
        let pause = |version| Image::of(format!("registry.k8s.io/pause:{version}"), &PAUSE, "pause", "pause");
        images.extend(pauses.iter().map(pause));
        images
    }
}

impl Metallb {
    /// The full version, without a `v`.
    pub fn version(self) -> &'static str {
        match self {
            Self::V0_13 => "0.13.10",
            Self::V0_16 => "0.16.1",
        }
    }

    /// Its programs and its manifest.
    pub(crate) fn component(self) -> &'static Component {
        match self {
            Self::V0_13 => &METALLB_0_13,
            Self::V0_16 => &METALLB_0_16,
        }
    }

    /// The images that its manifest names, and those of the versions before, so that it can be upgraded.
    pub(crate) fn images(self) -> Vec<Image> {
        let versions = if self == Self::V0_13 { &[Self::V0_13][..] } else { &[Self::V0_13, Self::V0_16] };
        let programs = |version: &Self| {
            let version = *version;
            let name = move |program| format!("quay.io/metallb/{program}:v{}", version.version());
            ["controller", "speaker"]
                .map(|program| Image::of(name(program), version.component(), program, program))
        };
        versions.iter().flat_map(programs).collect()
    }
}
