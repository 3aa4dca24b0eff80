//! Findings as people and programs read them: errors first, then warnings, passes counted.

use std::collections::BTreeMap;
use std::io::{self, Write};

use rackwright_proto::facts::Facts;
use rackwright_proto::fault::Fault;
use rackwright_proto::finding::{Finding, Severity};
use rackwright_proto::name::NodeName;
use serde::Serialize;

use super::nodes::few_words;
use super::paint::{Ink, Paint};
use super::plan::View;
use super::{count, json, words};
use crate::findings::{merged, sort};

/// How many findings of which kind; equal ones on several nodes count once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Errors that block `apply`.
    pub errors: usize,
    /// Warnings.
    pub warnings: usize,
    /// Errors and warnings that the rack accepts.
    pub waived: usize,
    /// Passes.
    pub passed: usize,
}

/// Which nodes were looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Looked {
    /// How many were.
    pub nodes: usize,
    /// Those that were not: nothing is said about them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_reached: Vec<NotReached>,
}

/// A node that could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotReached {
    /// The node.
    pub node: NodeName,
    /// Why.
    pub fault: Fault,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    looked: &'a Looked,
    counts: Counts,
    findings: &'a [Finding],
    /// What the findings were made of, by node.
    facts: &'a BTreeMap<String, &'a Facts>,
}

/// All findings for people: what is wrong, what may bite, what passed.
pub fn text(out: &mut impl Write, findings: &[Finding], looked: &Looked, view: View) -> io::Result<()> {
    problems(out, findings, view.paint)?;
    let all = ordered(findings);
    if view.verbose {
        for finding in all.iter().filter(|f| f.severity == Severity::Pass) {
            passed(out, finding, view.paint)?;
        }
    }
    let counts = counts(findings);
    if counts.errors + counts.warnings + counts.waived > 0 || view.verbose {
        writeln!(out)?;
    }
    let waived = if counts.waived > 0 { format!(", {} waived", counts.waived) } else { String::new() };
    let lost = match looked.not_reached.len() {
        0 => String::new(),
        lost => format!(", {lost} not reached"),
    };
    writeln!(
        out,
        "{}{lost}: {}, {}{waived}, {} passed",
        count(looked.nodes, "node"),
        count(counts.errors, "error"),
        count(counts.warnings, "warning"),
        counts.passed
    )
}

/// The same for programs: `{"format", "kind": "check", "nodes", "notReached", "counts", "findings", "facts"}`,
/// findings in their order, not merged.
pub fn json_text(
    out: &mut impl Write,
    findings: &[Finding],
    looked: &Looked,
    facts: &BTreeMap<String, &Facts>,
) -> io::Result<()> {
    let mut findings = findings.to_vec();
    sort(&mut findings);
    json(out, "check", Body { looked, counts: counts(&findings), findings: &findings, facts })
}

/// Counts of merged findings.
pub fn counts(findings: &[Finding]) -> Counts {
    let mut counts = Counts::default();
    for finding in merged(findings) {
        let counter = match (finding.severity, finding.waived.is_some()) {
            (Severity::Pass, _) => &mut counts.passed,
            (_, true) => &mut counts.waived,
            (Severity::Warning, false) => &mut counts.warnings,
            (Severity::Error, false) => &mut counts.errors,
        };
        *counter += 1;
    }
    counts
}

/// Errors and warnings only, the waived ones in one line each.
pub(crate) fn problems(out: &mut impl Write, findings: &[Finding], paint: Paint) -> io::Result<()> {
    let all = ordered(findings);
    let (waived, open): (Vec<&Finding>, Vec<&Finding>) =
        all.iter().filter(|f| f.severity != Severity::Pass).partition(|f| f.waived.is_some());
    for (i, finding) in open.iter().enumerate() {
        if i > 0 {
            writeln!(out)?;
        }
        problem(out, finding, paint)?;
    }
    if !waived.is_empty() && !open.is_empty() {
        writeln!(out)?;
    }
    for finding in waived {
        let reason = finding.waived.as_deref().unwrap_or_default();
        writeln!(out, "{} {}: {reason}", paint.ink(Ink::Dim, "waived:"), heading(finding))?;
    }
    Ok(())
}

fn ordered(findings: &[Finding]) -> Vec<Finding> {
    let mut all = merged(findings);
    sort_merged(&mut all);
    all
}

/// By weight and name only: nodes keep the rack's order.
fn sort_merged(findings: &mut [Finding]) {
    findings.sort_by(|a, b| (b.severity, &a.name, &a.subject).cmp(&(a.severity, &b.name, &b.subject)));
}

fn problem(out: &mut impl Write, finding: &Finding, paint: Paint) -> io::Result<()> {
    let word = match finding.severity {
        Severity::Error => paint.ink(Ink::Bad, "error:"),
        Severity::Warning | Severity::Pass => paint.ink(Ink::Warn, "warning:"),
    };
    writeln!(out, "{word} {}", heading(finding))?;
    let rows = [
        ("checked", &finding.checked),
        ("observed", &finding.observed),
        ("expected", &finding.expected),
        ("fix", &finding.fix),
    ];
    for (label, text) in rows.into_iter().filter(|(_, text)| !text.is_empty()) {
        writeln!(out, "  {}  {}", paint.ink(Ink::Dim, format!("{label:8}")), words::plain(text))?;
    }
    Ok(())
}

fn passed(out: &mut impl Write, finding: &Finding, paint: Paint) -> io::Result<()> {
    let word = paint.ink(Ink::Good, "pass:");
    let text = words::plain(&format!("{}: {}", finding.checked, finding.observed));
    writeln!(out, "{word} {}: {text}", heading(finding))
}

fn heading(finding: &Finding) -> String {
    let subject = if finding.subject.is_empty() { String::new() } else { format!(" {}", finding.subject) };
    let subject = words::plain(&subject);
    match finding.nodes.is_empty() {
        true => format!("{}{subject}", finding.name),
        false => format!("{}{subject} on {}", finding.name, few_words(&finding.nodes)),
    }
}
