//! What a run did, node by node, and what to type next.

use std::io::{self, Write};

use rackwright_proto::event::{Event, Outcome, Record, RunResult};
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::name::{NodeName, RunId};
use serde::Serialize;

use super::nodes::{few_words, grouped};
use super::paint::{Ink, Paint};
use super::plan::View;
use super::{count, json, words};
use crate::cluster::outcome::{ClusterOutcome, ClusterResult, Proof};

/// How a run went on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeOutcome {
    /// The node.
    pub node: NodeName,
    /// In one word, with its reason.
    #[serde(flatten)]
    pub result: NodeResult,
    /// Step by step, as far as it is known.
    pub steps: Vec<StepOutcome>,
}

/// How a step went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepOutcome {
    /// The step's title.
    pub title: String,
    /// How it went.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a run went on one node, in one word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum NodeResult {
    /// Changed, and all is as wanted.
    Changed {
        /// How many steps acted.
        changes: usize,
    },
    /// All was as wanted before.
    Unchanged,
    /// At least one step failed, or the run did.
    Failed {
        /// The first fault.
        fault: Fault,
    },
    /// Nothing was done: the host could not be reached.
    NotReached {
        /// Why.
        fault: Fault,
    },
    /// Nothing was done: findings block it, its plan is stale, or another run holds it.
    Refused {
        /// Why.
        fault: Fault,
    },
    /// Risky steps were undone, because the node was not reachable after them.
    RolledBack {
        /// Why.
        why: String,
        /// Keys of the steps that are as before.
        keys: Vec<String>,
    },
    /// The run goes on without us.
    Detached {
        /// To attach to it.
        run: RunId,
    },
}

impl NodeOutcome {
    /// What the events of one run amount to. Without a last record the run goes on, detached.
    pub fn from_events(node: NodeName, run: &RunId, events: &[Event]) -> Self {
        let steps: Vec<StepOutcome> = events.iter().filter_map(|e| step_outcome(&e.record)).collect();
        let result = result(run, events, &steps);
        Self { node, result, steps }
    }

    /// A node on which nothing was done.
    pub fn idle(node: NodeName, result: NodeResult) -> Self {
        Self { node, result, steps: Vec::new() }
    }

    /// Whether the node is as wanted.
    pub fn is_good(&self) -> bool {
        matches!(self.result, NodeResult::Changed { .. } | NodeResult::Unchanged)
    }
}

fn step_outcome(record: &Record) -> Option<StepOutcome> {
    match record {
        Record::Outcome { step, outcome, .. } => {
            Some(StepOutcome { title: step.title(), outcome: outcome.clone() })
        }
        _ => None,
    }
}

fn result(run: &RunId, events: &[Event], steps: &[StepOutcome]) -> NodeResult {
    let ended = events.iter().rev().find_map(|e| match &e.record {
        Record::Finished { result } => Some(*result),
        _ => None,
    });
    let changes = steps.iter().filter(|s| matches!(s.outcome, Outcome::Changed { .. })).count();
    match ended {
        None => NodeResult::Detached { run: run.clone() },
        Some(RunResult::Done) if changes == 0 => NodeResult::Unchanged,
        Some(RunResult::Done) => NodeResult::Changed { changes },
        Some(RunResult::RolledBack) => rolled_back(events),
        Some(RunResult::Failed) => NodeResult::Failed { fault: first_fault(steps, "a step failed") },
        Some(RunResult::Interrupted) => NodeResult::Failed {
            fault: first_fault(steps, "it was cut off and closed by a later run").next("apply again"),
        },
    }
}

fn rolled_back(events: &[Event]) -> NodeResult {
    let found = events.iter().rev().find_map(|e| match &e.record {
        Record::RolledBack { why, keys } => Some((why.clone(), keys.clone())),
        _ => None,
    });
    let (why, keys) = found.unwrap_or_default();
    NodeResult::RolledBack { why, keys }
}

fn first_fault(steps: &[StepOutcome], otherwise: &str) -> Fault {
    let fault = steps.iter().find_map(|s| match &s.outcome {
        Outcome::Failed { fault } => Some(fault.clone()),
        _ => None,
    });
    fault.unwrap_or_else(|| Fault::new(FaultKind::Internal, "run the plan", otherwise))
}

/// How many nodes went which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Changed and as wanted.
    pub changed: usize,
    /// As wanted before.
    pub unchanged: usize,
    /// Failed.
    pub failed: usize,
    /// Not reached.
    pub not_reached: usize,
    /// Refused.
    pub refused: usize,
    /// Rolled back.
    pub rolled_back: usize,
    /// Still running without us.
    pub detached: usize,
}

/// All that came of a run.
#[derive(Debug, Clone, Copy)]
pub struct Whole<'a> {
    /// The run, if there was one.
    pub run: Option<&'a RunId>,
    /// The nodes.
    pub nodes: &'a [NodeOutcome],
    /// The cluster, where the rack wants one.
    pub cluster: Option<&'a ClusterOutcome>,
    /// What was proven from outside.
    pub proof: &'a Proof,
    /// The rack file as the operator named it.
    pub rack: &'a str,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a RunId>,
    counts: Counts,
    nodes: &'a [NodeOutcome],
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'a ClusterOutcome>,
    #[serde(skip_serializing_if = "Proof::is_empty")]
    proof: &'a Proof,
    next: &'a str,
}

