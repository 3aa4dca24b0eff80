//! What the tests need of virtual machines, made before they start.

use super::Image;
use crate::error::Result;
use crate::{need, skip};

/// Why tests of virtual machines cannot run here, if so.
///
/// # Panics
/// As [`crate::skip::reason`] does: with `CI=true` and something missing that can be installed.
pub fn lack() -> Option<String> {
    skip::reason().or_else(|| need::lack_of_vm().map(skip::told))
}

/// Installs what machines need, and builds what plain ones boot from.
pub fn prepare() -> Result<()> {
    need::ensure_vm()?;
    Image::ensure(None).map(drop)
}
