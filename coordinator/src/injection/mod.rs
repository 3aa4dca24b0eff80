//! Istio's sidecars: who gets one, who has one, and what keeps manifests from getting what they mean. Pure.
//!
//! - [`wins`]: whether a pod gets a sidecar, of which revision, and why.
//! - [`hooks`]: the injectors that a cluster has.
//! - [`facts`]: what was observed of the namespaces that injection is about.
//! - [`pods`]: sidecars that are there, and pods that are not as they would be made today.
//! - [`lint`]: mistakes in manifests.
//! - [`log`]: known causes in a proxy's log.

pub mod facts;
pub mod hooks;
pub mod lint;
pub mod log;
pub mod pods;
#[cfg(test)]
mod tests;
pub mod wins;

/// The names of findings of this room, stable for ever, with what they are about.
pub const NAMES: &[(&str, &str)] = &[
    (
        "injection-forbidden",
        "A namespace whose pods shall get a sidecar forbids what its init container needs (Pod Security).",
    ),
    ("injection-namespace-absent", "The rack wants injection in a namespace that is not there."),
    ("injection-namespace-never", "The rack wants injection in a namespace that never injects."),
    ("injection-no-webhook", "A namespace is labelled for injection, and no webhook serves its revision."),
    (
        "injection-stale",
        "Pods run without a sidecar that they would get today, with one that they would not, or with an older one.",
    ),
    ("injection-workload-absent", "The rack excludes a workload from injection that is not there."),
];
