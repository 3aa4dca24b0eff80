//! What is in effect by our doing, and what is no longer so.

use std::io::{self, Write};

use rackwright_proto::facts::Facts;
use rackwright_proto::fault::Fault;
use rackwright_proto::name::NodeName;
use rackwright_proto::receipt::LastRun;
use rackwright_proto::step::Decision;
use serde::Serialize;

use super::nodes::{few_words, grouped};
use super::paint::{Ink, Paint};
use super::plan::View;
use super::{count, json, words};
use crate::cluster::outcome::{ClusterStatus, Proof};
use crate::plan::look;

/// One node's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// The node.
    pub node: NodeName,
    /// What the host says, or why it could not be asked.
    #[serde(flatten)]
    pub state: State,
}

/// What a host says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum State {
    /// It was asked.
    Known(Box<Known>),
    /// It could not be asked.
    NotReached {
        /// Why.
        fault: Fault,
    },
}

/// What receipts and a look at the host tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Known {
    /// The last run; none when we were never here.
    pub last: Option<LastRun>,
    /// Titles of steps in effect, in the order in which they were first done.
    pub in_effect: Vec<String>,
    /// What is no longer as the receipts say.
    pub drift: Vec<Drift>,
    /// When the host's own timer last looked, Unix milliseconds.
    pub drift_checked_ms: Option<u64>,
}

/// Something that is no longer as the receipts say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// The step's title.
    pub title: String,
    /// What is there now.
    pub now: String,
}

impl NodeStatus {
    /// From what an agent observed with its ledger's steps asked for.
    pub fn of(node: NodeName, facts: &Facts) -> Self {
        let mut entries: Vec<_> = facts.ledger.entries.values().collect();
        entries.sort_by_key(|e| e.order);
        let drift = entries.iter().filter_map(|e| {
            let now = look(facts, &e.step);
            let kept = now.as_ref().is_some_and(|now| e.step.decide(now) == Decision::Keep);
            let now = now.as_ref().map_or_else(|| "not observed".to_owned(), words::seen);
            (!kept).then(|| Drift { title: e.step.title(), now })
        });
        let known = Known {
            last: facts.ledger.last.clone(),
            in_effect: entries.iter().map(|e| e.step.title()).collect(),
            drift: drift.collect(),
            drift_checked_ms: facts.drift.as_ref().map(|d| d.at_ms),
        };
        Self { node, state: State::Known(Box::new(known)) }
    }

    /// Whether something is no longer as the receipts say.
    pub fn drifted(&self) -> bool {
        matches!(&self.state, State::Known(known) if !known.drift.is_empty())
    }
}

/// The cluster's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum ClusterState {
    /// No control plane has a kubeconfig yet.
    Absent,
    /// It was asked.
    Known(Box<ClusterStatus>),
    /// It could not be asked.
    NotReached {
        /// Why.
        fault: Fault,
    },
}

impl ClusterState {
    /// Whether something is no longer as the receipts say.
    pub fn drifted(&self) -> bool {
        matches!(self, Self::Known(known) if !known.drift.is_empty())
    }
}

/// The status of nodes and cluster.
#[derive(Debug, Clone, Copy)]
pub struct Whole<'a> {
    /// The nodes.
    pub nodes: &'a [NodeStatus],
    /// The cluster, where the rack wants one.
    pub cluster: Option<&'a ClusterState>,
    /// What is proven from outside.
    pub proof: &'a Proof,
}

#[derive(Serialize)]
struct Body<'a> {
    drifted: usize,
    nodes: &'a [NodeStatus],
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'a ClusterState>,
    #[serde(skip_serializing_if = "Proof::is_empty")]
    proof: &'a Proof,
}

/// Status for people, nodes of the same state together; `verbose` lists what is in effect.
pub fn text(out: &mut impl Write, whole: &Whole<'_>, view: View) -> io::Result<()> {
    let nodes = whole.nodes;
    for group in grouped(nodes, |n| likeness(n, view.verbose)) {
        let names: Vec<&str> = group.iter().map(|n| n.node.as_str()).collect();
        let names = view.paint.ink(Ink::Bold, few_words(&names));
        match group.first().map(|n| &n.state) {
            Some(State::Known(known)) => host(out, &names, known, view)?,
            Some(State::NotReached { fault }) => {
                let why = words::plain(&fault.to_string());
                writeln!(out, "{names}: {} {why}", view.paint.ink(Ink::Bad, "not reached:"))?;
            }
            None => {}
        }
    }
    match whole.cluster {
        None => {}
        Some(ClusterState::Absent) => writeln!(out, "{}: none yet", view.paint.ink(Ink::Bold, "cluster"))?,
        Some(ClusterState::Known(known)) => super::cluster::status(out, known, view)?,
        Some(ClusterState::NotReached { fault }) => {
            let why = words::plain(&fault.to_string());
            let head = view.paint.ink(Ink::Bold, "cluster");
            writeln!(out, "{head}: {} {why}", view.paint.ink(Ink::Bad, "not reached:"))?;
        }
    }
    super::cluster::proof(out, whole.proof, view)?;
    let drifted = nodes.iter().filter(|n| n.drifted()).count();
    let lost = nodes.iter().filter(|n| matches!(n.state, State::NotReached { .. })).count();
    let lost = if lost > 0 { format!(", {lost} not reached") } else { String::new() };
    writeln!(out, "\n{}, {drifted} drifted{lost}", count(nodes.len(), "node"))
}

/// The same for programs: `{"format", "kind": "status", "drifted", "nodes", "cluster", "proof"}`.
pub fn json_text(out: &mut impl Write, whole: &Whole<'_>) -> io::Result<()> {
    let Whole { nodes, cluster, proof } = *whole;
    json(out, "status", Body { drifted: nodes.iter().filter(|n| n.drifted()).count(), nodes, cluster, proof })
}

/// Nodes whose last run was the same one differ by milliseconds in its end; that does not set them apart.
fn likeness(node: &NodeStatus, verbose: bool) -> String {
    match &node.state {
        State::NotReached { fault } => fault.to_string(),
        State::Known(known) => {
            let last = known.last.as_ref().map(|l| (&l.run, l.result));
            let effect = if verbose { &known.in_effect[..] } else { &[] };
            format!("{last:?}{effect:?}{}{:?}", known.in_effect.len(), known.drift)
        }
    }
}

fn host(out: &mut impl Write, names: &str, known: &Known, view: View) -> io::Result<()> {
    let Some(last) = &known.last else {
        return writeln!(out, "{names}: untouched");
    };
    let effect = count(known.in_effect.len(), "step");
    let by = if last.operator.is_empty() { String::new() } else { format!(" by {}", last.operator) };
    writeln!(out, "{names}: {effect} in effect, last run {} at {}{by}", last.run, words::utc(last.at_ms))?;
    if view.verbose {
        for title in &known.in_effect {
            writeln!(out, "    {}", words::plain(title))?;
        }
    }
    drift(out, known, view.paint)
}

fn drift(out: &mut impl Write, known: &Known, paint: Paint) -> io::Result<()> {
    let width = known.drift.iter().map(|d| d.title.chars().count()).max().unwrap_or(0);
    for drift in &known.drift {
        let line = words::plain(&format!("{:width$}  now {}", drift.title, drift.now));
        writeln!(out, "  {} {line}", paint.ink(Ink::Warn, "drift:"))?;
    }
    Ok(())
}
