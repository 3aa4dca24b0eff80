//! MetalLB in layer 2 mode: what the rack wants of it, and what bites.
//!
//! All of it is pure, but for [`fetch`], which reads or downloads the manifest.
//!
//! - [`manifest`]: the publisher's manifest as objects in order.
//! - [`objects`]: pools and advertisements, filled in from what the agents saw.
//! - [`traps`]: findings about what is wanted and what is there.
//! - [`pending`]: why a Service has no address; [`silent`]: why nobody answers for the one it has.

pub mod fetch;
#[cfg(test)]
mod fixtures;
pub mod manifest;
mod names;
pub mod objects;
pub mod pending;
pub mod placement;
pub mod reason;
pub mod release;
mod request;
mod selector;
pub mod silent;
pub mod traps;
mod view;
mod workload;

use rackwright_proto::cluster::ClusterStep;

use crate::rack::model::kubernetes::Metallb;

pub use manifest::Manifest;
pub use names::NAMES;
pub use objects::Context;
pub use placement::{Member, members};
pub use reason::Reason;

/// All that the rack wants of MetalLB, in the order in which it is done, each with the field of the rack that leads to
/// it: the manifest's objects, its workloads ready, pools, advertisements.
pub fn wanted(metallb: &Metallb, manifest: &Manifest, context: &Context) -> Vec<(ClusterStep, String)> {
    let installed = manifest.steps().map(|step| (step, "kubernetes.metallb".to_owned()));
    installed.chain(objects::steps(metallb, context)).collect()
}
