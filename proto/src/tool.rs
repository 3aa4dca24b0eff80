//! Tools of a cluster on a host: one run of a program that a step unpacked there, such as `istioctl`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One run of a tool, with the rights of the cluster's administrator on that host (`KUBECONFIG`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolRun {
    /// Which archive it came in: `istio`.
    pub tool: String,
    /// Of which version: `1.29.1`.
    pub version: String,
    /// The program inside: `bin/istioctl`.
    pub program: String,
    /// Its arguments. No secret: they are seen by every process of the host. `{files}` in one of them stands for the
    /// folder of `files`, `{tool}` for that of the unpacked archive.
    pub args: Vec<String>,
    /// Files to put beside, by name: in a folder of this run's own that root alone can read and that goes with it.
    pub files: BTreeMap<String, String>,
    /// How long it may take, in seconds; at most [`ToolRun::LONGEST`].
    pub seconds: u32,
}

impl ToolRun {
    /// The longest that a run may take, in seconds.
    pub const LONGEST: u32 = 1800;
}

/// How a run of a tool ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolOutcome {
    /// Its exit code; `None` where a signal or the deadline ended it.
    pub code: Option<i32>,
    /// Its standard output, as UTF-8, at most 8 MiB.
    pub stdout: String,
    /// The end of its standard error, at most 64 KiB.
    pub stderr: String,
    /// Whether something of either was left out.
    pub cut: bool,
}
