//! Upstreams of `forward` set, and not one byte else.

use std::ops::Range;

use super::lexer::{quote, tokens};
use super::target::Target;
use super::{Corefile, CorefileError, Forward, Server, Transport, position, zone_name};
use crate::rack::words::Upstream;

/// The most upstreams of one `forward` (coredns-forward(7)).
pub const MOST_UPSTREAMS: usize = 15;

/// Why upstreams cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text is no Corefile.
    #[error("the Corefile does not parse")]
    Invalid(#[from] CorefileError),
    /// No upstream was given.
    #[error("`forward` needs at least one upstream; name one in `kubernetes.dns.forward`")]
    None,
    /// More than CoreDNS takes.
    #[error("{0} upstreams; CoreDNS takes at most {MOST_UPSTREAMS}")]
    TooMany(usize),
    /// A path that no Corefile can hold.
    #[error("`{0}` cannot be written in a Corefile; use another path")]
    NotWritable(String),
    /// Nobody serves the zone.
    #[error("no server block serves `{zone}`{hint}")]
    NoServer {
        /// The zone.
        zone: String,
        /// Where one may be hidden.
        hint: String,
    },
    /// Several server blocks serve the zone, none or several of them on port 53.
    #[error("several server blocks serve `{zone}` (lines {}); rackwright sets the one on port 53 only", listed(.lines))]
    SeveralServers {
        /// The zone.
        zone: String,
        /// Where they begin.
        lines: Vec<usize>,
    },
    /// Several `forward` of the server block are for the zone.
    #[error("several `forward` for `{zone}` in one server block (lines {}); leave one of them", listed(.lines))]
    SeveralForwards {
        /// The zone.
        zone: String,
        /// Where they stand.
        lines: Vec<usize>,
    },
    /// The `forward` comes from a snippet that others import, too.
    #[error(
        "line {line}: this `forward` is part of snippet ({snippet}), which also serves {users}; write a `forward` of its own into the server block and take it out of the snippet"
    )]
    Shared {
        /// The snippet.
        snippet: String,
        /// Where the `forward` stands.
        line: usize,
        /// The keys of other server blocks that import it.
        users: String,
    },
    /// There is no `forward`, but it may be in a file that the server block imports.
    #[error(
        "line {line}: the server block has no `forward`, but imports `{file}`, which may hold one; write it into the Corefile itself"
    )]
    Imported {
        /// Where the import stands.
        line: usize,
        /// The file or pattern.
        file: String,
    },
    /// The old `proxy` plugin is in use.
    #[error("line {line}: `proxy` left CoreDNS in 1.5.0; write `forward` in its place")]
    OldProxy {
        /// Where it stands.
        line: usize,
    },
    /// The new text does not say what it should; nothing of it is used.
    #[error(
        "the Corefile is written in a way that rackwright cannot edit safely (line {line}); set `forward` by hand"
    )]
    Unsafe {
        /// Where the edit would have been.
        line: usize,
    },
}

