//! kube-proxy's configuration (`KubeProxyConfiguration`, kubeproxy.config.k8s.io/v1alpha1): read, and set, and not one
//! byte else.
//!
//! The text is the key `config.conf` of the ConfigMap `kube-system/kube-proxy`: YAML, as a string in YAML.

use std::ops::Range;

use super::yaml::{self, Node, Shape};
use crate::corefile::position;
use crate::rack::model::kubernetes::{Proxy, ProxyMode, Scheduler};

/// The largest configuration, in bytes: what a ConfigMap can hold.
pub const LARGEST: usize = 1 << 20;

const KIND: &str = "KubeProxyConfiguration";
const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";

/// Why the configuration cannot be read or set, and where. Lines and columns count from 1, in characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("config.conf, line {line}, column {column}: {what}")]
pub struct ConfigError {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
    /// What stands in the way.
    pub what: String,
}

/// What a configuration says, as far as it can be set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Current {
    /// `mode`; empty where kube-proxy chooses, which is `iptables` on Linux.
    pub mode: String,
    /// `ipvs.scheduler`; empty where kube-proxy chooses, which is `rr`.
    pub scheduler: String,
    /// `ipvs.strictARP`.
    pub strict_arp: bool,
    /// `ipvs.excludeCIDRs`.
    pub exclude_cidrs: Vec<String>,
    /// `featureGates` that are set.
    pub feature_gates: Vec<(String, bool)>,
    /// `metricsBindAddress`, where `/proxyMode` is answered; empty for 127.0.0.1:10249.
    pub metrics_address: String,
    /// `healthzBindAddress`; empty for 0.0.0.0:10256.
    pub healthz_address: String,
}

impl Current {
    /// The mode that it comes to on Linux.
    pub fn mode(&self) -> ProxyMode {
        match self.mode.as_str() {
            "ipvs" => ProxyMode::Ipvs,
            "nftables" => ProxyMode::Nftables,
            _ => ProxyMode::Iptables,
        }
    }
}

/// What a configuration shall say; what is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// `mode`.
    pub mode: ProxyMode,
    /// `ipvs.scheduler`.
    pub scheduler: Option<Scheduler>,
    /// `ipvs.strictARP`.
    pub strict_arp: Option<bool>,
    /// `ipvs.excludeCIDRs`, not empty.
    pub exclude_cidrs: Option<Vec<String>>,
}

impl From<&Proxy> for Wanted {
    /// Outside of ipvs mode the section `ipvs` stays as it is: nobody reads it.
    fn from(proxy: &Proxy) -> Self {
        let ipvs = proxy.mode == ProxyMode::Ipvs;
        let cidrs: Vec<String> = proxy.exclude_cidrs.iter().map(ToString::to_string).collect();
        Self {
            mode: proxy.mode,
            scheduler: proxy.scheduler.filter(|_| ipvs),
            strict_arp: ipvs.then_some(proxy.strict_arp),
            exclude_cidrs: (ipvs && !cidrs.is_empty()).then_some(cidrs),
        }
    }
}

/// What the configuration says.
///
/// # Errors
/// It is no YAML, or holds no or several `KubeProxyConfiguration`s.
pub fn read(text: &str) -> Result<Current, ConfigError> {
    Ok(current(&the_one(text)?.1))
}

fn current(root: &Node) -> Current {
    let word = |node: Option<&Node>| {
        let node = node.filter(|n| !n.is_null());
        node.and_then(Node::text).unwrap_or_default().to_owned()
    };
    let yes = |node: &Node| matches!(node.text(), Some("true" | "True" | "TRUE"));
    let ipvs = root.get("ipvs");
    let of_ipvs = |key: &str| ipvs.and_then(|ipvs| ipvs.get(key));
    let gates = root.get("featureGates").map(Node::entries).unwrap_or_default();
    let cidrs = match of_ipvs("excludeCIDRs").map(|node| &node.shape) {
        Some(Shape::Sequence { items, .. }) => items.iter().map(|item| word(Some(item))).collect(),
        _ => Vec::new(),
    };
    Current {
        mode: word(root.get("mode")),
        scheduler: word(of_ipvs("scheduler")),
        strict_arp: of_ipvs("strictARP").is_some_and(yes),
        exclude_cidrs: cidrs,
        feature_gates: gates.iter().map(|(key, value)| (word(Some(key)), yes(value))).collect(),
        metrics_address: word(root.get("metricsBindAddress")),
        healthz_address: word(root.get("healthzBindAddress")),
    }
}

