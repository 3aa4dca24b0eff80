//! CoreDNS's Corefile: parsed as CoreDNS parses it, edited without touching a byte more than needed.
//!
//! - `lexer`: tokens, as CoreDNS's copy of Caddy cuts them (github.com/coredns/caddy, `caddyfile/lexer.go`).
//! - `parse`: server blocks, snippets and directives (corefile(5)).
//! - `expand`: snippets put in where they are imported.
//! - `zone`: the keys of server blocks, and who serves the same zone twice.
//! - [`target`]: where `forward` sends queries.
//! - [`edit`]: upstreams of `forward` set.

pub mod edit;
mod expand;
mod lexer;
mod parse;
pub mod target;
#[cfg(test)]
mod tests;
mod zone;

use std::ops::Range;

pub use edit::{EditError, MOST_UPSTREAMS, set_forward};
pub use lexer::Token;
pub use parse::Directive;
pub use target::Target;
pub use zone::{Key, Transport};

/// The largest Corefile, in bytes: what a ConfigMap can hold.
pub const LARGEST: usize = 1 << 20;

/// Why CoreDNS would not take a text as its Corefile. Lines and columns count from 1, in characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct CorefileError {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
    /// What is wrong there, and what to write instead.
    pub what: String,
}

/// A parsed Corefile.
#[derive(Debug, Clone)]
pub struct Corefile {
    /// Its server blocks in order, snippets put in where they are imported.
    pub servers: Vec<Server>,
    /// Files that are imported beside server blocks, as written: they may hold more of them.
    pub imported: Vec<Token>,
}

/// A server block.
#[derive(Debug, Clone)]
pub struct Server {
    /// What it serves, and where it listens.
    pub keys: Vec<Key>,
    /// Its plugins in order, with those of imported snippets.
    pub plugins: Vec<Directive>,
    /// Files that are imported in it, as written: they may hold more plugins.
    pub imported: Vec<Token>,
    /// Where its plugins stand, without braces.
    pub(crate) body: Body,
}

/// The inside of a server block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Body {
    /// From after the `{`, or the first plugin, to before the `}`, or the end.
    pub(crate) span: Range<usize>,
    /// Whether there are braces around it.
    pub(crate) braces: bool,
    /// The first bytes and the ends of what stands in it directly, imports included.
    pub(crate) parts: Vec<Range<usize>>,
}

/// One `forward` of a server block.
#[derive(Debug, Clone)]
pub struct Forward<'a> {
    /// The server block's place in [`Corefile::servers`].
    pub server: usize,
    /// The server block's keys.
    pub keys: &'a [Key],
    /// The domain that it is for, with its last dot, lower-case; `.` for all.
    pub from: String,
    /// Where it sends queries.
    pub to: Vec<Target>,
    /// Its options.
    pub options: &'a [Directive],
    /// The snippet that it comes from.
    pub snippet: Option<&'a str>,
    /// Its bytes, options included.
    pub span: Range<usize>,
}

impl Forward<'_> {
    /// The name that servers asked over TLS must prove to have.
    pub fn tls_servername(&self) -> Option<&str> {
        let option = self.options.iter().find(|o| o.name.text == "tls_servername")?;
        option.args.first().map(|name| name.text.as_str())
    }
}

impl Corefile {
    /// Parses what CoreDNS reads as its Corefile. Environment variables stay as they are written: their values are
    /// the pod's.
    ///
    /// # Errors
    /// What CoreDNS, too, would refuse at its start; except for unknown plugins, which depend on its build.
    pub fn parse(text: &str) -> Result<Self, CorefileError> {
        let corefile = expand::expand(text, &parse::parse(text)?)?;
        zone::no_zone_twice(text, &corefile.servers)?;
        Ok(corefile)
    }

    /// Every `forward` of every server block, in order.
    pub fn forwards(&self) -> Vec<Forward<'_>> {
        let servers = self.servers.iter().enumerate();
        servers.flat_map(|(at, server)| server.forwards(at)).collect()
    }
}

impl Server {
    /// Whether it has a plugin of this name.
    pub fn has(&self, plugin: &str) -> bool {
        self.plugins.iter().any(|p| p.name.text == plugin)
    }

    /// Whether one of its keys is this zone, as [`zone_name`] writes it.
    pub fn serves(&self, zone: &str) -> bool {
        self.keys.iter().any(|key| key.zones.iter().any(|z| z == zone))
    }

    /// Its keys as written.
    pub fn title(&self) -> String {
        let keys: Vec<&str> = self.keys.iter().map(|key| key.token.text.as_str()).collect();
        keys.join(" ")
    }

    fn forwards(&self, server: usize) -> impl Iterator<Item = Forward<'_>> {
        self.plugins.iter().filter(|p| p.name.text == "forward").filter_map(move |plugin| {
            let (from, to) = plugin.args.split_first()?;
            Some(Forward {
                server,
                keys: &self.keys,
                from: zone_name(&from.text),
                to: to.iter().map(|token| Target::of(&token.text)).collect(),
                options: plugin.block.as_deref().unwrap_or_default(),
                snippet: plugin.snippet.as_deref(),
                span: plugin.span.clone(),
            })
        })
    }
}

/// A zone's name as CoreDNS compares it: lower-case, with its last dot.
pub fn zone_name(text: &str) -> String {
    zone::first_zone(text)
}

/// Line and column of a byte, from 1, in characters.
pub(crate) fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

fn error(text: &str, at: usize, what: impl Into<String>) -> CorefileError {
    let (line, column) = position(text, at);
    CorefileError { line, column, what: what.into() }
}
