//! A workload whose pods shall have started since something was configured.

use serde::{Deserialize, Serialize};

use super::Family;
use crate::step::Decision;

/// The annotation of a pod template by which a change of configuration restarts pods: first characters of the
/// configuration's SHA-256. A Deployment or DaemonSet replaces its pods whenever its template changes.
pub const STAMP: &str = "rackwright.dev/config";

/// The annotation of a DaemonSet whose pods we replace ourselves, node by node, while its own strategy is set aside:
/// that strategy (`spec.updateStrategy`) as JSON, to be put back by whoever comes to the end of it.
pub const HELD: &str = "rackwright.dev/update-strategy";

/// Kinds of workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkloadKind {
    /// `apps/v1` DaemonSet.
    DaemonSet,
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
}

impl WorkloadKind {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DaemonSet => "DaemonSet",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
        }
    }
}

/// What a pod template's [`STAMP`] shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stamp {
    /// Whatever it is: the workload shall only be ready.
    Any,
    /// This.
    Is(String),
    /// None: as before us.
    Absent,
}

impl Stamp {
    /// Whether a workload is stamped so.
    pub fn is_of(&self, seen: &WorkloadSeen) -> bool {
        match (self, &seen.stamp) {
            (Self::Any, _) | (Self::Absent, None) => true,
            (Self::Is(want), Some(stamp)) => want == stamp,
            (Self::Is(_), None) | (Self::Absent, Some(_)) => false,
        }
    }
}

/// Wants a workload rolled out to its end, with its template stamped so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadStep {
    /// The part of the cluster that it is about.
    pub family: Family,
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What its pods shall have started with.
    pub stamp: Stamp,
}

/// What a workload is like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadSeen {
    /// Whether it exists.
    pub exists: bool,
    /// The [`STAMP`] of its template.
    #[serde(default)]
    pub stamp: Option<String>,
    /// How many pods it shall have.
    #[serde(default)]
    pub desired: u32,
    /// How many of them are of the present template and ready; 0 while the controller has not seen the template.
    #[serde(default)]
    pub ready: u32,
    /// Whether pods of an earlier template are still there.
    #[serde(default)]
    pub rolling: bool,
    /// Whether it bears [`HELD`]: its own strategy is yet to be put back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

impl WorkloadSeen {
    /// Whether all pods are of the present template and ready.
    pub fn is_rolled_out(&self) -> bool {
        self.exists && !self.rolling && self.ready >= self.desired
    }

    /// The same, and it is its own master again.
    pub fn is_complete(&self) -> bool {
        self.is_rolled_out() && !self.held
    }
}

impl WorkloadStep {
    pub(super) fn key(&self) -> String {
        let family = self.family.as_str();
        match (self.family, &self.stamp) {
            (_, Stamp::Any) => format!("{family}/ready/{}", self.name),
            // There are many: those of the operator.
            (Family::Mesh, _) => {
                format!("{family}/rollout/{}/{}/{}", self.kind.as_str(), self.namespace, self.name)
            }
            (_, Stamp::Is(_) | Stamp::Absent) => format!("{family}/rollout"),
        }
    }

    pub(super) fn title(&self) -> String {
        let what = format!("{} {}/{}", self.kind.as_str(), self.namespace, self.name);
        match self.stamp {
            Stamp::Any => format!("await {what}"),
            Stamp::Is(_) | Stamp::Absent => format!("restart {what}"),
        }
    }

    pub(super) fn decide(&self, seen: &WorkloadSeen) -> Decision {
        let stamped = self.stamp.is_of(seen);
        let WorkloadSeen { ready, desired, .. } = seen;
        match (seen.exists, stamped) {
            // Its own step, before this one, makes it.
            (false, _) if self.stamp == Stamp::Any => Decision::change("not there", "ready"),
            (false, _) => Decision::Refuse {
                why: format!("there is no {} {}/{}", self.kind.as_str(), self.namespace, self.name),
            },
            (true, true) if seen.is_complete() => Decision::Keep,
            (true, true) if seen.is_rolled_out() => {
                Decision::change("its update strategy set aside", "its own strategy again")
            }
            (true, true) => Decision::change(format!("{ready} of {desired} pods ready"), "all ready"),
            (true, false) => Decision::change("pods of before", format!("{desired} pods anew, in turn")),
        }
    }

    pub(super) fn inverse(&self, before: &WorkloadSeen) -> Option<Self> {
        let stamp = match (&self.stamp, &before.stamp) {
            (Stamp::Any, _) => return None,
            (_, Some(stamp)) => Stamp::Is(stamp.clone()),
            (_, None) => Stamp::Absent,
        };
        before.exists.then(|| Self { stamp, ..self.clone() })
    }
}
