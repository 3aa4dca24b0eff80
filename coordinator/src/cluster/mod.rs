//! The cluster: what was observed of it, and the steps on it. All here is pure; [`crate::kube`] has the effects.
//!
//! - [`facts`]: what API servers told.
//! - [`look`]: what the facts tell of one step; [`mesh`]: of an installation of Istio.
//! - [`plan`]: from what is wanted, what there is and what we did before, to a list of steps.
//! - [`outcome`]: how a run went, and what is in effect.
//! - [`drain`]: what becomes of a node's pods; [`spread`]: which nodes a DaemonSet puts its pods on.
//! - [`digest`]: what is there by our doing, in short.

pub mod digest;
pub mod drain;
pub mod facts;
pub mod look;
pub mod mesh;
pub mod outcome;
pub mod plan;
pub mod sight;
pub mod spread;
#[cfg(test)]
mod tests;
pub mod versions;
pub mod wanted;

/// The names of findings of this room, stable for ever, with what they are about.
pub const NAMES: &[(&str, &str)] = &[
    (
        "cluster-absent",
        "The rack wants a cluster, and no control plane has a kubeconfig yet: the hosts are prepared for one.",
    ),
    (
        "cluster-changed-by-others",
        "Something that we set in the cluster was changed since by somebody else; undo leaves it alone.",
    ),
    ("cluster-step-refused", "A step on the cluster cannot be done until somebody decides."),
    ("cluster-unreachable", "There is a cluster, but its API server cannot be reached or refuses."),
    ("mesh-dns", "DNS does not answer, or nobody could ask; Istio is not installed on such a cluster."),
    ("mesh-host", "A host lacks a kernel module or a sysctl that the data path of Istio's pods needs."),
    (
        "mesh-revision-in-use",
        "A revision of Istio that the rack no longer wants still has namespaces or proxies; it stays until they moved.",
    ),
    ("holds-others", "What we made holds what others made, so that undo leaves it alone."),
    (
        "kubelet-skew",
        "A node's kubelet is newer than the API server, or more than three minor versions older.",
    ),
    ("kubernetes-untested", "The cluster's version is one that this build was not tried with."),
    ("proxy-config-invalid", "kube-proxy's configuration cannot be read, or not be edited safely."),
    ("kubernetes-version-differs", "The cluster is of another version than the rack says."),
];
