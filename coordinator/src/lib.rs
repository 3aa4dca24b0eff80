//! The coordinator's rooms, for its binary and its tests.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod findings;
pub mod plan;
pub mod report;