/// Counts of outcomes.
pub fn counts(outcomes: &[NodeOutcome]) -> Counts {
    let mut counts = Counts::default();
    for outcome in outcomes {
        let counter = match &outcome.result {
            NodeResult::Changed { .. } => &mut counts.changed,
            NodeResult::Unchanged => &mut counts.unchanged,
            NodeResult::Failed { .. } => &mut counts.failed,
            NodeResult::NotReached { .. } => &mut counts.not_reached,
            NodeResult::Refused { .. } => &mut counts.refused,
            NodeResult::RolledBack { .. } => &mut counts.rolled_back,
            NodeResult::Detached { .. } => &mut counts.detached,
        };
        *counter += 1;
    }
    counts
}

/// The summary for people: equal nodes together, failures with their reason, the cluster, what was proven, one line of
/// counts, what to type next.
pub fn text(out: &mut impl Write, whole: &Whole<'_>, view: View) -> io::Result<()> {
    let Whole { run, nodes, cluster, proof, .. } = *whole;
    for group in grouped(nodes, |o| format!("{:?}", o.result)) {
        node_group(out, &group, view.paint)?;
    }
    if let Some(cluster) = cluster {
        super::cluster::outcome(out, cluster, view)?;
    }
    super::cluster::proof(out, proof, view)?;
    let run = run.map(|run| format!(" (run {run})")).unwrap_or_default();
    writeln!(out, "\n{}{run}", count_line(&counts(nodes)))?;
    writeln!(out, "Next: `{}`", next(whole))
}

/// The same for programs: `{"format", "kind": "apply", "run", "counts", "nodes", "cluster", "proof", "next"}`.
pub fn json_text(out: &mut impl Write, whole: &Whole<'_>) -> io::Result<()> {
    let Whole { run, nodes, cluster, proof, .. } = *whole;
    json(out, "apply", Body { run, counts: counts(nodes), nodes, cluster, proof, next: &next(whole) })
}

/// The command to type next.
pub fn next(whole: &Whole<'_>) -> String {
    let command = |command: &str| match whole.rack {
        "rack.yaml" => format!("rackwright {command}"),
        rack => format!("rackwright {command} {rack}"),
    };
    let counts = counts(whole.nodes);
    let cluster = whole.cluster.map(|c| &c.result);
    if counts.detached > 0 {
        return command("attach");
    }
    if counts.rolled_back > 0
        || counts.refused > 0
        || matches!(cluster, Some(ClusterResult::NotProven { .. }))
    {
        return command("check");
    }
    if cluster.is_some_and(|c| !c.is_good()) || counts.failed > 0 || counts.not_reached > 0 {
        command("apply")
    } else {
        command("status")
    }
}

fn node_group(out: &mut impl Write, group: &[&NodeOutcome], paint: Paint) -> io::Result<()> {
    let names: Vec<&str> = group.iter().map(|o| o.node.as_str()).collect();
    let Some(first) = group.first() else { return Ok(()) };
    let (word, ink, more) = described(&first.result);
    writeln!(out, "{}  {}{more}", paint.ink(ink, format!("{word:11}")), few_words(&names))?;
    for line in details(&first.result) {
        writeln!(out, "{:13}{}", "", words::plain(&line))?;
    }
    Ok(())
}

fn described(result: &NodeResult) -> (&'static str, Ink, String) {
    match result {
        NodeResult::Changed { changes } => ("changed", Ink::Good, format!(": {}", count(*changes, "change"))),
        NodeResult::Unchanged => ("unchanged", Ink::Good, String::new()),
        NodeResult::Failed { .. } => ("failed", Ink::Bad, String::new()),
        NodeResult::NotReached { .. } => ("not reached", Ink::Bad, String::new()),
        NodeResult::Refused { .. } => ("refused", Ink::Bad, String::new()),
        NodeResult::RolledBack { .. } => ("rolled back", Ink::Bad, String::new()),
        NodeResult::Detached { .. } => ("detached", Ink::Warn, String::new()),
    }
}

fn details(result: &NodeResult) -> Vec<String> {
    match result {
        NodeResult::Changed { .. } | NodeResult::Unchanged => Vec::new(),
        NodeResult::Failed { fault } | NodeResult::NotReached { fault } | NodeResult::Refused { fault } => {
            let next = (!fault.next.is_empty()).then(|| fault.next.clone());
            std::iter::once(fault.to_string()).chain(next).collect()
        }
        NodeResult::RolledBack { why, keys } => {
            let keys: Vec<&str> = keys.iter().map(|k| words::of_key(k)).collect();
            vec![why.clone(), format!("as before: {}", keys.join(", "))]
        }
        NodeResult::Detached { run } => vec![format!("run {run} goes on without us")],
    }
}

fn count_line(counts: &Counts) -> String {
    let all = [
        (counts.changed, "changed"),
        (counts.unchanged, "unchanged"),
        (counts.failed, "failed"),
        (counts.not_reached, "not reached"),
        (counts.refused, "refused"),
        (counts.rolled_back, "rolled back"),
        (counts.detached, "still running"),
    ];
    // The first four are told even when none went that way: that is what an operator looks for.
    let told = all.iter().enumerate().filter(|(i, (n, _))| *i < 4 || *n > 0);
    told.map(|(_, (n, word))| format!("{n} {word}")).collect::<Vec<_>>().join(", ")
}
