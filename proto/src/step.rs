//! A step: one typed unit of desired state, and what a host can have instead.

use serde::{Deserialize, Serialize};

use crate::file::{FileSeen, FileStep};
use crate::kernel::{KernelSeen, KernelStep};
use crate::memory::{SwapSeen, SwapStep};
use crate::tool::{ToolSeen, ToolStep};
use crate::unit::{UnitSeen, UnitStep};

/// A step on one host, by family. A family has the same file name in every room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum HostStep {
    /// Kernel modules and sysctls.
    Kernel(KernelStep),
    /// Swap.
    Memory(SwapStep),
    /// Files and links.
    File(FileStep),
    /// systemd units.
    Unit(UnitStep),
    /// Tools of a cluster: unpacked archives, and links to their programs.
    Tool(ToolStep),
}

/// What a host has where a step of the same family would put something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// Kernel modules and sysctls.
    Kernel(KernelSeen),
    /// Swap.
    Memory(SwapSeen),
    /// Files and links.
    File(FileSeen),
    /// systemd units.
    Unit(UnitSeen),
    /// Tools of a cluster: unpacked archives, and links to their programs.
    Tool(ToolSeen),
}

/// What is to be done about a step, given what was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Decision {
    /// All is as wanted.
    Keep,
    /// Act. Both texts are for people: one line each.
    Change {
        /// What is there.
        from: String,
        /// What will be there.
        to: String,
    },
    /// This host cannot have it, and that is no fault of anybody.
    Unsupported {
        /// Why not.
        why: String,
    },
    /// It must not or cannot be done until somebody decides.
    Refuse {
        /// Why not, and what would help.
        why: String,
    },
}

impl Decision {
    /// A change between two one-line texts.
    pub fn change(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self::Change { from: from.into(), to: to.into() }
    }
}

impl HostStep {
    /// The natural key: two steps with the same key speak of the same thing on the host.
    /// Stable for ever, since receipts are keyed by it: `kernel/sysctl/net.ipv4.ip_forward`.
    pub fn key(&self) -> String {
        match self {
            Self::Kernel(KernelStep::Module(s)) => format!("kernel/module/{}", s.name),
            Self::Kernel(KernelStep::Sysctl(s)) => format!("kernel/sysctl/{}", s.key),
            Self::Memory(s) => format!("memory/swap/{}", s.device),
            Self::File(s) => format!("file/{}", s.path),
            Self::Unit(s) => format!("unit/{}", s.name),
            Self::Tool(s) => s.key(),
        }
    }

    /// What the step does, in the imperative, for preview, log and report alike.
    pub fn title(&self) -> String {
        match self {
            Self::Kernel(s) => s.title(),
            Self::Memory(s) => s.title(),
            Self::File(s) => s.title(),
            Self::Unit(s) => s.title(),
            Self::Tool(s) => s.title(),
        }
    }

    /// Whether acting could cut the node off from the coordinator (rule 7 of the design).
    pub fn risky(&self) -> bool {
        match self {
            Self::Kernel(s) => s.risky(),
            Self::Memory(_) | Self::Unit(_) | Self::Tool(_) => false,
            Self::File(s) => s.risky(),
        }
    }

    /// What to do, given what was seen. Pure.
    pub fn decide(&self, seen: &Seen) -> Decision {
        match (self, seen) {
            (Self::Kernel(step), Seen::Kernel(seen)) => step.decide(seen),
            (Self::Memory(step), Seen::Memory(seen)) => step.decide(seen),
            (Self::File(step), Seen::File(seen)) => step.decide(seen),
            (Self::Unit(step), Seen::Unit(seen)) => step.decide(seen),
            (Self::Tool(step), Seen::Tool(seen)) => step.decide(seen),
            _ => Decision::Refuse { why: "what was seen belongs to another family of steps".into() },
        }
    }

    /// The step that brings back what was seen before this one acted; none where nothing is to undo.
    pub fn inverse(&self, before: &Seen) -> Option<HostStep> {
        match (self, before) {
            (Self::Kernel(step), Seen::Kernel(before)) => step.inverse(before).map(Self::Kernel),
            (Self::Memory(step), Seen::Memory(before)) => step.inverse(before).map(Self::Memory),
            (Self::File(step), Seen::File(before)) => step.inverse(before).map(Self::File),
            (Self::Unit(step), Seen::Unit(before)) => step.inverse(before).map(Self::Unit),
            (Self::Tool(step), Seen::Tool(before)) => step.inverse(before).map(Self::Tool),
            _ => None,
        }
    }
}

impl Seen {
    /// Whether `now` is still what a plan saw: equal, or absent then and there now because an earlier step of
    /// the same plan made it appear (a sysctl of a module that was loaded since).
    pub fn still(&self, now: &Seen) -> bool {
        match (self, now) {
            (Seen::Kernel(then), Seen::Kernel(now)) => then.still(now),
            (Seen::File(then), Seen::File(now)) => then.same(now),
            (Seen::Memory(then), Seen::Memory(now)) => then.active == now.active,
            (Seen::Unit(then), Seen::Unit(now)) => then.still(now),
            (Seen::Tool(then), Seen::Tool(now)) => then.still(now),
            _ => false,
        }
    }
}
