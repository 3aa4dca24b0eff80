//! Tokens of a Corefile, as CoreDNS's copy of Caddy cuts them.
//!
//! Its habits that are not what one would think, and kept here, since what counts is what CoreDNS reads:
//! - A `#` inside of a word ends the word, but hides only what is left up to the next space: in
//!   `forward . 192.0.2.1#old 192.0.2.2` both are upstreams.
//! - A quote begins a token only at its first character; in it, `\"` is a quote and any other `\` is itself.
//! - Nothing continues a line, but a quoted token may hold line breaks.
//! - A carriage return is nothing at all.

use std::ops::Range;

use super::{CorefileError, error};

/// A word of a Corefile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it says, without quotes; environment variables as they are written.
    pub text: String,
    /// Its bytes, quotes included.
    pub span: Range<usize>,
    /// The line that it begins on, from 1.
    pub line: usize,
}

impl Token {
    /// The line that it ends on.
    pub(super) fn last_line(&self) -> usize {
        self.line + self.text.matches('\n').count()
    }

    /// Whether it names an environment variable: `{$NAME}` or `{%NAME%}`.
    pub fn has_variable(&self) -> bool {
        has_variable(&self.text)
    }
}

/// Whether a text names an environment variable: `{$NAME}` or `{%NAME%}`.
pub(super) fn has_variable(text: &str) -> bool {
    let between = |open: &str, close: &str| {
        text.split_once(open).is_some_and(|(_, rest)| rest.find(close).is_some_and(|end| end > 0))
    };
    between("{$", "}") || between("{%", "%}")
}

/// The tokens of a text.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, CorefileError> {
    let mut lexer = Lexer { text, at: 0, line: 1 };
    if text.starts_with('\u{feff}') {
        lexer.at = '\u{feff}'.len_utf8();
    }
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        self.line += usize::from(next == '\n');
        Some(next)
    }

    fn next(&mut self) -> Result<Option<Token>, CorefileError> {
        let mut comment = false;
        while let Some(next) = self.peek() {
            match next {
                '\n' => comment = false,
                '#' => comment = true,
                _ if comment || next.is_whitespace() => {}
                '"' => return self.quoted().map(Some),
                _ => return Ok(Some(self.plain())),
            }
            self.bump();
        }
        Ok(None)
    }

    fn plain(&mut self) -> Token {
        let (start, line) = (self.at, self.line);
        let (mut text, mut end, mut comment) = (String::new(), self.at, false);
        while let Some(next) = self.peek() {
            if next.is_whitespace() && next != '\r' {
                break;
            }
            comment |= next == '#';
            self.bump();
            if !comment && next != '\r' {
                text.push(next);
                end = self.at;
            }
        }
        Token { text, span: start..end, line }
    }

    fn quoted(&mut self) -> Result<Token, CorefileError> {
        let (start, line) = (self.at, self.line);
        self.bump();
        let mut text = String::new();
        while let Some(next) = self.bump() {
            match (next, self.peek()) {
                ('"', _) => return Ok(Token { text, span: start..self.at, line }),
                ('\\', Some('"')) => text.extend(self.bump()),
                // What follows a backslash is itself, even if it is another one.
                ('\\', Some(_)) => text.extend([Some('\\'), self.bump()].into_iter().flatten()),
                _ => text.push(next),
            }
        }
        Err(error(self.text, start, "a quote is opened here and never closed"))
    }
}

/// A text as one token, quoted where it must be; `None` where no quotes help.
pub(super) fn quote(text: &str) -> Option<String> {
    let plain = |c: char| !c.is_whitespace() && c != '#';
    if has_variable(text) || ["{", "}"].contains(&text) {
        return None;
    }
    if !text.is_empty() && !text.starts_with('"') && text.chars().all(plain) {
        return Some(text.to_owned());
    }
    let quoted = format!("\"{}\"", text.replace('"', "\\\""));
    let read = tokens(&quoted).ok()?;
    matches!(&read[..], [token] if token.text == text).then_some(quoted)
}
