//! What is to happen on the cluster.

use serde::{Deserialize, Serialize};

use super::{ClusterSeen, ClusterStep};
use crate::plan::Purpose;
use crate::step::Decision;

/// The cluster's part of a plan. Steps run in order, after every host is ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterPlan {
    /// `metadata.uid` of the namespace `kube-system`: a plan is for one cluster, not for whoever has its address.
    pub cluster: String,
    /// Its version when the plan was made: `v1.37.2`.
    pub version: String,
    /// Steps in the order in which they run.
    pub steps: Vec<PlannedClusterStep>,
}

impl ClusterPlan {
    /// Steps that would act.
    pub fn changes(&self) -> impl Iterator<Item = &PlannedClusterStep> {
        self.steps.iter().filter(|s| matches!(s.decision, Decision::Change { .. }))
    }
}

/// A step in the cluster's part of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedClusterStep {
    /// The step.
    pub step: ClusterStep,
    /// Do what the rack wants, or undo what a receipt tells.
    pub purpose: Purpose,
    /// Why the rack leads to it: `kubernetes.proxy`.
    pub why: String,
    /// What was seen when the plan was made.
    pub seen: ClusterSeen,
    /// What follows from it.
    pub decision: Decision,
}
