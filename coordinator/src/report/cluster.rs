//! The cluster's part of plans, outcomes and status, as people read it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use rackwright_proto::cluster::mesh::MeshWant;
use rackwright_proto::cluster::{
    ClusterPlan, ClusterSeen, ClusterStep, Family, MeshSeen, MeshStep, ObjectStep, PlannedClusterStep,
};
use rackwright_proto::finding::Severity;
use rackwright_proto::plan::Purpose;
use rackwright_proto::step::Decision;
use serde_json::Value;

use super::paint::{Ink, Paint};
use super::plan::View;
use super::{count, words};
use crate::cluster::outcome::{ClusterOutcome, ClusterResult, ClusterStatus, Proof, StepResult};

/// Titles are padded to this many characters.
const TITLE_WIDTH: usize = 48;

/// The cluster's part of a plan: diffs of texts and objects.
pub fn plan(out: &mut impl Write, plan: &ClusterPlan, view: View) -> io::Result<()> {
    let head = view.paint.ink(Ink::Bold, format!("cluster {}", plan.version));
    if plan.steps.is_empty() {
        return writeln!(out, "{head}: nothing to do");
    }
    writeln!(out, "{head}")?;
    let mut steps = plan.steps.as_slice();
    while let Some(first) = steps.first() {
        let alike = if view.verbose { 1 } else { steps.iter().take_while(|s| part_of_install(s)).count() };
        if alike > 1 {
            install(out, &steps[..alike], view.paint)?;
        } else {
            step(out, first, view)?;
        }
        steps = &steps[alike.max(1)..];
    }
    Ok(())
}

/// One object among the dozens of a manifest, made or removed.
fn part_of_install(step: &PlannedClusterStep) -> bool {
    let ClusterStep::Object(object) = &step.step else { return false };
    let whole =
        object.want.is_none() || matches!(&step.seen, ClusterSeen::Object(seen) if seen.fields.is_none());
    whole
        && object.family == Family::Balancer
        && !matches!(object.kind.as_str(), "IPAddressPool" | "L2Advertisement")
}

fn install(out: &mut impl Write, steps: &[PlannedClusterStep], paint: Paint) -> io::Result<()> {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    let mut removed = 0;
    for step in steps {
        if let ClusterStep::Object(object) = &step.step {
            *kinds.entry(object.kind.as_str()).or_default() += 1;
            removed += usize::from(object.want.is_none());
        }
    }
    let verb = if removed == steps.len() { "remove" } else { "install" };
    let kinds: Vec<String> = kinds.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    let line = format!("  {verb} {} of MetalLB: {}", count(steps.len(), "object"), kinds.join(", "));
    writeln!(out, "{}", paint.ink(Ink::Warn, words::plain(&line)))
}

fn step(out: &mut impl Write, step: &PlannedClusterStep, view: View) -> io::Result<()> {
    let undo = if step.purpose == Purpose::Undo { "undo: " } else { "" };
    let title = format!("{undo}{}", step.step.title());
    let (ends, ink) = match &step.decision {
        Decision::Keep => ("already so".to_owned(), Ink::Dim),
        Decision::Change { .. } if matches!(step.step, ClusterStep::Text(_)) => ("edited".into(), Ink::Warn),
        Decision::Change { from, to } => (format!("{from} \u{2192} {to}"), Ink::Warn),
        Decision::Unsupported { why } | Decision::Refuse { why } => (format!("refused: {why}"), Ink::Bad),
    };
    let line = words::plain(&format!("  {title:TITLE_WIDTH$}  {ends}"));
    writeln!(out, "{}", view.paint.ink(ink, line.trim_end()))?;
    if view.verbose {
        writeln!(out, "{}", view.paint.ink(Ink::Dim, format!("      because: {}", step.why)))?;
    }
    match (&step.step, &step.seen, &step.decision) {
        (_, _, Decision::Keep) => Ok(()),
        (ClusterStep::Text(text), ClusterSeen::Text(seen), _) => {
            super::plan::diff(out, seen.text.as_deref().unwrap_or_default(), &text.want, view)
        }
        (ClusterStep::Object(object), ClusterSeen::Object(seen), _) => {
            let (old, new) = (seen.fields.as_ref().map(flat), wanted(object));
            super::plan::diff(out, &old.unwrap_or_default(), &new, view)
        }
        (ClusterStep::Mesh(mesh), ClusterSeen::Mesh(seen), _) => installation(out, mesh, seen, view),
        _ => Ok(()),
    }
}

/// The settings of an installation of Istio, as they were and as they will be.
fn installation(out: &mut impl Write, step: &MeshStep, seen: &MeshSeen, view: View) -> io::Result<()> {
    if step.want != MeshWant::Installed {
        return Ok(());
    }
    let old = seen.installed.as_ref().map(|i| settings(&i.settings)).unwrap_or_default();
    super::plan::diff(out, &old, &settings(&step.install.settings), view)?;
    if view.verbose {
        for part in &step.install.parts {
            writeln!(out, "{}", view.paint.ink(Ink::Dim, words::plain(&format!("      awaits {part}"))))?;
        }
    }
    Ok(())
}

