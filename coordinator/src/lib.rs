//! The coordinator: the only room that sees more than one node, or the cluster. Effects live in `ssh`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod agent;

pub mod cli;
pub mod exit;
pub mod fleet;
//! skeleton
pub mod cmd;
pub mod rack;
//! The coordinator: the only room that sees more than one node or the cluster.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod ssh;
//! The coordinator's rooms, for its binary and its tests.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod findings;
pub mod plan;
pub mod report;
