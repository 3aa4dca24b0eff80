//! MetalLB's manifest: many YAML documents, as objects in the order in which they are made.
//!
//! What is not ours to say is left out, so that server-side apply leaves it to whom it belongs: the certificates that
//! MetalLB's controller makes itself (`caBundle`, the webhook's Secret), and what the API fills in.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rackwright_proto::cluster::workload::Stamp;
use rackwright_proto::cluster::{ClusterStep, Family, ObjectStep, WorkloadKind, WorkloadStep};
use serde_json::{Map, Value};

/// The largest manifest, in bytes.
pub const LARGEST: usize = 8 << 20;
/// The most objects in a manifest; MetalLB's have 30.
const MOST: usize = 500;
/// The label that says who looks after an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// What keeps a text from being a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Larger than [`LARGEST`], or of too many objects.
    #[error("the manifest is too large: MetalLB's have less than 200 KiB and about 30 objects")]
    TooLarge,
    /// No YAML.
    #[error("the manifest is no YAML, or not of the kind that Kubernetes takes")]
    Yaml(#[source] Box<serde_saphyr::Error>),
    /// YAML, but no object of Kubernetes.
    #[error("document {document} of the manifest has no {lacks}, so it is no object of Kubernetes")]
    NoObject {
        /// Which document, from 1.
        document: usize,
        /// The field that it lacks.
        lacks: &'static str,
    },
    /// Twice the same object.
    #[error("the manifest has {0} twice")]
    Twice(String),
    /// Something else's manifest.
    #[error(
        "the manifest has no {0}, so it is not MetalLB's; take config/manifests/metallb-native.yaml of its release"
    )]
    NotMetallb(&'static str),
}

/// A manifest, ready to be applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    objects: Vec<Value>,
}

impl Manifest {
    /// Reads a manifest for a namespace, whatever namespace it was written for.
    ///
    /// # Errors
    /// When it is too large, no YAML, or not MetalLB's.
    pub fn parse(bytes: &[u8], namespace: &str) -> Result<Self, ManifestError> {
        let mut objects = Vec::new();
        for (at, document) in documents(bytes)?.into_iter().enumerate() {
            collect(document, at + 1, &mut objects)?;
        }
        if objects.len() > MOST {
            return Err(ManifestError::TooLarge);
        }
        let from = written_for(&objects).unwrap_or("metallb-system").to_owned();
        for object in &mut objects {
            strip(object);
            if from != namespace {
                move_to(object, &from, namespace);
            }
            label(object);
        }
        objects.sort_by_key(|object| place(text(object, "/kind")));
        let manifest = Self { objects };
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let mut keys = BTreeSet::new();
        if let Some(twice) = self.object_steps().map(|s| s.key()).find(|key| !keys.insert(key.clone())) {
            return Err(ManifestError::Twice(twice.trim_start_matches("balancer/").to_owned()));
        }
        let has = |kind: &str, name: &str| {
            self.objects.iter().any(|o| text(o, "/kind") == kind && text(o, "/metadata/name") == name)
        };
        for (kind, name, what) in [
            ("CustomResourceDefinition", "ipaddresspools.metallb.io", "kind IPAddressPool"),
            ("CustomResourceDefinition", "l2advertisements.metallb.io", "kind L2Advertisement"),
            ("Deployment", "controller", "Deployment controller"),
            ("DaemonSet", "speaker", "DaemonSet speaker"),
        ] {
            if !has(kind, name) {
                return Err(ManifestError::NotMetallb(what));
            }
        }
        Ok(())
    }

    /// Its objects, in the order in which they are made.
    pub fn objects(&self) -> &[Value] {
        &self.objects
    }

    /// The tag of the speaker's image, without a `v`: `0.16.1`.
    pub fn version(&self) -> Option<&str> {
        let speaker = self
            .objects
            .iter()
            .find(|o| text(o, "/metadata/name") == "speaker" && text(o, "/kind") == "DaemonSet")?;
        super::release::tag(text(speaker, "/spec/template/spec/containers/0/image"))
    }

    /// One step per object, then one for each workload that has to be ready.
    pub fn steps(&self) -> impl Iterator<Item = ClusterStep> {
        self.object_steps().chain(self.objects.iter().filter_map(awaited))
    }

    fn object_steps(&self) -> impl Iterator<Item = ClusterStep> {
        self.objects.iter().cloned().map(step)
    }
}

/// The step that makes an object.
pub(super) fn step(object: Value) -> ClusterStep {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
    ClusterStep::Object(Box::new(ObjectStep {
        family: Family::Balancer,
        api_version: text(&object, "/apiVersion").to_owned(),
        kind: text(&object, "/kind").to_owned(),
        namespace: namespace.map(str::to_owned),
        name: text(&object, "/metadata/name").to_owned(),
        want: Some(object),
    }))
}

