//! Tests of the whole room; golden files of diagnostics are in `coordinator/tests/rack_files.rs`.

mod documentation;
mod meaning;
mod robust;

/// A small valid rack with one line more.
fn with(lines: &str) -> String {
    format!(
        "apiVersion: rackwright.dev/v1\nkind: Rack\nnodes:\n  - {{name: cp1, address: 192.0.2.11, roles: [control-plane]}}\n{lines}\n"
    )
}

/// All messages about a text, warnings too.
fn said(text: &str) -> Vec<String> {
    let diagnostics = match super::parse("rack.yaml", text) {
        Ok((_, warnings)) => warnings,
        Err(diagnostics) => diagnostics,
    };
    diagnostics.into_iter().map(|d| format!("{} {}", d.path, d.message)).collect()
}
