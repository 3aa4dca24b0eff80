//! What an agent says while it works. The same records, in the same order, are the run's journal on the host's
//! disk: one JSON object per line, each synced before the next act.

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::name::RunId;
use crate::plan::Purpose;
use crate::step::{HostStep, Seen};

/// One record of a run.
///
/// Journals outlive the build that wrote them, so this is a versioned shape: unknown fields are skipped and
/// every field added later has a default. An unknown kind of record reads as [`Record::Unknown`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// 0 for the first record of a run, then one more each.
    pub seq: u64,
    /// Unix time in milliseconds by the host's clock.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub record: Record,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "record")]
pub enum Record {
    /// The run holds the lock and starts.
    Started {
        /// Version of the journal's shape; this build writes [`Event::FORMAT`].
        format: u32,
        /// The run.
        run: RunId,
        /// Who asked.
        operator: String,
        /// How many steps it has.
        steps: u32,
    },
    /// A step is about to act. Written and synced before it does.
    Intent {
        /// Index in the plan, from 0.
        index: u32,
        /// The step.
        step: HostStep,
        /// Why it is in the plan.
        purpose: Purpose,
        /// What was there before.
        before: Seen,
    },
    /// A step ended. Written and synced before the next one acts.
    Outcome {
        /// Index in the plan, from 0.
        index: u32,
        /// The step, so that a journal can be read without its plan.
        step: HostStep,
        /// Why it is in the plan.
        purpose: Purpose,
        /// How it ended.
        outcome: Outcome,
    },
    /// Risky steps follow; unless confirmed by then they will be undone.
    Armed {
        /// Unix time in milliseconds by the host's clock.
        until_ms: u64,
    },
    /// Risky steps are done; a confirmation over a new connection is awaited.
    AwaitingConfirm,
    /// The coordinator confirmed over a new connection.
    Confirmed,
    /// Nobody confirmed in time, or a probe that was answered before is no longer: risky steps were undone.
    RolledBack {
        /// Why.
        why: String,
        /// Keys of the steps that are now as they were before the run.
        keys: Vec<String>,
    },
    /// The run ended. Always the last record; a journal without it was cut off.
    Finished {
        /// How it ended as a whole.
        result: RunResult,
    },
    /// A record of a later build.
    #[serde(other)]
    Unknown,
}

impl Event {
    /// The journal shape that this build writes.
    pub const FORMAT: u32 = 1;
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// Was as wanted.
    Unchanged {
        /// What is there.
        seen: Seen,
    },
    /// Acted, and is now as wanted.
    Changed {
        /// What was there.
        before: Seen,
        /// What is there now.
        after: Seen,
    },
    /// This host cannot have it.
    Unsupported {
        /// Why not.
        why: String,
    },
    /// Acted or tried to, and is not as wanted.
    Failed {
        /// What was being done, why it failed, what to do next.
        fault: Fault,
    },
    /// Not tried.
    Skipped {
        /// Why not.
        why: String,
    },
}

/// How a run ended as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunResult {
    /// Every step is as wanted, or unsupported.
    Done,
    /// At least one step failed.
    Failed,
    /// Risky steps were undone.
    RolledBack,
    /// The run was found dead and closed by a later one.
    Interrupted,
}
