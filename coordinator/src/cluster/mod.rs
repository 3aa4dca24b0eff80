//! The cluster: what was observed of it, and the steps on it. All here is pure; [`crate::kube`] has the effects.
//!
//! - [`facts`]: what API servers told.

pub mod facts;
