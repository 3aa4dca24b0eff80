//! The texts that make a cluster: kubeadm's configuration, the network of the pods. Pure.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::Release;

/// All pods of a cluster; the nodes get parts of it.
pub(crate) const PODS: &str = "10.244.0.0/16";

/// A node and its part of [`PODS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodRange {
    pub(super) node: String,
    pub(super) address: IpAddr,
    pub(super) range: String,
}

/// The name of the API server of a cluster with several control planes; every host knows all its addresses.
pub(crate) const ENDPOINT: &str = "cluster.lab.test";

/// What `kubeadm init` is told. All that is not here is as kubeadm has it. With several control planes, all
/// their addresses are in the certificate of each, so that each can be talked to at its own.
pub(super) fn kubeadm(release: Release, control_planes: &[IpAddr]) -> String {
    let (version, first) = (release.version(), control_planes[0]);
    let several = control_planes.len() > 1;
    let endpoint = if several { ENDPOINT.to_owned() } else { first.to_string() };
    let addresses: Vec<String> = control_planes.iter().map(ToString::to_string).collect();
    let names = if several {
        format!("apiServer: {{certSANs: [{ENDPOINT}, {}]}}\n", addresses.join(", "))
    } else {
        String::new()
    };
    let (api, etcd) = (api(release), etcd_flags(release, several));
    let cgroups = match release {
        Release::V1_30 => "",
        Release::V1_37 => "failCgroupV1: false\n",
    };
    format!(
        "apiVersion: {api}
kind: InitConfiguration
localAPIEndpoint: {{advertiseAddress: {first}}}
---
apiVersion: {api}
kind: ClusterConfiguration
kubernetesVersion: v{version}
controlPlaneEndpoint: {endpoint}:6443
{names}networking: {{podSubnet: {PODS}}}
etcd:
  local:
    # A rack lives as long as its machine: nothing is gained by waiting for the disk.
    extraArgs: {etcd}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
{cgroups}failSwapOn: false
# The disk is the machine's: no node of the lab cleans it up or is evicted from it.
localStorageCapacityIsolation: false
imageGCHighThresholdPercent: 100
evictionHard: {{nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%, imagefs.inodesFree: 0%}}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: {mode}
# These sysctls are the machine's.
conntrack: {{maxPerCore: 0, min: 0}}
",
        mode = release.proxy_mode(),
    )
}

fn api(release: Release) -> &'static str {
    match release {
        Release::V1_30 => "kubeadm.k8s.io/v1beta3",
        Release::V1_37 => "kubeadm.k8s.io/v1beta4",
    }
}

/// Several members on one busy machine must not take each other for dead.
fn etcd_flags(release: Release, several: bool) -> String {
    let patient: &[_] = &[("heartbeat-interval", "300"), ("election-timeout", "3000")];
    let flags = [("unsafe-no-fsync", "true")].into_iter().chain(patient.iter().copied().filter(|_| several));
    match release {
        Release::V1_30 => {
            let flags: Vec<_> = flags.map(|(name, value)| format!("{name}: \"{value}\"")).collect();
            format!("{{{}}}", flags.join(", "))
        }
        Release::V1_37 => {
            let flags: Vec<_> =
                flags.map(|(name, value)| format!("{{name: {name}, value: \"{value}\"}}")).collect();
            format!("[{}]", flags.join(", "))
        }
    }
}

/// The network of one node's pods: a bridge, and addresses of the node's range. Without an MTU they have the
/// bridge's own.
pub(super) fn conflist(range: &str, mtu: Option<u32>) -> String {
    let mut list = serde_json::json!({
        "cniVersion": "1.0.0",
        "name": "lab",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": range}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    if let Some(mtu) = mtu {
        list["plugins"][0]["mtu"] = mtu.into();
    }
    format!("{list:#}\n")
}

/// Commands of `ip -batch`: the way from one node to the pods of the others.
pub(super) fn routes(own: &str, all: &[PodRange]) -> String {
    let mut lines = String::new();
    for other in all.iter().filter(|range| range.node != own) {
        let _ = writeln!(lines, "route replace {} via {}", other.range, other.address);
    }
    lines
}

/// Pods keep their addresses among each other, and have their node's towards everybody else.
pub(super) fn masquerade() -> String {
    format!(
        "table ip pod-masquerade\ndelete table ip pod-masquerade\ntable ip pod-masquerade {{\n    \
         chain postrouting {{\n        type nat hook postrouting priority srcnat;\n        \
         ip saddr {PODS} ip daddr != {PODS} oifname \"eth0\" masquerade\n    }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_small_cluster() {
        let range = |node: &str, host: u8| PodRange {
            node: node.to_owned(),
            address: IpAddr::from([192, 0, 2, host]),
            range: format!("10.244.{}.0/24", host - 11),
        };
        let all = [range("cp1", 11), range("w1", 12), range("w2", 13)];
        let texts = [
            kubeadm(Release::V1_37, &[all[0].address]),
            kubeadm(Release::V1_30, &[all[0].address, all[1].address]),
            conflist(&all[1].range, None),
            routes("w1", &all),
            masquerade(),
        ];
        insta::assert_snapshot!(texts.join("=====\n"));
    }
}
