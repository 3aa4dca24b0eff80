//! Why a Service has no address, or why nobody answers for it.

use rackwright_proto::finding::{Finding, Severity};

/// One reason, told apart from all others by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Its name, of [`super::NAMES`]: `service-pool-exhausted`.
    pub name: &'static str,
    /// What it is, in one sentence.
    pub words: String,
    /// What was seen that says so.
    pub evidence: String,
    /// What to do about it.
    pub fix: String,
}

impl Reason {
    pub(super) fn new(name: &'static str, words: impl Into<String>) -> Self {
        debug_assert!(super::NAMES.iter().any(|(known, _)| *known == name), "{name} is not in the table");
        Self { name, words: words.into(), evidence: String::new(), fix: String::new() }
    }

    pub(super) fn seen(self, evidence: impl Into<String>) -> Self {
        Self { evidence: evidence.into(), ..self }
    }

    pub(super) fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: fix.into(), ..self }
    }

    /// As a finding about a Service, `NAMESPACE/NAME`.
    pub fn finding(&self, severity: Severity, service: &str, checked: &str, expected: &str) -> Finding {
        let observed = match self.evidence.is_empty() {
            true => self.words.clone(),
            false => format!("{}: {}", self.words, self.evidence),
        };
        Finding {
            name: self.name.to_owned(),
            severity,
            nodes: Vec::new(),
            subject: service.to_owned(),
            checked: checked.to_owned(),
            observed,
            expected: expected.to_owned(),
            fix: self.fix.clone(),
            waived: None,
        }
    }
}