fn awaited(object: &Value) -> Option<ClusterStep> {
    let kind = match text(object, "/kind") {
        "Deployment" => WorkloadKind::Deployment,
        "DaemonSet" => WorkloadKind::DaemonSet,
        _ => return None,
    };
    Some(ClusterStep::Workload(WorkloadStep {
        family: Family::Balancer,
        kind,
        namespace: text(object, "/metadata/namespace").to_owned(),
        name: text(object, "/metadata/name").to_owned(),
        stamp: Stamp::Any,
    }))
}

/// A text inside of an object; empty where there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn documents(bytes: &[u8]) -> Result<Vec<Value>, ManifestError> {
    if bytes.len() > LARGEST {
        return Err(ManifestError::TooLarge);
    }
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        with_snippet: false,
    };
    serde_saphyr::from_slice_multiple_with_options(bytes, options)
        .map_err(|error| ManifestError::Yaml(Box::new(error)))
}

/// An object, or those of a `List`; nothing for an empty document.
fn collect(document: Value, at: usize, objects: &mut Vec<Value>) -> Result<(), ManifestError> {
    if document.is_null() {
        return Ok(());
    }
    if text(&document, "/kind") == "List" {
        let items = document.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        return items.into_iter().try_for_each(|item| collect(item, at, objects));
    }
    for lacks in ["apiVersion", "kind", "metadata/name"] {
        if text(&document, &format!("/{lacks}")).is_empty() {
            return Err(ManifestError::NoObject { document: at, lacks });
        }
    }
    objects.push(document);
    Ok(())
}

/// Namespace and kinds before what is of them; rights before who needs them; the webhook last, since it would refuse
/// everything while nobody answers it.
fn place(kind: &str) -> usize {
    const ORDER: &[&str] = &[
        "Namespace",
        "CustomResourceDefinition",
        "ServiceAccount",
        "Role",
        "ClusterRole",
        "RoleBinding",
        "ClusterRoleBinding",
        "ConfigMap",
        "Secret",
        "Service",
        "Deployment",
        "DaemonSet",
    ];
    let last = if kind.ends_with("WebhookConfiguration") { ORDER.len() + 1 } else { ORDER.len() };
    ORDER.iter().position(|known| *known == kind).unwrap_or(last)
}

fn written_for(objects: &[Value]) -> Option<&str> {
    let namespace = objects.iter().find(|o| text(o, "/kind") == "Namespace")?;
    Some(text(namespace, "/metadata/name"))
}

fn strip(object: &mut Value) {
    without_nulls(object);
    without_ca_bundles(object);
    let secret = text(object, "/kind") == "Secret";
    let webhooks = secret && text(object, "/metadata/name").ends_with("-cert");
    let Some(fields) = object.as_object_mut() else { return };
    fields.remove("status");
    if secret {
        encode(fields);
    }
    if webhooks {
        fields.remove("data");
    }
    let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    for field in ["creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"] {
        metadata.remove(field);
    }
}

/// `stringData` is for writing only: what can be read back is `data`.
fn encode(secret: &mut Map<String, Value>) {
    let Some(Value::Object(plain)) = secret.remove("stringData") else { return };
    let data = secret.entry("data").or_insert_with(|| Value::Object(Map::new()));
    let Some(data) = data.as_object_mut() else { return };
    let encoded =
        plain.into_iter().filter_map(|(key, value)| Some((key, STANDARD.encode(value.as_str()?).into())));
    data.extend(encoded);
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// MetalLB's controller makes the certificate and writes it into webhooks and conversions.
fn without_ca_bundles(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                match value.as_object_mut().filter(|_| key == "clientConfig") {
                    Some(client) => drop(client.remove("caBundle")),
                    None => without_ca_bundles(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(without_ca_bundles),
        _ => {}
    }
}

/// Moves an object, and all that it refers to, to another namespace.
fn move_to(object: &mut Value, from: &str, to: &str) {
    if text(object, "/kind") == "Namespace" && text(object, "/metadata/name") == from {
        object["metadata"]["name"] = to.into();
    }
    refer_to("", object, from, to);
}

fn refer_to(field: &str, value: &mut Value, from: &str, to: &str) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| refer_to(key, value, from, to)),
        Value::Array(items) => items.iter_mut().for_each(|item| refer_to(field, item, from, to)),
        Value::String(text) => match field {
            "namespace" if text == from => *text = to.to_owned(),
            "args" | "command" | "value" => *text = argument(text, from, to),
            _ => {}
        },
        _ => {}
    }
}

/// An argument or a variable that names the namespace: alone, after `=`, or in a Service's DNS name.
fn argument(text: &str, from: &str, to: &str) -> String {
    let (front, name) =
        text.rsplit_once('=').map_or(("", text), |(front, name)| (&text[..=front.len()], name));
    match name == from {
        true => format!("{front}{to}"),
        false => text.replace(&format!(".{from}.svc"), &format!(".{to}.svc")),
    }
}

fn label(object: &mut Value) {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    let labels = metadata.map(|m| m.entry("labels").or_insert_with(|| Value::Object(Map::new())));
    if let Some(Value::Object(labels)) = labels {
        labels.entry(MANAGED_BY).or_insert_with(|| rackwright_proto::cluster::object::FIELD_MANAGER.into());
    }
}

#[cfg(test)]
pub(super) mod tests;
