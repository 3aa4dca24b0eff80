//! What changed on a node since a plan was saved.

use rackwright_proto::facts::Facts;
use rackwright_proto::plan::{NodePlan, PlannedStep, Purpose};
use rackwright_proto::step::{Decision, Seen};
use serde::Serialize;

use super::look;
use crate::report::words;

/// One thing that is no longer as a saved plan has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is about: a step's title, or the host.
    pub about: String,
    /// What the saved plan has.
    pub planned: String,
    /// What there is now.
    pub now: String,
}

/// What changed since `planned` was saved; empty when it may run. `fresh` is the plan that would be made today,
/// of the same rack and from `facts`.
pub fn stale(planned: &NodePlan, fresh: &NodePlan, facts: &Facts) -> Vec<Difference> {
    if planned.machine_id != facts.basics.machine_id {
        return vec![Difference {
            about: "the host itself (machine-id)".into(),
            planned: planned.machine_id.clone(),
            now: facts.basics.machine_id.clone(),
        }];
    }
    let mut unmatched: Vec<&PlannedStep> = fresh.steps.iter().collect();
    let mut differences = Vec::new();
    for step in &planned.steps {
        let at = unmatched.iter().position(|f| f.step.key() == step.step.key());
        let fresh = at.map(|at| unmatched.remove(at));
        differences.extend(of_step(step, fresh, facts));
    }
    let new = |s: &PlannedStep| Difference {
        about: s.step.title(),
        planned: "nothing to do".into(),
        now: intent(s),
    };
    differences.extend(unmatched.into_iter().map(new));
    differences
}

fn of_step(planned: &PlannedStep, fresh: Option<&PlannedStep>, facts: &Facts) -> Option<Difference> {
    let difference = |planned_words: String, now: String| Difference {
        about: planned.step.title(),
        planned: planned_words,
        now,
    };
    let now: Option<Seen> = fresh.map(|s| s.seen.clone()).or_else(|| look(facts, &planned.step));
    match (now, fresh) {
        (None, _) => Some(difference(words::seen(&planned.seen), "not observed".into())),
        (Some(now), _) if !same(&planned.seen, &now) => {
            Some(difference(words::seen(&planned.seen), words::seen(&now)))
        }
        (Some(_), None) => Some(difference(intent(planned), "nothing to do".into())),
        (Some(_), Some(fresh)) if (&fresh.step, fresh.purpose) != (&planned.step, planned.purpose) => {
            Some(difference(intent(planned), intent(fresh)))
        }
        _ => None,
    }
}

/// Stricter than [`Seen::still`], which allows for what earlier steps of a run bring about: none ran yet.
fn same(then: &Seen, now: &Seen) -> bool {
    then.still(now) && now.still(then)
}

fn intent(step: &PlannedStep) -> String {
    let purpose = match step.purpose {
        Purpose::Want => "",
        Purpose::Undo => "undo: ",
    };
    match &step.decision {
        Decision::Keep => format!("{purpose}{}, already so", step.step.title()),
        Decision::Change { from, to } => format!("{purpose}{from} \u{2192} {to}"),
        Decision::Unsupported { why } | Decision::Refuse { why } => format!("{purpose}not possible: {why}"),
    }
}
