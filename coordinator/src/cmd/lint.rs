//! `rackwright lint`: mistakes in manifests; asks no cluster.

use std::io::{self, Read as _};
use std::path::Path;

use rackwright_proto::finding::Severity;

use crate::cli::LintArgs;
use crate::console::Console;
use crate::exit::Exit;
use crate::injection::lint::{LARGEST, Linted, Source, lint};
use crate::report;

/// Runs the command.
pub fn run(console: Console, args: &LintArgs) -> Exit {
    let mut sources = Vec::new();
    for path in &args.files {
        match source(console, path) {
            Ok(source) => sources.push(source),
            Err(exit) => return exit,
        }
    }
    let linted = lint(&sources);
    console.data(|out| match args.json {
        true => report::lint::json_text(out, &linted),
        false => report::lint::text(out, &sources, &linted),
    });
    match has_errors(&linted) {
        true => Exit::Refused,
        false => Exit::Done,
    }
}

/// Whether there is more than a warning.
pub fn has_errors(linted: &[Linted]) -> bool {
    linted.iter().any(|file| file.count(Severity::Error) > 0)
}

/// A manifest's text; `-` is standard input. Errors are told.
pub fn source(console: Console, path: &Path) -> Result<Source, Exit> {
    let shown = path.display();
    let bytes = read(path).map_err(|error| {
        console.say(format_args!("error: read {shown}: {error}"));
        Exit::Invalid
    })?;
    if bytes.len() as u64 > LARGEST {
        console.say(format_args!("error: {shown} is larger than {} MiB; split it", LARGEST >> 20));
        return Err(Exit::Invalid);
    }
    Ok(Source::new(shown.to_string(), &bytes))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let source: Box<dyn io::Read> = match path.as_os_str() == "-" {
        true => Box::new(io::stdin()),
        false => Box::new(std::fs::File::open(path)?),
    };
    let mut bytes = Vec::new();
    source.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
