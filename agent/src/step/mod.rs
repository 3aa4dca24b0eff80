//! Steps, by family: what the host has, and how it gets what is wanted.

pub mod kernel;
pub mod memory;