fn listed(lines: &[usize]) -> String {
    lines.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

/// The text with these upstreams for `zone` (`.` for all names). Where they are set already, the same bytes.
///
/// The TO list of the one `forward` for the zone is replaced, in its snippet if nobody else imports that; options,
/// comments and formatting stay. A server block without one gets a line of its own. Where several server blocks
/// serve the zone, the one that answers plain DNS on port 53 is meant: the cluster's DNS Service leads there.
///
/// # Errors
/// See [`EditError`]; all of them say where.
pub fn set_forward(text: &str, zone: &str, upstreams: &[Upstream]) -> Result<String, EditError> {
    let corefile = Corefile::parse(text)?;
    let list = written(upstreams)?;
    let wanted: Vec<Target> = upstreams.iter().map(Target::from).collect();
    let zone = zone_name(zone);
    let at = server_of(text, &corefile, &zone)?;
    let place = match forward_of(text, &corefile, at, &zone)? {
        Some(forward) if forward.to == wanted => return Ok(text.to_owned()),
        Some(forward) => replacement(&corefile, at, &forward, list),
        None => insertion(text, &corefile.servers[at], &list)?,
    };
    let edited = format!("{}{}{}", &text[..place.span.start], place.with, &text[place.span.end..]);
    if is_as_wanted(text, &edited, &place, at, &zone, &wanted) {
        Ok(edited)
    } else {
        Err(EditError::Unsafe { line: position(text, place.span.start).0 })
    }
}

/// What is put in place of which bytes.
struct Edit {
    span: Range<usize>,
    with: String,
}

fn written(upstreams: &[Upstream]) -> Result<String, EditError> {
    match upstreams.len() {
        0 => return Err(EditError::None),
        1..=MOST_UPSTREAMS => {}
        many => return Err(EditError::TooMany(many)),
    }
    let word = |upstream: &Upstream| {
        let text = upstream.to_string();
        quote(&text).ok_or(EditError::NotWritable(text))
    };
    Ok(upstreams.iter().map(word).collect::<Result<Vec<_>, _>>()?.join(" "))
}

/// Which server block answers the cluster's pods for the zone.
fn server_of(text: &str, corefile: &Corefile, zone: &str) -> Result<usize, EditError> {
    let serves = |at: &usize| corefile.servers[*at].serves(zone);
    let all: Vec<usize> = (0..corefile.servers.len()).filter(serves).collect();
    let plain = |at: &usize| corefile.servers[*at].answers(zone, Transport::Dns, 53);
    let on_53: Vec<usize> = all.iter().copied().filter(plain).collect();
    let line = |at: &usize| position(text, corefile.servers[*at].start()).0;
    match (&all[..], &on_53[..]) {
        ([one], _) | (_, [one]) => Ok(*one),
        ([], _) => Err(EditError::NoServer { zone: zone.to_owned(), hint: hidden(corefile) }),
        _ => Err(EditError::SeveralServers { zone: zone.to_owned(), lines: all.iter().map(line).collect() }),
    }
}

/// Where a server block may be that the text does not show.
fn hidden(corefile: &Corefile) -> String {
    let variable = corefile.servers.iter().find(|s| s.keys.iter().any(|key| key.token.has_variable()));
    match (variable, corefile.imported.first()) {
        (Some(server), _) => {
            format!("; `{}` may, but only the pod's environment tells", server.title())
        }
        (None, Some(file)) => format!("; one may be in `{}`, which it imports", file.text),
        (None, None) => "; add one to the Corefile".to_owned(),
    }
}

fn forward_of<'a>(
    text: &str,
    corefile: &'a Corefile,
    at: usize,
    zone: &str,
) -> Result<Option<Forward<'a>>, EditError> {
    let line = |span: &Range<usize>| position(text, span.start).0;
    let all = corefile.forwards();
    let mut here: Vec<Forward<'a>> =
        all.iter().filter(|f| f.server == at && f.is_for(zone)).cloned().collect();
    if here.len() > 1 {
        let lines = here.iter().map(|f| line(&f.span)).collect();
        return Err(EditError::SeveralForwards { zone: zone.to_owned(), lines });
    }
    let Some(forward) = here.pop() else {
        return nothing_hidden(text, &corefile.servers[at]).map(|()| None);
    };
    let others = all.iter().filter(|f| f.server != at && f.span == forward.span);
    let users: Vec<String> = others.map(|f| format!("`{}`", corefile.servers[f.server].title())).collect();
    match forward.snippet {
        Some(snippet) if !users.is_empty() => Err(EditError::Shared {
            snippet: snippet.to_owned(),
            line: line(&forward.span),
            users: users.join(", "),
        }),
        _ => Ok(Some(forward)),
    }
}

