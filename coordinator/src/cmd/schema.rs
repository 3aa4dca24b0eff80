//! `rackwright schema`: the JSON Schema of a rack, for editors.

use crate::console::Console;
use crate::exit::Exit;

/// Runs the command.
pub fn run(console: Console) -> Exit {
    console.data(|out| {
        out.extend_from_slice(schema().as_bytes());
        Ok(())
    });
    Exit::Done
}

/// The JSON Schema (draft 2020-12) as text, generated from the types that parse a rack.
pub fn schema() -> String {
    let mut text = format!("{:#}", crate::rack::schema::generate());
    text.push('\n');
    text
}
