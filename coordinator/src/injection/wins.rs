//! Whether a pod gets a sidecar, of which revision, and why: the selectors of Istio's webhooks as its charts write them
//! (`mutatingwebhook.yaml`), then what the injector itself decides (`pkg/kube/inject/inject.go`, injectRequired).

use std::collections::BTreeMap;

use super::hooks::{Injector, Injectors};

/// The label of namespaces for the default revision: `enabled` or `disabled`. It wins over [`REVISION`].
pub const INJECTION: &str = "istio-injection";
/// The label of namespaces and pods that names a revision or a tag.
pub const REVISION: &str = "istio.io/rev";
/// The label, or annotation of old, of pods: `true` or `false`.
pub const INJECT: &str = "sidecar.istio.io/inject";
/// What Istio calls a revision without a name.
pub const DEFAULT: &str = "default";
/// Namespaces whose pods never get a sidecar, whatever is asked.
pub const NEVER: &[&str] = &["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

/// Labels or annotations.
pub type Labels = BTreeMap<String, String>;

/// A namespace, as far as injection goes.
#[derive(Debug, Clone, Copy)]
pub struct Namespace<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its labels.
    pub labels: &'a Labels,
}

/// A pod that is about to be made, as far as injection goes.
#[derive(Debug, Clone, Copy)]
pub struct Pod<'a> {
    /// Its labels.
    pub labels: &'a Labels,
    /// Its annotations.
    pub annotations: &'a Labels,
    /// Whether it lives in its node's network: `spec.hostNetwork`.
    pub host_network: bool,
}

/// Whether a pod gets a sidecar, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It gets one.
    Injected {
        /// The revision of the istiod that it is of: `default`, `canary`.
        revision: String,
        /// Why.
        why: String,
    },
    /// It gets none.
    Not {
        /// In one word.
        cause: Cause,
        /// Why.
        why: String,
    },
}

/// Why a pod gets no sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Neither its namespace nor itself asks for one.
    NotAsked,
    /// Its namespace says no.
    NamespaceOff,
    /// The namespace's label has a value that means nothing.
    NamespaceUnclear,
    /// It says no itself.
    PodOff,
    /// No webhook serves the revision.
    NoWebhook,
    /// It lives in its node's network.
    HostNetwork,
    /// Its namespace is one that never injects.
    NamespaceNever,
    /// The injector's own configuration: `neverInjectSelector`.
    NeverSelected,
    /// The injector's own configuration: `policy: disabled`.
    Policy,
}

impl Verdict {
    /// Whether it gets a sidecar.
    pub fn is_injected(&self) -> bool {
        matches!(self, Self::Injected { .. })
    }

    /// Why, or why not.
    pub fn why(&self) -> &str {
        match self {
            Self::Injected { why, .. } | Self::Not { why, .. } => why,
        }
    }

    fn not(cause: Cause, why: impl Into<String>) -> Self {
        Self::Not { cause, why: why.into() }
    }
}

/// What a webhook is asked for.
enum Asked<'a> {
    /// The default revision's.
    Default,
    /// That of a revision or a tag.
    Named(&'a str),
    /// One for whatever is not labelled.
    Auto,
}

/// Whether a pod gets a sidecar.
pub fn decide(namespace: Namespace<'_>, pod: Pod<'_>, injectors: &Injectors) -> Verdict {
    let (asked, why) = match asked(namespace, pod) {
        Ok(asked) => asked,
        Err(verdict) => return verdict,
    };
    let injector = match asked {
        Asked::Default => injectors.default(),
        Asked::Named(name) => injectors.named(name),
        Asked::Auto => injectors.auto(),
    };
    let Some(injector) = injector else { return no_webhook(&asked, &why, injectors) };
    required(namespace, pod, &injector, why)
}

