//! A diagnosis as people and programs read it.

use std::io::{self, Write};

use serde::Serialize;

use super::paint::{Ink, Paint};
use super::{count, json, words};
use crate::diagnose::{Diagnosis, Found, Line, Verdict};

/// How a diagnosis is shown.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// Colour.
    pub paint: Paint,
    /// Tell what was ruled out where nothing is wrong in full, too.
    pub verbose: bool,
    /// How many hosts were heard.
    pub hosts: usize,
    /// How long it took.
    pub took_ms: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    hosts: usize,
    took_ms: u64,
    #[serde(flatten)]
    diagnosis: &'a Diagnosis,
}

/// For programs: `{"format", "kind": "diagnose", "hosts", "tookMs", "verdict", "also", "ruledOut", "cannotTell",
/// "notAsked"}`.
pub fn json_text(out: &mut impl Write, diagnosis: &Diagnosis, view: View) -> io::Result<()> {
    json(out, "diagnose", Body { hosts: view.hosts, took_ms: view.took_ms, diagnosis })
}

/// For people: the cause, what says so, what mends it; then what else was found, and what is not so.
pub fn text(out: &mut impl Write, diagnosis: &Diagnosis, view: View) -> io::Result<()> {
    let paint = view.paint;
    match &diagnosis.verdict {
        Verdict::Well => writeln!(out, "{}", paint.ink(Ink::Good, "nothing found wrong"))?,
        Verdict::Cause(found) => cause(out, "cause", Ink::Bad, found, paint)?,
        Verdict::CannotTell { seen, look } => {
            writeln!(out, "{}", paint.ink(Ink::Warn, "cannot tell what is wrong, or whether anything is"))?;
            rows(out, "seen", seen)?;
            rows(out, "look at", look)?;
        }
    }
    for found in &diagnosis.also {
        writeln!(out)?;
        cause(out, "also", Ink::Warn, found, paint)?;
    }
    section(out, "ruled out", &diagnosis.ruled_out)?;
    section(out, "cannot tell", &diagnosis.cannot_tell)?;
    if !diagnosis.not_asked.is_empty() {
        writeln!(out)?;
        rows(out, "not asked", &diagnosis.not_asked)?;
    }
    let (seconds, tenths) = (view.took_ms / 1000, view.took_ms / 100 % 10);
    let looked = diagnosis.ruled_out.len()
        + diagnosis.also.len()
        + usize::from(matches!(diagnosis.verdict, Verdict::Cause(_)));
    writeln!(out, "\n{} heard, {looked} hypotheses told, in {seconds}.{tenths} s", count(view.hosts, "host"))
}

fn cause(out: &mut impl Write, head: &str, ink: Ink, found: &Found, paint: Paint) -> io::Result<()> {
    let nodes = if found.nodes.is_empty() {
        String::new()
    } else {
        format!(" on {}", super::nodes::few_words(&found.nodes))
    };
    writeln!(out, "{head:<12} {}{nodes}", paint.ink(ink, found.cause))?;
    writeln!(out, "{:<12} {}", "", found.words)?;
    rows(out, "evidence", &found.evidence)?;
    rows(out, "mend", &found.mend)
}

/// Lines with the heading before the first. What hosts and pods said is shown as plain text.
fn rows(out: &mut impl Write, head: &str, lines: &[String]) -> io::Result<()> {
    for (at, line) in lines.iter().enumerate() {
        let head = if at == 0 { head } else { "" };
        writeln!(out, "{head:<12} {}", words::plain(line))?;
    }
    Ok(())
}

fn section(out: &mut impl Write, head: &str, lines: &[Line]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let lines: Vec<String> = lines.iter().map(|line| format!("{}: {}", line.what, line.why)).collect();
    rows(out, head, &lines)
}
