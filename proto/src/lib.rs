//! The words that Rackwright's rooms share. Values only: no I/O, no clock, no runtime.
//!
//! - [`step`]: one typed unit of desired state, in families ([`kernel`], [`memory`], [`mod@file`], [`mod@unit`],
//!   [`tool`]).
//!   Each family holds the step, what a host can have instead ([`step::Seen`]), the pure decision between
//!   the two, and the inverse.
//! - [`facts`] and [`link`]: what an agent observed on its host.
//! - [`l2`]: questions and answers of ARP and neighbour discovery probes.
//! - [`finding`]: one checked statement about a host or the cluster.
//! - [`plan`]: a complete list of steps, with what was seen and what will be.
//! - [`event`]: what an agent says while it works; the same records are its journal.
//! - [`receipt`]: what was done on a host and what was there before. Versioned for ever.
//! - [`cluster`]: the same for steps on the cluster.
//! - [`reach`]: what a host is asked to reach, and what came of it.
//! - [`mod@examine`]: what a host is asked when something is wrong with its cluster.
//! - [`traces`]: what a cluster left on a host.
//! - [`secret`]: text that must not be shown.
//! - [`wire`]: frames, the two hellos, requests and replies. Lockstep: both ends are of one build.

pub mod cluster;
pub mod event;
pub mod examine;
pub mod facts;
pub mod fault;
pub mod file;
pub mod finding;
pub mod kernel;
pub mod l2;
pub mod link;
pub mod memory;
pub mod name;
pub mod plan;
pub mod range;
pub mod reach;
pub mod receipt;
pub mod secret;
pub mod step;
pub mod tool;
pub mod traces;
pub mod unit;
pub mod wire;
