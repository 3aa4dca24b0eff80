//! One request to the API server, as a value: verb, object, path, body. Pure.

use std::time::Duration;

use http::{HeaderMap, Method, Request, header};
use kube::client::Body;
use serde_json::Value;

use super::resource::{Resource, Selector};

/// The largest answer that is taken: a page of 500 large objects stays below.
pub(super) const MOST_BYTES: usize = 32 << 20;

/// Lists of metadata alone (`PartialObjectMetadataList`), without a way back to whole objects: Secrets are asked so.
const BARE: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// When a request that broke may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Always: doing it twice is the same as once, or the second is refused.
    Always,
    /// Only when it cannot have arrived.
    IfUnsent,
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    /// What is being done, with the object.
    pub(super) doing: String,
    /// The verb, for counts: `get`, `apply`.
    pub(super) verb: &'static str,
    /// The resource's plural with its subresource, or a path; for counts and for RBAC's words.
    pub(super) resource: String,
    /// API group, for RBAC's words.
    pub(super) group: String,
    /// `apiVersion` and kind, where the request is about objects.
    pub(super) kind: Option<(String, String)>,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) content: Option<(&'static str, Vec<u8>)>,
    pub(super) repeat: Repeat,
    /// Whether the answer is a stream without end.
    pub(super) stream: bool,
    pub(super) most: usize,
    /// Whether the objects' metadata are enough.
    pub(super) bare: bool,
    /// An answer's head must be there within this time, where it is not that of the kind of request.
    pub(super) within: Option<Duration>,
}

impl Ask {
    /// A request for a path.
    pub(super) fn path(
        verb: &'static str,
        method: Method,
        path: impl Into<String>,
        doing: impl Into<String>,
    ) -> Self {
        let path = path.into();
        Self {
            doing: doing.into(),
            verb,
            resource: path.clone(),
            group: String::new(),
            kind: None,
            repeat: if method == Method::POST { Repeat::IfUnsent } else { Repeat::Always },
            method,
            path,
            query: Vec::new(),
            content: None,
            stream: false,
            most: MOST_BYTES,
            bare: false,
            within: None,
        }
    }

    /// A request for one object, or for the collection where `name` is empty.
    pub(super) fn object(
        verb: &'static str,
        method: Method,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
    ) -> Self {
        let folder = resource.path(namespace);
        let path = if name.is_empty() || method == Method::POST {
            folder
        } else {
            format!("{folder}/{}", escape(name))
        };
        let doing = format!("{verb} {}", resource.words(namespace, name));
        Self {
            resource: resource.plural.clone(),
            group: resource.group.clone(),
            kind: Some((resource.api_version(), resource.kind.clone())),
            ..Self::path(verb, method, path, doing)
        }
    }

    /// A request for a selection.
    pub(super) fn selection(verb: &'static str, resource: &Resource, selector: &Selector) -> Self {
        let mut ask = Self::object(verb, Method::GET, resource, selector.namespace.as_deref(), "");
        ask.doing = format!("{verb} {}", selector.words(resource));
        for (key, value) in [("labelSelector", &selector.labels), ("fieldSelector", &selector.fields)] {
            if let Some(value) = value {
                ask.query.push((key, value.clone()));
            }
        }
        ask
    }

    /// A subresource of the same object: `eviction`, `log`.
    pub(super) fn sub(mut self, name: &str) -> Self {
        self.path = format!("{}/{name}", self.path);
        self.resource = format!("{}/{name}", self.resource);
        self
    }

    pub(super) fn query(mut self, key: &'static str, value: impl ToString) -> Self {
        self.query.push((key, value.to_string()));
        self
    }

    /// `dryRun=All`, if it is one: the API server then stores nothing, so it may be repeated.
    pub(super) fn dry(mut self, dry_run: bool) -> Self {
        if dry_run {
            self.repeat = Repeat::Always;
            self.doing = format!("try to {}", self.doing);
            self.query.push(("dryRun", "All".to_owned()));
        }
        self
    }

    pub(super) fn json(self, body: &Value) -> Self {
        self.body("application/json", body)
    }

    pub(super) fn body(mut self, kind: &'static str, body: &Value) -> Self {
        // JSON is YAML, so the type for server-side apply takes it too.
        self.content = Some((kind, body.to_string().into_bytes()));
        self
    }

    /// The verb of RBAC.
    pub(super) fn rbac_verb(&self) -> &'static str {
        match self.verb {
            "replace" => "update",
            "apply" => "patch",
            "evict" => "create",
            "log" => "get",
            verb => verb,
        }
    }

    /// How long the head of the answer may take: what writes may wait for webhooks, each up to 30 s.
    pub(super) fn patience(&self, read: Duration, write: Duration) -> Duration {
        self.within.unwrap_or(if self.method == Method::GET { read } else { write })
    }

    pub(super) fn request(&self) -> Result<Request<Body>, http::Error> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(self.uri())
            .header(header::ACCEPT, if self.bare { BARE } else { "application/json, */*;q=0.5" })
            .header(header::USER_AGENT, concat!("rackwright/", env!("CARGO_PKG_VERSION")));
        let content = self.content.as_ref();
        if let Some((kind, _)) = content {
            request = request.header(header::CONTENT_TYPE, *kind);
        }
        request.body(content.map(|(_, body)| Body::from(body.clone())).unwrap_or_else(Body::empty))
    }

    fn uri(&self) -> String {
        let query: Vec<String> =
            self.query.iter().map(|(key, value)| format!("{key}={}", escape(value))).collect();
        if query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, query.join("&")) }
    }
}

/// Percent-encodes all but RFC 3986's unreserved characters.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte as char),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// How long the server asks us to wait (RFC 9110 10.2.3, in seconds), within reason.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.min(10)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_place() {
        let resource = Resource::known("v1", "ConfigMap").unwrap();
        let ask = Ask::object("get", Method::GET, &resource, Some("../x"), "a/b?c#d%");
        assert_eq!(ask.uri(), "/api/v1/namespaces/..%2Fx/configmaps/a%2Fb%3Fc%23d%25");
    }

    #[test]
    fn a_selection_is_in_the_query() {
        let resource = Resource::known("apps/v1", "DaemonSet").unwrap();
        let selector = Selector::namespace("kube-system").labels("a in (b,c)").named("x");
        let ask = Ask::selection("list", &resource, &selector).query("limit", 5);
        assert_eq!(
            ask.uri(),
            "/apis/apps/v1/namespaces/kube-system/daemonsets?labelSelector=a%20in%20%28b%2Cc%29\
             &fieldSelector=metadata.name%3Dx&limit=5"
        );
        assert_eq!(ask.doing, "list daemonsets in kube-system with a in (b,c),metadata.name=x");
    }
}
