//! The coordinator: the only room that sees more than one node, or the cluster. Effects live in [`ssh`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod agent;
pub mod ask;
pub mod atomic;
pub mod cli;
pub mod cmd;
pub mod console;
pub mod exit;
pub mod findings;
pub mod fleet;
pub mod judge;
pub mod network;
pub mod plan;
pub mod rack;
pub mod report;
pub mod scene;
pub mod ssh;
pub mod survey;
pub mod target;
pub mod wanted;
