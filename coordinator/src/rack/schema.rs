//! Reading the generated JSON Schema: what a place of the rack can hold.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::model::RackFile;

/// The schema, generated from the types once.
pub(super) static SCHEMA: LazyLock<Value> = LazyLock::new(generate);

/// Generates the JSON Schema (draft 2020-12) of a rack.
pub(crate) fn generate() -> Value {
    let mut schema = schemars::schema_for!(RackFile).to_value();
    without_noise(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.insert("$id".into(), "https://rackwright.dev/schema/rack-v1.json".into());
        root.insert("title".into(), "Rack".into());
    }
    schema
}

/// Drops defaults that say nothing: a section that is left out, or an empty one.
fn without_noise(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("default").is_some_and(|d| d.is_null() || d.is_object()) {
                map.remove("default");
            }
            map.values_mut().for_each(without_noise);
        }
        Value::Array(items) => items.iter_mut().for_each(without_noise),
        _ => {}
    }
}

/// One way in which a value can be written.
#[derive(Debug, Clone)]
pub(super) enum Want<'s> {
    /// Anything at all.
    Any,
    Null,
    Boolean,
    Integer {
        least: i64,
        most: i64,
    },
    Word(&'s str),
    Text {
        format: &'s str,
    },
    List {
        items: &'s Value,
        least: usize,
        most: usize,
    },
    Object(&'s Map<String, Value>),
}

/// All ways in which a value can be written where `schema` holds.
pub(super) fn wants(schema: &Value) -> Vec<Want<'_>> {
    let schema = follow(schema);
    let Some(map) = schema.as_object() else { return vec![Want::Any] };
    for union in ["anyOf", "oneOf"] {
        if let Some(branches) = map.get(union).and_then(Value::as_array) {
            return branches.iter().flat_map(wants).collect();
        }
    }
    if let Some(word) = map.get("const").and_then(Value::as_str) {
        return vec![Want::Word(word)];
    }
    if let Some(words) = map.get("enum").and_then(Value::as_array) {
        let word = |w: &'_ Value| if w.is_null() { Some(Want::Null) } else { None };
        return words.iter().filter_map(|w| w.as_str().map(Want::Word).or_else(|| word(w))).collect();
    }
    match map.get("type") {
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).flat_map(|k| of_kind(k, map)).collect()
        }
        Some(Value::String(kind)) => of_kind(kind, map).into_iter().collect(),
        _ => vec![Want::Any],
    }
}

fn of_kind<'s>(kind: &str, map: &'s Map<String, Value>) -> Option<Want<'s>> {
    let count = |key: &str, or| map.get(key).and_then(Value::as_u64).map_or(or, |n| n as usize);
    let number = |key: &str, or| map.get(key).and_then(Value::as_i64).unwrap_or(or);
    Some(match kind {
        "null" => Want::Null,
        "boolean" => Want::Boolean,
        "integer" => {
            let format = map.get("format").and_then(Value::as_str);
            let most = match format {
                Some("uint16") => i64::from(u16::MAX),
                _ => i64::from(u32::MAX),
            };
            Want::Integer { least: number("minimum", 0), most: number("maximum", most) }
        }
        "string" => Want::Text { format: map.get("format").and_then(Value::as_str).unwrap_or("text") },
        "array" => Want::List {
            items: map.get("items").unwrap_or(&Value::Null),
            least: count("minItems", 0),
            most: count("maxItems", usize::MAX),
        },
        "object" => Want::Object(map),
        // `number` only tells editors that a plain 1.30 is fine; it is kept as text.
        _ => return None,
    })
}

/// Follows `$ref` to the definition; the schema refers only to its own `$defs`.
pub(super) fn follow(schema: &Value) -> &Value {
    match schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#')) {
        Some(pointer) => SCHEMA.pointer(pointer).map_or(schema, follow),
        None => schema,
    }
}

/// The fields of an object, with their schemas.
pub(super) fn fields<'s>(
    object: &'s Map<String, Value>,
) -> impl Iterator<Item = (&'s str, &'s Value)> + use<'s> {
    object.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(k, v)| (k.as_str(), v))
}

/// The names of the fields that an object must have.
pub(super) fn required(object: &Map<String, Value>) -> impl Iterator<Item = &str> {
    object.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Every field of the schema, as (path of its section, name); lists add nothing to a path.
pub(super) static CATALOGUE: LazyLock<Vec<(String, String)>> = LazyLock::new(|| catalogue(&SCHEMA));

/// Every field of a schema, as [`CATALOGUE`] has them.
pub(crate) fn catalogue(schema: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(schema, "", &mut found);
    found
}

fn collect(schema: &Value, at: &str, found: &mut Vec<(String, String)>) {
    for want in wants(schema) {
        match want {
            Want::Object(object) => {
                for (name, field) in fields(object) {
                    found.push((at.to_owned(), name.to_owned()));
                    collect(field, &join(at, name), found);
                }
            }
            Want::List { items, .. } => collect(items, at, found),
            _ => {}
        }
    }
}

/// The path of a field below a section.
pub(super) fn join(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}
