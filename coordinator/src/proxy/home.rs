//! Where kube-proxy's settings live: in kubeadm's ConfigMap, in a distribution's files, or nowhere since something else
//! took kube-proxy's place.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rackwright_proto::file::{Content, FileStep, FileWant};
use rackwright_proto::finding::Finding;
use rackwright_proto::name::NodeName;
use rackwright_proto::receipt::Ledger;
use rackwright_proto::step::HostStep;

use super::config::Wanted;
use super::word;
use crate::findings::Check;
use crate::rack::model::kubernetes::ProxyMode;

/// What tells where the settings live.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// `status.nodeInfo.kubeletVersion` of the nodes: `v1.33.1+k3s1`.
    pub kubelet_versions: Vec<String>,
    /// DaemonSets of the namespaces that networks are deployed to; kube-proxy's own among them.
    pub daemon_sets: Vec<DaemonSet>,
    /// Whether the ConfigMap `kube-system/kube-proxy` has the key `config.conf`.
    pub config_conf: bool,
    /// The data of the ConfigMap `cilium-config`, where there is one.
    pub cilium_config: Option<BTreeMap<String, String>>,
    /// Calico's eBPF data plane is on (`bpfEnabled` of FelixConfiguration `default`, or `linuxDataplane: BPF` of
    /// Installation `default`).
    pub calico_bpf: bool,
}

/// A DaemonSet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DaemonSet {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Commands and arguments of its containers.
    pub args: Vec<String>,
}

/// Where kube-proxy's settings live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// ConfigMap `kube-system/kube-proxy`, key `config.conf`.
    Kubeadm,
    /// Inside of k3s: a file on each host.
    K3s,
    /// A static pod that RKE2 writes: a file on each host.
    Rke2,
    /// k0s's ClusterConfig; what it makes of it, it puts back.
    K0s,
    /// Something else does kube-proxy's work.
    ReplacedBy {
        /// What.
        who: &'static str,
        /// What says so.
        place: String,
    },
    /// A DaemonSet without `config.conf`, or nodes of several distributions.
    Unknown {
        /// What was seen.
        what: String,
    },
    /// No kube-proxy, and nothing that would do its work.
    Missing,
}

/// Where k3s reads settings of ours.
const K3S: &str = "/etc/rancher/k3s/config.yaml.d/50-rackwright.yaml";
/// Where RKE2 does.
const RKE2: &str = "/etc/rancher/rke2/config.yaml.d/50-rackwright.yaml";

/// A file on a host that holds kube-proxy's settings and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropIn {
    /// Its path; the file is wholly ours.
    pub path: &'static str,
    /// Its text.
    pub text: String,
    /// The units that read it at their start: on servers, and on agents.
    pub units: [&'static str; 2],
}

/// Where the settings live, by what was seen.
pub fn recognise(seen: &Seen) -> Home {
    let by_suffix = |version: &String| match version.split_once('+') {
        Some((_, suffix)) if suffix.contains("k3s") => "k3s",
        Some((_, suffix)) if suffix.contains("rke2") => "RKE2",
        Some((_, suffix)) if suffix.contains("k0s") => "k0s",
        _ => "kubeadm",
    };
    let mut kinds: Vec<&str> = seen.kubelet_versions.iter().map(by_suffix).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let daemon_set =
        seen.daemon_sets.iter().any(|set| set.namespace == "kube-system" && set.name == "kube-proxy");
    match (&kinds[..], daemon_set) {
        ([_, _, ..], _) => Home::Unknown { what: format!("nodes of {}", kinds.join(" and ")) },
        (["k3s"], _) => replaced(seen).unwrap_or(Home::K3s),
        (["RKE2"], _) => replaced(seen).unwrap_or(Home::Rke2),
        (["k0s"], true) => Home::K0s,
        (["k0s"], false) => replaced(seen).unwrap_or(Home::K0s),
        (_, true) if seen.config_conf => Home::Kubeadm,
        (_, true) => {
            Home::Unknown { what: "a DaemonSet kube-proxy whose ConfigMap has no config.conf".to_owned() }
        }
        (_, false) => replaced(seen).unwrap_or(Home::Missing),
    }
}

/// Who does kube-proxy's work in its place.
fn replaced(seen: &Seen) -> Option<Home> {
    let by = |who, place: &str| Some(Home::ReplacedBy { who, place: place.to_owned() });
    let cilium = seen.cilium_config.as_ref().and_then(|data| data.get("kube-proxy-replacement"));
    // Before Cilium 1.14 the word was `strict`.
    if let Some(value @ ("true" | "strict")) = cilium.map(String::as_str) {
        return by("Cilium", &format!("kube-proxy-replacement: {value} in ConfigMap cilium-config"));
    }
    let router = |set: &&DaemonSet| {
        let on = |arg: &String| matches!(arg.as_str(), "--run-service-proxy" | "--run-service-proxy=true");
        set.name == "kube-router" && set.args.iter().any(on)
    };
    if let Some(set) = seen.daemon_sets.iter().find(router) {
        return by(
            "kube-router",
            &format!("--run-service-proxy of DaemonSet {}/{}", set.namespace, set.name),
        );
    }
    if seen.calico_bpf {
        return by("Calico's eBPF data plane", "bpfEnabled of its FelixConfiguration");
    }
    None
}

