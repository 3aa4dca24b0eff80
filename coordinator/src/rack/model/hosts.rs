//! `hosts`: what a host shall be like.

use std::collections::BTreeMap;

use rackwright_proto::name::{ModuleName, NodeName, SysctlKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rack::format::{MapOf, Of};
use crate::rack::words::{
    AbsolutePath, FindingName, LocalPath, Mode, Period, Prose, SysctlValue, Text, UserName,
};

/// What every host shall be like.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Hosts {
    /// Kernel modules to load now and at every boot, beyond those that `kubernetes` needs.
    #[schemars(with = "Vec<Of<ModuleName>>")]
    pub modules: Vec<ModuleName>,
    /// Sysctls to set now and at every boot, beyond those that `kubernetes` needs.
    #[schemars(with = "MapOf<SysctlKey, SysctlValue>")]
    pub sysctls: BTreeMap<SysctlKey, SysctlValue>,
    /// Whether swap is turned off, now and at every boot, or left alone.
    pub swap: Swap,
    /// Files to write or remove.
    pub files: Vec<HostFile>,
    /// What stays on the host to keep it as prepared.
    pub watch: Watch,
    /// Findings to live with, each with a reason.
    pub waive: Vec<Waiver>,
}

/// What one node has beyond the rack's `hosts`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodeHosts {
    /// More kernel modules.
    #[schemars(with = "Vec<Of<ModuleName>>")]
    pub modules: Vec<ModuleName>,
    /// More sysctls; they win over the rack's.
    #[schemars(with = "MapOf<SysctlKey, SysctlValue>")]
    pub sysctls: BTreeMap<SysctlKey, SysctlValue>,
    /// Whether swap is turned off or left alone here; as in the rack's `hosts` when left out.
    pub swap: Option<Swap>,
    /// More files; they win over the rack's of the same path.
    pub files: Vec<HostFile>,
}

/// What becomes of swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Swap {
    /// Off now and at every boot.
    #[default]
    Off,
    /// Left alone.
    Keep,
}

/// A file to write or remove: one of `content`, `source` and `absent` says which.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostFile {
    /// Its absolute path on the host.
    #[schemars(with = "Of<AbsolutePath>")]
    pub path: AbsolutePath,
    /// Its whole content.
    #[serde(default)]
    #[schemars(with = "Option<Of<Text>>")]
    pub content: Option<Text>,
    /// A file beside the rack to copy.
    #[serde(default)]
    #[schemars(with = "Option<Of<LocalPath>>")]
    pub source: Option<LocalPath>,
    /// Whether it shall not exist.
    #[serde(default)]
    pub absent: bool,
    /// Its permission bits, in octal.
    #[serde(default = "readable")]
    #[schemars(with = "Of<Mode>")]
    pub mode: Mode,
    /// The user that owns it.
    #[serde(default = "root")]
    #[schemars(with = "Of<UserName>")]
    pub owner: UserName,
    /// The group that owns it.
    #[serde(default = "root")]
    #[schemars(with = "Of<UserName>")]
    pub group: UserName,
}

fn readable() -> Mode {
    Mode::READABLE
}

fn root() -> UserName {
    "root".parse().expect("a valid user name")
}

/// What stays on the host to keep it as prepared.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Watch {
    /// Whether a unit restores sysctls and modules at boot, after others had their say.
    pub restore: bool,
    /// The check for drift on a timer.
    pub drift: Drift,
}

/// The check for drift on a timer; it changes nothing.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Drift {
    /// Whether it runs.
    pub enabled: bool,
    /// How often.
    #[schemars(with = "Of<Period>")]
    pub every: Period,
    /// The folder of node_exporter's textfile collector to write the result into; nowhere when left out.
    #[schemars(with = "Option<Of<AbsolutePath>>")]
    pub textfile: Option<AbsolutePath>,
}

impl Default for Watch {
    fn default() -> Self {
        Self { restore: true, drift: Drift::default() }
    }
}

impl Default for Drift {
    fn default() -> Self {
        Self { enabled: true, every: Period::seconds(900), textfile: None }
    }
}

/// A finding to live with.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Waiver {
    /// Its name, as `rackwright check` prints it.
    #[schemars(with = "Of<FindingName>")]
    pub finding: FindingName,
    /// The nodes that it is waived on; all when left out.
    #[serde(default)]
    #[schemars(with = "Option<Vec<Of<NodeName>>>", length(min = 1))]
    pub nodes: Option<Vec<NodeName>>,
    /// Why; it is put on record.
    #[schemars(with = "Of<Prose>")]
    pub reason: Prose,
}
