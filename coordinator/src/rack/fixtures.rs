//! What an editor, a disk or a cat on the keyboard makes of a text, and what must hold of all that is said of it.

use proptest::prelude::*;

use super::diagnostic::{Diagnostic, render};

/// One of these texts with some places cut out and others filled: with any character, with what YAML gives a meaning
/// to, or with one of `words`, a regular expression.
pub(crate) fn mutated(texts: &'static [&'static str], words: &'static str) -> impl Strategy<Value = String> {
    let piece =
        prop_oneof![any::<char>().prop_map(String::from), "[:{}\\[\\],&*!|>'\"%@`#\t\n -]{1,3}", words];
    let edit = (any::<prop::sample::Index>(), 0usize..30, piece);
    (0..texts.len(), prop::collection::vec(edit, 1..4)).prop_map(|(which, edits)| {
        let mut chars: Vec<char> = texts[which].chars().collect();
        for (at, cut, piece) in edits {
            let at = at.index(chars.len() + 1);
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, piece.chars());
        }
        chars.into_iter().collect()
    })
}

/// Every diagnostic lies inside of the text, and can be shown.
pub(crate) fn lie_inside(name: &str, text: &str, diagnostics: &[Diagnostic]) -> Result<(), TestCaseError> {
    let lines: Vec<&str> = text.split('\n').collect();
    for d in diagnostics {
        prop_assert!((1..=lines.len()).contains(&d.line), "{d:?}");
        let width = lines[d.line - 1].chars().count();
        prop_assert!(d.column >= 1 && d.column <= d.end_column && d.end_column <= width + 1, "{d:?}");
    }
    let shown = render(name, text, diagnostics);
    prop_assert!(shown.chars().all(|c| c == '\n' || !c.is_control()));
    Ok(())
}
