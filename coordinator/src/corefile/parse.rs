//! Server blocks, snippets and directives: the shape of a Corefile (corefile(5)), imports not yet put in.
//!
//! A little stricter than CoreDNS where it accepts what no plugin understands: a `{` on a line of its own after a
//! plugin, a word after a plugin's `}`, a quote that is never closed.

use std::ops::Range;

use super::lexer::{Token, tokens};
use super::{Body, CorefileError, LARGEST, error, position};

/// The deepest nesting of blocks; CoreDNS's own plugins need two.
const DEEPEST: usize = 32;

/// A plugin with its arguments, or a property of one, or an `import`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// Its name.
    pub name: Token,
    /// Its arguments, those in a block excepted.
    pub args: Vec<Token>,
    /// What stands in its braces, if it has any.
    pub block: Option<Vec<Directive>>,
    /// The snippet that it comes from.
    pub snippet: Option<String>,
    /// Its bytes, closing brace included.
    pub span: Range<usize>,
}

/// What stands on the outermost level.
pub(super) enum Item {
    Server { keys: Vec<Token>, directives: Vec<Directive>, body: Body },
    Snippet { name: Token, directives: Vec<Directive> },
    Import(Token),
}

/// The shape of a text.
pub(super) fn parse(text: &str) -> Result<Vec<Item>, CorefileError> {
    if text.len() > LARGEST {
        return Err(error(text, 0, format!("over {LARGEST} bytes; no ConfigMap holds that")));
    }
    let mut parser = Parser { text, tokens: tokens(text)?, at: 0 };
    let mut items = Vec::new();
    while parser.at < parser.tokens.len() {
        items.push(parser.item()?);
    }
    Ok(items)
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    /// The next token.
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += usize::from(token.is_some());
        token
    }

    fn next_is(&self, text: &str) -> bool {
        self.peek().is_some_and(|token| token.text == text)
    }

    /// Whether the next token stands on the line where the last one ended.
    fn same_line(&self) -> bool {
        let last = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        self.peek().zip(last).is_some_and(|(next, last)| next.line <= last.last_line())
    }

    fn error(&self, at: usize, what: impl Into<String>) -> CorefileError {
        error(self.text, at, what)
    }

    fn item(&mut self) -> Result<Item, CorefileError> {
        if self.next_is("import") {
            let import = self.directive(0)?;
            return Ok(Item::Import(self.imported(import)?));
        }
        let keys = self.keys()?;
        let start = self.tokens[self.at - 1].span.end;
        if let [name] = &keys[..]
            && let Some(inner) = name.text.strip_prefix('(').and_then(|n| n.strip_suffix(')'))
        {
            let name = Token { text: inner.to_owned(), ..name.clone() };
            if !self.next_is("{") {
                return Err(self.error(name.span.start, "a snippet needs `{` after its name"));
            }
            let (directives, _) = self.body(start)?;
            return Ok(Item::Snippet { name, directives });
        }
        let (directives, body) = self.body(start)?;
        Ok(Item::Server { keys, directives, body })
    }

    /// The keys before a server block: on one line, or on the next after a comma.
    fn keys(&mut self) -> Result<Vec<Token>, CorefileError> {
        let mut keys = Vec::new();
        let mut more = true;
        while more || self.same_line() {
            let Some(token) = self.peek().cloned() else {
                return Err(self.error(self.text.len(), "another zone must follow the comma"));
            };
            match token.text.as_str() {
                "{" if more => {
                    return Err(self.error(token.span.start, "a zone is expected here, not `{`"));
                }
                "{" => break,
                "}" => return Err(self.error(token.span.start, "this `}` closes nothing")),
                _ => {}
            }
            self.at += 1;
            let text = token.text.strip_suffix(',');
            more = text.is_some();
            // `""` is nothing, but a comma alone is the root zone: so CoreDNS reads it.
            if !token.text.is_empty() {
                let text = text.unwrap_or(&token.text).to_owned();
                keys.push(Token { text, ..token });
            }
        }
        Ok(keys)
    }

    /// A server block or snippet, in braces or, to the end of the text, without.
    fn body(&mut self, start: usize) -> Result<(Vec<Directive>, Body), CorefileError> {
        let open = if self.next_is("{") { self.next() } else { None };
        let mut directives = Vec::new();
        let start = open.as_ref().map_or(start, |open| open.span.end);
        let end = loop {
            match (self.peek(), &open) {
                (Some(token), Some(_)) if token.text == "}" => {
                    let end = token.span.start;
                    self.at += 1;
                    break end;
                }
                (Some(_), _) => directives.push(self.plugin()?),
                (None, None) => break self.text.len(),
                (None, Some(open)) => return Err(self.unclosed(open)),
            }
        };
        let parts = directives.iter().map(|d| d.span.clone()).collect();
        let body = Body { span: start..end, braces: open.is_some(), parts };
        Ok((directives, body))
    }

    fn unclosed(&self, open: &Token) -> CorefileError {
        let (line, column) = position(self.text, open.span.start);
        let what = format!("a `}}` is missing: the `{{` of line {line}, column {column} is never closed");
        self.error(self.text.len(), what)
    }

    /// A plugin: nothing else may stand on its last line.
    fn plugin(&mut self) -> Result<Directive, CorefileError> {
        let plugin = self.directive(0)?;
        match self.peek() {
            Some(next) if self.same_line() && next.text == "}" => {
                Err(self
                    .error(next.span.start, "write this `}` on a line of its own: CoreDNS refuses it here"))
            }
            Some(next) if self.same_line() => {
                Err(self.error(next.span.start, format!("write `{}` on a line of its own", next.text)))
            }
            _ => Ok(plugin),
        }
    }

    fn directive(&mut self, depth: usize) -> Result<Directive, CorefileError> {
        let Some(name) = self.next() else {
            return Err(self.error(self.text.len(), "a plugin is expected here"));
        };
        match name.text.as_str() {
            "{" => {
                return Err(self.error(name.span.start, "write this `{` on the line of what it belongs to"));
            }
            "}" => return Err(self.error(name.span.start, "this `}` closes nothing")),
            _ => {}
        }
        let mut args = Vec::new();
        while self.same_line() && !self.next_is("{") && !self.next_is("}") {
            args.extend(self.next());
        }
        let opens = self.same_line() && self.next_is("{");
        let block = if opens { Some(self.block(depth + 1)?) } else { None };
        let span = name.span.start..self.tokens[self.at - 1].span.end;
        let directive = Directive { name, args, block, snippet: None, span };
        match directive.name.text.as_str() {
            "import" => self.imported(directive.clone()).map(|_| directive),
            "forward" if depth == 0 && directive.args.len() < 2 => Err(self
                .error(directive.span.start, "`forward` wants a domain and at least one resolver after it")),
            _ => Ok(directive),
        }
    }

    fn block(&mut self, depth: usize) -> Result<Vec<Directive>, CorefileError> {
        let Some(open) = self.next() else { return Ok(Vec::new()) };
        if depth > DEEPEST {
            return Err(self.error(open.span.start, format!("blocks nested more than {DEEPEST} deep")));
        }
        let mut directives = Vec::new();
        loop {
            match self.peek() {
                Some(token) if token.text == "}" => {
                    self.at += 1;
                    return Ok(directives);
                }
                Some(_) => directives.push(self.directive(depth)?),
                None => return Err(self.unclosed(&open)),
            }
        }
    }

    fn imported(&self, import: Directive) -> Result<Token, CorefileError> {
        match (&import.args[..], &import.block) {
            ([what], None) if !what.text.is_empty() => Ok(what.clone()),
            _ => Err(self.error(import.span.start, "`import` takes one argument: a snippet or a file")),
        }
    }
}
