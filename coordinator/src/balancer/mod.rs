//! MetalLB in layer 2 mode: what the rack wants of it, and what bites.
//!
//! All of it is pure, but for [`fetch`], which reads or downloads the manifest.
//!
//! - [`manifest`]: the publisher's manifest as objects in order.
//! - [`objects`]: pools and advertisements, filled in from what the agents saw.
//! - [`traps`]: findings about what is wanted and what is there.
//! - [`pending`]: why a Service has no address; [`silent`]: why nobody answers for the one it has.

pub mod manifest;
mod names;
pub mod pending;
pub mod reason;
pub mod release;
pub mod silent;

pub use manifest::Manifest;
pub use names::NAMES;
pub use reason::Reason;
