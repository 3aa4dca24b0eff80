//! The lab's voice: talk goes to stderr, data to stdout.

use std::fmt::Display;
use std::io::Write;

/// One line of talk on stderr. A closed stderr is no reason to stop.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "lab: {line}");
}

/// One line of data on stdout.
pub fn show(line: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
