//! All that needs two rooms, a kernel, an sshd: one module per family.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod apply;
mod check;
mod defects;
mod kernel;
mod kill;
mod lab;
mod memory;
mod operator;
mod plan;
mod reboot;
mod revert;
mod run;
mod traces;
