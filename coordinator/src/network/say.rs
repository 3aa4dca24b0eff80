//! How findings are put into words.

use std::collections::BTreeMap;
use std::fmt::Display;

use rackwright_proto::finding::{Finding, Severity};

/// The most items of a list that a finding spells out.
const MOST: usize = 8;

pub(super) fn pass(name: &str, subject: impl Display) -> Finding {
    blank(name, Severity::Pass, subject)
}

pub(super) fn warning(name: &str, subject: impl Display) -> Finding {
    blank(name, Severity::Warning, subject)
}

pub(super) fn error(name: &str, subject: impl Display) -> Finding {
    blank(name, Severity::Error, subject)
}

fn blank(name: &str, severity: Severity, subject: impl Display) -> Finding {
    let nothing = String::new;
    Finding {
        name: name.to_owned(),
        severity,
        nodes: Vec::new(),
        subject: subject.to_string(),
        checked: nothing(),
        observed: nothing(),
        expected: nothing(),
        fix: nothing(),
        waived: None,
    }
}

/// Fills in a finding, word by word.
pub(super) trait Say: Sized {
    fn on(self, nodes: impl IntoIterator<Item = impl Into<String>>) -> Self;
    fn checked(self, what: impl Into<String>) -> Self;
    fn observed(self, what: impl Into<String>) -> Self;
    fn expected(self, what: impl Into<String>) -> Self;
    fn fix(self, what: impl Into<String>) -> Self;
}

impl Say for Finding {
    fn on(mut self, nodes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.nodes = nodes.into_iter().map(Into::into).collect();
        self.nodes.sort();
        self.nodes.dedup();
        self
    }
    fn checked(self, what: impl Into<String>) -> Self {
        Self { checked: what.into(), ..self }
    }
    fn observed(self, what: impl Into<String>) -> Self {
        Self { observed: what.into(), ..self }
    }
    fn expected(self, what: impl Into<String>) -> Self {
        Self { expected: what.into(), ..self }
    }
    fn fix(self, what: impl Into<String>) -> Self {
        Self { fix: what.into(), ..self }
    }
}

/// Makes one finding of those that differ in their nodes only, and puts the gravest first.
pub(super) fn merge(findings: impl IntoIterator<Item = Finding>) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::new();
    let mut places = BTreeMap::new();
    for mut finding in findings {
        let nodes = std::mem::take(&mut finding.nodes);
        let words = [&finding.name, &finding.subject, &finding.checked, &finding.observed, &finding.expected];
        let key = (finding.severity, words.map(String::clone), finding.fix.clone());
        let place = *places.entry(key).or_insert_with(|| {
            merged.push(finding);
            merged.len() - 1
        });
        merged[place].nodes.extend(nodes);
    }
    for finding in &mut merged {
        finding.nodes.sort();
        finding.nodes.dedup();
    }
    merged.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    merged
}

/// `a, b and c`, and how many more where they are many.
pub(crate) fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    let mut items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    if items.len() > MOST + 1 {
        let more = items.len() - MOST;
        items.truncate(MOST);
        items.push(format!("{more} more"));
    }
    match items.split_last() {
        None => "none".into(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

/// `1 address`, `2 addresses`.
pub(super) fn addresses(count: u128) -> String {
    if count == 1 { "1 address".into() } else { format!("{count} addresses") }
}
