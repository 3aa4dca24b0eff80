//! Worlds of hosts and one Service, asked as in earnest; the words are golden, the verdict is compared with who
//! answers.

pub(super) mod golden;
mod model;
mod world;

pub(super) use golden::show;
pub(super) use world::object;
