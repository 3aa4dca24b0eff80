//! What is wrong with a rack, at which place, and what to do; for people and for programs.

use std::fmt::Write as _;

use rackwright_proto::finding::Severity;
use serde::Serialize;
use unicode_width::UnicodeWidthChar;

use super::character;

/// One thing that is wrong or risky, at its place in the file. Lines and columns count from 1, in characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// An error refuses the rack, a warning does not.
    pub severity: Severity,
    /// The field, such as `kubernetes.metallb.pools[0].name`; empty for the file as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// The line.
    pub line: usize,
    /// The first column.
    pub column: usize,
    /// The column after the last one, on the same line.
    pub end_column: usize,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// From this character to before that one, both counted from the beginning of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Place {
    /// The first character.
    pub start: usize,
    /// The one after the last.
    pub end: usize,
}

/// A text whose lines can be found by character offset.
pub(crate) struct Lines<'a> {
    lines: Vec<(usize, &'a str)>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let mut start = 0;
        let lines = text
            .split('\n')
            .map(|line| {
                let this = (start, line.strip_suffix('\r').unwrap_or(line));
                start += line.chars().count() + 1;
                this
            })
            .collect();
        Self { lines }
    }

    /// Line and columns of a place, cut to its first line; always inside the text.
    pub(crate) fn position(&self, place: Place) -> (usize, usize, usize) {
        let index = self.lines.partition_point(|(start, _)| *start <= place.start).saturating_sub(1);
        let (start, line) = self.lines[index];
        let width = line.chars().count();
        let from = (place.start - start).min(width);
        let to = (place.end.max(place.start) - start).clamp(from, width);
        (index + 1, from + 1, to + 1)
    }

    fn line(&self, number: usize) -> &'a str {
        self.lines.get(number.saturating_sub(1)).map_or("", |(_, line)| line)
    }
}

/// The widest part of a line that is shown, in columns of a terminal.
const WINDOW: usize = 150;

/// All diagnostics as text, each with its line and a caret below.
pub fn render(name: &str, text: &str, diagnostics: &[Diagnostic]) -> String {
    let lines = Lines::new(text);
    let mut out = String::new();
    for diagnostic in diagnostics {
        one(&mut out, name, &lines, diagnostic);
    }
    out
}

fn one(out: &mut String, name: &str, lines: &Lines<'_>, d: &Diagnostic) {
    let word = if d.severity == Severity::Error { "error" } else { "warning" };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{name}:{}:{}: {word}: {}", d.line, d.column, printable(&d.message));
    let (shown, blank, carets) = excerpt(lines.line(d.line), d.column - 1, d.end_column - 1);
    if !shown.trim().is_empty() {
        let _ = writeln!(out, "{:>5} | {}", d.line, shown.trim_end());
        let _ = writeln!(out, "      | {}{}", " ".repeat(blank), "^".repeat(carets));
    }
    if let Some(help) = &d.help {
        let _ = writeln!(out, "help: {}", printable(help));
    }
    out.push('\n');
}

/// The line as a terminal shows it, the columns before the caret, and how many carets.
fn excerpt(line: &str, from: usize, to: usize) -> (String, usize, usize) {
    let line = without_secret(line);
    let cells: Vec<(String, usize)> = line.chars().map(cell).collect();
    let (from, to) = (from.min(cells.len()), to.min(cells.len()));
    let mut first = 0;
    let width = |part: &[(String, usize)]| part.iter().map(|(_, w)| w).sum::<usize>();
    if width(&cells) > WINDOW {
        first = from.saturating_sub(WINDOW / 3);
    }
    let mut last = first;
    let mut used = 0;
    while last < cells.len() && used + cells[last].1 <= WINDOW {
        used += cells[last].1;
        last += 1;
    }
    let lead = if first > 0 { "…" } else { "" };
    let tail = if last < cells.len() { "…" } else { "" };
    let shown: String = cells[first..last].iter().map(|(text, _)| text.as_str()).collect();
    let blank = lead.chars().count() + width(&cells[first..from.max(first)]);
    let carets = width(&cells[from.clamp(first, last)..to.clamp(first, last)]).max(1);
    (format!("{lead}{shown}{tail}"), blank, carets)
}

/// One character as it is shown, and its width. What a terminal hides or obeys is written out.
fn cell(c: char) -> (String, usize) {
    match c {
        '\t' => ("    ".into(), 4),
        c if character::is_hidden(c) || c.is_control() => {
            let text = format!("<U+{:04X}>", c as u32);
            let width = text.len();
            (text, width)
        }
        c => (c.to_string(), c.width().unwrap_or(1)),
    }
}

/// A text of ours that quotes the file, without what a terminal would obey; long quotes are cut.
fn printable(text: &str) -> String {
    const LONGEST: usize = 1000;
    let mut shown: String = text.chars().take(LONGEST).map(|c| cell(c).0).collect();
    if text.chars().count() > LONGEST {
        shown.push('…');
    }
    shown
}

/// Hides what follows `password:` and the like: a secret does not belong in a rack, nor in a terminal's scrollback.
fn without_secret(line: &str) -> String {
    match secret_from(line) {
        Some(at) if !line[at..].trim().is_empty() => format!("{} ***", &line[..at]),
        _ => line.to_owned(),
    }
}

fn secret_from(line: &str) -> Option<usize> {
    // ASCII lower-casing keeps every byte offset.
    let lower = line.to_ascii_lowercase();
    ["password", "passphrase", "passwd", "secret", "token"]
        .iter()
        .filter_map(|word| {
            let at = lower.find(word)? + word.len();
            let colon = at + lower[at..].find(':')?;
            let between = lower[at..colon].trim_matches(['"', '\'', ' ', '_', '-']);
            between.bytes().all(|b| b.is_ascii_alphanumeric()).then_some(colon + 1)
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carets(line: &str, from: usize, to: usize) -> (String, String) {
        let (shown, blank, carets) = excerpt(line, from, to);
        (shown, format!("{}{}", " ".repeat(blank), "^".repeat(carets)))
    }

    #[test]
    fn carets_stand_below_tabs_and_wide_characters() {
        assert_eq!(carets("a: x", 3, 4).1, "   ^");
        assert_eq!(carets("\ta: x", 4, 5), ("    a: x".into(), "       ^".into()));
        assert_eq!(carets("名: x", 3, 4).1, "    ^");
        assert_eq!(carets("é: x", 3, 4).1, "   ^");
        assert_eq!(carets("a\u{200b}b", 1, 2), ("a<U+200B>b".into(), " ^^^^^^^^".into()));
    }

    #[test]
    fn long_lines_are_cut_around_the_caret() {
        let line = format!("{}HERE{}", "x".repeat(1000), "y".repeat(1000));
        let (shown, below) = carets(&line, 1000, 1004);
        assert!(shown.chars().count() <= WINDOW + 2);
        let at = below.find('^').expect("a caret");
        let there: String = shown.chars().skip(at).take(4).collect();
        assert_eq!((there.as_str(), below.matches('^').count()), ("HERE", 4));
    }

    #[test]
    fn secrets_are_not_shown() {
        for line in
            ["  becomePassword: hunter2", "ssh: {password: hunter2, user: x}", "\"passphrase\" : hunter2"]
        {
            assert!(!excerpt(line, 0, 3).0.contains("hunter2"), "{line}");
        }
    }

    #[test]
    fn terminals_obey_nothing() {
        assert!(!printable("a\u{1b}[2Jb").contains('\u{1b}'));
    }
}
