//! The structural pass: the tree against the schema, every difference at its place, all at once.

use std::collections::HashMap;

use rackwright_proto::finding::Severity;
use rackwright_proto::name::SysctlKey;
use serde_json::{Map, Value};

use super::diagnostic::Place;
use super::language::Language;
use super::schema::{self, Want, join};
use super::tree::{Entry, Marked, Shape};
use super::{character, format, suggest};

/// Something wrong, not yet translated into line and column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) severity: Severity,
    pub(crate) place: Place,
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// After so many problems, nobody reads the advice.
const ENOUGH: usize = 500;

/// What the pass found: the rack as JSON (meaningful only without problems), and where everything stood.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) value: Value,
    pub(crate) problems: Vec<Problem>,
    /// The place of each path: of a scalar itself, of a section's key.
    pub(crate) places: HashMap<String, Place>,
}

/// Compares the tree with the schema.
pub(super) fn check(root: &Marked, text: &[char], language: &Language) -> Outcome {
    let newlines = (0..text.len()).filter(|at| text[*at] == '\n').collect();
    let mut walk = Walk { language, text, newlines, outcome: Outcome::default(), secret: None };
    let top = Place { start: root.place.start, end: root.place.start + 1 };
    let value = walk.value(root, top, (language.schema)(), "");
    Outcome { value, ..walk.outcome }
}

struct Walk<'a> {
    language: &'a Language,
    text: &'a [char],
    /// Where lines end.
    newlines: Vec<usize>,
    outcome: Outcome,
    /// The key and path of the secret source that is being read: nothing of its value is told, whatever it is.
    secret: Option<(Place, String)>,
}

