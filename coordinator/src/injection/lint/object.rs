//! What of a manifest's objects matters for injection, with its places in the text.

use std::collections::BTreeMap;

use crate::injection::wins::Labels;
use crate::rack::diagnostic::Place;
use crate::rack::tree::{Entry, Marked, Shape};

/// Lists in lists are followed so deep.
const DEEPEST: usize = 4;

/// One object.
#[derive(Debug, Clone)]
pub(super) struct Object<'a> {
    /// `Deployment`.
    pub(super) kind: String,
    /// `metadata.name`.
    pub(super) name: String,
    /// `metadata.namespace`, where it is said.
    pub(super) namespace: Option<String>,
    /// `metadata`.
    pub(super) metadata: Option<&'a Marked>,
    /// What its pods are made from, where it is a workload; of a Pod itself.
    pub(super) template: Option<Template<'a>>,
}

/// What pods are made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Template<'a> {
    /// `metadata` of the pods.
    pub(super) metadata: Option<&'a Marked>,
    /// `spec` of the pods.
    pub(super) spec: &'a Marked,
}

/// A label or an annotation.
#[derive(Debug, Clone)]
pub(super) struct Pair<'a> {
    /// Its key.
    pub(super) key: &'a str,
    /// Where that stands.
    pub(super) key_place: Place,
    /// Its value; empty where it is no word.
    pub(super) value: &'a str,
    /// Whether that is written without quotes.
    pub(super) plain: bool,
    /// Where it stands.
    pub(super) place: Place,
}

impl Object<'_> {
    /// `Deployment shop/web`.
    pub(super) fn words(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} {namespace}/{}", self.kind, self.name),
            None => format!("{} {}", self.kind, self.name),
        }
    }

    /// Whether it is itself a pod, or a namespace, and has no template of others.
    pub(super) fn is(&self, kind: &str) -> bool {
        self.kind == kind
    }
}

impl<'a> Template<'a> {
    /// The containers, init containers among them.
    pub(super) fn containers(&self) -> Vec<&'a Marked> {
        ["containers", "initContainers", "ephemeralContainers"]
            .iter()
            .flat_map(|field| items(get(self.spec, field)))
            .collect()
    }
}

/// All objects of a document: those of a List one by one.
pub(super) fn all(document: &Marked) -> Vec<Object<'_>> {
    let mut found = Vec::new();
    collect(document, DEEPEST, &mut found);
    found
}

fn collect<'a>(root: &'a Marked, deep: usize, found: &mut Vec<Object<'a>>) {
    let kind = word(get(root, "kind")).unwrap_or_default();
    if kind.ends_with("List") && get(root, "items").is_some() {
        if deep > 0 {
            items(get(root, "items")).for_each(|item| collect(item, deep - 1, found));
        }
        return;
    }
    if kind.is_empty() {
        return;
    }
    let metadata = get(root, "metadata");
    let of = |field: &str| metadata.and_then(|m| word(get(m, field))).map(str::to_owned);
    found.push(Object {
        kind: kind.to_owned(),
        name: of("name").or_else(|| of("generateName")).unwrap_or_default(),
        namespace: of("namespace"),
        metadata,
        template: template(root, kind),
    });
}

/// A Pod is its own; whatever else has a template with containers makes pods, also kinds that are not known here.
fn template<'a>(root: &'a Marked, kind: &str) -> Option<Template<'a>> {
    let spec = get(root, "spec")?;
    let (metadata, spec) = match kind {
        "Pod" => (get(root, "metadata"), spec),
        _ => {
            let of = match kind {
                "CronJob" => get(get(spec, "jobTemplate")?, "spec")?,
                _ => spec,
            };
            let template = get(of, "template")?;
            (get(template, "metadata"), get(template, "spec")?)
        }
    };
    get(spec, "containers").map(|_| Template { metadata, spec })
}

/// The namespaces among objects, with their labels.
pub(super) fn namespaces<'o, 'a: 'o>(
    objects: impl Iterator<Item = &'o Object<'a>>,
) -> BTreeMap<String, Labels> {
    let of = objects.filter(|object| object.is("Namespace"));
    of.map(|object| (object.name.clone(), map(&pairs(object.metadata, "labels")))).collect()
}

/// Labels or annotations.
pub(super) fn pairs<'a>(metadata: Option<&'a Marked>, field: &str) -> Vec<Pair<'a>> {
    let entries = metadata.and_then(|m| get(m, field)).map(entries).unwrap_or_default();
    let pair = |entry: &'a Entry| {
        let (value, plain) = match &entry.value.shape {
            Shape::Scalar { text, plain } => (text.as_str(), *plain),
            _ => ("", false),
        };
        Pair { key: &entry.key, key_place: entry.key_place, value, plain, place: entry.value.place }
    };
    entries.iter().map(pair).collect()
}

/// The same without places.
pub(super) fn map(pairs: &[Pair<'_>]) -> Labels {
    pairs.iter().map(|pair| (pair.key.to_owned(), pair.value.to_owned())).collect()
}

fn entries(marked: &Marked) -> &[Entry] {
    match &marked.shape {
        Shape::Mapping(entries) => entries,
        _ => &[],
    }
}

/// A field of a mapping.
pub(super) fn get<'a>(marked: &'a Marked, field: &str) -> Option<&'a Marked> {
    entries(marked).iter().find(|entry| entry.key == field).map(|entry| &entry.value)
}

/// The items of a sequence.
pub(super) fn items(marked: Option<&Marked>) -> impl Iterator<Item = &Marked> {
    let items: &[Marked] = match marked.map(|marked| &marked.shape) {
        Some(Shape::Sequence(items)) => items,
        _ => &[],
    };
    items.iter()
}

/// A scalar's text.
pub(super) fn word(marked: Option<&Marked>) -> Option<&str> {
    match &marked?.shape {
        Shape::Scalar { text, .. } => Some(text),
        _ => None,
    }
}
