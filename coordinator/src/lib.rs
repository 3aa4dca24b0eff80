//! The coordinator: the only room that sees more than one node or the cluster.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod network;
