//! All that needs two rooms, a kernel, an sshd: one module per family.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod cluster;
mod kill;
mod lab;
mod operator;
mod traces;
