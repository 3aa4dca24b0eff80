//! The part of Rackwright that runs on a node: the only room that changes one. Effects live in [`host`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod facts;
pub mod host;
pub mod l2;
pub mod step;
