//! Findings: pure judgements of facts. Layer 2 is judged elsewhere.
//!
//! - [`identity`]: what must differ between hosts and does not.
//! - [`clock`]: clocks that disagree.
//! - [`host`]: one host by itself: size, disk, ports, leftovers, resolver, firewall, swap.
//! - [`sysctl`]: what would win at the next boot.
//! - [`tool`]: archives of the cluster's tools.
//! - [`kernel`]: steps that a host cannot have, as the planner meets them.

pub mod clock;
pub mod host;
pub mod identity;
pub mod kernel;
mod ports;
pub mod sysctl;
#[cfg(test)]
mod tests;
pub mod tool;

use rackwright_proto::finding::{Finding, Severity};
use rackwright_proto::name::NodeName;

use crate::natural::Natural;

/// The names of findings of this room, stable for ever, with what they are about; [`names`] has all there are.
pub const NAMES: &[(&str, &str)] = &[
    ("address-twice", "Two nodes have the same address on a link of their own."),
    ("cgroup-v1", "The host uses cgroup v1, which kubelet refuses from Kubernetes 1.35 on."),
    ("changed-by-others", "Something that we set was changed since by somebody else; undo leaves it alone."),
    ("clock-skew", "A host's clock differs from the rack's median (over 2 s: warning, over 30 s: error)."),
    ("clock-unsynchronised", "The kernel says that nothing keeps the host's clock in time."),
    ("clocks-far-from-here", "The rack's clocks differ from the coordinator's by more than 30 s."),
    ("cpu-few", "A control-plane node has fewer than the 2 CPUs that kubeadm demands."),
    ("disk-full", "The file system of /var/lib has less than 10 % or 2 GiB free."),
    ("disk-slow", "A synced write takes over 10 ms on a control-plane node, too slow for etcd."),
    ("firewall-active", "firewalld or ufw filters packets that Kubernetes or MetalLB need."),
    ("firewall-mixed", "Rules are loaded through both the legacy and the nftables backend of iptables."),
    ("hostname-differs", "The hostname is not the node's name in the rack."),
    ("hostname-invalid", "The hostname cannot be a node's name (RFC 1123)."),
    ("hostname-twice", "Two nodes have the same hostname."),
    (
        "ipvs-without-strict-arp",
        "In ipvs mode without strictARP every node answers ARP for every address of the pools.",
    ),
    ("leftovers", "Files, links or tables of a former cluster are on the host."),
    ("mac-twice", "Two nodes have the same MAC address."),
    ("machine-id-empty", "/etc/machine-id is empty or missing."),
    ("machine-id-twice", "Two nodes have the same machine-id, as clones of one image do."),
    ("memory-little", "A control-plane node has less than the 1700 MB that kubeadm demands."),
    ("module", "Whether the running kernel can have a module that the rack leads to."),
    ("module-blacklisted", "modprobe.d holds back a module that the rack leads to."),
    ("module-missing", "The running kernel's tree lacks a module that the rack leads to."),
    ("module-unsupported", "The kernel loads no modules, and one that the rack leads to is not built in."),
    ("not-observed", "Something could not be observed."),
    ("not-root", "The agent does not run as root, so nothing can be changed."),
    ("port-in-use", "Another program listens on a port that the node's role needs."),
    ("product-uuid-twice", "Two nodes report the same product_uuid."),
    ("resolver-empty", "The resolver configuration that pods would inherit names no server."),
    ("resolver-loop", "The resolver that pods would inherit is a loopback address, so DNS would ask itself."),
    ("step-refused", "A step cannot be done until somebody decides."),
    ("step-unsupported", "A host cannot have what a step brings, through no fault of anybody."),
    ("swap-on", "Swap is in use while the rack leaves it alone; kubelet refuses to start by default."),
    ("swap-returns", "Swap comes back at the next boot while the rack leaves it alone."),
    ("swap-unclear", "Something may bring swap back at boot, and rackwright cannot turn it off."),
    ("sysctl-overridden", "Another sysctl.d file would win over ours at the next boot."),
    ("tool-archive", "The release archive of a tool is not to be had, or is not the one that the rack says."),
    ("waiver-unused", "The rack waives a finding that was not found."),
];

/// Every name that a rack can waive; `docs/findings.md` is checked against it.
pub fn names() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let rooms = [
        NAMES,
        crate::network::NAMES,
        crate::cluster::NAMES,
        crate::proxy::NAMES,
        crate::dns::NAMES,
        crate::balancer::NAMES,
        crate::injection::NAMES,
        crate::proof::NAMES,
        crate::mesh::NAMES,
    ];
    rooms.into_iter().flatten()
}

/// A name's place in the table, as one row of Markdown.
pub fn row((name, about): &(&str, &str)) -> String {
    format!("| `{name}` | {about} |")
}

/// A check before its outcome is known.
pub(crate) struct Check {
    finding: Finding,
}