impl Walk<'_> {
    fn problem(&mut self, place: Place, path: &str, message: impl Into<String>, help: Option<String>) {
        let problem = match &self.secret {
            Some((key, path)) => Problem {
                severity: Severity::Error,
                place: *key,
                path: path.clone(),
                message: "not a way to get a secret".to_owned(),
                help: Some(
                    "a secret never stands in a rack: write `prompt`, {env: NAME} or {file: PATH}".to_owned(),
                ),
            },
            None => Problem {
                severity: Severity::Error,
                place,
                path: path.to_owned(),
                message: message.into(),
                help,
            },
        };
        self.outcome.problems.push(problem);
    }

    /// The value at `path` as JSON; `key` is where errors about a whole section point.
    fn value(&mut self, node: &Marked, key: Place, schema: &Value, path: &str) -> Value {
        let wants = schema::wants(schema);
        if wants.iter().any(|want| matches!(want, Want::Any)) {
            return self.free(node, key, path);
        }
        let scalar = matches!(node.shape, Shape::Scalar { .. });
        self.outcome.places.insert(path.to_owned(), if scalar { node.place } else { key });
        match &node.shape {
            Shape::Scalar { text, plain } => self.scalar(node, text, *plain, &wants, path),
            Shape::Sequence(items) => self.sequence(items, node.place, &wants, path),
            Shape::Mapping(entries) => self.mapping(entries, node.place, key, &wants, path),
        }
    }

    /// A value of any shape, as another program reads it.
    fn free(&mut self, node: &Marked, key: Place, path: &str) -> Value {
        let scalar = matches!(node.shape, Shape::Scalar { .. });
        self.outcome.places.insert(path.to_owned(), if scalar { node.place } else { key });
        match &node.shape {
            Shape::Scalar { text, plain } => match super::scalar::free(text, *plain) {
                Ok(value) if !*plain || !self.odd_scalar(node, true, &[], path) => value,
                Ok(_) => Value::Null,
                Err(error) => {
                    self.problem(node.place, path, error.message, error.help);
                    Value::Null
                }
            },
            Shape::Sequence(items) => {
                let item = |(index, item): (usize, &Marked)| {
                    self.free(item, item.place, &format!("{path}[{index}]"))
                };
                Value::Array(items.iter().enumerate().map(item).collect())
            }
            Shape::Mapping(entries) => {
                let entries = self.without_duplicates(entries, path);
                self.free_fields(&entries, path)
            }
        }
    }

    fn free_fields(&mut self, entries: &[&Entry], path: &str) -> Value {
        let mut map = Map::new();
        for entry in entries {
            let at = join(path, &entry.key);
            if !self.odd_key(entry, &at) {
                map.insert(entry.key.clone(), self.free(&entry.value, entry.key_place, &at));
            }
        }
        Value::Object(map)
    }

    fn sequence(&mut self, items: &[Marked], place: Place, wants: &[Want<'_>], path: &str) -> Value {
        let list = wants.iter().find_map(|want| match want {
            Want::List { items, least, most } => Some((*items, *least, *most)),
            _ => None,
        });
        let Some((schema, least, most)) = list else {
            let help = (items.len() == 1).then(|| "write it without the brackets or the `-`".to_owned());
            self.problem(place, path, format!("a list, where {} belongs", suggest::expected(wants)), help);
            return Value::Null;
        };
        if items.len() < least {
            self.problem(place, path, "an empty list", Some(format!("at least {least} is needed")));
        }
        if items.len() > most {
            self.problem(
                place,
                path,
                format!("{} entries", items.len()),
                Some(format!("at most {most} are allowed")),
            );
        }
        let value = |(index, item): (usize, &Marked)| {
            let first = match &item.shape {
                Shape::Mapping(entries) => entries.first().map_or(item.place, |e| e.key_place),
                _ => item.place,
            };
            self.value(item, first, schema, &format!("{path}[{index}]"))
        };
        Value::Array(items.iter().enumerate().map(value).collect())
    }

    fn mapping(
        &mut self,
        entries: &[Entry],
        place: Place,
        key: Place,
        wants: &[Want<'_>],
        path: &str,
    ) -> Value {
        let objects: Vec<_> =
            wants.iter().filter_map(|w| if let Want::Object(o) = w { Some(*o) } else { None }).collect();
        let has = |object: &Map<String, Value>| {
            entries.iter().any(|e| schema::fields(object).any(|(n, _)| n == e.key))
        };
        let Some(object) = objects.iter().find(|o| has(o)).or(objects.first()) else {
            let list = wants.iter().any(|w| matches!(w, Want::List { .. }));
            let help = list.then(|| "begin each entry of the list with `- `".to_owned());
            let message = format!("a mapping, where {} belongs", suggest::expected(wants));
            self.problem(if entries.is_empty() { place } else { key }, path, message, help);
            return Value::Null;
        };
        let entries = self.without_duplicates(entries, path);
        match object.get("additionalProperties") {
            Some(Value::Bool(true)) => self.free_fields(&entries, path),
            Some(values @ Value::Object(_)) => self.free_mapping(&entries, object, values, path),
            _ => self.fields(&entries, key, object, path),
        }
    }

    fn without_duplicates<'e>(&mut self, entries: &'e [Entry], path: &str) -> Vec<&'e Entry> {
        let mut seen: HashMap<&str, Place> = HashMap::new();
        let mut kept = Vec::new();
        for entry in entries {
            match seen.get(entry.key.as_str()) {
                None => {
                    seen.insert(&entry.key, entry.key_place);
                    kept.push(entry);
                }
                Some(first) => {
                    let line = self.newlines.partition_point(|newline| *newline < first.start) + 1;
                    let message = format!("`{}` is given twice; the first is on line {line}", entry.key);
                    let help = Some("merge the two, or remove one".to_owned());
                    self.problem(entry.key_place, &join(path, &entry.key), message, help);
                }
            }
        }
        kept
    }

    /// A mapping whose keys are the operator's: labels, sysctls.
    fn free_mapping(
        &mut self,
        entries: &[&Entry],
        object: &Map<String, Value>,
        values: &Value,
        path: &str,
    ) -> Value {
        let keys = object
            .get("propertyNames")
            .and_then(|k| k.get("format"))
            .and_then(Value::as_str)
            .unwrap_or("text");
        let mut map = Map::new();
        for entry in entries {
            let key = canonical(keys, &entry.key);
            let at = format!("{path}[{key}]");
            if self.odd_key(entry, &at) {
                continue;
            }
            if let Err(error) = format::check(keys, &entry.key) {
                self.problem(entry.key_place, &at, error.message, error.help);
                continue;
            }
            let value = self.value(&entry.value, entry.key_place, values, &at);
            if map.insert(key, value).is_some() {
                let message = format!("`{}` is given twice, in two ways of writing", entry.key);
                self.problem(entry.key_place, &at, message, Some("keep one of them".to_owned()));
            }
        }
        Value::Object(map)
    }

    fn fields(&mut self, entries: &[&Entry], key: Place, object: &Map<String, Value>, path: &str) -> Value {
        let mut map = Map::new();
        let mut meant = Vec::new();
        for entry in entries {
            let at = join(path, &entry.key);
            match schema::fields(object).find(|(name, _)| *name == entry.key) {
                Some((name, field)) => {
                    if let Some(value) =
                        self.field(entry, field, schema::required(object).any(|r| r == name), &at)
                    {
                        map.insert(name.to_owned(), value);
                    }
                }
                None => meant.extend(self.unknown(entry, entries, object, path, &at)),
            }
        }
        for name in schema::required(object) {
            if !entries.iter().any(|e| e.key == name) && !meant.iter().any(|m| m == name) {
                let place = if path.is_empty() { Place { start: 0, end: 1 } } else { key };
                let message = format!(
                    "`{name}` is missing{}",
                    if path.is_empty() { String::new() } else { format!(" in {path}") }
                );
                self.problem(place, path, message, suggest::missing(name, object));
            }
        }
        Value::Object(map)
    }

    /// Reports a field that the section does not know; the field that was likely meant.
    fn unknown(
        &mut self,
        entry: &Entry,
        entries: &[&Entry],
        object: &Map<String, Value>,
        section: &str,
        path: &str,
    ) -> Option<String> {
        if self.odd_key(entry, path) {
            return None;
        }
        let message = match section {
            "" => format!("unknown field `{}`", entry.key),
            section => format!("unknown field `{}` in {section}", entry.key),
        };
        if self.outcome.problems.len() > ENOUGH {
            self.problem(entry.key_place, path, message, None);
            return None;
        }
        let names: Vec<&str> = schema::fields(object).map(|(name, _)| name).collect();
        let siblings: Vec<&str> = entries.iter().map(|e| e.key.as_str()).collect();
        let guess = (self.language.unknown)(&entry.key, section, &names, &siblings);
        self.problem(entry.key_place, path, message, Some(guess.help));
        guess.sibling
    }

    /// The value of a known field; none when it is left empty and may be.
    fn field(&mut self, entry: &Entry, schema: &Value, required: bool, path: &str) -> Option<Value> {
        if entry.value.is_null() && !required {
            return None;
        }
        let name = &entry.key;
        let secret = (name.ends_with("Password") || name == "passphrase") && self.secret.is_none();
        if secret {
            self.secret = Some((entry.key_place, path.to_owned()));
        }
        let value = self.value(&entry.value, entry.key_place, schema, path);
        if secret {
            self.secret = None;
        }
        Some(value)
    }

    /// Reports odd characters in a key that is not known as it stands.
    fn odd_key(&mut self, entry: &Entry, path: &str) -> bool {
        let odd = character::within(self.text, entry.key_place);
        let any = !odd.is_empty();
        for odd in odd {
            self.problem(odd.place, path, odd.message, Some(odd.help.to_owned()));
        }
        any
    }

    fn scalar(&mut self, node: &Marked, text: &str, plain: bool, wants: &[Want<'_>], path: &str) -> Value {
        if self.odd_scalar(node, plain, wants, path) {
            return Value::Null;
        }
        if node.is_null() {
            if !wants.iter().any(|w| matches!(w, Want::Null)) {
                let message = format!("nothing, where {} belongs", suggest::expected(wants));
                self.problem(node.place, path, message, None);
            }
            return Value::Null;
        }
        match super::scalar::read(text, plain, wants) {
            Ok(value) => value,
            Err(error) => {
                self.problem(node.place, path, error.message, error.help);
                Value::Null
            }
        }
    }

    /// Reports odd characters in a value, unless it is prose for people and they can be meant.
    fn odd_scalar(&mut self, node: &Marked, plain: bool, wants: &[Want<'_>], path: &str) -> bool {
        let prose = wants.iter().any(|w| matches!(w, Want::Text { format } if format::is_for_people(format)));
        let mut odd = character::within(self.text, node.place);
        if prose {
            // A value that begins with such a quote was meant to be quoted.
            odd.retain(|o| plain && o.place.start == node.place.start);
        }
        let any = !odd.is_empty();
        for odd in odd {
            self.problem(odd.place, path, odd.message, Some(odd.help.to_owned()));
        }
        any
    }
}

/// A key in its one form: `net/ipv4/ip_forward` is `net.ipv4.ip_forward`.
fn canonical(format: &str, key: &str) -> String {
    match key.parse::<SysctlKey>() {
        Ok(sysctl) if format == "sysctl-key" => sysctl.to_string(),
        _ => key.to_owned(),
    }
}
