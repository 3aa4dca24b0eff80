//! kube-proxy, as far as it is pure: values in; texts, findings and places out.
//!
//! - [`config`]: its configuration, read and set.
//! - [`gates`]: which mode works with which version and kernel.
//! - [`home`]: where its settings live, by distribution.
//! - [`migrate`]: a change of mode, node by node.
//! - [`others`]: nodes whose kube-proxy is somebody else's.
//! - [`prove`]: whether a node does live what it was told.

pub mod config;
pub mod gates;
pub mod home;
pub mod migrate;
pub mod others;
pub mod prove;
#[cfg(test)]
mod tests;
mod yaml;

use crate::rack::model::kubernetes::ProxyMode;

/// The names of findings of this room, stable for ever, with what they are about.
pub const NAMES: &[(&str, &str)] = &[
    ("proxy-kernel", "A node's kernel lacks what kube-proxy's mode needs."),
    ("proxy-left-over", "Rules or addresses of a former mode of kube-proxy are still on a node."),
    (
        "proxy-managed-elsewhere",
        "kube-proxy's settings live where rackwright does not set them, or it is absent.",
    ),
    ("proxy-mode-deprecated", "ipvs mode is on its way out of Kubernetes."),
    ("proxy-mode-differs", "kube-proxy runs in another mode than it was told."),
    (
        "proxy-mode-from-ipvs",
        "Nodes are to leave ipvs mode, which `rackwright migrate-proxy` does one by one, drained and rebooted if allowed.",
    ),
    ("proxy-mode-gone", "This kube-proxy has no ipvs mode any more."),
    ("proxy-mode-off", "This kube-proxy has ipvs mode, but turned off."),
    ("proxy-mode-too-new", "This kube-proxy has no nftables mode yet, or not a finished one."),
    ("proxy-mode-unset", "kube-proxy's mode is not written down, but left to its default."),
    ("proxy-not-answering", "kube-proxy does not say which mode it runs in."),
    (
        "proxy-of-others",
        "A node's kube-proxy is not of kubeadm's DaemonSet: what the rack says of it is neither set nor proven there.",
    ),
    (
        "proxy-restart-needed",
        "kube-proxy's settings changed in a file that k3s or RKE2 reads at its start only: restart it on each node.",
    ),
    ("proxy-test-address", "A node uses the address that kube-proxy tries IPVS with."),
    (
        "strict-arp-not-live",
        "strictARP is set, but a node's kernel still answers ARP for every service address.",
    ),
];

/// A mode as kube-proxy writes it.
pub fn word(mode: ProxyMode) -> &'static str {
    match mode {
        ProxyMode::Iptables => "iptables",
        ProxyMode::Ipvs => "ipvs",
        ProxyMode::Nftables => "nftables",
    }
}
