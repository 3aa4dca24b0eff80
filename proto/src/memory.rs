//! Swap. Its persistence (fstab entries, swap units) is made of file and unit steps.

use serde::{Deserialize, Serialize};

use crate::step::Decision;

/// One swap area that shall be off now, or (as the inverse) on again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwapStep {
    /// The device or file, as `/proc/swaps` names it.
    pub device: String,
    /// In use, or not.
    pub active: bool,
}

/// What `/proc/swaps` says of one area.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapSeen {
    /// In use.
    pub active: bool,
    /// Bytes in use, 0 when not active.
    #[serde(default)]
    pub used_bytes: u64,
}

impl SwapStep {
    pub(crate) fn title(&self) -> String {
        let verb = if self.active { "use" } else { "stop using" };
        format!("{verb} swap on {}", self.device)
    }

    pub(crate) fn decide(&self, seen: &SwapSeen) -> Decision {
        let word = |active| if active { "on" } else { "off" };
        if seen.active == self.active {
            Decision::Keep
        } else {
            Decision::change(word(seen.active), word(self.active))
        }
    }

    pub(crate) fn inverse(&self, before: &SwapSeen) -> Option<SwapStep> {
        (before.active != self.active)
            .then(|| SwapStep { device: self.device.clone(), active: before.active })
    }
}
