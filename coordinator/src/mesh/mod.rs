//! Istio: what the rack wants of it, what that comes to on a cluster, and what bites. All of it is pure.
//!
//! - [`release`]: versions of Istio.
//! - [`matrix`]: which Istio goes with which Kubernetes, and until when it is mended.
//! - [`profile`]: which profiles there are, and which objects an installation consists of.
//! - [`settings`]: the operator's own file, parsed strictly.
//! - [`install`]: one installation as it is wanted, and the commands that make and unmake it.
//! - [`view`]: what is installed, read from the cluster's objects.
//! - [`judge`]: findings about what is wanted and what is there.

pub mod install;
pub mod judge;
pub mod matrix;
mod names;
pub mod profile;
pub mod release;
pub mod settings;
pub mod view;

pub use install::{Act, Install, OPERATOR_NAMESPACE};
pub use names::NAMES;
pub use profile::{Expected, Kind};
pub use release::{Minor, Release};
pub use settings::Settings;
pub use view::{Objects, View};
