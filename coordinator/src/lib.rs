//! The coordinator: the only room that sees more than one node, or the cluster. Effects live in [`ssh`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod agent;
pub mod cli;
pub mod cmd;
pub mod exit;
pub mod findings;
pub mod fleet;
pub mod plan;
pub mod rack;
pub mod report;
pub mod ssh;
//! The coordinator: the only room that sees more than one node or the cluster.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod network;