/// A server block without `forward` has none elsewhere, either.
fn nothing_hidden(text: &str, server: &Server) -> Result<(), EditError> {
    let line = |at: usize| position(text, at).0;
    if let Some(old) = server.plugins.iter().find(|p| p.name.text == "proxy") {
        return Err(EditError::OldProxy { line: line(old.span.start) });
    }
    match server.imported.first() {
        Some(file) => Err(EditError::Imported { line: line(file.span.start), file: file.text.clone() }),
        None => Ok(()),
    }
}

fn replacement(corefile: &Corefile, at: usize, forward: &Forward<'_>, list: String) -> Edit {
    let plugins = &corefile.servers[at].plugins;
    let plugin = plugins.iter().find(|p| p.span == forward.span);
    let to = plugin.map(|p| &p.args[1..]).unwrap_or_default();
    let span = match (to.first(), to.last()) {
        (Some(first), Some(last)) => first.span.start..last.span.end,
        _ => forward.span.clone(),
    };
    Edit { span, with: list }
}

/// A line of its own: after the last plugin, indented as the first.
fn insertion(text: &str, server: &Server, list: &str) -> Result<Edit, EditError> {
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let line = format!("forward . {list}");
    let body = &server.body;
    let indent = match body.parts.first() {
        Some(first) => indent_at(text, first.start),
        None if body.braces => Some(format!("{}    ", indent_at(text, server.start()).unwrap_or_default())),
        None => None,
    };
    let indent = indent.unwrap_or_else(|| if body.braces { "    ".to_owned() } else { String::new() });
    let after = body.parts.last().map_or(body.span.start, |last| last.end);
    let end_of_line = text[after..].find('\n').map_or(text.len(), |at| after + at);
    if end_of_line < body.span.end || !body.braces {
        let before_return = end_of_line - usize::from(text[after..end_of_line].ends_with('\r'));
        return Ok(Edit { span: before_return..before_return, with: format!("{newline}{indent}{line}") });
    }
    // `. { }`, all on one line.
    Ok(Edit { span: body.span.clone(), with: format!("{newline}{indent}{line}{newline}") })
}

/// What stands before a byte on its line, if that is nothing but blanks.
fn indent_at(text: &str, at: usize) -> Option<String> {
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let before = &text[start..at];
    before.chars().all(|c| c == ' ' || c == '\t').then(|| before.to_owned())
}

/// Reads the edited text again: these upstreams, and all other tokens as they were.
fn is_as_wanted(text: &str, edited: &str, edit: &Edit, at: usize, zone: &str, wanted: &[Target]) -> bool {
    let Ok(corefile) = Corefile::parse(edited) else { return false };
    let is = |f: &Forward<'_>| f.server == at && f.is_for(zone);
    let forwards = corefile.forwards();
    let set: Vec<&Forward<'_>> = forwards.iter().filter(|f| is(f)).collect();
    let new = edit.span.start..edit.span.start + edit.with.len();
    matches!(&set[..], [forward] if forward.to == wanted) && others(text, &edit.span) == others(edited, &new)
}

/// All tokens outside of a span, one list for each line, lines without any left out.
fn others(text: &str, span: &Range<usize>) -> Option<Vec<String>> {
    let outside = |at: &Range<usize>| at.end <= span.start || at.start >= span.end;
    Some(tokens(text).ok()?.into_iter().filter(|t| outside(&t.span)).map(|t| t.text).collect())
}

impl Forward<'_> {
    fn is_for(&self, zone: &str) -> bool {
        self.from == "." || self.from == zone
    }
}

impl Server {
    /// Where it begins.
    pub(crate) fn start(&self) -> usize {
        self.keys.first().map_or(self.body.span.start, |key| key.token.span.start)
    }

    /// Whether it answers for a zone over this transport on this port.
    pub(crate) fn answers(&self, zone: &str, transport: Transport, port: u16) -> bool {
        let is = |z: &String| z == zone;
        self.keys.iter().any(|k| k.transport == transport && k.port == Some(port) && k.zones.iter().any(is))
    }
}
