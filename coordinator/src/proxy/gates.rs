//! Which mode works with which version of kube-proxy and which kernel.
//!
//! Sources: KEP 5495 (ipvs: deprecated 1.35, gate 1.37, off 1.40, removed 1.43), KEP 3866 (nftables: alpha 1.29, beta
//! 1.31, GA 1.33, kernel 5.13), KEP 5343 (an unwritten mode is warned of from 1.37), kube-proxy's own test for IPVS
//! (`pkg/proxy/ipvs/supported.go`).

use std::net::Ipv4Addr;

use ipnet::IpNet;
use rackwright_proto::finding::Finding;
use rackwright_proto::name::NodeName;

use super::config::Current;
use super::word;
use crate::findings::Check;
use crate::rack::model::kubernetes::ProxyMode;
use crate::rack::words::Version;

/// The address with which kube-proxy tries whether IPVS works: it adds a virtual server there and removes it.
const TRIAL: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 0);
/// The first kernel whose nftables has what kube-proxy needs.
const NFTABLES_KERNEL: (u32, u32) = (5, 13);

/// What is known of versions.
#[derive(Debug, Clone)]
pub struct Scene<'a> {
    /// The mode that the rack wants; `None` where it leaves kube-proxy alone.
    pub wanted: Option<ProxyMode>,
    /// What is configured now.
    pub current: &'a Current,
    /// The API server's version: kube-proxy is to follow it.
    pub control_plane: &'a Version,
    /// The nodes.
    pub nodes: &'a [Node],
}

/// A node, as far as modes need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// The version of its kube-proxy, by the image's tag; kubelet's where the tag does not tell.
    pub proxy: Version,
    /// `uname -r`.
    pub kernel: String,
    /// Whether its kernel has IP_VS or can load it; `None` if that was not seen.
    pub ipvs: Option<bool>,
    /// The networks of its addresses, and of the address pools that it carries.
    pub networks: Vec<IpNet>,
}

/// The mode that the nodes are to run in: the rack's, else the configured one, else Linux's default.
pub fn mode(scene: &Scene<'_>) -> ProxyMode {
    scene.wanted.unwrap_or(scene.current.mode())
}

/// Every finding about the mode that the nodes are to run in, passes included.
pub fn findings(scene: &Scene<'_>) -> Vec<Finding> {
    let mut found = vec![unset(scene)];
    for node in scene.nodes {
        match mode(scene) {
            ProxyMode::Iptables => {}
            ProxyMode::Ipvs => {
                found.push(ipvs(scene, node));
                found.extend(ipvs_kernel(node));
                found.push(trial(node));
            }
            ProxyMode::Nftables => {
                found.push(nftables(scene, node));
                found.push(nftables_kernel(node));
            }
        }
    }
    crate::findings::merged(&found)
}

fn gate(scene: &Scene<'_>, name: &str) -> Option<bool> {
    scene.current.feature_gates.iter().find(|(gate, _)| gate == name).map(|(_, on)| *on)
}

fn unset(scene: &Scene<'_>) -> Finding {
    let check =
        Check::new("proxy-mode-unset", &[], "mode", "kube-proxy's mode", "written in its configuration");
    let warns = scene.nodes.iter().any(|node| node.proxy.minor >= 37);
    match (scene.wanted, scene.current.mode.as_str()) {
        (Some(mode), _) => check.pass(format!("{}, by the rack", word(mode))),
        (None, "") if warns => check.warning(
            "empty: kube-proxy takes iptables and warns of it; a later version may take another mode",
            "say `kubernetes: {proxy: {mode: iptables}}` in the rack",
        ),
        (None, "") => check.pass("empty: iptables"),
        (None, mode) => check.pass(mode),
    }
}

fn on(name: &str, node: &Node, checked: &str, expected: &str) -> Check {
    Check::new(name, &[&node.name], checked, format!("{checked} with kube-proxy {}", node.proxy), expected)
}

