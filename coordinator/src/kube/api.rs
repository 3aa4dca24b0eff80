//! The verbs: small requests over typed objects or JSON, each with its deadline and its words.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use http::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::ask::{Ask, Repeat};
use super::counts::Counts;
use super::door::Door;
use super::error::{KubeError, KubeFault};
use super::kubeconfig::Access;
use super::resource::{Listed, Resource, Selector, text};
use super::same;
use super::status::{Status, changes};
use super::wire::{Options, Reply, Wire};

/// Our name as a field manager.
pub const MANAGER: &str = "rackwright";
/// Objects per page of a list.
const PAGE: usize = 500;
/// How often a list whose pages grew too old is begun anew.
const LISTS: usize = 3;
/// The most of a log that is read, whatever is asked for.
const MOST_LOG: u64 = 1 << 20;

/// A cluster's API. Clones share doors and counts.
#[derive(Clone)]
pub struct Api {
    pub(super) wire: Arc<Wire>,
    pub(super) discovered: Arc<Mutex<HashMap<(String, String), Resource>>>,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Api({})", self.node())
    }
}

/// How an object is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Apply<'a> {
    /// The field manager; [`MANAGER`] unless there is a reason.
    pub manager: &'a str,
    /// Take over fields that others own, instead of a conflict.
    pub force: bool,
    /// Only say what would be.
    pub dry_run: bool,
}

impl Default for Apply<'_> {
    fn default() -> Self {
        Self { manager: MANAGER, force: false, dry_run: false }
    }
}

/// Which part of which log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logs<'a> {
    /// The container; may be `None` where a pod has one only.
    pub container: Option<&'a str>,
    /// Of the container's former life.
    pub previous: bool,
    /// The last lines only.
    pub tail_lines: Option<u32>,
    /// The last seconds only.
    pub since_seconds: Option<u32>,
    /// At most so many bytes; never more than 1 MiB.
    pub limit_bytes: Option<u64>,
}

/// The API server's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// `1`
    pub major: u32,
    /// `37`
    pub minor: u32,
    /// `v1.37.2`, with what a distribution adds: `v1.30.2+k3s1`.
    pub git: String,
}

impl Api {
    /// The API behind these doors, which are used in order: the first until it fails, then the next. Nothing is
    /// connected yet.
    pub fn new(access: Access, doors: Vec<Door>, options: Options) -> Self {
        Self { wire: Arc::new(Wire::new(access, doors, options)), discovered: Arc::default() }
    }

    /// What was asked so far.
    pub fn counts(&self) -> Counts {
        self.wire.tally.read()
    }

    /// The node whose door is used now.
    pub fn node(&self) -> &str {
        self.wire.node()
    }

    /// The version of the API server.
    ///
    /// # Errors
    /// See [`KubeFault`]: so with all that follow.
    pub async fn version(&self) -> Result<Version, KubeError> {
        let ask = Ask::path("get", Method::GET, "/version", "ask for the version");
        let answer = self.value(&ask).await?;
        // Clouds write `30+`.
        let number = |key| text(&answer, key).trim_end_matches('+').parse().unwrap_or(0);
        let git = text(&answer, "/gitVersion").to_owned();
        Ok(Version { major: number("/major"), minor: number("/minor"), git })
    }

    /// One object of a type, or `None`.
    pub async fn get<K>(&self, namespace: Option<&str>, name: &str) -> Result<Option<K>, KubeError>
    where
        K: k8s_openapi::Resource + DeserializeOwned,
    {
        let resource = Resource::of::<K>();
        let object = self.get_object(&resource, namespace, name).await?;
        let doing = || format!("get {}", resource.words(namespace, name));
        object.map(|object| typed(object, doing)).transpose()
    }

