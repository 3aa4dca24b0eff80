//! What one command took, on the machine where it ran and on the hosts that it worked on.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;

use crate::error::{Doing, LabError, Result};
use crate::host::Host;
use crate::run::{await_until, last_lines};
use crate::sys;

/// Far more than any run takes: a run that hangs shall not hang the benchmark.
const LIMIT: Duration = Duration::from_secs(300);
/// How long hosts may take to be rid of a session after its client ended.
const QUIET: Duration = Duration::from_secs(20);

/// What one run took.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cost {
    /// From start to exit of the whole process, in seconds.
    pub wall_s: f64,
    /// CPU time of the process and its children, in seconds.
    pub controller_s: f64,
    /// CPU time of everything on all hosts, sshd included, in seconds.
    pub hosts_s: f64,
    /// The largest resident set of one process, in bytes.
    pub resident: u64,
}

impl Cost {
    /// Runs a command that must succeed, and whose talk goes to a file. Hosts are read after the last of its
    /// processes there is gone.
    pub(super) fn of(mut command: Command, hosts: &[Host], talk: &Path) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let (idle, before) = (crowd(hosts), cpu(hosts));
        sys::die_with_parent(&mut command);
        let started = Instant::now();
        let mut child = command.spawn().doing(|| format!("start `{name}`"))?;
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        let (done, ended) = mpsc::channel::<()>();
        let watch = thread::spawn(move || {
            if ended.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = kill(pid, Signal::SIGKILL);
            }
        });
        let usage = sys::wait_with_usage(&mut child).doing(|| format!("wait for `{name}`"))?;
        let wall_s = started.elapsed().as_secs_f64();
        drop(done);
        let _ = watch.join();
        if usage.code != Some(0) {
            let code = usage.code.unwrap_or(-1);
            let said = last_lines(&fs::read_to_string(talk).unwrap_or_default());
            return Err(LabError::Program { doing: "measure a run".into(), program: name, code, said });
        }
        settle(hosts, idle)?;
        let hosts_s = (cpu(hosts) - before).as_secs_f64();
        Ok(Self { wall_s, controller_s: usage.cpu.as_secs_f64(), hosts_s, resident: usage.resident })
    }
}

fn crowd(hosts: &[Host]) -> usize {
    hosts.iter().map(|host| host.processes().len()).sum()
}

fn cpu(hosts: &[Host]) -> Duration {
    hosts.iter().filter_map(Host::cpu_time).sum()
}

fn settle(hosts: &[Host], idle: usize) -> Result<()> {
    await_until("the hosts are idle again", QUIET, || match crowd(hosts) {
        count if count <= idle => Ok(()),
        count => Err(format!("{} processes too many", count - idle)),
    })
}
