//! All that needs two rooms, a kernel, an sshd: one module per family.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod apply;
mod bastion;
mod bench;
mod check;
mod cluster;
mod cluster_apply;
mod cluster_changes;
mod cluster_crash;
mod cluster_defects;
mod cluster_desk;
mod cluster_dns;
mod cluster_failures;
mod cluster_proof;
mod cluster_rack;
mod cluster_webhook;
mod confirm;
mod defects;
mod detach;
mod kernel;
mod kill;
mod kube_client;
mod lab;
mod lock;
mod memory;
mod migrate;
mod operator;
mod plan;
mod proxy_file;
mod reboot;
mod revert;
mod run;
mod sudo;
mod traces;
mod trust;
mod wire;