fn ipvs(scene: &Scene<'_>, node: &Node) -> Finding {
    let way_out =
        "`rackwright migrate-proxy` takes the cluster to nftables node by node; or write `mode: nftables`";
    let check = |name| on(name, node, "mode ipvs", "a mode with a future");
    let next = scene.control_plane.minor;
    match (node.proxy.minor, gate(scene, "KubeProxyIPVS")) {
        (43.., _) => {
            check("proxy-mode-gone").error("ipvs was removed in 1.43; kube-proxy would not start", way_out)
        }
        (40.., Some(true)) | (37..40, None | Some(true)) if next >= 43 => check("proxy-mode-deprecated")
            .warning(
                format!("it works until kube-proxy follows the control plane to 1.{next}, which has no ipvs"),
                way_out,
            ),
        (40.., Some(true)) => {
            check("proxy-mode-deprecated").warning("on by the gate KubeProxyIPVS; removed in 1.43", way_out)
        }
        (40.., _) | (37..40, Some(false)) => check("proxy-mode-off").error(
            "the feature gate KubeProxyIPVS is off, from 1.40 on by default; kube-proxy would not start",
            format!(
                "{way_out}; or set `featureGates: {{KubeProxyIPVS: true}}` in its configuration, until 1.43"
            ),
        ),
        (35.., _) => check("proxy-mode-deprecated")
            .warning("deprecated since 1.35, off from 1.40, removed in 1.43", way_out),
        (minor, _) => check("proxy-mode-deprecated").pass(format!("not deprecated in 1.{minor}")),
    }
}

fn ipvs_kernel(node: &Node) -> Option<Finding> {
    let check = Check::new(
        "proxy-kernel",
        &[&node.name],
        "IP_VS",
        "the kernel for mode ipvs",
        "IP_VS, loaded or loadable",
    );
    Some(match node.ipvs? {
        true => check.pass("there"),
        false => {
            let then = match node.proxy.minor {
                26.. => "kube-proxy would crash-loop, and the node's services would stop changing",
                _ => "kube-proxy would fall back to iptables",
            };
            check.error(
                format!("kernel {} has no IP_VS: {then}", node.kernel),
                "boot a kernel with IP_VS, or write `mode: nftables`",
            )
        }
    })
}

fn trial(node: &Node) -> Finding {
    let check = Check::new(
        "proxy-test-address",
        &[&node.name],
        TRIAL.to_string(),
        format!("who uses {TRIAL}, with which kube-proxy tries IPVS"),
        "nobody: it is kept for documentation (RFC 5737)",
    );
    let used = node.networks.iter().find(|net| net.contains(&std::net::IpAddr::V4(TRIAL)));
    match used {
        Some(net) if node.proxy.minor >= 27 => check.warning(
            format!(
                "{net} is in use on this node; kube-proxy adds a virtual server in it whenever it starts"
            ),
            "number that network otherwise, or use another mode",
        ),
        _ => check.pass("nobody"),
    }
}

fn nftables(scene: &Scene<'_>, node: &Node) -> Finding {
    let check = on("proxy-mode-too-new", node, "mode nftables", "1.33 or later");
    let way_out = "write `mode: iptables`, or update Kubernetes first";
    match (node.proxy.minor, gate(scene, "NFTablesProxyMode")) {
        (33.., _) => check.pass("finished since 1.33"),
        (31.., Some(false)) => check.error("the feature gate NFTablesProxyMode is off", way_out),
        (31.., _) => check.warning("beta: on by default, but not finished before 1.33", way_out),
        (29.., Some(true)) => check.warning("alpha, on by the gate NFTablesProxyMode", way_out),
        (29.., _) => check.error("alpha, and its feature gate NFTablesProxyMode is off", way_out),
        _ => check.error("unknown before 1.29; kube-proxy would not start", way_out),
    }
}

fn nftables_kernel(node: &Node) -> Finding {
    let (major, minor) = NFTABLES_KERNEL;
    let expected = format!("{major}.{minor} or later");
    let check =
        Check::new("proxy-kernel", &[&node.name], "nftables", "the kernel for mode nftables", expected);
    match kernel_version(&node.kernel) {
        Some(version) if version >= NFTABLES_KERNEL => check.pass(&node.kernel),
        Some(_) => check.error(
            format!("kernel {}: kube-proxy would not start", node.kernel),
            "boot a newer kernel, or write `mode: iptables`",
        ),
        None => check.warning(
            format!("`{}` tells no version", node.kernel),
            "see to it that the kernel is new enough before the mode is changed",
        ),
    }
}

/// The first two numbers of `uname -r`.
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