    /// One object as JSON, or `None`.
    pub async fn get_object(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Value>, KubeError> {
        let ask = Ask::object("get", Method::GET, resource, namespace, name);
        match self.value(&ask).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if matches!(*error.fault, KubeFault::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The selected objects of a type, in pages.
    pub async fn list<K>(&self, selector: &Selector) -> Result<Listed<K>, KubeError>
    where
        K: k8s_openapi::Resource + DeserializeOwned,
    {
        let resource = Resource::of::<K>();
        let Listed { items, version } = self.list_objects(&resource, selector).await?;
        let doing = || format!("list {}", selector.words(&resource));
        let items: Result<Vec<K>, KubeError> = items.into_iter().map(|item| typed(item, doing)).collect();
        Ok(Listed { items: items?, version })
    }

    /// The selected objects as JSON, in pages; each with its apiVersion and kind.
    pub async fn list_objects(
        &self,
        resource: &Resource,
        selector: &Selector,
    ) -> Result<Listed<Value>, KubeError> {
        let mut tries = 1;
        loop {
            match self.pages(resource, selector).await {
                Err(error) if matches!(*error.fault, KubeFault::Gone) && tries < LISTS => tries += 1,
                result => return result,
            }
        }
    }

    async fn pages(&self, resource: &Resource, selector: &Selector) -> Result<Listed<Value>, KubeError> {
        let mut first =
            Ask::selection("list", resource, selector).query("limit", PAGE.min(selector.most + 1));
        first.bare = selector.bare;
        let mut listed = Listed { items: Vec::new(), version: String::new() };
        let mut token = String::new();
        loop {
            let ask = if token.is_empty() { first.clone() } else { first.clone().query("continue", &token) };
            let mut page = self.value(&ask).await?;
            listed.version = text(&page, "/metadata/resourceVersion").to_owned();
            token = text(&page, "/metadata/continue").to_owned();
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                listed.items.extend(items.into_iter().map(|item| named(item, resource)));
            }
            if listed.items.len() > selector.most {
                let (what, most) = (selector.words(resource), selector.most);
                return Err(KubeFault::TooLarge { what, most, unit: "objects" }.at(ask.doing));
            }
            if token.is_empty() {
                return Ok(listed);
            }
            first.bare |= selector.bare_rest;
        }
    }

    /// Server-side apply of an object; fields that the cluster's kind does not know are an error, not dropped.
    pub async fn apply_object(&self, object: &Value, how: &Apply<'_>) -> Result<Value, KubeError> {
        let (resource, namespace, name) = self.identify(object, "apply").await?;
        let ask = Ask::object("apply", Method::PATCH, &resource, namespace.as_deref(), &name)
            .query("fieldManager", how.manager)
            .query("fieldValidation", "Strict")
            .query("force", how.force)
            .dry(how.dry_run)
            .body("application/apply-patch+yaml", object);
        self.value(&ask).await
    }

    /// Replaces an object under its resourceVersion: refused as a conflict if it changed since it was read.
    pub async fn replace_object(&self, object: &Value, dry_run: bool) -> Result<Value, KubeError> {
        let (resource, namespace, name) = self.identify(object, "replace").await?;
        let ask = Ask::object("replace", Method::PUT, &resource, namespace.as_deref(), &name);
        if text(object, "/metadata/resourceVersion").is_empty() {
            return Err(KubeFault::Incomplete { missing: "metadata.resourceVersion" }.at(ask.doing));
        }
        let ask =
            ask.query("fieldManager", MANAGER).query("fieldValidation", "Strict").dry(dry_run).json(object);
        let place = (&resource, namespace.as_deref(), name.as_str());
        self.locked(&ask, place, object, |live| same::equals(live, object)).await
    }

    /// Changes fields of an object by a JSON merge patch (RFC 7396). With a `metadata.resourceVersion` in the patch it
    /// is refused as a conflict if the object changed since that version.
    pub async fn patch_merge(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        patch: &Value,
        dry_run: bool,
    ) -> Result<Value, KubeError> {
        let ask = Ask::object("patch", Method::PATCH, resource, namespace, name)
            .query("fieldManager", MANAGER)
            .query("fieldValidation", "Strict")
            .dry(dry_run)
            .body("application/merge-patch+json", patch);
        self.locked(&ask, (resource, namespace, name), patch, |live| same::patched(live, patch)).await
    }

    /// A write under an optimistic lock. After a connection that broke, the conflict may be of our own doing:
    /// then what is there already is what was wanted.
    async fn locked(
        &self,
        ask: &Ask,
        (resource, namespace, name): (&Resource, Option<&str>, &str),
        sent: &Value,
        done: impl Fn(&Value) -> bool,
    ) -> Result<Value, KubeError> {
        let reply = self.wire.send(ask).await?;
        let repeated = reply.repeated;
        let mut error = match accept(ask, reply) {
            Ok(reply) => return parse(ask, reply),
            Err(error) if error.is_conflict() => error,
            Err(error) => return Err(error),
        };
        let live = self.get_object(resource, namespace, name).await?;
        match (&live, &mut *error.fault) {
            (Some(live), _) if repeated && done(live) => return Ok(live.clone()),
            (Some(live), KubeFault::Conflict { claims, changed, .. }) if claims.is_empty() => {
                let before = changes(sent);
                *changed = changes(live).into_iter().filter(|change| !before.contains(change)).collect();
            }
            _ => {}
        }
        Err(error)
    }

    /// Creates an object. If the connection breaks before the answer, it is looked whether the object is there before
    /// it is sent again.
    pub async fn create(&self, object: &Value, dry_run: bool) -> Result<Value, KubeError> {
        let (resource, namespace, name) = self.identify(object, "create").await?;
        let ask = Ask::object("create", Method::POST, &resource, namespace.as_deref(), &name)
            .query("fieldManager", MANAGER)
            .query("fieldValidation", "Strict")
            .dry(dry_run)
            .json(object);
        let mut uncertain = false;
        loop {
            let error = match self.value(&ask).await {
                Ok(created) => return Ok(created),
                Err(error) => error,
            };
            let again = matches!(*error.fault, KubeFault::Uncertain { .. }) && !uncertain;
            let exists = matches!(*error.fault, KubeFault::Exists) && uncertain;
            if !again && !exists {
                return Err(error);
            }
            uncertain = true;
            match self.get_object(&resource, namespace.as_deref(), &name).await? {
                Some(live) if same::holds(&live, object) => return Ok(live),
                Some(_) => return Err(KubeFault::Exists.at(ask.doing)),
                None if exists => return Err(error),
                None => {}
            }
        }
    }

    /// Deletes an object if it is still the one of this uid; what it owns goes in the background. True if it was there
    /// (it may stay for a while: finalizers), false if it was gone.
    pub async fn delete(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        uid: &str,
        dry_run: bool,
    ) -> Result<bool, KubeError> {
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "preconditions": {"uid": uid}, "propagationPolicy": "Background",
        });
        let ask =
            Ask::object("delete", Method::DELETE, resource, namespace, name).dry(dry_run).json(&options);
        match self.value(&ask).await {
            Ok(_) => Ok(true),
            Err(error) if matches!(*error.fault, KubeFault::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The words of a container, lossy where they are no UTF-8.
    pub async fn pod_log(&self, namespace: &str, pod: &str, which: &Logs<'_>) -> Result<String, KubeError> {
        let resource = Resource::of::<k8s_openapi::api::core::v1::Pod>();
        let limit = which.limit_bytes.unwrap_or(MOST_LOG).min(MOST_LOG);
        let mut ask = Ask::object("log", Method::GET, &resource, Some(namespace), pod).sub("log");
        ask.doing = format!("read the log of Pod {namespace}/{pod}");
        ask = ask.query("previous", which.previous).query("limitBytes", limit);
        if let Some(container) = which.container {
            ask = ask.query("container", container);
        }
        if let Some(lines) = which.tail_lines {
            ask = ask.query("tailLines", lines);
        }
        if let Some(seconds) = which.since_seconds {
            ask = ask.query("sinceSeconds", seconds);
        }
        let reply = accept(&ask, self.wire.send(&ask).await?)?;
        Ok(String::from_utf8_lossy(&reply.bytes()).into_owned())
    }

    /// Evicts a pod if it is still the one of this uid. True if it was there; a PodDisruptionBudget that forbids it now
    /// is [`KubeFault::Budget`].
    pub async fn evict(
        &self,
        namespace: &str,
        pod: &str,
        uid: &str,
        dry_run: bool,
    ) -> Result<bool, KubeError> {
        let mut eviction = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        });
        if dry_run {
            eviction["deleteOptions"]["dryRun"] = json!(["All"]);
        }
        let resource = Resource::of::<k8s_openapi::api::core::v1::Pod>();
        let mut ask = Ask::object("evict", Method::POST, &resource, Some(namespace), pod);
        ask.path = format!("{}/{}", ask.path, super::ask::escape(pod));
        // A second eviction of the same pod changes nothing.
        ask.repeat = Repeat::Always;
        let ask = ask.sub("eviction").dry(dry_run).json(&eviction);
        match self.value(&ask).await {
            Ok(_) => Ok(true),
            Err(error) if matches!(*error.fault, KubeFault::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Kind, namespace and name of an object that is to be sent.
    async fn identify(
        &self,
        object: &Value,
        verb: &str,
    ) -> Result<(Resource, Option<String>, String), KubeError> {
        let part = |pointer: &str, missing: &'static str| match text(object, pointer) {
            "" => Err(KubeFault::Incomplete { missing }.at(format!("{verb} an object"))),
            text => Ok(text.to_owned()),
        };
        let resource = self.resource(&part("/apiVersion", "apiVersion")?, &part("/kind", "kind")?).await?;
        let name = part("/metadata/name", "metadata.name")?;
        let namespace = match text(object, "/metadata/namespace") {
            _ if !resource.namespaced => None,
            "" => Some("default".to_owned()),
            namespace => Some(namespace.to_owned()),
        };
        Ok((resource, namespace, name))
    }

    /// A request whose answer is JSON.
    pub(super) async fn value(&self, ask: &Ask) -> Result<Value, KubeError> {
        parse(ask, accept(ask, self.wire.send(ask).await?)?)
    }
}

/// An answer that is no refusal.
pub(super) fn accept(ask: &Ask, reply: Reply) -> Result<Reply, KubeError> {
    if reply.status.is_success() {
        return Ok(reply);
    }
    let code = reply.status.as_u16();
    Err(Status::of(&reply.bytes()).fault(code, ask).at(&ask.doing))
}

fn parse(ask: &Ask, reply: Reply) -> Result<Value, KubeError> {
    serde_json::from_slice(&reply.bytes()).map_err(|source| KubeFault::Malformed { source }.at(&ask.doing))
}

pub(super) fn typed<K: DeserializeOwned>(object: Value, doing: impl Fn() -> String) -> Result<K, KubeError> {
    serde_json::from_value(object).map_err(|source| KubeFault::Malformed { source }.at(doing()))
}

/// The API server leaves kind and apiVersion out of the items of a list.
pub(super) fn named(mut item: Value, resource: &Resource) -> Value {
    if let Some(item) = item.as_object_mut() {
        if item.get("kind").is_some_and(|kind| kind == "PartialObjectMetadata") {
            item.remove("apiVersion");
            item.remove("kind");
        }
        item.entry("apiVersion").or_insert_with(|| resource.api_version().into());
        item.entry("kind").or_insert_with(|| resource.kind.clone().into());
    }
    item
}
