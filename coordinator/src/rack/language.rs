//! Reading a file of ours, whatever it describes: the same parser, the same care for places, other fields and words.

use serde_json::Value;

use super::structure::{Outcome, Problem};
use super::suggest::Guess;
use super::tree::{Entry, Marked, Shape};
use super::{Diagnostic, diagnostics, moved, no_yaml, structure, tree};

/// How a kind of file is written, and what is said about mistakes in it.
pub(crate) struct Language {
    /// What such a file is called: `rack`.
    pub(crate) noun: &'static str,
    /// What to do about an empty one.
    pub(crate) when_empty: &'static str,
    /// What to do about a second document in it.
    pub(crate) when_second: &'static str,
    /// What to do about a YAML tag.
    pub(crate) when_tagged: &'static str,
    /// Its schema. Only that of racks may have references.
    pub(crate) schema: fn() -> &'static Value,
    /// What to say about a field that a section does not know: field, section, names known there, fields beside it.
    pub(crate) unknown: fn(&str, &str, &[&str], &[&str]) -> Guess,
}

/// Reads a text, and makes of it what `meaning` makes of its values. Pure.
///
/// # Errors
/// All errors, and the warnings among them, in the order of the text.
pub(crate) fn read<T>(
    text: &str,
    language: &Language,
    meaning: impl FnOnce(Outcome) -> Result<(T, Vec<Problem>), Vec<Problem>>,
) -> Result<(T, Vec<Diagnostic>), Vec<Diagnostic>> {
    let chars: Vec<char> = text.chars().collect();
    // A byte order mark at the very beginning is allowed (YAML 1.2, 5.2).
    let marked = chars.first() == Some(&'\u{feff}');
    let clean = if marked { &text['\u{feff}'.len_utf8()..] } else { text };
    let shift = usize::from(marked);
    let result = match tree::parse(clean, language) {
        Err(fault) => Err(no_yaml(&chars[shift..], fault)),
        Ok(tree) => meaning(structure::check(&tree, &chars[shift..], language)),
    };
    let told = |problems| diagnostics(text, moved(problems, shift));
    result.map(|(value, warnings)| (value, told(warnings))).map_err(told)
}

/// Every field of a schema, as (path of its section, name); lists add nothing to a path.
pub(crate) fn catalogue(schema: &Value) -> Vec<(String, String)> {
    super::schema::catalogue(schema)
}

/// A key of a text's top level.
pub(crate) struct Top {
    /// The key.
    pub(crate) key: String,
    /// Its value, where that is a scalar.
    pub(crate) scalar: Option<String>,
    /// Whether it is left empty.
    pub(crate) is_null: bool,
    /// The keys below it, where it is a mapping.
    pub(crate) below: Vec<String>,
}

/// The top level of a text, empty where it cannot be read.
pub(crate) fn top(text: &str, language: &Language) -> Vec<Top> {
    let Ok(Marked { shape: Shape::Mapping(entries), .. }) = tree::parse(text, language) else {
        return Vec::new();
    };
    let top = |entry: Entry| {
        let is_null = entry.value.is_null();
        let (scalar, below) = match entry.value.shape {
            Shape::Scalar { text, .. } => (Some(text), Vec::new()),
            Shape::Mapping(entries) => (None, entries.into_iter().map(|e| e.key).collect()),
            Shape::Sequence(_) => (None, Vec::new()),
        };
        Top { key: entry.key, scalar, is_null, below }
    };
    entries.into_iter().map(top).collect()
}
