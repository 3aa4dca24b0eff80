//! From errors of this crate to faults that travel.

use std::error::Error;

use rackwright_proto::fault::{Fault, FaultKind};

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

/// The host could not do it: what was being done, and the whole chain of why.
pub fn host_fault(doing: impl Into<String>, error: &dyn Error) -> Fault {
    Fault::new(FaultKind::Host, doing, chain(error))
}
