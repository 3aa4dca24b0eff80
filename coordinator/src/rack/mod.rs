//! The rack: `rack.yaml` parsed and validated at the door, all errors at once, each at its place.
//!
//! 1. `tree`: YAML to a tree that remembers places and raw text.
//! 2. `structure`: the tree against the schema that is generated from [`model`].
//! 3. `checks`: what the schema cannot say, such as pools that overlap.
//! 4. [`node`]: the rack with every node's overrides merged.

pub(crate) mod character;
pub(crate) mod checks;
pub mod diagnostic;
pub mod format;
pub(crate) mod language;
pub mod model;
pub mod node;
mod scalar;
pub(crate) mod schema;
pub(crate) mod structure;
pub(crate) mod suggest;
pub(crate) mod tree;
pub mod words;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rackwright_proto::finding::Severity;

pub use checks::nodes_of;
pub use diagnostic::Diagnostic;
use diagnostic::{Lines, Place};
use language::Language;
pub use node::{IPVS_WITHOUT_STRICT_ARP, Node, Rack};
use structure::{Outcome, Problem};
pub use suggest::closest;

/// The largest rack that is read, in bytes.
pub const LARGEST: u64 = 4 * 1024 * 1024;

/// The most diagnostics of one rack; the rest is likely the same mistake again.
const MOST: usize = 200;

/// A rack that was read from a file.
#[derive(Debug)]
pub struct Loaded {
    /// The rack.
    pub rack: Rack,
    /// Warnings about it.
    pub warnings: Vec<Diagnostic>,
    /// The file's folder: where relative paths in the rack begin.
    pub folder: PathBuf,
    /// The file as the operator named it.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl Loaded {
    /// The warnings as text, empty if there are none.
    pub fn render_warnings(&self) -> String {
        diagnostic::render(&self.name, &self.text, &self.warnings)
    }
}

/// Why there is no rack.
#[derive(Debug, thiserror::Error)]
pub enum RackErrors {
    /// The file cannot be read.
    #[error("read the rack {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is too large to be a rack.
    #[error("{} is larger than {} MiB, the most a rack may have", path.display(), LARGEST / 1024 / 1024)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is no valid rack. Its `Display` is all diagnostics, rendered.
    #[error("{}", diagnostic::render(name, text, diagnostics))]
    Invalid {
        /// The file as the operator named it.
        name: String,
        /// Its text.
        text: String,
        /// Errors and warnings, in the order of the file.
        diagnostics: Vec<Diagnostic>,
    },
}

/// Reads and parses a rack.
///
/// # Errors
/// When the file cannot be read, is too large, or is no valid rack.
pub fn load(path: &Path) -> Result<Loaded, RackErrors> {
    let bytes = read(path).map_err(|source| RackErrors::Unreadable { path: path.to_owned(), source })?;
    if bytes.len() as u64 > LARGEST {
        return Err(RackErrors::TooLarge { path: path.to_owned() });
    }
    let name = path.display().to_string();
    let text = String::from_utf8(bytes).map_err(|error| not_utf8(&name, error.as_bytes()))?;
    match parse(&name, &text) {
        Ok((rack, warnings)) => {
            let folder = path.parent().map(Path::to_owned).unwrap_or_default();
            Ok(Loaded { rack, warnings, folder, name, text })
        }
        Err(diagnostics) => Err(RackErrors::Invalid { name, text, diagnostics }),
    }
}

/// The only effect of this room.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn not_utf8(name: &str, bytes: &[u8]) -> RackErrors {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let valid = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let at = valid.chars().count();
    let help = match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it looks like UTF-16; save it as UTF-8",
        _ => "save the file as UTF-8",
    };
    let problem = error(Place { start: at, end: at + 1 }, "", "this is not UTF-8", Some(help.to_owned()));
    RackErrors::Invalid { name: name.to_owned(), diagnostics: diagnostics(&text, vec![problem]), text }
}