impl Home {
    /// Where the setting lives, in words.
    pub fn words(&self) -> String {
        match self {
            Self::Kubeadm => "ConfigMap kube-system/kube-proxy, key config.conf".into(),
            Self::K3s => "kube-proxy-arg in /etc/rancher/k3s/config.yaml.d/ of each host".into(),
            Self::Rke2 => "kube-proxy-arg in /etc/rancher/rke2/config.yaml.d/ of each host".into(),
            Self::K0s => {
                "spec.network.kubeProxy of k0s's ClusterConfig, /etc/k0s/k0s.yaml on the controllers".into()
            }
            Self::ReplacedBy { who, place } => format!("nowhere: {who} does kube-proxy's work ({place})"),
            Self::Unknown { what } => format!("unknown: {what}"),
            Self::Missing => "nowhere: there is no kube-proxy, nor anything known that does its work".into(),
        }
    }

    /// The file that sets it, where a file on the host does.
    pub fn drop_in(&self, wanted: &Wanted) -> Option<DropIn> {
        let (path, units) = match self {
            Self::K3s => (K3S, ["k3s", "k3s-agent"]),
            Self::Rke2 => (RKE2, ["rke2-server", "rke2-agent"]),
            _ => return None,
        };
        let mut text = String::from(
            "# Written by rackwright; `+` adds to the lists of other files.\nkube-proxy-arg+:\n",
        );
        for (name, value) in arguments(wanted) {
            // JSON's quotes are YAML's, too.
            let _ = writeln!(text, "  - {}", serde_json::Value::from(format!("{name}={value}")));
        }
        Some(DropIn { path, text, units })
    }

    /// Whether what the rack wants of kube-proxy can be set there.
    pub fn finding(&self, wanted: Option<&Wanted>) -> Finding {
        let expected = "where rackwright can set them";
        let check =
            Check::new("proxy-managed-elsewhere", &[], "", "where kube-proxy's settings live", expected);
        let leave = "leave `kubernetes.proxy` out of the rack";
        let fix = match (self, wanted) {
            (_, None) | (Self::Kubeadm | Self::K3s | Self::Rke2, _) => return check.pass(self.words()),
            (Self::K0s, Some(wanted)) => {
                format!("set `mode: {}` there with `k0s config edit`, and {leave}", word(wanted.mode))
            }
            (Self::ReplacedBy { .. }, _) => format!("{leave}: modes and strictARP mean nothing here"),
            (Self::Unknown { .. }, _) => format!("set the mode by hand, and {leave}"),
            (Self::Missing, _) => {
                format!(
                    "install it (`kubeadm init phase addon kube-proxy`); if something else does its work, {leave}"
                )
            }
        };
        check.error(self.words(), fix)
    }
}

impl DropIn {
    /// The step that puts it on a host.
    pub fn step(&self) -> FileStep {
        let (owner, group) = ("root".to_owned(), "root".to_owned());
        let want = FileWant::Content { content: Content::Text(self.text.clone()), mode: 0o644, owner, group };
        FileStep { path: self.path.to_owned(), want }
    }

    /// The warning for a node whose kube-proxy is not in the wanted mode, by its own word: the file is read at the
    /// unit's start only.
    pub fn restart(
        &self,
        node: &NodeName,
        server: bool,
        wanted: ProxyMode,
        said: &Result<String, String>,
    ) -> Finding {
        let wanted = word(wanted);
        let check = |expected| {
            let checked = "the mode that kube-proxy runs in, whose settings are read at the start only";
            Check::new("proxy-restart-needed", &[node], self.path, checked, expected)
        };
        let unit = self.units[usize::from(!server)];
        let fix = format!("once the file is there, `systemctl restart {unit}`, one node at a time");
        match said {
            Ok(mode) if mode == wanted => check(wanted).pass(mode),
            Ok(mode) => check(wanted).warning(mode, fix),
            Err(why) => check(wanted).warning(format!("it does not say: {why}"), fix),
        }
    }
}

/// The file of ours that a host has by an earlier run, as it was last written: what stays while the cluster, which
/// tells whose it is, cannot be asked.
pub fn written(ledger: &Ledger) -> Option<FileStep> {
    let entries = [K3S, RKE2].into_iter().filter_map(|path| ledger.entries.get(&format!("file/{path}")));
    { entries }.find_map(|entry| match &entry.step {
        HostStep::File(step) => Some(step.clone()),
        _ => None,
    })
}

/// kube-proxy's flags.
fn arguments(wanted: &Wanted) -> Vec<(&'static str, String)> {
    let mut all = vec![("proxy-mode", word(wanted.mode).to_owned())];
    all.extend(wanted.scheduler.map(|s| ("ipvs-scheduler", s.as_str().to_owned())));
    all.extend(wanted.strict_arp.map(|on| ("ipvs-strict-arp", on.to_string())));
    all.extend(wanted.exclude_cidrs.as_ref().map(|cidrs| ("ipvs-exclude-cidrs", cidrs.join(","))));
    all
}
