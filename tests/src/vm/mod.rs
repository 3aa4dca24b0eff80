//! Virtual machines: hosts of a rack with a kernel of their own, emulated by QEMU on the same segments. What they boot
//! from is made once and kept in the cache; what a machine wrote and did not flush is lost when its power is cut.

mod disk;
mod image;
mod remote;
pub mod suite;
mod wiring;

pub(crate) use disk::give;
pub(crate) use image::Image;
pub(crate) use remote::{command, hang_up};
pub(crate) use wiring::{environment, network_file, ports_script};

use crate::error::{LabError, Result};
use crate::host::Host;
use crate::kube::Parts;
use crate::need;
use crate::spec::Spec;

/// One boot.
pub(crate) const BOOT: &str = include_str!("boot.sh");

/// The image of a rack's machines, if it has any; builds what was never built here.
pub(crate) fn image_for(spec: &Spec, parts: Option<&Parts>) -> Result<Option<Image>> {
    if spec.vms.is_empty() {
        return Ok(None);
    }
    need::ensure_vm()?;
    Image::ensure(parts).map(Some)
}

/// Refuses what only makes sense where host and machine share a kernel.
pub(crate) fn refuse(host: &Host, what: &str) -> Result<()> {
    if !host.is_vm() {
        return Ok(());
    }
    let name = host.name();
    Err(LabError::Refused(format!(
        "{name} is a virtual machine: {what} is no part of this machine's; ask inside of it, by `Host::sh`"
    )))
}
