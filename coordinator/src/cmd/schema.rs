//! `rackwright schema`: the JSON Schema of a rack, for editors.

/// The JSON Schema (draft 2020-12) as text, generated from the types that parse a rack.
pub fn schema() -> String {
    let mut text = format!("{:#}", crate::rack::schema::generate());
    text.push('\n');
    text
}
