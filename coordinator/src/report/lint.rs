//! Mistakes in manifests, for people and for programs.

use std::io::{self, Write};

use rackwright_proto::finding::Severity;
use serde::Serialize;

use super::{count, json};
use crate::injection::lint::{Linted, Source, render};

#[derive(Serialize)]
struct Body<'a> {
    counts: Counts,
    files: &'a [Linted],
}

#[derive(Serialize)]
struct Counts {
    objects: usize,
    errors: usize,
    warnings: usize,
}

impl Counts {
    fn of(linted: &[Linted]) -> Self {
        let sum = |severity| linted.iter().map(|file| file.count(severity)).sum();
        Self {
            objects: linted.iter().map(|file| file.objects).sum(),
            errors: sum(Severity::Error),
            warnings: sum(Severity::Warning),
        }
    }
}

/// Each mistake with its line and a caret below, and how many there are.
pub fn text(out: &mut impl Write, sources: &[Source], linted: &[Linted]) -> io::Result<()> {
    for (source, linted) in sources.iter().zip(linted) {
        out.write_all(render(source, linted).as_bytes())?;
    }
    let counts = Counts::of(linted);
    writeln!(
        out,
        "{}, {}: {}, {}",
        count(linted.len(), "file"),
        count(counts.objects, "object"),
        count(counts.errors, "error"),
        count(counts.warnings, "warning")
    )
}

/// `{"format", "kind": "lint", "counts", "files": [{"file", "objects", "findings": [{"name", "object", "severity",
/// "message", "line", "column", "end_column", "help"}]}]}`
pub fn json_text(out: &mut impl Write, linted: &[Linted]) -> io::Result<()> {
    json(out, "lint", Body { counts: Counts::of(linted), files: linted })
}
