//! Reports: pure rendering of plans, findings, outcomes and progress, for people and for programs.
//!
//! - [`nodes`]: many nodes in few words (`w1..w62 (62 nodes)`).
//! - [`paint`]: colour, only where a terminal wants it.
//! - [`plan`], [`check`], [`apply`], [`status`]: one file per command, text and JSON.
//! - [`lint`]: mistakes in manifests.
//! - [`progress`]: what happens right now, on stderr.
//! - [`words`]: what was seen, in words; times.

pub mod apply;
pub mod check;
pub mod cluster;
pub mod diagnose;
pub mod lint;
pub mod migrate;
pub mod nodes;
pub mod paint;
pub mod plan;
pub mod progress;
pub mod status;
#[cfg(test)]
mod tests;
pub mod words;

use std::io::{self, Write};

use serde::Serialize;

/// The version of every JSON shape of this room; a field's meaning never changes within one.
pub const FORMAT: u32 = 1;

/// What all JSON output has around it: `{"format": 1, "kind": "check", ...}`.
#[derive(Debug, Serialize)]
pub struct Document<'a, T: Serialize> {
    /// [`FORMAT`].
    pub format: u32,
    /// The command that speaks: `check`, `apply`, `status`.
    pub kind: &'a str,
    /// What it says.
    #[serde(flatten)]
    pub body: T,
}

/// One JSON document and a final newline.
pub fn json<T: Serialize>(out: &mut impl Write, kind: &str, body: T) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &Document { format: FORMAT, kind, body })?;
    writeln!(out)
}

/// `1 node`, `2 nodes`.
pub(crate) fn count(n: usize, one: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    }
}