/// Parses and validates the text of a rack; `name` is what the diagnostics' reader calls it. Pure.
///
/// # Errors
/// All errors, and the warnings among them, in the order of the text.
pub fn parse(_name: &str, text: &str) -> Result<(Rack, Vec<Diagnostic>), Vec<Diagnostic>> {
    language::read(text, &RACK, rack)
}

/// The language of racks.
static RACK: Language = Language {
    noun: "rack",
    when_empty: "`rackwright init` writes one to begin with",
    when_second: "remove the `---`",
    when_tagged: "write the plain value; secrets come from `prompt`, `env` or `file`",
    schema: || &schema::SCHEMA,
    unknown: suggest::unknown_field,
};

/// Places as they are with the byte order mark, which gets a warning of its own.
fn moved(mut problems: Vec<Problem>, shift: usize) -> Vec<Problem> {
    for problem in &mut problems {
        problem.place.start += shift;
        problem.place.end += shift;
    }
    if shift > 0 {
        let message = "byte order mark (U+FEFF)".to_owned();
        let help = Some("delete it, or save as UTF-8 without it; some programs stumble over it".to_owned());
        let place = Place { start: 0, end: shift };
        problems.push(Problem { severity: Severity::Warning, place, path: String::new(), message, help });
    }
    problems
}

fn error(place: Place, path: &str, message: impl Into<String>, help: Option<String>) -> Problem {
    Problem { severity: Severity::Error, place, path: path.to_owned(), message: message.into(), help }
}

/// Odd characters first: they often explain why the text is no YAML.
fn no_yaml(chars: &[char], fault: tree::Fault) -> Vec<Problem> {
    let odd = character::outside_comments(chars);
    let at = fault.place.start.min(chars.len());
    let start = chars[..at].iter().rposition(|c| *c == '\n').map_or(0, |newline| newline + 1);
    let end = chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |length| at + length);
    let explained = odd.iter().any(|o| (start..=end).contains(&o.place.start));
    let mut problems: Vec<Problem> =
        odd.into_iter().map(|o| error(o.place, "", o.message, Some(o.help.to_owned()))).collect();
    if !explained {
        problems.push(error(fault.place, "", fault.message, fault.help));
    }
    problems
}

/// From the structural pass to a rack: only what is well-formed is looked at for its meaning.
fn rack(outcome: Outcome) -> Result<(Rack, Vec<Problem>), Vec<Problem>> {
    if !outcome.problems.is_empty() {
        return Err(outcome.problems);
    }
    let file: model::RackFile = serde_json::from_value(outcome.value).map_err(|e| {
        // The schema is generated from the types, so this is a gap between the two.
        vec![error(Place::default(), "", format!("this rack fits the schema but not the program: {e}"), None)]
    })?;
    let rack = Rack::new(file);
    let problems = checks::check(&rack, &outcome.places);
    if problems.iter().any(|p| p.severity == Severity::Error) { Err(problems) } else { Ok((rack, problems)) }
}

fn diagnostics(text: &str, mut problems: Vec<Problem>) -> Vec<Diagnostic> {
    let lines = Lines::new(text);
    problems.sort_by_key(|p| (p.place.start, p.place.end));
    // An alias shows the same mistake at the same place as its anchor.
    problems.dedup_by(|a, b| (a.place, &a.message) == (b.place, &b.message));
    let dropped = problems.len().saturating_sub(MOST);
    problems.truncate(MOST);
    let mut found: Vec<Diagnostic> = problems
        .into_iter()
        .map(|p| {
            let (line, column, end_column) = lines.position(p.place);
            let Problem { severity, path, message, help, .. } = p;
            Diagnostic { severity, path, message, line, column, end_column, help }
        })
        .collect();
    if let Some(last) = found.last_mut().filter(|_| dropped > 0) {
        last.message.push_str(&format!(" (and {dropped} more problems)"));
    }
    found
}