/// Which webhook is asked, by the labels of the namespace and then of the pod, and by which of them.
fn asked<'a>(namespace: Namespace<'a>, pod: Pod<'a>) -> Result<(Asked<'a>, String), Verdict> {
    let of = |labels: &'a Labels, key: &str| labels.get(key).map(String::as_str);
    let (legacy, revision) = (of(namespace.labels, INJECTION), of(namespace.labels, REVISION));
    let (inject, own) = (of(pod.labels, INJECT), of(pod.labels, REVISION));
    let name = namespace.name;
    if let Some(value) = legacy.filter(|value| *value != "enabled") {
        return Err(match value {
            "disabled" => Verdict::not(
                Cause::NamespaceOff,
                format!("namespace {name} says {INJECTION}=disabled, which wins over all else"),
            ),
            other => Verdict::not(
                Cause::NamespaceUnclear,
                format!("namespace {name} says {INJECTION}={other}, which is neither enabled nor disabled"),
            ),
        });
    }
    if inject == Some("false") {
        return Err(Verdict::not(Cause::PodOff, format!("the pod's label says {INJECT}=false")));
    }
    let ignored = |of: &str, revision: Option<&str>| match revision {
        Some(revision) => format!("; {REVISION}={revision} of the {of} is not looked at"),
        None => String::new(),
    };
    match (legacy, revision, inject, own) {
        (Some(_), ..) => {
            let theirs = ignored("namespace", revision) + &ignored("pod", own);
            Ok((Asked::Default, format!("namespace {name} says {INJECTION}=enabled{theirs}")))
        }
        (None, Some(revision), ..) => {
            let theirs = ignored("pod", own.filter(|own| *own != revision));
            Ok((Asked::Named(revision), format!("namespace {name} says {REVISION}={revision}{theirs}")))
        }
        (None, None, _, Some(own)) => {
            Ok((Asked::Named(own), format!("the pod's label says {REVISION}={own}")))
        }
        (None, None, Some("true"), None) => {
            Ok((Asked::Default, format!("the pod's label says {INJECT}=true")))
        }
        (None, None, Some(other), None) => Err(Verdict::not(
            Cause::NotAsked,
            format!(
                "namespace {name} has no label for it, and the pod's {INJECT}={other} is neither true nor false"
            ),
        )),
        (None, None, None, None) => {
            Ok((Asked::Auto, format!("neither namespace {name} nor the pod has a label for it")))
        }
    }
}

fn no_webhook(asked: &Asked<'_>, why: &str, injectors: &Injectors) -> Verdict {
    match asked {
        Asked::Auto => Verdict::not(Cause::NotAsked, why),
        Asked::Default => Verdict::not(
            Cause::NoWebhook,
            format!("{why}, but no webhook serves the default revision ({})", injectors.words()),
        ),
        Asked::Named(name) => Verdict::not(
            Cause::NoWebhook,
            format!("{why}, but no webhook serves revision or tag {name} ({})", injectors.words()),
        ),
    }
}

/// What the injector decides of a pod that reached it.
fn required(namespace: Namespace<'_>, pod: Pod<'_>, injector: &Injector, why: String) -> Verdict {
    let injected = |why: String| Verdict::Injected { revision: injector.revision.clone(), why };
    if pod.host_network {
        let why = "it lives in its node's network (hostNetwork), whose traffic must not be redirected";
        return Verdict::not(Cause::HostNetwork, why);
    }
    if NEVER.contains(&namespace.name) {
        let why = format!("namespace {} never injects, whatever its labels say", namespace.name);
        return Verdict::not(Cause::NamespaceNever, why);
    }
    // The label beats the annotation, even with a value that means nothing.
    let (said, by) = match pod.labels.get(INJECT) {
        Some(label) => (Some(label.as_str()), "label"),
        None => (pod.annotations.get(INJECT).map(String::as_str), "annotation"),
    };
    let why = match said {
        Some("true") => return injected(why),
        Some("false") => return Verdict::not(Cause::PodOff, format!("the pod's {by} says {INJECT}=false")),
        None | Some("") => why,
        Some(other) => {
            format!("{why}; the pod's {by} {INJECT}={other} is neither true nor false and counts for nothing")
        }
    };
    if injector.settings.never(pod.labels) {
        return Verdict::not(Cause::NeverSelected, "a neverInjectSelector of the injector selects it");
    }
    if injector.settings.always(pod.labels) {
        return injected(format!("{why}; an alwaysInjectSelector of the injector selects it"));
    }
    match injector.settings.enabled {
        true => injected(why),
        false => {
            Verdict::not(Cause::Policy, "the injector's policy is disabled, and the pod does not ask for one")
        }
    }
}
