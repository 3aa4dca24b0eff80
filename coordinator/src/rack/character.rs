//! Characters that editors, chats and word processors slip into YAML, and that look like others.

use super::diagnostic::Place;

/// A character that does not do what it looks like.
pub(crate) struct Odd {
    /// Where.
    pub(crate) place: Place,
    /// What it is.
    pub(crate) message: String,
    /// What to type instead.
    pub(crate) help: &'static str,
}

/// Characters without a width, or that change the direction of others.
pub(crate) fn is_hidden(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn is_quote(c: char) -> bool {
    matches!(c, '\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}')
}

fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\u{2028}' | '\u{2029}'
    )
}

fn describe(c: char) -> Option<(&'static str, &'static str)> {
    match c {
        '\u{feff}' => Some(("byte order mark", "delete it; it cannot be seen")),
        '\u{a0}' => Some(("no-break space", "replace it by an ordinary space")),
        '\u{201c}' | '\u{201d}' => Some(("typographic quote", "type \" instead")),
        '\u{2018}' | '\u{2019}' => Some(("typographic quote", "type ' instead")),
        '\u{2010}'..='\u{2015}' | '\u{2212}' => Some(("typographic dash", "type - instead")),
        c if is_quote(c) => Some(("typographic quote", "type \" or ' instead")),
        c if is_blank(c) => Some(("space that is none in YAML", "replace it by an ordinary space")),
        c if is_hidden(c) => Some(("invisible character", "delete it; it cannot be seen")),
        _ => None,
    }
}

fn odd(c: char, at: usize) -> Option<Odd> {
    let (name, help) = describe(c)?;
    let shown = if is_quote(c) || matches!(c, '\u{2010}'..='\u{2015}' | '\u{2212}') {
        format!("{name} {c} (U+{:04X})", c as u32)
    } else {
        format!("{name} (U+{:04X})", c as u32)
    };
    Some(Odd { place: Place { start: at, end: at + 1 }, message: shown, help })
}

/// Odd characters between two character offsets.
pub(crate) fn within(text: &[char], place: Place) -> Vec<Odd> {
    let end = place.end.min(text.len());
    (place.start..end).filter_map(|at| odd(text[at], at)).collect()
}

/// Odd characters and indentation by tabs in a text that is no YAML, outside of what looks like a comment.
/// They often explain why it is none.
pub(crate) fn outside_comments(text: &[char]) -> Vec<Odd> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split(|c| *c == '\n') {
        found.extend(tab_indent(line, start));
        let code = code_length(line);
        found.extend(within(text, Place { start, end: start + code }));
        start += line.len() + 1;
    }
    found
}

fn tab_indent(line: &[char], start: usize) -> Option<Odd> {
    let indent = line.iter().take_while(|c| matches!(c, ' ' | '\t')).count();
    let at = line[..indent].iter().position(|c| *c == '\t')?;
    (indent < line.len() && line[indent] != '#').then(|| Odd {
        place: Place { start: start + at, end: start + at + 1 },
        message: "tab in the indentation".into(),
        help: "YAML is indented by spaces only",
    })
}

/// The characters of a line before its comment.
fn code_length(line: &[char]) -> usize {
    let mut quote = None;
    for (at, c) in line.iter().enumerate() {
        match quote {
            Some(q) if q == *c => quote = None,
            Some(_) => {}
            None if *c == '#' && (at == 0 || line[at - 1].is_whitespace()) => return at,
            None if matches!(c, '"' | '\'') && (at == 0 || !line[at - 1].is_alphanumeric()) => {
                quote = Some(*c)
            }
            None => {}
        }
    }
    line.len()
}