/// The text with what is wanted; where it says so already, the same bytes.
///
/// Values are replaced where they stand; keys that are missing get a line of their own, in the order of the alphabet as
/// kubeadm writes them. Comments, quotes and the order of keys stay.
///
/// # Errors
/// As [`read`]; or a value that is to change has an anchor, an alias or a tag, or is no value but a mapping.
pub fn set(text: &str, wanted: &Wanted) -> Result<String, ConfigError> {
    let mut edited = text.to_owned();
    // One at a time, each on the text that the one before it left: no edit has to know of another.
    for want in wants(wanted) {
        edited = set_one(&edited, &want)?;
    }
    only_wanted_differs(text, &edited, wanted)?;
    Ok(edited)
}

/// One value to set.
struct Want {
    section: Option<&'static str>,
    key: &'static str,
    value: Value,
}

enum Value {
    Word(String),
    Flag(bool),
    List(Vec<String>),
}

fn wants(wanted: &Wanted) -> Vec<Want> {
    let ipvs = |key, value| Want { section: Some("ipvs"), key, value };
    let mode = super::word(wanted.mode).to_owned();
    let scheduler = wanted.scheduler.map(|s| ipvs("scheduler", Value::Word(s.as_str().to_owned())));
    let strict_arp = wanted.strict_arp.map(|on| ipvs("strictARP", Value::Flag(on)));
    let cidrs = wanted.exclude_cidrs.clone().map(|cidrs| ipvs("excludeCIDRs", Value::List(cidrs)));
    let mode = Want { section: None, key: "mode", value: Value::Word(mode) };
    [Some(mode), scheduler, strict_arp, cidrs].into_iter().flatten().collect()
}

impl Value {
    /// Whether a node says this already.
    fn is(&self, node: &Node) -> bool {
        match (self, &node.shape) {
            (Self::Word(word), Shape::Scalar { text, .. }) => text == word,
            (Self::Flag(flag), Shape::Scalar { text, plain: true, .. }) => {
                let words = if *flag { ["true", "True", "TRUE"] } else { ["false", "False", "FALSE"] };
                words.contains(&text.as_str())
            }
            (Self::List(list), Shape::Sequence { items, .. }) => {
                items.len() == list.len()
                    && items.iter().zip(list).all(|(item, want)| item.text() == Some(want))
            }
            _ => false,
        }
    }

    /// What a value that is not there at all means.
    fn is_default(&self) -> bool {
        matches!(self, Self::Flag(false))
    }

