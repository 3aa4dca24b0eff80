//! A change of kube-proxy's mode, before and after, as people and programs read it.

use std::io::{self, Write};

use rackwright_proto::cluster::ClusterPlan;
use rackwright_proto::finding::{Finding, Severity};
use rackwright_proto::name::RunId;
use serde::Serialize;

use super::paint::Ink;
use super::plan::View;
use super::{check, cluster, count, json, words};
use crate::cluster::outcome::{ClusterOutcome, Proof};
use crate::proxy::migrate::{Migration, Turn};

/// What is to happen.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Each node's turn.
    pub migration: &'a Migration,
    /// The cluster's steps around them.
    pub plan: &'a ClusterPlan,
    /// Nodes that are left for a later run.
    pub left: &'a [String],
    /// What stands against it.
    pub findings: &'a [Finding],
}

/// The plan: what is edited, then who has a turn and what happens in it.
pub fn plan(out: &mut impl Write, shown: &Shown<'_>, view: View) -> io::Result<()> {
    let Shown { migration, plan, left, findings } = *shown;
    cluster::plan(out, plan, view)?;
    let head = format!("kube-proxy to mode {}, one node at a time", migration.to);
    writeln!(out, "{}", view.paint.ink(Ink::Bold, head))?;
    let width = migration.turns.iter().map(|turn| turn.node.len()).max().unwrap_or(0);
    for (index, turn) in migration.turns.iter().enumerate() {
        writeln!(out, "{}", words::plain(&line(index + 1, turn, width)))?;
    }
    if !migration.done.is_empty() {
        writeln!(out, "  proven already: {}", words::plain(&migration.done.join(", ")))?;
    }
    if !left.is_empty() {
        writeln!(out, "  left for later: {}", words::plain(&left.join(", ")))?;
    }
    for note in &migration.notes {
        writeln!(out, "  {} {note}", view.paint.ink(Ink::Warn, "note:"))?;
    }
    if findings.iter().any(|f| f.severity > Severity::Pass) {
        writeln!(out)?;
        check::problems(out, findings, view.paint)?;
    }
    writeln!(out)
}

fn line(number: usize, turn: &Turn, width: usize) -> String {
    let from = turn.from.as_deref().unwrap_or("unknown");
    let carries = match turn.announces.is_empty() {
        true => String::new(),
        false => format!("  (answers for {})", turn.announces.join(", ")),
    };
    format!("  {number:2}. {:width$}  from {from}: {}{carries}", turn.node, turn.words())
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct Whole<'a> {
    /// The run; none where nothing was to do.
    pub run: Option<&'a RunId>,
    /// What was to happen.
    pub migration: &'a Migration,
    /// Nodes whose turn ended well, in order.
    pub proven: &'a [String],
    /// Nodes that are still to come.
    pub left: &'a [String],
    /// How it went.
    pub cluster: &'a ClusterOutcome,
    /// What was proven at the end.
    pub proof: &'a Proof,
}

/// For people.
pub fn text(out: &mut impl Write, whole: &Whole<'_>, view: View) -> io::Result<()> {
    let Whole { run, migration, proven, left, cluster: outcome, proof } = *whole;
    cluster::outcome(out, outcome, view)?;
    let list = |nodes: &[String]| words::plain(&nodes.join(", "));
    let to = &migration.to;
    if !proven.is_empty() {
        writeln!(out, "{:13}{} proven in mode {to}: {}", "", count(proven.len(), "node"), list(proven))?;
    }
    if !left.is_empty() {
        writeln!(out, "{:13}{} still to come: {}", "", count(left.len(), "node"), list(left))?;
    }
    cluster::proof(out, proof, view)?;
    match run {
        Some(run) => writeln!(out, "\nRun {run}."),
        None => Ok(()),
    }
}

#[derive(Serialize)]
struct Body<'a> {
    run: Option<&'a RunId>,
    migration: &'a Migration,
    proven: &'a [String],
    left: &'a [String],
    cluster: &'a ClusterOutcome,
    proof: &'a Proof,
}

/// For programs.
pub fn json_text(out: &mut impl Write, whole: &Whole<'_>) -> io::Result<()> {
    let Whole { run, migration, proven, left, cluster, proof } = *whole;
    json(out, "migrate-proxy", Body { run, migration, proven, left, cluster, proof })
}
