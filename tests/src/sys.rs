//! The two things a child must do between fork and exec, which the standard library calls unsafe.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, setns};
use nix::sys::{prctl, signal::Signal};

/// Makes the child die with the thread that started it, so that a killed lab leaves no helper behind.
pub(crate) fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl(2) is async-signal-safe and touches only the child.
    unsafe {
        command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from));
    }
}

/// Makes the child run in the network namespace at `path`, and nothing else of it: control groups and
/// `/sys` stay as they are (unlike with `ip netns exec`).
pub(crate) fn enter_network(command: &mut Command, path: &Path) -> io::Result<()> {
    let namespace = File::open(path)?;
    // SAFETY: setns(2) is async-signal-safe and touches only the child; the descriptor was opened before the fork.
    unsafe {
        command.pre_exec(move || setns(&namespace, CloneFlags::CLONE_NEWNET).map_err(io::Error::from));
    }
    Ok(())
}
