//! A plan: complete, immutable, with no choice left for execution.

use serde::{Deserialize, Serialize};

use crate::cluster::ClusterPlan;
use crate::finding::Finding;
use crate::l2::Probe;
use crate::name::{NodeName, RunId};
use crate::step::{Decision, HostStep, Seen};

/// A plan for a rack, as `plan -o FILE` saves it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The shape of this file; see [`Plan::FORMAT`].
    pub format: u32,
    /// The build that made it.
    pub build: String,
    /// SHA-256 of the rack's text, hex.
    pub rack_sha256: String,
    /// The rack file's path when the plan was made.
    pub rack: String,
    /// Whether the plan undoes what receipts tell instead of doing what the rack wants.
    #[serde(default)]
    pub revert: bool,
    /// One per node, in the rack's order.
    pub nodes: Vec<NodePlan>,
    /// The cluster's part, where there is a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterPlan>,
    /// What was found while planning, across nodes.
    pub findings: Vec<Finding>,
}

impl Plan {
    /// The shape that this build writes and reads.
    pub const FORMAT: u32 = 1;
}

/// What is to happen on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodePlan {
    /// The node.
    pub node: NodeName,
    /// The host's machine-id when the plan was made: a plan is for one host, not for whoever has its address.
    pub machine_id: String,
    /// Steps in the order in which they run: changes that could cut the node off come last.
    pub steps: Vec<PlannedStep>,
    /// How to tell that the node is still reachable after those; `None` when no step is risky.
    #[serde(default)]
    pub confirm: Option<Confirm>,
}

impl NodePlan {
    /// Steps that would act.
    pub fn changes(&self) -> impl Iterator<Item = &PlannedStep> {
        self.steps.iter().filter(|s| matches!(s.decision, Decision::Change { .. }))
    }

    /// Whether there is a reason to push this plan to its node at all.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// A step in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedStep {
    /// The step.
    pub step: HostStep,
    /// Do what the rack wants, or undo what a receipt tells.
    pub purpose: Purpose,
    /// Why the rack leads to it: `kube-proxy mode ipvs`.
    pub why: String,
    /// What was seen when the plan was made.
    pub seen: Seen,
    /// What follows from it. `Keep` is in a plan where the receipts do not know the step yet.
    pub decision: Decision,
}

/// Why a step is in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// The rack wants it.
    Want,
    /// A receipt tells that we did it, and the rack no longer wants it or `revert` was asked for.
    Undo,
}

/// How a risky plan is confirmed. Without confirmation by the deadline the agent undoes its risky steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// Seconds from the first risky act to the undoing of all of them.
    pub within_s: u32,
    /// Probes that the node itself makes before acting; those that are answered then must be answered after.
    pub probes: Vec<Probe>,
}

impl Confirm {
    /// The least that [`Confirm::within_s`] may be: a connection over a slow link takes seconds.
    pub const SHORTEST_S: u32 = 5;
    /// The most that it may be.
    pub const LONGEST_S: u32 = 3600;
}

/// A plan on its way to a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The run's id, the same on all nodes of one `apply`.
    pub id: RunId,
    /// Who asked: `user@machine`, for those who find the host locked.
    pub operator: String,
    /// What to do.
    pub plan: NodePlan,
}