    fn written(&self, json: bool) -> String {
        match self {
            Self::Word(text) => word(text, json),
            Self::Flag(flag) => flag.to_string(),
            Self::List(list) => {
                format!("[{}]", list.iter().map(|text| word(text, json)).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// In JSON every word has quotes; in YAML an IPv6 network needs them for its colons.
fn word(text: &str, json: bool) -> String {
    if json || text.contains(':') { format!("\"{text}\"") } else { text.to_owned() }
}

fn error(text: &str, at: usize, what: impl Into<String>) -> ConfigError {
    let (line, column) = position(text, at);
    ConfigError { line, column, what: what.into() }
}

/// All documents, and the one that is kube-proxy's.
fn the_one(text: &str) -> Result<(usize, Node, Vec<Node>), ConfigError> {
    if text.len() > LARGEST {
        return Err(error(text, 0, format!("over {LARGEST} bytes; no ConfigMap holds that")));
    }
    let documents = yaml::documents(text).map_err(|fault| error(text, fault.at, fault.what))?;
    let is = |node: &&(usize, &Node)| node.1.get("kind").and_then(Node::text) == Some(KIND);
    let all: Vec<(usize, &Node)> = documents.iter().enumerate().collect();
    let found: Vec<&(usize, &Node)> = all.iter().filter(is).collect();
    let (at, root) = match found[..] {
        [one] => *one,
        [] => return Err(error(text, 0, format!("no document of kind {KIND}"))),
        [_, second, ..] => return Err(error(text, second.1.span.start, format!("a second {KIND}"))),
    };
    match root.get("apiVersion").and_then(Node::text) {
        Some(API_VERSION) => Ok((at, root.clone(), documents)),
        other => {
            let what =
                format!("apiVersion {}; rackwright knows {API_VERSION}", other.unwrap_or("is missing"));
            Err(error(text, root.span.start, what))
        }
    }
}

fn set_one(text: &str, want: &Want) -> Result<String, ConfigError> {
    let (_, root, _) = the_one(text)?;
    let json = matches!(root.shape, Shape::Mapping { flow: true, .. });
    let place = Place { text, want, json };
    place.refuse_odd(&root)?;
    let edit = match want.section {
        None => place.in_mapping(&root)?,
        Some(section) => match root.get(section) {
            Some(node) => {
                place.refuse_odd(node)?;
                if node.is_null() || node.text() == Some("") {
                    place.fill(&root, section, node)?
                } else {
                    place.in_mapping(node)?
                }
            }
            None if want.value.is_default() => None,
            None => {
                let line = |indent: &str| format!("{section}:\n{indent}  {}", place.pair());
                let flow = format!("{}: {{{}}}", word(section, place.json), place.pair());
                Some(place.insert(&root, section, line, &flow)?)
            }
        },
    };
    Ok(match edit {
        None => text.to_owned(),
        Some((span, with)) => format!("{}{with}{}", &text[..span.start], &text[span.end..]),
    })
}

type Edit = (Range<usize>, String);

struct Place<'a> {
    text: &'a str,
    want: &'a Want,
    /// The whole text is in flow style, as JSON is.
    json: bool,
}

impl Place<'_> {
    fn error(&self, at: usize, what: impl Into<String>) -> ConfigError {
        error(self.text, at, what)
    }

    fn refuse_odd(&self, node: &Node) -> Result<(), ConfigError> {
        if !node.odd {
            return Ok(());
        }
        let what = format!("an anchor, alias or tag where {} is set; write the value out", self.name());
        Err(self.error(node.span.start, what))
    }

    fn written(&self) -> String {
        self.want.value.written(self.json)
    }

    /// Key and value.
    fn pair(&self) -> String {
        format!("{}: {}", word(self.want.key, self.json), self.written())
    }

    fn name(&self) -> String {
        match self.want.section {
            Some(section) => format!("{section}.{}", self.want.key),
            None => self.want.key.to_owned(),
        }
    }

    /// The key of a mapping that is there.
    fn in_mapping(&self, mapping: &Node) -> Result<Option<Edit>, ConfigError> {
        let value = &self.want.value;
        let Shape::Mapping { .. } = mapping.shape else {
            return Err(
                self.error(mapping.span.start, format!("a mapping is expected, to set {} in", self.name()))
            );
        };
        match mapping.get(self.want.key) {
            Some(node) if node.odd => self.refuse_odd(node).map(|()| None),
            Some(node) if value.is(node) || (node.is_null() && value.is_default()) => Ok(None),
            Some(node) => self.replace(mapping, node).map(Some),
            None if value.is_default() => Ok(None),
            None => {
                let line = self.pair();
                self.insert(mapping, self.want.key, |_| line.clone(), &line).map(Some)
            }
        }
    }

    fn replace(&self, mapping: &Node, node: &Node) -> Result<Edit, ConfigError> {
        let value = &self.want.value;
        if node.is_null() {
            return self.fill_with(mapping, self.want.key, node, &self.written());
        }
        match (&node.shape, value) {
            (Shape::Scalar { block: false, .. }, _) => Ok((node.span.clone(), self.written())),
            (Shape::Sequence { flow: true, .. }, Value::List(_))
                if !self.text[node.span.clone()].contains('#') =>
            {
                Ok((node.span.clone(), self.written()))
            }
            (Shape::Sequence { items, flow: false }, Value::List(list)) => self.replace_items(items, list),
            _ => Err(self.error(node.span.start, format!("not the kind of value that {} is", self.name()))),
        }
    }

    /// Items of a list in block style, one on each line: line by line, so that comments stay.
    fn replace_items(&self, items: &[Node], list: &[String]) -> Result<Edit, ConfigError> {
        let (Some(first), Some(last)) = (items.first(), items.last()) else {
            return Err(self.error(0, "an empty list in block style"));
        };
        let simple = |node: &Node| matches!(node.shape, Shape::Scalar { block: false, .. }) && !node.odd;
        if let Some(odd) = items.iter().find(|item| !simple(item)) {
            return Err(self.error(odd.span.start, format!("{} holds more than plain words", self.name())));
        }
        let start = first.span.start;
        let mut with = String::new();
        let mut done = start;
        for (node, text) in items.iter().zip(list) {
            with += &self.text[done..node.span.start];
            with += &if node.text() == Some(text) {
                self.text[node.span.clone()].to_owned()
            } else {
                word(text, self.json)
            };
            done = node.span.end;
        }
        match items.get(list.len()) {
            // What is too much goes with its lines.
            Some(_) => {
                with += &self.text[done..self.end_of_line(done)];
                Ok((start..self.end_of_line(last.span.end), with))
            }
            None => {
                let end = self.end_of_line(done);
                with += &self.text[done..end];
                let dash = self.text[..start].rfind('-').map_or("", |dash| self.indent(dash));
                for text in &list[items.len()..] {
                    with += &format!("{}{dash}- {}", self.newline(), word(text, self.json));
                }
                Ok((start..end, with))
            }
        }
    }

    /// A section that is `null`, `""`, or not there after its colon.
    fn fill(&self, root: &Node, section: &str, node: &Node) -> Result<Option<Edit>, ConfigError> {
        if self.want.value.is_default() {
            return Ok(None);
        }
        let with = format!("{{{}}}", self.pair());
        self.fill_with(root, section, node, &with).map(Some)
    }

    fn fill_with(&self, mapping: &Node, key: &str, node: &Node, with: &str) -> Result<Edit, ConfigError> {
        if !node.span.is_empty() && !self.text[node.span.clone()].trim().is_empty() {
            return Ok((node.span.clone(), with.to_owned()));
        }
        let key = mapping.entries().iter().find(|(name, _)| name.text() == Some(key)).map(|(name, _)| name);
        let end = key.map_or(node.span.start, |key| key.span.end);
        let colon = self.text[end..].find(':').filter(|at| self.text[end..end + at].trim().is_empty());
        match colon {
            Some(at) => Ok((end + at + 1..end + at + 1, format!(" {with}"))),
            None => Err(self.error(end, format!("no colon where {} is set", self.name()))),
        }
    }

    /// A key that is not there: after the last one before it in the alphabet, where keys are sorted; else at the end.
    fn insert(
        &self,
        mapping: &Node,
        key: &str,
        line: impl Fn(&str) -> String,
        in_flow: &str,
    ) -> Result<Edit, ConfigError> {
        let entries = mapping.entries();
        let name = |(key, _): &(Node, Node)| key.text().unwrap_or_default().to_owned();
        let sorted = entries.iter().map(name).is_sorted();
        // After a block scalar a line break may be part of its text.
        let fits = |entry: &&(Node, Node)| !ends_with_block_scalar(&entry.1);
        let before = |entry: &&(Node, Node)| !sorted || name(entry).as_str() < key;
        let before = entries.iter().rev().filter(fits).find(before);
        if matches!(mapping.shape, Shape::Mapping { flow: true, .. }) {
            return Ok(match entries.last() {
                Some((_, last)) => (last.end()..last.end(), format!(", {in_flow}")),
                None => (mapping.span.start + 1..mapping.span.start + 1, in_flow.to_owned()),
            });
        }
        let Some((first, _)) = entries.first() else {
            return Err(self.error(mapping.span.start, "an empty mapping in block style"));
        };
        let indent = self.indent(first.span.start);
        let newline = self.newline();
        let line = line(indent).replace('\n', newline);
        let Some((key, value)) = before else {
            return Ok((first.span.start..first.span.start, format!("{line}{newline}{indent}")));
        };
        let end = self.end_of_line(value.end().max(key.span.end));
        Ok((end..end, format!("{newline}{indent}{line}")))
    }

    fn newline(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }

    /// Before the line break of the line that this byte is on.
    fn end_of_line(&self, at: usize) -> usize {
        let end = self.text[at..].find('\n').map_or(self.text.len(), |newline| at + newline);
        end - usize::from(self.text[at..end].ends_with('\r'))
    }

    /// The blanks that a line begins with.
    fn indent(&self, at: usize) -> &str {
        let start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line = &self.text[start..at];
        &line[..line.len() - line.trim_start_matches(' ').len()]
    }
}

fn ends_with_block_scalar(node: &Node) -> bool {
    match &node.shape {
        Shape::Scalar { block, .. } => *block,
        Shape::Mapping { entries, flow: false } => {
            entries.last().is_some_and(|(_, v)| ends_with_block_scalar(v))
        }
        Shape::Sequence { items, flow: false } => items.last().is_some_and(ends_with_block_scalar),
        _ => false,
    }
}

/// Reads both texts: what is wanted is there, and all else is as it was.
fn only_wanted_differs(before: &str, after: &str, wanted: &Wanted) -> Result<(), ConfigError> {
    if before == after {
        return Ok(());
    }
    let hand = "it is written in a way that cannot be edited safely; set it by hand";
    let ((at, old, olds), (new_at, new, news)) =
        (the_one(before)?, the_one(after).map_err(|_| error(before, 0, hand))?);
    let others = olds.len() == news.len()
        && at == new_at
        && olds.iter().zip(&news).enumerate().all(|(i, (a, b))| i == at || a.same(b));
    let wants = wants(wanted);
    let set = wants.iter().all(|want| {
        let section = want.section.map_or(Some(&new), |section| new.get(section));
        let node = section.and_then(|section| section.get(want.key));
        node.map_or(want.value.is_default(), |n| want.value.is(n) || n.is_null() && want.value.is_default())
    });
    let rest = without(&old, &wants).same(&without(&new, &wants));
    if others && set && rest { Ok(()) } else { Err(error(before, old.span.start, hand)) }
}

/// A configuration without what is set, and without sections that hold nothing else.
fn without(root: &Node, wants: &[Want]) -> Node {
    let drop = |node: &Node, section: Option<&str>| {
        let mut node = node.clone();
        if let Shape::Mapping { entries, .. } = &mut node.shape {
            let set = |key: &Node| wants.iter().any(|w| w.section == section && Some(w.key) == key.text());
            entries.retain(|(key, _)| !set(key));
        }
        node
    };
    let mut root = drop(root, None);
    if let Shape::Mapping { entries, .. } = &mut root.shape {
        for (key, value) in entries.iter_mut() {
            let section = key.text().filter(|key| wants.iter().any(|w| w.section == Some(key)));
            if let Some(section) = section {
                *value = drop(value, Some(section));
            }
        }
        let sections = |key: &Node| wants.iter().any(|w| w.section.is_some() && w.section == key.text());
        let empty = |value: &Node| value.entries().is_empty() && value.text().unwrap_or_default().len() <= 4;
        entries.retain(|(key, value)| !(sections(key) && empty(value)));
    }
    root
}
