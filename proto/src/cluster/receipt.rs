//! What was done on a cluster and what was there before. Kept in the cluster itself, as JSON in one ConfigMap.
//!
//! Versioned for ever: unknown fields are skipped and every field added later has a default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::mesh::{MeshRecord, MeshWant};
use super::{ClusterSeen, ClusterStep};
use crate::name::RunId;
use crate::receipt::LastRun;

/// What is in effect on a cluster by our doing, by step key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterLedger {
    /// Version of this shape; 0 for an empty ledger.
    #[serde(default)]
    pub format: u32,
    /// The last run that acted.
    #[serde(default)]
    pub last: Option<LastRun>,
    /// Entries in step key order.
    #[serde(default)]
    pub entries: BTreeMap<String, ClusterEntry>,
}

/// One thing on the cluster that we answer for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterEntry {
    /// What brings back what was there before our first touch; `None` for what needs no undoing.
    pub undo: Option<ClusterStep>,
    /// What is there by our doing; `None` for an object while nobody has said that its writing came to its end.
    #[serde(default)]
    pub after: Option<Done>,
    /// What is there instead if a run was cut off after it had acted and before it could say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meant: Option<Done>,
    /// What is installed there by our doing, where it is Istio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<Box<MeshRecord>>,
    /// The order of first touch; an undo goes backwards.
    #[serde(default)]
    pub order: u64,
    /// The run that last touched it.
    pub run: RunId,
}

/// What was there when we were done, in short: a manifest would not fit into a ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// SHA-256, hex, of the text, of the stamp, or of the object without its metadata, status and `caBundle`s.
    pub sha256: String,
    /// The object's uid, where it is one.
    #[serde(default)]
    pub uid: Option<String>,
}

impl ClusterEntry {
    /// Whether what is there is by our doing, as far as is known.
    pub fn is_ours(&self, now: &Done) -> bool {
        [&self.after, &self.meant].into_iter().flatten().any(|done| done == now)
    }
}

impl ClusterLedger {
    /// The shape that this build writes.
    pub const FORMAT: u32 = 1;

    /// Records that a step is about to act on what is there `now`, and what will be there then, where that is known
    /// before. The first `undo` stays for ever, or until the object is made anew.
    pub fn intend(
        &mut self,
        run: &RunId,
        step: &ClusterStep,
        before: &ClusterSeen,
        now: Done,
        meant: Option<Done>,
    ) {
        let order = self.entries.values().map(|e| e.order + 1).max().unwrap_or(0);
        let undo = || step.inverse(before);
        let new =
            || ClusterEntry { undo: undo(), after: None, meant: None, mesh: None, order, run: run.clone() };
        let entry = self.entries.entry(step.key()).or_insert_with(new);
        // Another object under the same name has a past of its own.
        if let (Some(ClusterStep::Labels(undo)), ClusterSeen::Labels(now)) = (&entry.undo, before)
            && undo.only != now.uid
        {
            *entry = new();
        }
        entry.after = match &meant {
            None => None,
            // A run that was cut off had acted.
            Some(_) if entry.meant.as_ref() == Some(&now) => Some(now),
            Some(_) => entry.after.take(),
        };
        entry.meant = meant;
        entry.run = run.clone();
        self.format = Self::FORMAT;
    }

    /// Records that it acted, and what is there now.
    pub fn done(&mut self, key: &str, after: Done) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.after = Some(after);
            entry.meant = None;
        }
    }

    /// Records what an installation of Istio brought; what removes it is of that version from now on.
    pub fn installed(&mut self, key: &str, record: MeshRecord) {
        if let Some(entry) = self.entries.get_mut(key) {
            if let Some(ClusterStep::Mesh(undo)) = &mut entry.undo
                && matches!(undo.want, MeshWant::Gone { .. })
            {
                undo.install = record.install.clone();
            }
            entry.mesh = Some(Box::new(record));
        }
    }

    /// Records that something was undone. What all control planes of Istio share goes with the last of ours, whichever
    /// brought it.
    pub fn undone(&mut self, key: &str) {
        let gone = self.entries.remove(key);
        let brought = gone.and_then(|entry| entry.undo).is_some_and(|undo| shares(&undo) == Some(true));
        if brought
            && let Some(other) =
                self.entries.values_mut().find(|e| e.undo.as_ref().and_then(shares).is_some())
            && let Some(ClusterStep::Mesh(undo)) = &mut other.undo
        {
            undo.want = MeshWant::Gone { shared: true };
        }
    }
}

/// Whether undoing this takes away what control planes share; `None` where it takes away none.
fn shares(undo: &ClusterStep) -> Option<bool> {
    match undo {
        ClusterStep::Mesh(step) => match step.want {
            MeshWant::Gone { shared } => Some(shared),
            MeshWant::Installed | MeshWant::Left => None,
        },
        _ => None,
    }
}
