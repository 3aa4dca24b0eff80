//! `docs/rack.md` names every field, its type, its default and what it is for. The tables are made from
//! the schema: `RACKWRIGHT_WRITE_DOCS=1 cargo test -p rackwright documentation` writes them anew.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::rack::schema::{SCHEMA, Want, fields, required, wants};

const BEGIN: &str =
    "<!-- fields: made from the schema, see coordinator/src/rack/tests/documentation.rs -->\n";
const END: &str = "<!-- end of fields -->\n";

struct Field {
    path: String,
    kind: String,
    default: String,
    sentence: String,
}

fn documented() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/rack.md")
}

fn collect(schema: &Value, at: &str, found: &mut Vec<Field>) {
    for want in wants(schema) {
        match want {
            Want::Object(object) => {
                for (name, field) in fields(object) {
                    let path = if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
                    // Of the ways to name a secret's source, one is required, not each.
                    let way = object.contains_key("description") && fields(object).count() == 1;
                    let must = !way && required(object).any(|r| r == name);
                    let mut described = describe(&path, field, must);
                    if described.sentence.is_empty() && way {
                        described.sentence = object["description"].as_str().unwrap_or_default().to_owned();
                    }
                    found.push(described);
                    collect(field, &path, found);
                }
            }
            Want::List { items, .. } => collect(items, &format!("{at}[]"), found),
            _ => {}
        }
    }
}

fn describe(path: &str, field: &Value, must: bool) -> Field {
    let default = match field.get("default") {
        _ if must => "required".to_owned(),
        None => String::new(),
        Some(Value::String(text)) => format!("`{text}`"),
        Some(Value::Array(items)) if items.is_empty() => String::new(),
        Some(value) => format!("`{value}`").replace('"', ""),
    };
    let sentence = field.get("description").and_then(Value::as_str).unwrap_or_default();
    let kinds: Vec<String> = wants(field).iter().filter_map(kind).collect();
    Field { path: path.to_owned(), kind: kinds.join(", "), default, sentence: sentence.replace('\n', " ") }
}

fn kind(want: &Want<'_>) -> Option<String> {
    Some(match want {
        Want::Any => "anything".to_owned(),
        Want::Null => return None,
        Want::Boolean => "boolean".into(),
        Want::Integer { least, most } => format!("number from {least} to {most}"),
        Want::Word(word) => format!("`{word}`"),
        Want::Text { format } => (*format).replace('-', " "),
        Want::Object(object) if object.contains_key("propertyNames") => {
            let key = object["propertyNames"]["format"].as_str().unwrap_or("text").replace('-', " ");
            format!("mapping of {key}")
        }
        Want::Object(object) if object.contains_key("description") && fields(object).count() == 1 => {
            format!("`{{{}: ...}}`", fields(object).map(|(name, _)| name).collect::<String>())
        }
        Want::Object(_) => "mapping".into(),
        Want::List { items, .. } => {
            let kinds: Vec<String> = wants(items).iter().filter_map(kind).collect();
            format!("list of {}", kinds.join(", "))
        }
    })
}

fn tables() -> String {
    let mut found = Vec::new();
    collect(&SCHEMA, "", &mut found);
    let mut sections: BTreeMap<String, Vec<Field>> = BTreeMap::new();
    for field in found {
        let section = field.path.split(['.', '[']).next().unwrap().to_owned();
        let whole = field.path == section
            && !matches!(field.kind.as_str(), "mapping")
            && field.kind != "list of mapping";
        sections.entry(if whole { String::new() } else { section }).or_default().push(field);
    }
    let mut out = String::new();
    for (section, fields) in sections {
        let title = if section.is_empty() { "The file itself".to_owned() } else { format!("`{section}`") };
        out.push_str(&format!(
            "\n## {title}\n\n| field | type | default | what it is |\n|---|---|---|---|\n"
        ));
        for f in fields {
            out.push_str(&format!("| `{}` | {} | {} | {} |\n", f.path, f.kind, f.default, f.sentence));
        }
    }
    out.push('\n');
    out
}

#[test]
#[allow(clippy::disallowed_methods, reason = "on request, this test writes a file of the checkout")]
fn every_field_is_documented() {
    let path = documented();
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).expect("the marker before the tables");
    let (written, tail) = rest.split_once(END).expect("the marker after the tables");
    let made = tables();
    if std::env::var_os("RACKWRIGHT_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{made}{END}{tail}")).unwrap();
        return;
    }
    assert!(written == made, "docs/rack.md is out of date; write it with RACKWRIGHT_WRITE_DOCS=1");
}

#[test]
fn every_field_has_one_sentence_and_a_type() {
    let mut found = Vec::new();
    collect(&SCHEMA, "", &mut found);
    assert!(found.len() > 100);
    for field in found {
        assert!(field.sentence.ends_with('.'), "{}: {:?}", field.path, field.sentence);
        assert!(!field.sentence.contains(". "), "{}: more than one sentence", field.path);
        assert!(!field.kind.is_empty(), "{}", field.path);
    }
}

/// Every format in the schema has a parser behind it, or is a width of JSON numbers.
#[test]
fn every_format_is_known() {
    let text = SCHEMA.to_string();
    for part in text.split("\"format\":\"").skip(1) {
        let format = part.split('"').next().unwrap();
        let known = crate::rack::format::NAMES.contains(&format) || format.starts_with("uint");
        assert!(known, "{format}");
    }
}

/// What an editor needs: a dialect, references that resolve, and sections that refuse what they do not know.
#[test]
fn the_schema_stands_on_its_own() {
    let schema: Value = serde_json::from_str(&crate::cmd::schema::schema()).unwrap();
    assert!(schema["$schema"].as_str().unwrap().contains("2020-12"));
    visit(&schema, &mut |value| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            assert!(schema.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
        }
        if value.get("properties").is_some_and(|p| p.is_object()) && value.get("type").is_some() {
            assert_eq!(value.get("additionalProperties"), Some(&Value::Bool(false)), "{value:#}");
        }
    });
}

fn visit(value: &Value, see: &mut impl FnMut(&Value)) {
    see(value);
    match value {
        Value::Object(map) => map.values().for_each(|v| visit(v, see)),
        Value::Array(items) => items.iter().for_each(|v| visit(v, see)),
        _ => {}
    }
}
