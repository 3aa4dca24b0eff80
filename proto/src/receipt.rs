//! Receipts: what was done on a host and what was there before.
//!
//! A run's journal is its receipt; the [`Ledger`] is the fold of all receipts of a host. Both are versioned for
//! ever: readers are tolerant, and a golden file of every released shape must always load.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{Event, Outcome, Record, RunResult};
use crate::name::RunId;
use crate::plan::Purpose;
use crate::step::{HostStep, Seen};

/// What is in effect on a host by our doing, by step key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Version of this shape; 0 for an empty ledger.
    #[serde(default)]
    pub format: u32,
    /// One more with each run that was folded in; never goes back.
    #[serde(default)]
    pub generation: u64,
    /// The last run that was folded in.
    #[serde(default)]
    pub last: Option<LastRun>,
    /// Entries in step key order.
    #[serde(default)]
    pub entries: BTreeMap<String, Entry>,
}

/// The last run of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// Its id.
    pub run: RunId,
    /// Who asked for it.
    #[serde(default)]
    pub operator: String,
    /// Unix time in milliseconds of its last record.
    #[serde(default)]
    pub at_ms: u64,
    /// How it ended.
    pub result: RunResult,
}

/// One thing on the host that we answer for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The step as it was last done.
    pub step: HostStep,
    /// What was there before the first run that touched it: what an undo brings back.
    pub before: Seen,
    /// What was there when we were done; `None` when a run was cut off between intent and outcome.
    #[serde(default)]
    pub after: Option<Seen>,
    /// The order of first touch; an undo goes backwards.
    #[serde(default)]
    pub order: u64,
    /// The run that last touched it.
    pub run: RunId,
}

impl Ledger {
    /// The shape that this build writes.
    pub const FORMAT: u32 = 1;

    /// Folds one run's journal in. `events` may lack their end (the run was cut off): an intent without an
    /// outcome keeps what was there before, so that an undo still brings it back.
    pub fn fold(&mut self, run: &RunId, events: &[Event]) {
        let mut last = LastRun {
            run: run.clone(),
            operator: String::new(),
            at_ms: events.last().map_or(0, |e| e.at_ms),
            result: RunResult::Interrupted,
        };
        let at_start = self.entries.clone();
        for event in events {
            match &event.record {
                Record::Started { operator, .. } => last.operator.clone_from(operator),
                Record::Finished { result } => last.result = *result,
                Record::Intent { step, purpose: Purpose::Want, before, .. } => {
                    self.touch(run, step, before, None);
                }
                Record::Outcome { step, purpose, outcome, .. } => self.settle(run, step, *purpose, outcome),
                Record::RolledBack { keys, .. } => {
                    keys.iter().for_each(|key| self.roll_back(key, at_start.get(key)));
                }
                Record::Intent { .. }
                | Record::Armed { .. }
                | Record::AwaitingConfirm
                | Record::Confirmed
                | Record::Unknown => {}
            }
        }
        self.format = Self::FORMAT;
        self.generation += 1;
        self.last = Some(last);
    }

    fn settle(&mut self, run: &RunId, step: &HostStep, purpose: Purpose, outcome: &Outcome) {
        match (purpose, outcome) {
            (Purpose::Want, Outcome::Unchanged { seen }) => self.touch(run, step, seen, Some(seen)),
            (Purpose::Want, Outcome::Changed { before, after }) => self.touch(run, step, before, Some(after)),
            (
                Purpose::Undo,
                Outcome::Unchanged { .. } | Outcome::Changed { .. } | Outcome::Unsupported { .. },
            ) => {
                self.entries.remove(&step.key());
            }
            (_, Outcome::Unsupported { .. } | Outcome::Failed { .. } | Outcome::Skipped { .. }) => {}
        }
    }

    /// The first `before` stays for ever; the step, `after` and run are the latest.
    fn touch(&mut self, run: &RunId, step: &HostStep, before: &Seen, after: Option<&Seen>) {
        let order = self.entries.values().map(|e| e.order + 1).max().unwrap_or(0);
        let entry = self.entries.entry(step.key()).or_insert_with(|| Entry {
            step: step.clone(),
            before: before.clone(),
            after: None,
            order,
            run: run.clone(),
        });
        entry.step = step.clone();
        entry.after = after.cloned();
        entry.run = run.clone();
    }

    /// A step that this run did and undid: as if the run had never touched it.
    fn roll_back(&mut self, key: &str, entry_before: Option<&Entry>) {
        match entry_before {
            Some(entry) => drop(self.entries.insert(key.to_owned(), entry.clone())),
            None => drop(self.entries.remove(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::RunResult;
    use crate::kernel::{KernelSeen, KernelStep, SysctlSeen, SysctlStep};

    fn set(value: &str) -> HostStep {
        let key = "net.ipv4.ip_forward".parse().expect("valid");
        HostStep::Kernel(KernelStep::Sysctl(SysctlStep { key, value: value.into(), after_module: None }))
    }

    fn seen(value: &str) -> Seen {
        Seen::Kernel(KernelSeen::Sysctl(SysctlSeen::Value { value: value.into() }))
    }

    fn changed(purpose: Purpose, before: &str, after: &str) -> Record {
        let outcome = Outcome::Changed { before: seen(before), after: seen(after) };
        Record::Outcome { index: 0, step: set(after), purpose, outcome }
    }

    fn fold(ledger: &mut Ledger, run: &str, records: Vec<Record>) {
        let events: Vec<Event> =
            (0..).zip(records).map(|(seq, record)| Event { seq, at_ms: seq, record }).collect();
        ledger.fold(&run.parse().expect("valid"), &events);
    }

    /// Whatever a run did and undid, the ledger is as if the run had not touched it: an undo too.
    #[test]
    fn what_was_rolled_back_was_never_done() {
        for (purpose, after) in [(Purpose::Want, "2"), (Purpose::Undo, "0")] {
            let mut ledger = Ledger::default();
            fold(&mut ledger, "one", vec![changed(Purpose::Want, "0", "1")]);
            let entries = ledger.entries.clone();
            let keys = vec!["kernel/sysctl/net.ipv4.ip_forward".into()];
            let rolled_back = Record::RolledBack { why: "nobody confirmed".into(), keys };
            let end = Record::Finished { result: RunResult::RolledBack };
            fold(&mut ledger, "two", vec![changed(purpose, "1", after), rolled_back, end]);
            assert_eq!(ledger.entries, entries, "{purpose:?}");
            assert_eq!(ledger.generation, 2);
        }
    }
}
