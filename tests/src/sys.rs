//! What the standard library calls unsafe or does not have: two things that a child must do between fork and
//! exec, and what a child used.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

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

/// How a child ended, and what it and the children that it waited for used.
pub(crate) struct Usage {
    /// Its exit code, unless a signal ended it.
    pub(crate) code: Option<i32>,
    /// In user and kernel mode.
    pub(crate) cpu: Duration,
    /// The largest resident set of one process, in bytes.
    pub(crate) resident: u64,
}

/// Waits for a child, which nobody else may wait for. Unlike getrusage(2), wait4(2) tells of this child alone.
pub(crate) fn wait_with_usage(child: &mut Child) -> io::Result<Usage> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let mut status = 0;
    // SAFETY: all-zero is a valid rusage, a plain C struct of numbers.
    let mut used: nix::libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers lead to values of the right type that outlive the call.
        if unsafe { nix::libc::wait4(pid, &raw mut status, 0, &raw mut used) } == pid {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let time = |time: nix::libc::timeval| {
        let (seconds, micros) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_usec));
        Duration::from_secs(seconds.unwrap_or(0)) + Duration::from_micros(micros.unwrap_or(0))
    };
    Ok(Usage {
        code: ExitStatus::from_raw(status).code(),
        cpu: time(used.ru_utime) + time(used.ru_stime),
        resident: u64::try_from(used.ru_maxrss).unwrap_or(0) * 1024,
    })
}
