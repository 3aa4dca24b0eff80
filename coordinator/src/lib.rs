//! The coordinator: the only room that sees more than one node, or the cluster.
//!
//! Effects on hosts live in [`ssh`], on the cluster in [`kube`]. On the operator's side there are eight small doors, and
//! no others: [`rack`] reads the rack, [`wanted`] the files that it copies, [`fetch`] gets what others publish,
//! [`balancer::fetch`] the balancer's manifest, [`ask`] secrets and the terminal; [`here`] connects to what is to be
//! proven; [`console`] speaks, and [`atomic`] is the only one that writes files. All else decides, or strings decisions
//! together (`cmd`, [`survey`]).
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod agent;
pub mod ask;
pub mod atomic;
pub mod balancer;
pub mod cli;
pub mod cluster;
pub mod cmd;
pub mod console;
pub mod corefile;
pub mod diagnose;
pub mod dns;
pub mod exit;
pub mod fetch;
pub mod findings;
pub mod fleet;
pub mod here;
pub mod injection;
pub mod judge;
pub mod kube;
pub mod mesh;
pub mod natural;
pub mod network;
pub mod plan;
pub mod proof;
pub mod proxy;
pub mod rack;
pub mod report;
pub mod scene;
pub mod ssh;
pub mod survey;
pub mod target;
pub mod tools;
pub mod wanted;
