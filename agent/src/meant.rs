//! What a boot does for a run that died.
//!
//! A run writes what lasts before it sets what is live: a modules list before it loads modules, `/etc/fstab` before
//! it ends swap. When the power fails in between, the boot does the rest. The run has no record of that, and who
//! looks next finds all as wanted; what was there before is told by the run's plan alone.

use std::collections::BTreeSet;

use rackwright_proto::event::{Event, Record};
use rackwright_proto::kernel::KernelStep;
use rackwright_proto::plan::{PlannedStep, Run};
use rackwright_proto::step::{Decision, HostStep};

/// Intents of live steps that a run which died was about to set, and that a boot may have set instead: those
/// without a record of their own, where the file that a boot reads was begun.
pub fn intents(run: &Run, events: &[Event]) -> Vec<Record> {
    let mut known: BTreeSet<String> =
        events.iter().filter_map(|e| step_of(&e.record)).map(HostStep::key).collect();
    let begun: Vec<&str> = events.iter().filter_map(|e| intended_file(&e.record)).collect();
    let brought =
        |step: &HostStep| lasting(step).is_some_and(|dir| begun.iter().any(|path| path.starts_with(dir)));
    let mut meant = Vec::new();
    for (index, PlannedStep { step, purpose, seen, decision, .. }) in (0..).zip(&run.plan.steps) {
        let changes = matches!(decision, Decision::Change { .. });
        if changes && brought(step) && known.insert(step.key()) {
            let (step, before) = (step.clone(), seen.clone());
            meant.push(Record::Intent { index, step, purpose: *purpose, before });
        }
    }
    meant
}

/// Where a boot reads what makes a step's effect last.
fn lasting(step: &HostStep) -> Option<&'static str> {
    match step {
        HostStep::Kernel(KernelStep::Module(_)) => Some("/etc/modules-load.d/"),
        HostStep::Kernel(KernelStep::Sysctl(_)) => Some("/etc/sysctl.d/"),
        HostStep::Memory(_) => Some("/etc/fstab"),
        HostStep::File(_) | HostStep::Unit(_) | HostStep::Tool(_) => None,
    }
}

fn intended_file(record: &Record) -> Option<&str> {
    match record {
        Record::Intent { step: HostStep::File(file), .. } => Some(&file.path),
        _ => None,
    }
}

fn step_of(record: &Record) -> Option<&HostStep> {
    match record {
        Record::Intent { step, .. } | Record::Outcome { step, .. } => Some(step),
        _ => None,
    }
}
