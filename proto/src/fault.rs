//! What went wrong, in the three parts that an operator needs.

use std::error::Error;

use serde::{Deserialize, Serialize};

/// What the reader of a fault may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The host cannot do what was asked, and a retry will not change that.
    Host,
    /// After acting, the host still was not as wanted.
    Diverged,
    /// What was seen is not what the plan was made from.
    Stale,
    /// Another run holds the host.
    Locked,
    /// A deadline passed.
    Deadline,
    /// The other side broke the protocol.
    Protocol,
    /// We broke.
    Internal,
}

/// A failure that travels: what was being done, to what, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{doing}: {cause}")]
pub struct Fault {
    /// What the reader may do next.
    pub kind: FaultKind,
    /// What was being done, to what: `load kernel module ip_vs`.
    pub doing: String,
    /// Why it failed, the whole chain in one line.
    pub cause: String,
    /// What to do next; empty when there is nothing better than the cause.
    #[serde(default)]
    pub next: String,
}

impl Fault {
    /// A fault of `kind` that says what was being done and why it failed.
    pub fn new(kind: FaultKind, doing: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { kind, doing: doing.into(), cause: cause.into(), next: String::new() }
    }

    /// The same fault with what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self
    }
}

/// An error and its sources in one line, outermost first.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
