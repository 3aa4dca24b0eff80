//! skeleton
pub mod cmd;
pub mod rack;
