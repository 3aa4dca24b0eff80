//! The cluster: what was observed of it, and the steps on it. All here is pure; [`crate::kube`] has the effects.
//!
//! - [`facts`]: what API servers told.
//! - [`look`]: what the facts tell of one step.
//! - [`plan`]: from what is wanted, what there is and what we did before, to a list of steps.
//! - [`outcome`]: how a run went, and what is in effect.
//! - [`digest`]: what is there by our doing, in short.

pub mod digest;
pub mod facts;
pub mod look;
pub mod outcome;
pub mod plan;
