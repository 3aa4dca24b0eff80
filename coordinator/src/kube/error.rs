//! What can go wrong with a request to the API server: what we were doing, to which object, and what to do next.

use std::fmt;
use std::time::Duration;

use super::trouble::TlsFault;

/// A request that was not done.
#[derive(Debug)]
pub struct KubeError {
    /// What was being done, with the object: `replace ConfigMap kube-system/coredns`.
    pub doing: String,
    /// What went wrong. Its own sources are reached through it.
    pub fault: Box<KubeFault>,
}

impl fmt::Display for KubeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doing, self.fault)
    }
}

impl std::error::Error for KubeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The fault is in the message already; what lies under it is not.
        self.fault.source()
    }
}

impl KubeError {
    /// Whether somebody else changed the object since it was read, or owns fields that were to be applied.
    pub fn is_conflict(&self) -> bool {
        matches!(*self.fault, KubeFault::Conflict { .. })
    }

    /// Whether the API server's webhook could not be asked: worth another try while its workload starts.
    pub fn is_webhook_unreachable(&self) -> bool {
        matches!(*self.fault, KubeFault::Webhook { .. })
    }
}

/// A field that another field manager owns (server-side apply).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The field manager, as the API server names it: `kubectl-edit`.
    pub manager: String,
    /// The field: `.data.Corefile`.
    pub field: String,
}

/// Who changed an object, by its managed fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The field manager.
    pub manager: String,
    /// When, as the API server wrote it (RFC 3339).
    pub time: String,
    /// The fields that it set: `.data.Corefile`.
    pub fields: Vec<String>,
}

/// One reason why an object is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The field, or nothing where the whole object is meant.
    pub field: String,
    /// The API server's words.
    pub message: String,
}

/// What an RBAC rule would have to allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingRule {
    /// The user, as the API server knows it.
    pub user: String,
    /// The verb of RBAC: `get`, `patch`.
    pub verb: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource with its subresource (`pods/eviction`), or a path (`/readyz`).
    pub resource: String,
    /// The namespace, if the request was for one.
    pub namespace: Option<String>,
}

/// Why a webhook could not be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookTrouble {
    /// Nothing listens yet, or no more.
    Refused,
    /// Its Service has no ready pod behind it.
    NoEndpoints,
    /// Its Service does not exist.
    NoService,
    /// Its certificate is not signed by the authority in its configuration: not injected yet, or renewed.
    Certificate,
    /// It did not answer in time: control plane and pod cannot reach each other, or the pod hangs.
    Late,
    /// Anything else.
    Other,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KubeFault {
    /// No control plane gave an answer.
    #[error("{}", unreachable(doors, *after))]
    Unreachable {
        /// Each door and its last trouble, in words.
        doors: Vec<String>,
        /// How long it was tried.
        after: Duration,
    },
    /// The connection broke after the request was sent, and it is not one to repeat blindly.
    #[error(
        "the connection broke before the answer came ({why}), so the outcome is not known; look at the object before you repeat it"
    )]
    Uncertain {
        /// What broke.
        why: String,
    },
    /// The API server's certificate does not hold.
    #[error("{node}: {tls}")]
    Tls {
        /// The door's node.
        node: String,
        /// Why, and what to do.
        tls: TlsFault,
    },
    /// The identity is not accepted.
    #[error(
        "the API server does not accept who we are ({message}); has the client certificate or token of the kubeconfig expired? `kubeadm certs check-expiration` tells, `kubeadm certs renew admin.conf` renews"
    )]
    Unauthorized {
        /// The API server's words.
        message: String,
    },
    /// The user has no such right.
    #[error("{}", rbac(.0))]
    Rbac(MissingRule),
    /// Admission or the namespace's state forbids it.
    #[error("forbidden: {message}")]
    Forbidden {
        /// The API server's words.
        message: String,
    },
    /// Not there.
    #[error("there is no such object")]
    NotFound,
    /// There already, and not as we wanted to create it.
    #[error(
        "an object of this name exists already, and is not what was to be created; look at who made it before you remove it"
    )]
    Exists,
    /// Changed by somebody else since it was read, or fields of others.
    #[error("{}", conflict(claims, changed, message))]
    Conflict {
        /// Server-side apply: the fields and who owns them.
        claims: Vec<Claim>,
        /// Replace and patch: who changed the object last, as it is now, newest first.
        changed: Vec<Change>,
        /// The API server's words.
        message: String,
    },
    /// The object breaks the rules of its kind.
    #[error("the API server finds it invalid: {}", causes_text(causes, message))]
    Invalid {
        /// Field by field.
        causes: Vec<Cause>,
        /// The API server's words; empty for Secrets, whose values they may quote.
        message: String,
    },
    /// The kind of this cluster does not know a field.
    #[error("this cluster does not know {}; its version of the kind is older or newer than what is asked for", fields.join(", "))]
    UnknownField {
        /// The fields' paths.
        fields: Vec<String>,
    },
    /// A webhook said no.
    #[error("the admission webhook {webhook} denied it: {message}")]
    Denied {
        /// The webhook's name.
        webhook: String,
        /// Its words.
        message: String,
    },
    /// A webhook could not be asked, so the API server refuses.
    #[error("the API server cannot ask the webhook {webhook}: {} ({message})", webhook_words(*trouble))]
    Webhook {
        /// The webhook's name.
        webhook: String,
        /// Why.
        trouble: WebhookTrouble,
        /// The API server's words.
        message: String,
    },
    /// A PodDisruptionBudget does not allow an eviction now.
    #[error("a PodDisruptionBudget does not allow it now: {message}")]
    Budget {
        /// The API server's words.
        message: String,
    },
    /// A resourceVersion or continuation that is too old.
    #[error("the API server no longer knows that version")]
    Gone,
    /// No answer in time, though the API server can be reached.
    #[error("no end of it within {} s", after.as_secs())]
    Late {
        /// The deadline.
        after: Duration,
    },
    /// An answer or an object beyond its bound.
    #[error("{what} is larger than {most} {unit}")]
    TooLarge {
        /// What it is.
        what: String,
        /// The bound.
        most: usize,
        /// What the bound counts: `bytes`, `objects`.
        unit: &'static str,
    },
    /// The cluster does not serve this kind.
    #[error(
        "the cluster serves no {kind} in {api_version}; is its CustomResourceDefinition installed, and of this version?"
    )]
    NoSuchKind {
        /// `metallb.io/v1beta1`.
        api_version: String,
        /// `IPAddressPool`.
        kind: String,
    },
    /// The object given lacks something to be sent.
    #[error("the object given has no {missing}")]
    Incomplete {
        /// The field's path.
        missing: &'static str,
    },
    /// Any other refusal.
    #[error("the API server says {code} {reason}: {message}")]
    Refused {
        /// HTTP status.
        code: u16,
        /// The Status' reason.
        reason: String,
        /// Its words.
        message: String,
    },
    /// Not what an API server answers.
    #[error("the answer is not what was expected")]
    Malformed {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The kubeconfig's identity cannot be used.
    #[error("no client can be made of the kubeconfig: {why}")]
    Client {
        /// Why, in words that hold no secret.
        why: String,
    },
}

