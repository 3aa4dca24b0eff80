//! The part of Rackwright that runs on a node: the only room that changes one. Effects live in [`host`].
//!
//! - [`session`] talks with a coordinator over stdin and stdout; it changes nothing itself.
//! - [`run`] executes one plan, detached from any session: [`lock`], [`converge`], [`journal`], [`ledger`], and
//!   [`confirm`] for the steps that could cut the node off.
//! - [`l2`] asks the segment, [`reach`] what can be reached from here, and [`mod@examine`] what is wrong with a cluster.
//! - [`follow`] tells a run's records while they are written.
//! - [`restore`] and [`drift`] are started by the host's own units.
//! - [`step`] gives each family of steps its hands; [`archive`] and [`fetch`] are of the tool family.
//! - [`tool`] runs a tool of the cluster for a session.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod archive;
pub mod confirm;
pub mod converge;
pub mod drift;
pub mod examine;
pub mod facts;
pub mod fault;
pub mod fetch;
pub mod follow;
pub mod host;
pub mod journal;
pub mod l2;
pub mod ledger;
pub mod lock;
pub mod meant;
pub mod reach;
pub mod restore;
pub mod run;
pub mod session;
pub mod step;
pub mod tool;
