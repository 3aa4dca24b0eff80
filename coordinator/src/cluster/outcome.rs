//! How a run went on the cluster, and what is in effect there by our doing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rackwright_proto::cluster::{ClusterEntry, ClusterSeen, ClusterStep};
use rackwright_proto::fault::Fault;
use rackwright_proto::finding::Finding;
use rackwright_proto::receipt::LastRun;
use serde::Serialize;

use super::digest;
use super::facts::ClusterFacts;
use super::look::{live, look};
use crate::proof::gateway::Through;

/// How a run went on the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterOutcome {
    /// In one word, with its reason.
    #[serde(flatten)]
    pub result: ClusterResult,
    /// Step by step.
    pub steps: Vec<ClusterStepOutcome>,
    /// How many requests the API server was asked, all in all.
    pub requests: u64,
    /// The same by verb and resource: `get configmaps`.
    pub asked: BTreeMap<String, u64>,
}

/// How a run went on the cluster, in one word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum ClusterResult {
    /// Changed, and all is as wanted.
    Changed {
        /// How many steps acted.
        changes: usize,
    },
    /// All was as wanted before.
    Unchanged,
    /// There is no cluster on the control planes yet.
    Absent,
    /// At least one step failed.
    Failed {
        /// The first fault.
        fault: Fault,
    },
    /// Nothing was done: it could not be reached.
    NotReached {
        /// Why.
        fault: Fault,
    },
    /// Nothing was done: hosts come first, and not all of them are ready; or another run holds it.
    Refused {
        /// Why.
        fault: Fault,
    },
    /// Its steps are done, but the proof from outside failed.
    NotProven {
        /// How many findings stand in the way.
        findings: usize,
    },
}

impl ClusterResult {
    /// Whether the cluster is as wanted.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Changed { .. } | Self::Unchanged | Self::Absent)
    }
}

/// How a step went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterStepOutcome {
    /// The step's key.
    pub key: String,
    /// The step's title.
    pub title: String,
    /// How it went.
    #[serde(flatten)]
    pub outcome: StepResult,
}

/// How a step went, in one word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum StepResult {
    /// Was as wanted.
    Unchanged,
    /// Acted, and is now as wanted.
    Changed,
    /// Acted or tried to, and is not as wanted.
    Failed {
        /// What was being done, why it failed, what to do next.
        fault: Fault,
    },
    /// Not tried, because an earlier one failed.
    Skipped,
}

/// What was proven from outside.
#[derive(Debug, Default, Serialize)]
pub struct Proof {
    /// One per address of each Service that the rack names.
    pub services: Vec<Proven>,
    /// One per address of each gateway that the rack names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<Through>,
    /// All that was found, passes too.
    pub findings: Vec<Finding>,
}

/// One address of a Service, as seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proven {
    /// The Service: `default/web`.
    pub service: String,
    /// Its address.
    pub address: IpAddr,
    /// Whether all that was asked agrees.
    pub proven: bool,
    /// The node that answers for it.
    pub node: Option<String>,
    /// That node's link.
    pub link: Option<String>,
    /// That link's MAC address.
    pub mac: Option<String>,
    /// All of it in one line.
    pub line: String,
}

impl Proof {
    /// How many errors are not waived.
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|f| f.blocks()).count()
    }

    /// Whether nothing was asked.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.findings.is_empty()
    }

    /// Whether all that was asked is as it should be.
    pub fn is_good(&self) -> bool {
        self.services.iter().all(|s| s.proven) && self.errors() == 0
    }
}

/// What receipts and a look at the cluster tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterStatus {
    /// `gitVersion` of the API server.
    pub version: String,
    /// The last run; none when we were never here.
    pub last: Option<LastRun>,
    /// Keys of steps in effect, in the order in which they were first done.
    pub in_effect: Vec<String>,
    /// Keys of steps whose effect somebody else changed, and how.
    pub drift: Vec<ClusterDrift>,
}

/// Something that is no longer as the receipts say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterDrift {
    /// The step's key.
    pub key: String,
    /// What there is now.
    pub now: String,
}

impl ClusterStatus {
    /// What is in effect by our doing, and what is no longer so.
    pub fn of(facts: &ClusterFacts) -> Self {
        let mut entries: Vec<_> = facts.ledger.entries.iter().collect();
        entries.sort_by_key(|(_, entry)| entry.order);
        let drift = entries.iter().filter_map(|(key, entry)| {
            let now = drifted(facts, entry)?;
            Some(ClusterDrift { key: (*key).clone(), now })
        });
        Self {
            version: facts.version.clone(),
            last: facts.ledger.last.clone(),
            drift: drift.collect(),
            in_effect: entries.iter().map(|(key, _)| (*key).clone()).collect(),
        }
    }
}

/// What there is instead of what a receipt says; none while it is as it says.
fn drifted(facts: &ClusterFacts, entry: &ClusterEntry) -> Option<String> {
    let undo = entry.undo.as_ref()?;
    let (now, words) = match (look(facts, undo), undo) {
        (ClusterSeen::Text(seen), _) => match seen.text {
            Some(text) => (digest::text(&text), "another text"),
            None => return Some("not there".into()),
        },
        (ClusterSeen::Workload(seen), _) if !seen.exists => return Some("not there".into()),
        (ClusterSeen::Workload(seen), _) if !seen.is_complete() => {
            return Some(format!("{} of {} pods ready", seen.ready, seen.desired));
        }
        (ClusterSeen::Workload(seen), _) => (digest::workload(&seen), "restarted with another configuration"),
        (ClusterSeen::Object(_), ClusterStep::Object(step)) => match live(facts, step) {
            Some(live) => (digest::object(live), "other fields"),
            None => return Some("not there".into()),
        },
        (ClusterSeen::Object(_), _) => return None,
    };
    match (&entry.after, &entry.meant) {
        // Also what a run did that was cut off before it could say so.
        _ if entry.is_ours(&now) => None,
        (None, None) => Some("not known: a run was cut off here".into()),
        _ => Some(words.into()),
    }
}