impl KubeFault {
    /// The error of doing this.
    pub fn at(self, doing: impl Into<String>) -> KubeError {
        KubeError { doing: doing.into(), fault: Box::new(self) }
    }
}

fn unreachable(doors: &[String], after: Duration) -> String {
    match after.as_secs() {
        0 => format!("no API server can be asked: {}", doors.join("; ")),
        seconds => format!("no API server answered, though tried for {seconds} s: {}", doors.join("; ")),
    }
}

fn rbac(rule: &MissingRule) -> String {
    let MissingRule { user, verb, group, resource, namespace } = rule;
    if resource.starts_with('/') {
        return format!(
            "{user} may not {verb} {resource}; a ClusterRole needs the rule {{nonResourceURLs: [\"{resource}\"], \
             verbs: [\"{verb}\"]}}"
        );
    }
    let (place, role) = match namespace {
        Some(namespace) => (format!("in namespace {namespace}"), "Role there"),
        None => ("in the whole cluster".to_owned(), "ClusterRole"),
    };
    format!(
        "{user} may not {verb} {resource} {place}; a {role} bound to it needs the rule {{apiGroups: [\"{group}\"], \
         resources: [\"{resource}\"], verbs: [\"{verb}\"]}}"
    )
}

fn conflict(claims: &[Claim], changed: &[Change], message: &str) -> String {
    if !claims.is_empty() {
        let owned: Vec<String> =
            claims.iter().map(|claim| format!("{} belongs to {}", claim.field, claim.manager)).collect();
        return format!("fields belong to others: {}", owned.join(", "));
    }
    match changed.first() {
        Some(Change { manager, time, fields }) if fields.is_empty() => {
            format!("somebody changed it since it was read: {manager} at {time}; look at it and plan again")
        }
        Some(Change { manager, time, fields }) => format!(
            "somebody changed it since it was read: {manager} set {} at {time}; look at it and plan again",
            fields.join(", ")
        ),
        None => format!("it was changed since it was read ({message}); look at it and plan again"),
    }
}

fn causes_text(causes: &[Cause], message: &str) -> String {
    if causes.is_empty() {
        return message.to_owned();
    }
    let one = |cause: &Cause| match (cause.field.as_str(), cause.message.as_str()) {
        ("", message) => message.to_owned(),
        (field, "") => field.to_owned(),
        (field, message) => format!("{field}: {message}"),
    };
    causes.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn webhook_words(trouble: WebhookTrouble) -> &'static str {
    match trouble {
        WebhookTrouble::Refused => "nothing listens there yet; its pod is starting or has died",
        WebhookTrouble::NoEndpoints => "no ready pod is behind its Service; look at the pods",
        WebhookTrouble::NoService => {
            "its Service does not exist; a webhook configuration is left of something removed"
        }
        WebhookTrouble::Certificate => {
            "its certificate is not of the authority that its configuration names; it is not injected yet, or stale"
        }
        WebhookTrouble::Late => {
            "it does not answer; the control plane cannot reach the pod network, or the pod hangs"
        }
        WebhookTrouble::Other => "the call failed",
    }
}