/// Settings as one line per value; as they are where they are no JSON.
fn settings(text: &str) -> String {
    match serde_json::from_str(text) {
        Ok(settings) => flat(&settings),
        Err(_) => text.to_owned(),
    }
}

fn wanted(object: &ObjectStep) -> String {
    object.want.as_ref().map(flat).unwrap_or_default()
}

/// An object as one line per value, `spec.addresses[0]: 192.0.2.0/24`: what a diff of objects is read best in.
fn flat(object: &Value) -> String {
    let mut lines = Vec::new();
    let mut skipped = object.clone();
    if let Some(fields) = skipped.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
        fields.remove("metadata");
    }
    flatten(&skipped, String::new(), &mut lines);
    if lines.is_empty() { String::new() } else { lines.join("\n") + "\n" }
}

fn flatten(value: &Value, path: String, lines: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(value, format!("{path}{dot}{key}"), lines);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                flatten(item, format!("{path}[{index}]"), lines);
            }
        }
        Value::String(text) => lines.push(format!("{path}: {text}")),
        other if path.is_empty() => lines.extend(other.as_str().map(str::to_owned)),
        other => lines.push(format!("{path}: {other}")),
    }
}

/// What a run did on the cluster.
pub fn outcome(out: &mut impl Write, outcome: &ClusterOutcome, view: View) -> io::Result<()> {
    let (word, ink, more) = match &outcome.result {
        ClusterResult::Changed { changes } => {
            ("changed", Ink::Good, format!(": {}", count(*changes, "change")))
        }
        ClusterResult::Unchanged => ("unchanged", Ink::Good, String::new()),
        ClusterResult::Absent => ("absent", Ink::Warn, ": the hosts are ready for `kubeadm init`".into()),
        ClusterResult::Failed { .. } => ("failed", Ink::Bad, String::new()),
        ClusterResult::NotReached { .. } => ("not reached", Ink::Bad, String::new()),
        ClusterResult::Refused { .. } => ("refused", Ink::Bad, String::new()),
        ClusterResult::NotProven { findings } => {
            ("not proven", Ink::Bad, format!(": {}", count(*findings, "error")))
        }
    };
    writeln!(out, "{}  the cluster{more}", view.paint.ink(ink, format!("{word:11}")))?;
    if let ClusterResult::Failed { fault }
    | ClusterResult::NotReached { fault }
    | ClusterResult::Refused { fault } = &outcome.result
    {
        let next = (!fault.next.is_empty()).then(|| fault.next.clone());
        for text in std::iter::once(fault.to_string()).chain(next) {
            for line in text.lines() {
                writeln!(out, "{:13}{}", "", words::plain(line))?;
            }
        }
    }
    if view.verbose {
        for step in &outcome.steps {
            let word = match &step.outcome {
                StepResult::Unchanged => "unchanged",
                StepResult::Changed => "changed",
                StepResult::Failed { .. } => "failed",
                StepResult::Skipped => "skipped",
            };
            writeln!(out, "{:13}{word:9}  {}", "", words::plain(&step.title))?;
        }
    }
    Ok(())
}

/// What is in effect on the cluster by our doing, and what drifted since.
pub fn status(out: &mut impl Write, status: &ClusterStatus, view: View) -> io::Result<()> {
    let head = view.paint.ink(Ink::Bold, format!("cluster {}", status.version));
    if status.last.is_none() && status.in_effect.is_empty() {
        return writeln!(out, "{head}: untouched");
    }
    let effect = count(status.in_effect.len(), "step");
    let by = match &status.last {
        None => "the first run was cut off".to_owned(),
        Some(last) if last.operator.is_empty() => {
            format!("last run {} at {}", last.run, words::utc(last.at_ms))
        }
        Some(last) => {
            format!("last run {} at {} by {}", last.run, words::utc(last.at_ms), last.operator)
        }
    };
    writeln!(out, "{head}: {effect} in effect, {by}")?;
    if view.verbose {
        for key in &status.in_effect {
            writeln!(out, "    {}", words::plain(key))?;
        }
    }
    for drift in &status.drift {
        let line = words::plain(&format!("{}  now {}", drift.key, drift.now));
        writeln!(out, "  {} {line}", view.paint.ink(Ink::Warn, "drift:"))?;
    }
    Ok(())
}

/// What was proven from outside: one line per address, and what is wrong.
pub fn proof(out: &mut impl Write, proof: &Proof, view: View) -> io::Result<()> {
    if proof.is_empty() {
        return Ok(());
    }
    let problems = proof.findings.iter().any(|f| f.severity > Severity::Pass);
    writeln!(out)?;
    let services = proof.services.iter().map(|s| (s.proven, &s.line));
    for (proven, line) in services.chain(proof.gateways.iter().map(|g| (g.proven, &g.line))) {
        let (word, ink) = if proven { ("proven", Ink::Good) } else { ("not proven", Ink::Bad) };
        writeln!(out, "{}  {}", view.paint.ink(ink, format!("{word:11}")), words::plain(line))?;
    }
    if problems {
        super::check::problems(out, &proof.findings, view.paint)?;
    }
    Ok(())
}
