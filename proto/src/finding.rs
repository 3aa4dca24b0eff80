//! Findings: checked statements about a host, several hosts, or the cluster.

use serde::{Deserialize, Serialize};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As it should be.
    Pass,
    /// Works, but may bite.
    Warning,
    /// `apply` refuses until it is mended or waived.
    Error,
}

/// One checked statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its name, by which a rack can waive it: `pool-address-in-use`. Stable for ever.
    pub name: String,
    /// How much it matters.
    pub severity: Severity,
    /// The nodes that it speaks of; empty for the whole rack.
    pub nodes: Vec<String>,
    /// What it speaks of on them: a pool, an address, a key, a file. May be empty.
    pub subject: String,
    /// What was checked.
    pub checked: String,
    /// What was seen.
    pub observed: String,
    /// What was expected.
    pub expected: String,
    /// How to mend it; empty for a pass.
    pub fix: String,
    /// The rack's reason to live with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waived: Option<String>,
}

impl Finding {
    /// Whether `apply` must stop for it.
    pub fn blocks(&self) -> bool {
        self.severity == Severity::Error && self.waived.is_none()
    }
}
