//! Everything that crosses to the API server of the cluster: the only door to it.
//!
//! ```text
//! kubeconfig  an administrator's kubeconfig           -> Access   who we are, whom we trust
//! door        a way to an API server                  -> Door     through a control plane's SSH, or directly
//! wire        one request, whatever breaks on the way             doors, patience, repeats
//! api         the verbs                               -> Api
//! watch       wait for the cluster without polling    -> Watched
//! lease       one coordinator at a time               -> Hold
//! store       our receipts, in the cluster itself     -> Store
//! gather      all that planning and judging need      -> ClusterFacts
//! injection   the same of namespaces whose pods get a sidecar
//! act         one step: look, and change (rollout: restart and wait; turns: node by node)
//! nodes       a node's turn: cordon, evict within budgets, await its boot, uncordon
//! receipts    what we did, as values, over the store
//! mesh        Istio by its own tools on a control plane
//! run         a plan's steps under the lock, intentions before acts
//! ```
//! Decisions are pure ([`resource`], [`status`], [`trouble`]); every request has a deadline, every answer a bound, and
//! nothing here prints a token or a key.

pub mod act;
pub mod api;
mod ask;
mod connect;
pub mod counts;
mod discovery;
pub mod door;
pub mod error;
pub mod gather;
pub mod injection;
pub mod kubeconfig;
pub mod lease;
pub mod mesh;
pub mod nodes;
pub mod receipts;
pub mod resource;
pub mod rollout;
pub mod run;
mod same;
pub mod status;
pub mod store;
pub mod trouble;
pub mod turns;
pub mod watch;
mod wire;

pub use api::{Api, Apply, Logs, MANAGER, Version};
pub use counts::Counts;
pub use door::{Door, Place};
pub use error::{KubeError, KubeFault};
pub use kubeconfig::{Access, KubeconfigError};
pub use lease::{Hold, Holder, LeaseError};
pub use resource::{Listed, Resource, Selector};
pub use store::{Store, Stored};
pub use watch::{Set, Watched};
pub use wire::{Notice, Options, Patience, Said};

#[cfg(test)]
mod tests;
