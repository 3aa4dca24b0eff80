//! All that needs two rooms, a kernel, an sshd: one module per family.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod bastion;
mod confirm;
mod detach;
mod kill;
mod lab;
mod lock;
mod operator;
mod sudo;
mod traces;
mod trust;
mod wire;
