//! The few kernel calls that no library offers safely. The only module of the agent with `unsafe` in it.
#![allow(unsafe_code)]

use std::io;

use nix::libc;

/// Whether the kernel holds its clock for synchronised (adjtimex(2): `STA_UNSYNC` is clear). Changes nothing.
pub(super) fn clock_is_synchronised() -> io::Result<bool> {
    // SAFETY: timex is plain integers, for which all zeroes is a value; its `modes` of 0 asks to read only.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live timex, which the kernel fills before the call returns.
    match unsafe { libc::adjtimex(&raw mut timex) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(timex.status & libc::STA_UNSYNC == 0),
    }
}
