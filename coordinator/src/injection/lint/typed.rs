//! Characters that are not what they look like, and texts that are no YAML.

use rackwright_proto::finding::Severity;

use super::Found;
use crate::injection::wins::INJECT;
use crate::rack::character::{self, Odd};
use crate::rack::diagnostic::Place;
use crate::rack::tree::{Fault, Marked, Shape};

/// All that is odd in one document. What stands inside of quotes, or in a block of text, is meant.
pub(super) fn within(root: &Marked, text: &[char]) -> Vec<Found> {
    let mut found = Vec::new();
    walk(root, "", text, &mut found);
    found
}

fn walk(marked: &Marked, key: &str, text: &[char], found: &mut Vec<Found>) {
    match &marked.shape {
        Shape::Scalar { plain: true, .. } => found.extend(scalar(marked.place, key, text)),
        Shape::Scalar { .. } => {}
        Shape::Sequence(items) => items.iter().for_each(|item| walk(item, key, text, found)),
        Shape::Mapping(entries) => {
            for entry in entries {
                if text.get(entry.key_place.start).is_some_and(|c| !matches!(c, '"' | '\'')) {
                    found.extend(scalar(entry.key_place, "", text));
                }
                walk(&entry.value, &entry.key, text, found);
            }
        }
    }
}

/// At its ends a quote was meant as one; in the midst of a sentence it is a part of it.
fn scalar(place: Place, key: &str, text: &[char]) -> Option<Found> {
    let mut end = place.end.min(text.len());
    while end > place.start && matches!(text[end - 1], ' ' | '\n' | '\r' | '\t') {
        end -= 1;
    }
    let ends = |odd: &Odd| odd.place.start == place.start || odd.place.end == end;
    let odd = character::within(text, Place { start: place.start, end });
    let odd = odd.into_iter().find(|odd| is_blank(odd) || is_hidden(odd) || ends(odd))?;
    let mut found = of(odd);
    if key == INJECT && found.name == "typographic-quotes" {
        found.message += ": as an annotation this is accepted and means nothing, so the pod IS injected; as a label the \
                          API server refuses it";
    } else if found.name == "typographic-quotes" {
        found.message += ": YAML takes it for a part of the text";
    }
    Some(found)
}

fn is_blank(odd: &Odd) -> bool {
    odd.message.contains("space")
}

fn is_hidden(odd: &Odd) -> bool {
    odd.message.contains("invisible") || odd.message.contains("byte order")
}

fn of(odd: Odd) -> Found {
    let name = match () {
        () if odd.message.contains("quote") => "typographic-quotes",
        () if is_blank(&odd) => "odd-space",
        () => "odd-character",
    };
    error(name, odd.place, odd.message, Some(odd.help.to_owned()))
}

fn error(name: &'static str, place: Place, message: String, help: Option<String>) -> Found {
    Found { name, severity: Severity::Error, place, object: String::new(), message, help }
}

/// Why a text is no YAML; odd characters of that line first, since they often explain it.
pub(super) fn unreadable(fault: &Fault, text: &[char]) -> Vec<Found> {
    let at = fault.place.start.min(text.len());
    // The line before, too: a colon and a no-break space make no key, and the next line is where that does not fit.
    let newlines = text[..at].iter().enumerate().rev().filter(|(_, c)| **c == '\n');
    let start = { newlines }.nth(1).map_or(0, |(newline, _)| newline + 1);
    let end = text[at..].iter().position(|c| *c == '\n').map_or(text.len(), |length| at + length);
    let odd = character::outside_comments(text);
    let here = odd.into_iter().filter(|odd| (start..=end).contains(&odd.place.start));
    let mut found: Vec<Found> = here.map(of).collect();
    found.push(error("manifest-unreadable", fault.place, fault.message.clone(), fault.help.clone()));
    found
}

/// A text that ends where it is no UTF-8 any more.
pub(super) fn broken(at: usize) -> Found {
    let help = Some("save the file as UTF-8".to_owned());
    error("manifest-unreadable", Place { start: at, end: at + 1 }, "this is not UTF-8".into(), help)
}
