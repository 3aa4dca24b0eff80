//! What a refusal of the API server means: its HTTP status and its `Status` object, told apart. Pure.
//!
//! The words that are looked for are those of Kubernetes 1.30 to 1.37 (`apimachinery/pkg/api/errors`,
//! `apiserver/pkg/admission/plugin/webhook/errors`); tests on a real cluster show that they still are.

use serde::Deserialize;
use serde_json::Value;

use super::ask::Ask;
use super::error::{Cause, Change, Claim, KubeFault, MissingRule, WebhookTrouble};

/// A refusal is never shown longer than this.
const MOST_WORDS: usize = 2_000;

/// `metav1.Status`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) message: String,
    pub(super) reason: String,
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    causes: Vec<StatusCause>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatusCause {
    reason: String,
    message: String,
    field: String,
}

impl Status {
    /// Of an answer's body; what is no `Status` is taken by its first words.
    pub(super) fn of(body: &[u8]) -> Self {
        let mut status: Self = serde_json::from_slice(body).unwrap_or_else(|_| Self {
            message: String::from_utf8_lossy(&body[..body.len().min(300)]).trim().to_owned(),
            ..Self::default()
        });
        if let Some((end, _)) = status.message.char_indices().nth(MOST_WORDS) {
            status.message.truncate(end);
            status.message.push('…');
        }
        status
    }

    /// Whether the API server had trouble of its own that passes, after it may have done what was asked.
    pub(super) fn is_passing(&self, code: u16) -> bool {
        let etcd = ["etcdserver: leader changed", "etcdserver: request timed out", "etcdserver: no leader"];
        code == 504
            || self.reason == "ServerTimeout"
            || (code == 500 && etcd.iter().any(|words| self.message.contains(words)))
    }

    /// Whether the API server asks to come again later, having done nothing.
    pub(super) fn is_busy(&self, code: u16) -> bool {
        code == 503 || (code == 429 && !self.is_budget())
    }

    fn is_budget(&self) -> bool {
        self.details.causes.iter().any(|cause| cause.reason == "DisruptionBudget")
    }

    /// The refusal of a request, in our words.
    pub(super) fn fault(self, code: u16, ask: &Ask) -> KubeFault {
        if let Some(fault) = webhook(&self.message, code) {
            return fault;
        }
        match (code, self.reason.as_str()) {
            (401, _) => KubeFault::Unauthorized { message: self.message },
            (403, _) => rbac(&self.message, ask)
                .map_or(KubeFault::Forbidden { message: self.message }, KubeFault::Rbac),
            (404, "NotFound") => KubeFault::NotFound,
            // No Status at all: nobody serves this path.
            (404, _) => match ask.kind.clone() {
                Some((api_version, kind)) => KubeFault::NoSuchKind { api_version, kind },
                None => KubeFault::NotFound,
            },
            (409, "AlreadyExists") => KubeFault::Exists,
            (409, _) => {
                KubeFault::Conflict { claims: self.claims(), changed: Vec::new(), message: self.message }
            }
            (410, _) => KubeFault::Gone,
            (422, _) => self.invalid(ask),
            (429, _) if self.is_budget() => KubeFault::Budget { message: self.message },
            (400 | 500, _) => match unknown_fields(&self.message) {
                fields if fields.is_empty() => self.refused(code),
                fields => KubeFault::UnknownField { fields },
            },
            _ => self.refused(code),
        }
    }

    fn refused(self, code: u16) -> KubeFault {
        KubeFault::Refused { code, reason: self.reason, message: self.message }
    }

    fn claims(&self) -> Vec<Claim> {
        let owned = self.details.causes.iter().filter(|cause| cause.reason == "FieldManagerConflict");
        let manager = |message: &str| message.split('"').nth(1).unwrap_or("another manager").to_owned();
        owned.map(|c| Claim { manager: manager(&c.message), field: c.field.clone() }).collect()
    }

    fn invalid(self, ask: &Ask) -> KubeFault {
        // What is wrong with a Secret may be quoted, so only the field is told.
        let quotes = ask.resource == "secrets";
        let words = |message: String| if quotes { String::new() } else { message };
        let causes = self.details.causes.into_iter();
        let causes =
            causes.map(|cause| Cause { field: cause.field, message: words(cause.message) }).collect();
        KubeFault::Invalid { causes, message: words(self.message) }
    }
}

