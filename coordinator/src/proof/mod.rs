//! Proofs from outside: what the hosts of the rack are asked about a Service's address, about DNS and about
//! kube-proxy, and what the answers mean. All of it is pure.
//!
//! A Service is proven in stages, since each asks what the former answered:
//! [`case::addresses`] (has it an address?), [`hearing::ask`] (who answers for it?), [`ports::ask`] (do its ports
//! open there?), [`hearing::ask`] again some seconds later, and [`service::judge`] of all that.
//! [`dns`], [`proxy`] and [`gateway`] each ask once.

mod answers;
pub mod case;
mod cause;
pub mod dns;
pub mod gateway;
pub mod hearing;
mod names;
mod nics;
mod open;
pub mod ports;
pub mod proxy;
pub mod service;
#[cfg(test)]
mod tests;
pub mod text;

pub use names::NAMES;

use rackwright_proto::finding::Finding;

use crate::network::say::{self, Say as _};

/// Why something is not there, as another room found out: with its own finding's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// The finding's name: `silent-no-endpoints`.
    pub name: String,
    /// What it is, in one sentence.
    pub words: String,
    /// What was seen that says so; may be empty.
    pub evidence: String,
    /// What to do about it.
    pub fix: String,
}

impl Why {
    /// The finding, after what was observed from outside.
    fn finding(&self, subject: &str, observed: &str) -> Finding {
        let evidence = if self.evidence.is_empty() { String::new() } else { format!(" ({})", self.evidence) };
        say::error(&self.name, subject)
            .observed(format!("{observed}: {}{evidence}", self.words.trim_end_matches('.')))
            .fix(&self.fix)
    }
}