impl Check {
    /// What is checked on these nodes, and what is expected.
    pub(crate) fn new(
        name: &str,
        nodes: &[&NodeName],
        subject: impl Into<String>,
        checked: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        debug_assert!(names().any(|(known, _)| *known == name), "{name} is in no table of names");
        let finding = Finding {
            name: name.to_owned(),
            severity: Severity::Pass,
            nodes: nodes.iter().map(|n| n.to_string()).collect(),
            subject: subject.into(),
            checked: checked.into(),
            observed: String::new(),
            expected: expected.into(),
            fix: String::new(),
            waived: None,
        };
        Self { finding }
    }

    /// It is as expected.
    pub(crate) fn pass(self, observed: impl Into<String>) -> Finding {
        Finding { observed: observed.into(), ..self.finding }
    }

    /// It works, but may bite.
    pub(crate) fn warning(self, observed: impl Into<String>, fix: impl Into<String>) -> Finding {
        let (observed, fix) = (observed.into(), fix.into());
        Finding { severity: Severity::Warning, observed, fix, ..self.finding }
    }

    /// `apply` must not go on.
    pub(crate) fn error(self, observed: impl Into<String>, fix: impl Into<String>) -> Finding {
        let (observed, fix) = (observed.into(), fix.into());
        Finding { severity: Severity::Error, observed, fix, ..self.finding }
    }
}

/// A finding that the rack accepts, by name, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    /// The finding's name.
    pub finding: String,
    /// The nodes that it is accepted on; empty for all.
    pub nodes: Vec<NodeName>,
    /// Why.
    pub reason: String,
}

impl Waiver {
    /// A finding that speaks of several nodes is waived only when the waiver covers all of them; one that
    /// speaks of the whole rack, only when the waiver does, too.
    fn covers(&self, finding: &Finding) -> bool {
        let covered = |node: &String| self.nodes.iter().any(|n| n.as_str() == node);
        let all = !finding.nodes.is_empty() && finding.nodes.iter().all(covered);
        finding.name == self.finding && (self.nodes.is_empty() || all)
    }
}

/// Records the rack's reasons, and adds a finding for each waiver that meets nothing. Only where everything was
/// asked of all nodes; others use [`record_waivers`].
#[must_use]
pub fn apply_waivers(mut findings: Vec<Finding>, waivers: &[Waiver]) -> Vec<Finding> {
    let unused: Vec<Finding> =
        record_waivers(&mut findings, waivers).into_iter().map(unused_waiver).collect();
    findings.extend(unused);
    findings
}

/// Records the rack's reasons beside the findings that it accepts; returns the waivers that met nothing.
pub fn record_waivers<'a>(findings: &mut [Finding], waivers: &'a [Waiver]) -> Vec<&'a Waiver> {
    let mut meets = |waiver: &&Waiver| {
        let open = findings.iter_mut().filter(|f| f.severity != Severity::Pass && waiver.covers(f));
        open.map(|f| f.waived.get_or_insert_with(|| waiver.reason.clone())).count() > 0
    };
    waivers.iter().filter(|waiver| !meets(waiver)).collect()
}

fn unused_waiver(waiver: &Waiver) -> Finding {
    let nodes: Vec<&NodeName> = waiver.nodes.iter().collect();
    let checked = "waivers of the rack meet a finding";
    Check::new("waiver-unused", &nodes, &waiver.finding, checked, "a finding of that name")
        .warning("none was found", format!("remove the waiver of `{}` from the rack", waiver.finding))
}

/// Errors first, then warnings, then passes; equal in that, by name, subject and nodes, as people count those.
pub fn sort(findings: &mut [Finding]) {
    fn nodes(finding: &Finding) -> impl Iterator<Item = Natural<'_>> {
        finding.nodes.iter().map(|node| Natural(node))
    }
    findings.sort_by(|a, b| {
        let by_what = (b.severity, &a.name, &a.subject).cmp(&(a.severity, &b.name, &b.subject));
        by_what.then_with(|| nodes(a).cmp(nodes(b)))
    });
}

/// Findings that differ in nothing but their nodes, as one. Order of first appearance.
#[must_use]
pub fn merged(findings: &[Finding]) -> Vec<Finding> {
    let mut index: std::collections::HashMap<_, usize> = std::collections::HashMap::new();
    let mut merged: Vec<Finding> = Vec::new();
    for finding in findings {
        let rest = (&finding.name, &finding.subject, &finding.checked, &finding.observed);
        let key = (rest, &finding.expected, &finding.fix, &finding.waived, finding.severity as u8);
        match index.get(&key) {
            // What speaks of the whole rack has no nodes to add.
            Some(&at) => {
                let nodes: &mut Vec<String> = &mut merged[at].nodes;
                let new: Vec<String> = finding.nodes.iter().filter(|n| !nodes.contains(n)).cloned().collect();
                nodes.extend(new);
            }
            None => {
                index.insert(key, merged.len());
                merged.push(finding.clone());
            }
        }
    }
    merged
}
