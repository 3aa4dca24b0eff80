//! How many requests were sent, so that a run can tell what it cost the API server.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// What was asked of the API server. A request that is repeated counts each time; one that found no way out does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Requests by verb and resource: `get configmaps`, `apply ipaddresspools`, `get /readyz`.
    pub requests: BTreeMap<String, u64>,
    /// Connections made.
    pub connections: u64,
    /// Bytes sent, TLS included.
    pub sent: u64,
    /// Bytes received, TLS included.
    pub received: u64,
}

impl Counts {
    /// All requests.
    pub fn total(&self) -> u64 {
        self.requests.values().sum()
    }

    /// The requests of one verb and resource.
    pub fn of(&self, verb: &str, resource: &str) -> u64 {
        self.requests.get(&format!("{verb} {resource}")).copied().unwrap_or(0)
    }
}

/// Counts while requests run.
#[derive(Debug, Default)]
pub(super) struct Tally {
    requests: Mutex<BTreeMap<String, u64>>,
    pub(super) connections: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
}

impl Tally {
    pub(super) fn count(&self, verb: &str, resource: &str) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry(format!("{verb} {resource}")).or_default() += 1;
    }

    pub(super) fn read(&self) -> Counts {
        Counts {
            requests: self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            connections: self.connections.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
        }
    }
}
