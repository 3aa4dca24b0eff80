//! From errors of this crate to faults that travel.

use std::error::Error;

pub use rackwright_proto::fault::chain;
use rackwright_proto::fault::{Fault, FaultKind};

/// The host could not do it: what was being done, and the whole chain of why.
pub fn host_fault(doing: impl Into<String>, error: &dyn Error) -> Fault {
    Fault::new(FaultKind::Host, doing, chain(error))
}
