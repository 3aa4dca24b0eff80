//! Snippets put in where they are imported, as CoreDNS does before any plugin sees them.

use std::collections::HashMap;

use super::lexer::Token;
use super::parse::{Directive, Item};
use super::zone::Key;
use super::{Corefile, CorefileError, Server, error};

/// The most imports of snippets, imports of imports included: CoreDNS's own limit.
const MOST_IMPORTS: usize = 10_000;
/// The most directives that snippets may come to.
const MOST_DIRECTIVES: usize = 100_000;
/// The deepest chain of snippets that import snippets.
const DEEPEST: usize = 64;

/// Puts snippets in.
pub(super) fn expand(text: &str, items: &[Item]) -> Result<Corefile, CorefileError> {
    let mut known = Snippets { text, known: HashMap::new(), later: later(items), imports: 0, directives: 0 };
    let mut corefile = Corefile { servers: Vec::new(), imported: Vec::new() };
    for item in items {
        match item {
            Item::Snippet { name, directives } => known.add(name, directives)?,
            Item::Import(what) if known.known.contains_key(what.text.as_str()) => {
                let what = "a snippet is imported inside of a server block, not beside it";
                return Err(error(text, item_start(item), what));
            }
            Item::Import(what) => corefile.imported.push(what.clone()),
            Item::Server { keys, directives, body } => {
                let mut imported = Vec::new();
                let plugins = known.put_in(directives, &mut Vec::new(), &mut imported)?;
                let keys = keys.iter().map(|key| Key::of(text, key.clone())).collect::<Result<_, _>>()?;
                corefile.servers.push(Server { keys, plugins, imported, body: body.clone() });
            }
        }
    }
    Ok(corefile)
}

fn item_start(item: &Item) -> usize {
    match item {
        Item::Import(token) | Item::Snippet { name: token, .. } => token.span.start,
        Item::Server { body, .. } => body.span.start,
    }
}

/// Every snippet of the text, whether or not it is known yet.
fn later<'a>(items: &'a [Item]) -> Vec<&'a str> {
    let name = |item: &'a Item| match item {
        Item::Snippet { name, .. } => Some(name.text.as_str()),
        _ => None,
    };
    items.iter().filter_map(name).collect()
}

struct Snippets<'a> {
    text: &'a str,
    known: HashMap<&'a str, &'a [Directive]>,
    later: Vec<&'a str>,
    imports: usize,
    directives: usize,
}

impl<'a> Snippets<'a> {
    fn add(&mut self, name: &'a Token, directives: &'a [Directive]) -> Result<(), CorefileError> {
        match self.known.insert(&name.text, directives) {
            None => Ok(()),
            Some(_) => Err(error(
                self.text,
                name.span.start,
                format!("redeclaration of previously declared snippet {}", name.text),
            )),
        }
    }

    /// `path`: the snippets that are being put in. `files`: what is imported from elsewhere, plugins or servers.
    fn put_in(
        &mut self,
        directives: &[Directive],
        path: &mut Vec<&'a str>,
        files: &mut Vec<Token>,
    ) -> Result<Vec<Directive>, CorefileError> {
        let mut whole = Vec::new();
        for directive in directives {
            self.directives += 1;
            if self.directives > MOST_DIRECTIVES {
                let what = format!("snippets come to more than {MOST_DIRECTIVES} lines here");
                return Err(error(self.text, directive.span.start, what));
            }
            match (directive.name.text.as_str(), &directive.args[..]) {
                ("import", [what]) => whole.extend(self.import(what, path, files)?),
                _ => {
                    let block = directive.block.as_deref();
                    // Files that are imported inside of a plugin hold no plugins.
                    let block = block.map(|b| self.put_in(b, path, &mut Vec::new())).transpose()?;
                    let snippet = path.last().map(|name| (*name).to_owned());
                    whole.push(Directive { block, snippet, ..directive.clone() });
                }
            }
        }
        Ok(whole)
    }

    fn import(
        &mut self,
        what: &Token,
        path: &mut Vec<&'a str>,
        files: &mut Vec<Token>,
    ) -> Result<Vec<Directive>, CorefileError> {
        let Some((&name, &directives)) = self.known.get_key_value(what.text.as_str()) else {
            if self.later.contains(&what.text.as_str()) {
                let place = what.span.start;
                let what = format!("snippet {} is declared further down; move it before its use", what.text);
                return Err(error(self.text, place, what));
            }
            files.push(what.clone());
            return Ok(Vec::new());
        };
        self.imports += 1;
        if path.contains(&name) || path.len() >= DEEPEST || self.imports > MOST_IMPORTS {
            let why = if path.contains(&name) { "imports itself" } else { "leads to too many imports" };
            return Err(error(self.text, what.span.start, format!("snippet {name} {why}")));
        }
        path.push(name);
        let whole = self.put_in(directives, path, files);
        path.pop();
        whole
    }
}
