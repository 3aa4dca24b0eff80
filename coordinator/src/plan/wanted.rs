//! What the rack wants of one host, as far as planning cares.

use std::collections::BTreeSet;
use std::fmt;

use rackwright_proto::file::FileStep;
use rackwright_proto::name::{ModuleName, SysctlKey, ToolName, ToolVersion, UnitName};
use rackwright_proto::tool::Archive;

/// Something, and the reason for it in the rack's words: `kube-proxy mode ipvs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Because<T> {
    /// What.
    pub what: T,
    /// Why; one line.
    pub why: String,
}

impl<T> Because<T> {
    /// `what`, because of `why`.
    pub fn new(what: T, why: impl Into<String>) -> Self {
        Self { what, why: why.into() }
    }
}

/// What the rack wants of one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Kernel modules that the rack names.
    pub modules: Vec<Because<ModuleName>>,
    /// Sysctls that the rack names, with their values.
    pub sysctls: Vec<Because<(SysctlKey, String)>>,
    /// No swap, now and after a reboot.
    pub swap_off: bool,
    /// Files that the rack names.
    pub files: Vec<Because<FileStep>>,
    /// kube-proxy, when the rack wants Kubernetes.
    pub proxy: Option<ProxyWanted>,
    /// Units that keep watch after we left.
    pub watch: WatchUnits,
    /// Tools of the cluster.
    pub tools: Vec<ToolWanted>,
    /// Versions of tools that the cluster's receipts still need, whatever the rack wants by now; `None` while nobody
    /// knows.
    pub tools_in_use: Option<BTreeSet<(ToolName, ToolVersion)>>,
    /// The delivered agent's path on this host, with its hash in it. Units find it through a link.
    pub agent_path: String,
}

/// kube-proxy, as far as hosts care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyWanted {
    /// How it forwards.
    pub mode: ProxyMode,
    /// Only the NIC that owns an address answers ARP for it. Means nothing outside of ipvs mode.
    pub strict_arp: bool,
}

/// How kube-proxy forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyMode {
    /// iptables.
    Iptables,
    /// nftables.
    Nftables,
    /// IP Virtual Server.
    Ipvs {
        /// Its scheduler, for example `rr`; the kernel's module is `ip_vs_rr`.
        scheduler: String,
    },
    /// Somebody else's choice: only what every cluster needs.
    Other,
}

/// A tool of the cluster, of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolWanted {
    /// The tool.
    pub name: ToolName,
    /// Its version.
    pub version: ToolVersion,
    /// Its release archive for this host, or why none is known.
    pub archive: Result<Archive, NoArchive>,
    /// Links on PATH, each with the program inside of the archive's folder that it leads to.
    pub programs: Vec<(ToolName, String)>,
    /// Why.
    pub why: String,
}

/// Why the archive of a tool is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoArchive {
    /// What went wrong.
    pub why: String,
    /// What to do.
    pub next: String,
}

/// Units that keep watch after we left: restore at boot, a drift check on a timer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchUnits {
    /// Unit files; empty when nothing shall be watched.
    pub units: Vec<UnitFile>,
}

/// A unit file for `/etc/systemd/system`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitFile {
    /// The unit's name, and the file's.
    pub name: UnitName,
    /// The file's text.
    pub text: String,
    /// Enabled at boot. A service that its timer starts is not.
    pub enable: bool,
    /// Running now; `None` leaves that to systemd.
    pub active: Option<bool>,
    /// Why.
    pub why: String,
}

/// Two parts of the rack that want different things of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What they disagree about: `sysctl net.ipv4.ip_forward`, `file /etc/fstab`.
    pub about: String,
    /// Each wish with its reason.
    pub wishes: Vec<Because<String>>,
}

/// Everything that the rack says twice and differently.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Conflicts(pub Vec<Conflict>);

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, conflict) in self.0.iter().enumerate() {
            let wishes: Vec<String> =
                conflict.wishes.iter().map(|w| format!("`{}` ({})", w.what, w.why)).collect();
            let comma = if i > 0 { "; " } else { "" };
            write!(f, "{comma}{} is wanted as {}", conflict.about, wishes.join(" and as "))?;
        }
        f.write_str(": change the rack so that it says one of them")
    }
}
