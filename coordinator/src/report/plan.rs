//! A plan as people read it: a diff per node, equal nodes together.

use std::io::{self, Write};

use rackwright_proto::file::{Content, FileSeen, FileWant};
use rackwright_proto::name::NodeName;
use rackwright_proto::plan::{NodePlan, Plan, PlannedStep, Purpose};
use rackwright_proto::step::{Decision, HostStep, Seen};
use similar::{ChangeTag, TextDiff};

use super::nodes::{few_words, grouped};
use super::paint::{Ink, Paint};
use super::{check, count, words};
use crate::plan::Difference;

/// How much is shown, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct View {
    /// Colour or none.
    pub paint: Paint,
    /// Reasons, the text of new files, and findings that passed, too.
    pub verbose: bool,
}

/// The most changed lines of a file that are shown without `verbose`.
const DIFF_LINES: usize = 10;
/// Titles are padded to the longest, up to this many characters.
const TITLE_WIDTH: usize = 56;
/// The same for what is there now.
const FROM_WIDTH: usize = 36;

/// The whole plan, its errors and warnings, and one line of summary. `next` is the command that carries it out,
/// where that is still to be typed.
/// JSON has no writer of its own: `--json` is the plan itself, the same bytes that `plan -o` saves.
pub fn text(out: &mut impl Write, plan: &Plan, next: Option<&str>, view: View) -> io::Result<()> {
    for group in grouped(&plan.nodes, likeness) {
        node_group(out, &group, view)?;
    }
    if let Some(cluster) = &plan.cluster {
        super::cluster::plan(out, cluster, view)?;
    }
    if plan.findings.iter().any(|f| f.severity > rackwright_proto::finding::Severity::Pass) {
        writeln!(out)?;
        check::problems(out, &plan.findings, view.paint)?;
    }
    writeln!(out, "\n{}", summary(plan, next))
}

/// One line: how many changes on how many nodes, and what to type next.
pub fn summary(plan: &Plan, next: Option<&str>) -> String {
    let run = next.map(|next| format!(" Run `{next}`.")).unwrap_or_default();
    let changes: usize = plan.nodes.iter().map(|n| n.changes().count()).sum();
    let nodes = plan.nodes.iter().filter(|n| n.changes().next().is_some()).count();
    let on_cluster = plan.cluster.iter().map(|c| c.changes().count()).sum::<usize>();
    let to_undo = plan.cluster.iter().any(|c| !c.steps.is_empty());
    let records = to_undo || plan.nodes.iter().any(|n| !n.is_empty());
    let blocked = plan.findings.iter().filter(|f| f.blocks()).count();
    if plan.nodes.is_empty() && blocked == 0 {
        return "Nothing can be told: no node was observed.".to_owned();
    }
    let places = match (nodes, on_cluster) {
        (nodes, 0) => count(nodes, "node"),
        (0, _) => "the cluster".to_owned(),
        (nodes, _) => format!("{} and the cluster", count(nodes, "node")),
    };
    match (blocked, changes + on_cluster, records) {
        (1.., _, _) => format!("{} in the way: mend or waive, then plan again.", count(blocked, "error")),
        (0, 0, false) => "Nothing to do.".to_owned(),
        (0, 0, true) => format!("Nothing to change; what is already so will be recorded.{run}"),
        (0, changes, _) => format!("{} on {places}.{run}", count(changes, "change")),
    }
}

/// What changed since a plan was saved, node by node.
pub fn stale(
    out: &mut impl Write,
    differences: &[(NodeName, Vec<Difference>)],
    paint: Paint,
) -> io::Result<()> {
    let stale: Vec<_> = differences.iter().filter(|(_, d)| !d.is_empty()).collect();
    for (node, differences) in stale {
        writeln!(out, "{}", paint.ink(Ink::Bold, node))?;
        let width = title_width(differences.iter().map(|d| d.about.as_str()));
        for Difference { about, planned, now } in differences {
            let line = format!("  {}  planned with {planned}, now {now}", padded(about, width));
            writeln!(out, "{}", words::plain(&line))?;
        }
    }
    Ok(())
}

/// What two nodes must have in common to be shown as one: not what was seen, of which use counts differ.
fn likeness(plan: &NodePlan) -> String {
    let steps: Vec<_> = plan.steps.iter().map(|s| (&s.step, s.purpose, &s.decision)).collect();
    // Values of these types always serialise.
    serde_json::to_string(&steps).unwrap_or_default()
}

