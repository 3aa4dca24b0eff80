//! What an agent observed on its host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::file::FileSeen;
use crate::link::Network;
use crate::receipt::Ledger;
use crate::step::Seen;

/// The little that is known at hello, before anything is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basics {
    /// `uname -n`.
    pub hostname: String,
    /// `/etc/machine-id`, empty when unset.
    pub machine_id: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub arch: String,
    /// Whether systemd is PID 1.
    pub systemd: bool,
    /// Effective user id; 0 or nothing can be changed.
    pub euid: u32,
}

/// How much is asked. `Quick` is what a no-change run costs; `Full` adds what only findings need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Depth {
    /// No program is started, nothing is timed.
    Quick,
    /// Versions of tools, disk latency, listening ports, firewall, leftovers.
    Full,
}

/// Everything observed on one host at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Who the host is.
    pub basics: Basics,
    /// What it is made of.
    pub machine: Machine,
    /// What it knows about its network.
    pub network: Network,
    /// Swap now and at the next boot.
    pub swap: Swap,
    /// Every assignment that systemd-sysctl would make at boot, in its order.
    pub sysctl_files: Vec<SysctlFile>,
    /// Its clock.
    pub clock: Clock,
    /// What was seen for each step that was asked about, by [`crate::step::HostStep::key`].
    pub seen: BTreeMap<String, Seen>,
    /// What earlier runs did here.
    pub ledger: Ledger,
    /// The last result of the drift check, where one was made.
    #[serde(default)]
    pub drift: Option<DriftResult>,
    /// What was only asked at [`Depth::Full`].
    #[serde(default)]
    pub full: Option<FullFacts>,
    /// What could not be observed, each in one line.
    #[serde(default)]
    pub troubles: Vec<String>,
}

/// What a host is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// `ID` of os-release(5), for example `debian`.
    pub os_id: String,
    /// `VERSION_ID` of os-release(5).
    pub os_version: String,
    /// `PRETTY_NAME` of os-release(5).
    pub os_name: String,
    /// `/sys/class/dmi/id/product_uuid`, where there is one.
    #[serde(default)]
    pub product_uuid: Option<String>,
    /// CPUs online.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// 1 or 2: the hierarchy that carries controllers; 0 when none is mounted.
    pub cgroup: u8,
    /// `/etc/resolv.conf` as kubelet would read it (systemd-resolved's real file when the stub is in use).
    pub resolv_conf: ResolvConf,
}

/// A resolver configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvConf {
    /// The file that was read, links followed.
    pub path: String,
    /// Its nameservers, as written.
    pub nameservers: Vec<String>,
    /// Its search domains.
    pub search: Vec<String>,
}

/// Swap now and at the next boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// Areas of `/proc/swaps`.
    pub active: Vec<SwapArea>,
    /// `/etc/fstab`, absent or with its text.
    pub fstab: Option<FileSeen>,
    /// Swap units and zram generators that would start at boot: unit names.
    pub units: Vec<String>,
}

/// One line of `/proc/swaps`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapArea {
    /// Device or file.
    pub device: String,
    /// `partition` or `file`.
    pub kind: String,
    /// Bytes in all.
    pub size_bytes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// On a zram device.
    pub zram: bool,
}

/// One file that systemd-sysctl reads, in the order in which it does (sysctl.d(5)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SysctlFile {
    /// Its path.
    pub path: String,
    /// Its assignments.
    pub lines: Vec<SysctlLine>,
}

/// One assignment of a sysctl.d file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SysctlLine {
    /// From 1.
    pub line: u32,
    /// The key or glob, dotted, without a leading `-`.
    pub key: String,
    /// The value; `None` for an exclusion (`-key` without a value).
    pub value: Option<String>,
}

/// A host's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Unix time in milliseconds when it was read.
    pub unix_ms: u64,
    /// What adjtimex(2) says: `STA_UNSYNC` is clear. `None` where that may not be asked, as in a container.
    #[serde(default)]
    pub synchronised: Option<bool>,
}

/// The result of a drift check, as the timer left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftResult {
    /// Unix time in milliseconds.
    pub at_ms: u64,
    /// Keys of steps that are no longer as the receipts say, each with words for people.
    pub drifted: BTreeMap<String, String>,
}

/// What only findings need.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullFacts {
    /// Free and total bytes of the file system of `/var/lib`.
    pub disk: Disk,
    /// Listening TCP and UDP ports of the host's own namespace.
    pub listening: Vec<Listening>,
    /// What filters packets: `nftables` tables, `iptables` backends, `firewalld`, `ufw`, each with words.
    pub firewall: Vec<String>,
    /// Container runtime, kubelet, kubeadm and others by name, with the version that they print.
    pub tools: BTreeMap<String, String>,
    /// Left-overs of a former cluster: path, link or table, each in one line.
    pub leftovers: Vec<String>,
}

/// A file system's space and speed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes free for root.
    pub free_bytes: u64,
    /// Microseconds that a 2 KiB write with fdatasync took, the 9th slowest of 10; `None` when not measurable.
    pub fsync_us: Option<u64>,
}

/// A listening socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listening {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The local address.
    pub address: std::net::IpAddr,
    /// The port.
    pub port: u16,
    /// The program's name, where it can be told.
    #[serde(default)]
    pub program: Option<String>,
}
