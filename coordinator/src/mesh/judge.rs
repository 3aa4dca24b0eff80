//! Findings about the Istio that is wanted and what is there.

use jiff::civil::Date;
use rackwright_proto::finding::Finding;

use super::install::Install;
use super::release::{Minor, Release};
use super::view::View;

/// What a change from one release to another is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// None.
    None,
    /// Another patch of the same minor version.
    Patch,
    /// To the next minor version.
    Next,
    /// Past a minor version: go to `via` first.
    TooLarge {
        /// The minor version to go to first.
        via: Minor,
    },
    /// Back.
    Back,
}

/// What a change from one release to another is.
pub fn change(from: Release, to: Release) -> Change {
    match (from.minor, to.minor) {
        _ if from == to => Change::None,
        _ if to < from => Change::Back,
        (from, to) if from == to => Change::Patch,
        (from, to) if from.next() == to => Change::Next,
        (from, _) => Change::TooLarge { via: from.next() },
    }
}

/// Everything that can be said of an installation before it is made: `kubernetes` is the API server's minor version
/// where it is known, `today` decides what is past its life.
pub fn findings(install: &Install, view: &View, kubernetes: Option<Minor>, today: Date) -> Vec<Finding> {
    let _ = view;
    super::matrix::findings(install.release.minor, kubernetes, today)
}