fn node_group(out: &mut impl Write, group: &[&NodePlan], view: View) -> io::Result<()> {
    let names: Vec<&str> = group.iter().map(|n| n.node.as_str()).collect();
    let names = view.paint.ink(Ink::Bold, few_words(&names));
    let Some(plan) = group.first() else { return Ok(()) };
    if plan.is_empty() {
        return writeln!(out, "{names}: nothing to do");
    }
    writeln!(out, "{names}")?;
    let shown: Vec<&PlannedStep> =
        plan.steps.iter().filter(|s| view.verbose || s.decision != Decision::Keep).collect();
    let titles: Vec<String> = shown.iter().map(|s| title(s)).collect();
    let width = title_width(titles.iter().map(String::as_str));
    let from_width = shown.iter().map(|s| ends(s).0.chars().count()).max().unwrap_or(0).min(FROM_WIDTH);
    for (step, title) in shown.iter().zip(&titles) {
        step_line(out, step, title, (width, from_width), view)?;
    }
    let kept = plan.steps.len() - shown.len();
    if kept > 0 {
        let line = format!("  {} already so, to be recorded", count(kept, "step"));
        writeln!(out, "{}", view.paint.ink(Ink::Dim, line))?;
    }
    if let Some(confirm) = &plan.confirm {
        let line = format!(
            "  ! marks what could cut the node off: undone after {} s unless it still answers",
            confirm.within_s
        );
        writeln!(out, "{}", view.paint.ink(Ink::Dim, line))?;
    }
    Ok(())
}

fn title(step: &PlannedStep) -> String {
    let undo = match step.purpose {
        Purpose::Want => "",
        Purpose::Undo => "undo: ",
    };
    format!("{undo}{}", step.step.title())
}

fn step_line(
    out: &mut impl Write,
    step: &PlannedStep,
    title: &str,
    (width, from_width): (usize, usize),
    view: View,
) -> io::Result<()> {
    let acts = matches!(step.decision, Decision::Change { .. });
    let mark = if acts && step.step.risky() { "!" } else { " " };
    let (from, to) = ends(step);
    let line = match to {
        Some(to) => format!("{mark} {}  {} \u{2192} {to}", padded(title, width), padded(&from, from_width)),
        None => format!("{mark} {}  {from}", padded(title, width)),
    };
    let line = words::plain(&line);
    writeln!(out, "{}", view.paint.ink(if acts { Ink::Warn } else { Ink::Dim }, line.trim_end()))?;
    if view.verbose {
        writeln!(out, "{}", view.paint.ink(Ink::Dim, format!("      because: {}", step.why)))?;
    }
    if acts { file_diff(out, step, view) } else { Ok(()) }
}

/// What is there and what will be, in words.
fn ends(step: &PlannedStep) -> (String, Option<String>) {
    match &step.decision {
        Decision::Keep => ("already so".to_owned(), None),
        Decision::Change { .. } if texts(step).is_some_and(|(old, _)| old.is_some()) => {
            ("edited".to_owned(), None)
        }
        Decision::Change { from, to } => match texts(step) {
            Some((None, new)) => (from.clone(), Some(count(new.lines().count(), "line"))),
            _ => (from.clone(), Some(to.clone())),
        },
        Decision::Unsupported { why } => (format!("not possible here: {why}"), None),
        Decision::Refuse { why } => (format!("refused: {why}"), None),
    }
}

/// The old and the new text of a file step, where they differ and both can be shown.
fn texts(step: &PlannedStep) -> Option<(Option<&str>, &str)> {
    let HostStep::File(file) = &step.step else { return None };
    let FileWant::Content { content: Content::Text(new), mode, .. } = &file.want else { return None };
    // What not everybody may read on the host is nothing for a terminal, a log or a ticket.
    if mode & 0o004 == 0 {
        return None;
    }
    match &step.seen {
        Seen::File(FileSeen::Absent) => Some((None, new)),
        Seen::File(FileSeen::File { text: Some(old), .. }) if old != new => Some((Some(old), new)),
        _ => None,
    }
}

fn file_diff(out: &mut impl Write, step: &PlannedStep, view: View) -> io::Result<()> {
    let Some((old, new)) = texts(step) else { return Ok(()) };
    if old.is_none() && !view.verbose {
        return Ok(());
    }
    diff(out, old.unwrap_or_default(), new, view)
}

/// The lines that differ; all of them only if the operator wants to see more.
pub(super) fn diff(out: &mut impl Write, old: &str, new: &str, view: View) -> io::Result<()> {
    let diff = TextDiff::from_lines(old, new);
    let changed: Vec<_> = diff.iter_all_changes().filter(|c| c.tag() != ChangeTag::Equal).collect();
    let shown = if view.verbose { changed.len() } else { changed.len().min(DIFF_LINES) };
    for change in &changed[..shown] {
        let (sign, ink) = match change.tag() {
            ChangeTag::Delete => ('-', Ink::Bad),
            ChangeTag::Insert | ChangeTag::Equal => ('+', Ink::Good),
        };
        let line = format!("      {sign} {}", words::plain(change.value()));
        writeln!(out, "{}", view.paint.ink(ink, line.trim_end()))?;
    }
    if changed.len() > shown {
        writeln!(out, "      ... and {}", count(changed.len() - shown, "more line"))?;
    }
    Ok(())
}

fn title_width<'a>(titles: impl Iterator<Item = &'a str>) -> usize {
    titles.map(|t| t.chars().count()).max().unwrap_or(0).min(TITLE_WIDTH)
}

fn padded(text: &str, width: usize) -> String {
    format!("{text:width$}")
}