/// The webhook's part of a refusal, if it has one.
fn webhook(message: &str, code: u16) -> Option<KubeFault> {
    if let Some((_, rest)) = message.split_once("admission webhook \"") {
        let (webhook, words) = rest.split_once('"')?;
        let words = words.trim_start_matches(" denied the request").trim_start_matches([':', ' ']);
        return Some(KubeFault::Denied { webhook: webhook.to_owned(), message: words.to_owned() });
    }
    let (webhook, words) = unasked(message).filter(|_| code == 500)?;
    let has = |needles: &[&str]| needles.iter().any(|needle| words.contains(needle));
    let trouble = if has(&["connection refused", "connect: no route"]) {
        WebhookTrouble::Refused
    } else if has(&["no endpoints available"]) {
        WebhookTrouble::NoEndpoints
    } else if has(&["not found"]) {
        WebhookTrouble::NoService
    } else if has(&["x509", "certificate"]) {
        WebhookTrouble::Certificate
    } else if has(&["deadline exceeded", "timeout", "timed out"]) {
        WebhookTrouble::Late
    } else {
        WebhookTrouble::Other
    };
    let message = words.trim_start_matches([':', ' ']).to_owned();
    Some(KubeFault::Webhook { webhook: webhook.to_owned(), trouble, message })
}

/// The webhook, for admission or for conversion between versions of a kind, that could not be asked, and why.
fn unasked(message: &str) -> Option<(&str, &str)> {
    if let Some((_, rest)) = message.split_once("failed calling webhook \"") {
        return rest.split_once('"');
    }
    let (_, rest) = message.split_once("conversion webhook for ")?;
    rest.split_once(" failed: ")
}

/// The rule that lacks, where RBAC refused: `pods is forbidden: User "x" cannot list resource "pods" in API group ""
/// in the namespace "y"`.
fn rbac(message: &str, ask: &Ask) -> Option<MissingRule> {
    let (_, rest) = message.split_once("User \"")?;
    let (user, rest) = rest.split_once("\" cannot ")?;
    let (verb, rest) = rest.split_once(' ')?;
    if let Some(rest) = rest.strip_prefix("path \"") {
        let path = rest.split('"').next()?;
        return Some(MissingRule {
            user: user.to_owned(),
            verb: verb.to_owned(),
            group: String::new(),
            resource: path.to_owned(),
            namespace: None,
        });
    }
    let resource = rest.strip_prefix("resource \"").and_then(|rest| rest.split('"').next());
    let group = rest.split_once("API group \"").and_then(|(_, rest)| rest.split('"').next());
    let namespace = rest.split_once("in the namespace \"").and_then(|(_, rest)| rest.split('"').next());
    Some(MissingRule {
        user: user.to_owned(),
        verb: if verb.is_empty() { ask.rbac_verb() } else { verb }.to_owned(),
        group: group.unwrap_or(&ask.group).to_owned(),
        resource: resource.unwrap_or(&ask.resource).to_owned(),
        namespace: namespace.map(str::to_owned),
    })
}

/// The fields of `strict decoding error: unknown field "spec.a", unknown field "spec.b"`; of server-side apply:
/// `.spec.a: field not declared in schema`.
fn unknown_fields(message: &str) -> Vec<String> {
    let quoted = message.split("unknown field \"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut fields: Vec<String> = quoted.map(str::to_owned).collect();
    for part in message.split([',', '\n', '[', ']']) {
        if let Some((field, _)) = part.split_once(": field not declared in schema") {
            let field = field.rsplit(' ').next().unwrap_or(field);
            fields.push(field.trim_start_matches('.').to_owned());
        }
    }
    fields
}

/// Who set which fields of an object, the newest first.
pub(super) fn changes(object: &Value) -> Vec<Change> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let text =
        |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let change = |entry: &Value| {
        let mut fields = Vec::new();
        if let Some(set) = entry.get("fieldsV1") {
            leaves(set, "", &mut fields);
        }
        Change { manager: text(entry, "manager"), time: text(entry, "time"), fields }
    };
    let mut changes: Vec<Change> = entries.into_iter().flatten().map(change).collect();
    changes.sort_by(|a, b| b.time.cmp(&a.time));
    changes
}

/// The leaves of a `fieldsV1` as paths, a dozen at most: `{"f:data":{"f:Corefile":{}}}` is `.data.Corefile`.
fn leaves(set: &Value, path: &str, into: &mut Vec<String>) {
    const MOST: usize = 12;
    let Some(map) = set.as_object() else { return };
    let inner: Vec<_> = map.iter().filter(|(key, _)| *key != ".").collect();
    if inner.is_empty() && !path.is_empty() && into.len() < MOST {
        into.push(path.to_owned());
    }
    for (key, below) in inner {
        let name = match key.split_once(':') {
            Some(("f", name)) => format!("{path}.{name}"),
            Some((_, name)) => format!("{path}[{name}]"),
            None => format!("{path}.{key}"),
        };
        leaves(below, &name, into);
    }
}
