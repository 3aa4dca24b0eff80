//! Steps on the cluster: one typed unit of desired state each, as [`crate::step`] has them for hosts. They run from
//! the coordinator through an API server.
//!
//! Five shapes serve all families: one text inside of a ConfigMap ([`text`]), a workload whose pods shall have
//! started since ([`workload`]), a whole object ([`object`]), some labels of somebody else's object ([`labels`]), an
//! installation of Istio ([`mesh`]). [`plan`] lists them with what was seen; [`receipt`] is what they did, kept in the
//! cluster itself, so that whichever control plane takes over finds it.

pub mod labels;
pub mod mesh;
pub mod object;
pub mod plan;
pub mod receipt;
pub mod shape;
pub mod text;
pub mod workload;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use labels::{LabelPlace, LabelsSeen, LabelsStep};
pub use mesh::{MeshRecord, MeshSeen, MeshStep};
pub use object::{ObjectSeen, ObjectStep};
pub use plan::{ClusterPlan, PlannedClusterStep};
pub use receipt::{ClusterEntry, ClusterLedger};
pub use text::{TextSeen, TextStep};
pub use workload::{WorkloadKind, WorkloadSeen, WorkloadStep};

use crate::name::{ToolName, ToolVersion};
use crate::step::Decision;

/// Which part of the cluster a step is about, in the order in which they are worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// kube-proxy.
    Proxy,
    /// CoreDNS.
    Dns,
    /// MetalLB.
    Balancer,
    /// Istio.
    Mesh,
}

impl Family {
    /// Its name in keys: `proxy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Dns => "dns",
            Self::Balancer => "balancer",
            Self::Mesh => "mesh",
        }
    }
}

/// A step on the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ClusterStep {
    /// One text inside of a ConfigMap.
    Text(TextStep),
    /// A workload whose pods run what is configured.
    Workload(WorkloadStep),
    /// A whole object.
    Object(Box<ObjectStep>),
    /// Some labels of an object.
    Labels(LabelsStep),
    /// An installation of Istio.
    Mesh(Box<MeshStep>),
}

/// What a cluster has where a step of the same shape would put something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterSeen {
    /// One text inside of a ConfigMap.
    Text(TextSeen),
    /// A workload.
    Workload(WorkloadSeen),
    /// A whole object.
    Object(ObjectSeen),
    /// Some labels of an object.
    Labels(LabelsSeen),
    /// An installation of Istio.
    Mesh(Box<MeshSeen>),
}

impl ClusterStep {
    /// The natural key, stable for ever, since receipts are keyed by it: `proxy/config`, `dns/rollout`,
    /// `balancer/IPAddressPool/metallb-system/first`, `mesh/default`, `mesh/labels/Namespace/-/shop`.
    pub fn key(&self) -> String {
        match self {
            Self::Text(s) => s.key(),
            Self::Workload(s) => s.key(),
            Self::Object(s) => s.key(),
            Self::Labels(s) => s.key(),
            Self::Mesh(s) => s.key(),
        }
    }

    /// The tools that carry it out, name and version, where some on a control plane do.
    pub fn tools(&self) -> BTreeSet<(ToolName, ToolVersion)> {
        match self {
            Self::Text(_) | Self::Workload(_) | Self::Object(_) | Self::Labels(_) => BTreeSet::new(),
            Self::Mesh(step) => step.install.tools(),
        }
    }

    /// The part of the cluster that it is about.
    pub fn family(&self) -> Family {
        match self {
            Self::Text(s) => s.family,
            Self::Workload(s) => s.family,
            Self::Object(s) => s.family,
            Self::Labels(s) => s.family,
            Self::Mesh(_) => Family::Mesh,
        }
    }

    /// What the step does, in the imperative, for preview, log and report alike.
    pub fn title(&self) -> String {
        match self {
            Self::Text(s) => s.title(),
            Self::Workload(s) => s.title(),
            Self::Object(s) => s.title(),
            Self::Labels(s) => s.title(),
            Self::Mesh(s) => s.title(),
        }
    }

    /// What to do, given what was seen. Pure.
    pub fn decide(&self, seen: &ClusterSeen) -> Decision {
        match (self, seen) {
            (Self::Text(step), ClusterSeen::Text(seen)) => step.decide(seen),
            (Self::Workload(step), ClusterSeen::Workload(seen)) => step.decide(seen),
            (Self::Object(step), ClusterSeen::Object(seen)) => step.decide(seen),
            (Self::Labels(step), ClusterSeen::Labels(seen)) => step.decide(seen),
            (Self::Mesh(step), ClusterSeen::Mesh(seen)) => step.decide(seen),
            _ => Decision::Refuse { why: "what was seen belongs to another shape of step".into() },
        }
    }

    /// The step that brings back what was seen before this one acted; none where nothing is to undo.
    pub fn inverse(&self, before: &ClusterSeen) -> Option<ClusterStep> {
        match (self, before) {
            (Self::Text(step), ClusterSeen::Text(before)) => step.inverse(before).map(Self::Text),
            (Self::Workload(step), ClusterSeen::Workload(before)) => step.inverse(before).map(Self::Workload),
            (Self::Object(step), ClusterSeen::Object(before)) => {
                step.inverse(before).map(|s| Self::Object(Box::new(s)))
            }
            (Self::Labels(step), ClusterSeen::Labels(before)) => step.inverse(before).map(Self::Labels),
            (Self::Mesh(step), ClusterSeen::Mesh(before)) => {
                step.inverse(before).map(|s| Self::Mesh(Box::new(s)))
            }
            _ => None,
        }
    }
}

impl ClusterSeen {
    /// Whether `now` is still what a plan saw, as far as the plan depends on it.
    pub fn still(&self, now: &ClusterSeen) -> bool {
        match (self, now) {
            (Self::Text(then), Self::Text(now)) => then.text == now.text,
            // Pods come and go by themselves: only what they were told to run matters. One that was not there is made by
            // an earlier step of the same plan.
            (Self::Workload(then), Self::Workload(now)) => !then.exists || then.stamp == now.stamp,
            (Self::Object(then), Self::Object(now)) => then.fields == now.fields,
            (Self::Labels(then), Self::Labels(now)) => then == now,
            (Self::Mesh(then), Self::Mesh(now)) => then.still(now),
            _ => false,
        }
    }
}
