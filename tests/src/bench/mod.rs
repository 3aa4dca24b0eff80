//! The benchmark: rackwright beside its floor, the same job as one shell script piped over `ssh` to all hosts.
//!
//! Both log in as root with the same key, to the same light hosts, from the same place; they take turns within
//! one run, because the machine is never quiet. What is compared is medians.
//!
//! [`cluster`] counts what runs ask of an API server.

pub mod cluster;
mod cost;
mod goals;
mod race;
mod table;

use std::path::PathBuf;

use serde::Serialize;

pub use cost::Cost;
pub use goals::{Goal, goals};
pub use race::race;
pub use table::text;

use crate::names::RackName;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Order {
    /// The rack that is made for it, and taken down after.
    pub rack: RackName,
    /// Numbers of hosts.
    pub hosts: Vec<usize>,
    /// First applies per number of hosts and tool; each is followed by several without a change.
    pub runs: usize,
    /// The coordinator, with its agents beside it.
    pub program: PathBuf,
    /// The agent's size in bytes.
    pub agent_bytes: u64,
}

/// All that was measured.
#[derive(Debug, Serialize)]
pub struct Results {
    /// One per number of hosts.
    pub heats: Vec<Heat>,
    /// The agent's size in bytes.
    pub agent_bytes: u64,
}

/// One number of hosts.
#[derive(Debug, Serialize)]
pub struct Heat {
    /// How many.
    pub hosts: usize,
    /// On hosts that neither tool ever touched, or that were put back: delivery of the agent included.
    pub first: Pair,
    /// On prepared hosts.
    pub unchanged: Pair,
}

/// What both tools took.
#[derive(Debug, Default, Serialize)]
pub struct Pair {
    /// rackwright.
    pub ours: Vec<Cost>,
    /// The script.
    pub floor: Vec<Cost>,
}

impl Pair {
    /// The medians of one quantity: ours, and the floor's.
    pub fn medians(&self, of: impl Fn(&Cost) -> f64) -> (f64, f64) {
        (median(self.ours.iter().map(&of)), median(self.floor.iter().map(&of)))
    }

    /// Ours as a part of the floor's.
    pub fn ratio(&self, of: impl Fn(&Cost) -> f64) -> f64 {
        let (ours, floor) = self.medians(of);
        ours / floor
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => middle(odd / 2),
        even => f64::midpoint(middle(even / 2 - 1), middle(even / 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!(median([].into_iter()).is_nan());
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), 2.5);
    }
}
