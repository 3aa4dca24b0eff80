//! What a diagnosis comes to.

use serde::Serialize;

use super::cause::Cause;

/// What one hypothesis came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tested {
    /// It is so.
    Confirmed(Found),
    /// It is not so, and what says that.
    RuledOut(String),
    /// It cannot be told, for want of this.
    CannotTell(String),
    /// It does not apply here.
    Beside,
}

/// A cause that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// Its name.
    pub cause: Cause,
    /// The nodes that it is on; none where it is no node's.
    pub nodes: Vec<String>,
    /// What it is, in one sentence.
    pub words: String,
    /// What says so.
    pub evidence: Vec<String>,
    /// What mends it: commands and what they are for, in their order.
    pub mend: Vec<String>,
}

impl Found {
    pub(super) fn new(cause: Cause, words: impl Into<String>) -> Self {
        Self { cause, nodes: Vec::new(), words: words.into(), evidence: Vec::new(), mend: Vec::new() }
    }

    pub(super) fn on<S: Into<String>>(self, nodes: impl IntoIterator<Item = S>) -> Self {
        Self { nodes: nodes.into_iter().map(Into::into).collect(), ..self }
    }

    pub(super) fn seen(mut self, evidence: impl Into<String>) -> Self {
        self.evidence.push(evidence.into());
        self
    }

    pub(super) fn mend(mut self, line: impl Into<String>) -> Self {
        self.mend.push(line.into());
        self
    }
}

/// A diagnosis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// What is wrong.
    pub verdict: Verdict,
    /// Other things that are wrong: what the cause brings about, or what is to be looked at once it is mended.
    pub also: Vec<Found>,
    /// What is not so, and what says that, in the order of the tree.
    pub ruled_out: Vec<Line>,
    /// What could not be told, and for want of what.
    pub cannot_tell: Vec<Line>,
    /// What could not be asked, and why.
    pub not_asked: Vec<String>,
}

/// One hypothesis in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The hypothesis.
    pub what: String,
    /// What is known of it.
    pub why: String,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Verdict {
    /// Nothing, as far as was looked.
    Well,
    /// One cause.
    Cause(Found),
    /// Something, or perhaps nothing: what was asked does not tell.
    CannotTell {
        /// What does not work; empty where all that was asked works.
        seen: Vec<String>,
        /// What to look at next.
        look: Vec<String>,
    },
}
