//! Mistakes in manifests that keep pods from getting, or from not getting, the sidecar that is meant.
//!
//! - `object`: what of a manifest matters, with its places.
//! - `rules`: one function per mistake.
//! - `typed`: characters that are not what they look like.

mod object;
mod rules;
mod typed;

use rackwright_proto::finding::Severity;
use serde::Serialize;

use self::object::Object;
use crate::rack::Diagnostic;
use crate::rack::diagnostic::{self, Lines, Place};
use crate::rack::tree;

/// The largest file that is read, in bytes.
pub const LARGEST: u64 = 4 << 20;
/// The most findings of one file.
pub const MOST: usize = 200;

/// The names of what is found in manifests, stable for ever, with what they are about.
pub const NAMES: &[(&str, &str)] = &[
    (
        "forbidden-by-pod-security",
        "A namespace asks for sidecars and enforces a level of Pod Security that forbids istio-init.",
    ),
    ("inject-annotation-beaten", "Annotation and label of a pod say different things; the label wins."),
    (
        "inject-annotation-only",
        "A pod has only the annotation of old, which is not looked at unless a webhook selects the pod.",
    ),
    ("inject-host-network", "A pod asks for a sidecar and lives in its node's network, so it gets none."),
    (
        "inject-misplaced",
        "`sidecar.istio.io/inject` stands on a workload or a namespace instead of on the pod template.",
    ),
    ("inject-namespace-never", "A sidecar is asked for in a namespace that never injects."),
    ("inject-not-text", "`true` or `false` without quotes is no text, and the API server refuses it."),
    ("inject-value-unknown", "A value that is neither of the two that mean something."),
    ("injection-label-misplaced", "`istio-injection` stands on something else than a namespace."),
    (
        "injection-labels-both",
        "`istio-injection` and `istio.io/rev` stand together; the revision is not looked at.",
    ),
    ("manifest-unreadable", "The text is not YAML, or not UTF-8."),
    ("odd-character", "A character that cannot be seen, or a dash that is none."),
    ("odd-space", "A space that is none in YAML, such as the no-break space U+00A0."),
    ("port-taken", "A container listens on a port that the sidecar has."),
    ("typographic-quotes", "Typographic quotes, which YAML takes for text and not for quotes."),
    ("uid-1337", "A container runs as the user whose traffic the sidecar leaves alone."),
];

/// A text to look at.
#[derive(Debug, Clone)]
pub struct Source {
    /// As the operator named it.
    pub name: String,
    /// Its text, or the valid part of one that is not UTF-8.
    pub text: String,
    /// Whether it ends before a byte that is not UTF-8.
    pub broken: bool,
}

impl Source {
    /// From bytes of a file.
    pub fn new(name: impl Into<String>, bytes: &[u8]) -> Self {
        let valid = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        // A byte order mark at the very beginning is allowed (YAML 1.2, 5.2); no line of a report begins with it.
        let text = valid.strip_prefix('\u{feff}').unwrap_or(valid).to_owned();
        Self { name: name.into(), broken: valid.len() < bytes.len(), text }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// Its name: `inject-misplaced`.
    pub name: &'static str,
    /// The object: `Deployment shop/web`; empty where the text is none.
    pub object: String,
    /// Where, and what.
    #[serde(flatten)]
    pub diagnostic: Diagnostic,
}

/// What was found in one text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Linted {
    /// The text's name.
    pub file: String,
    /// How many objects are in it.
    pub objects: usize,
    /// All that was found, in the order of the text.
    pub findings: Vec<Mistake>,
}

impl Linted {
    /// How many there are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|m| m.diagnostic.severity == severity).count()
    }
}

/// One mistake before its place is a line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    name: &'static str,
    severity: Severity,
    place: Place,
    object: String,
    message: String,
    help: Option<String>,
}

/// All mistakes of some texts, which are taken to go into one cluster together.
pub fn lint(sources: &[Source]) -> Vec<Linted> {
    let trees: Vec<_> = sources.iter().map(|source| tree::documents(&source.text)).collect();
    let objects: Vec<Vec<Object<'_>>> =
        trees.iter().map(|(documents, _)| documents.iter().flat_map(object::all).collect()).collect();
    let namespaces = object::namespaces(objects.iter().flatten());
    let each = sources.iter().zip(&trees).zip(&objects);
    each.map(|((source, (documents, fault)), objects)| {
        let chars: Vec<char> = source.text.chars().collect();
        let mut found: Vec<Found> = documents.iter().flat_map(|tree| typed::within(tree, &chars)).collect();
        found.extend(objects.iter().flat_map(|object| rules::all(object, &namespaces)));
        found.extend(fault.iter().flat_map(|fault| typed::unreadable(fault, &chars)));
        found.extend(source.broken.then(|| typed::broken(chars.len())));
        Linted { file: source.name.clone(), objects: objects.len(), findings: placed(&source.text, found) }
    })
    .collect()
}

fn placed(text: &str, mut found: Vec<Found>) -> Vec<Mistake> {
    let lines = Lines::new(text);
    found.sort_by(|a, b| (a.place.start, a.place.end, a.name).cmp(&(b.place.start, b.place.end, b.name)));
    // An alias shows the same mistake at the same place as its anchor.
    found.dedup_by(|a, b| (a.place, a.name) == (b.place, b.name));
    found.truncate(MOST);
    let one = |found: Found| {
        let (line, column, end_column) = lines.position(found.place);
        let Found { name, severity, object, message, help, .. } = found;
        let path = String::new();
        Mistake {
            name,
            object,
            diagnostic: Diagnostic { severity, path, message, line, column, end_column, help },
        }
    };
    found.into_iter().map(one).collect()
}

/// All mistakes of one text as people read them, each with its line and a caret below.
pub fn render(source: &Source, linted: &Linted) -> String {
    let named = |mistake: &Mistake| {
        let mut diagnostic = mistake.diagnostic.clone();
        diagnostic.message = match mistake.object.as_str() {
            "" => format!("{} [{}]", diagnostic.message, mistake.name),
            object => format!("{object}: {} [{}]", diagnostic.message, mistake.name),
        };
        diagnostic
    };
    let all: Vec<Diagnostic> = linted.findings.iter().map(named).collect();
    diagnostic::render(&source.name, &source.text, &all)
}
