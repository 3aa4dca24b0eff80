//! `cargo lab ssh`, `reboot` and `kill`: what is done to one host.

use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use rackwright_lab::Result;
use rackwright_lab::talk::say;

use super::{Which, become_command};

/// Log in to a host, or run a command there
#[derive(Args)]
pub(crate) struct Ssh {
    #[command(flatten)]
    which: Which,
    /// The host's name
    node: String,
    /// What to run instead of a login shell
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Ssh {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let lab = self.which.open()?;
        let mut ssh = lab.ssh(lab.find(&self.node)?.name())?;
        ssh.args(self.command);
        Err(become_command(ssh))
    }
}

/// Reboot a host, or boot one that is down, and wait until it is up
#[derive(Args)]
pub(crate) struct Reboot {
    #[command(flatten)]
    which: Which,
    /// The host's name
    node: String,
}

impl Reboot {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let host = self.which.open()?.find(&self.node)?;
        let started = Instant::now();
        host.reboot()?;
        say(format_args!("{} is up again after {:.1} s", host.name(), started.elapsed().as_secs_f64()));
        Ok(ExitCode::SUCCESS)
    }
}

/// Kill a host's PID 1: everything on it ends at once, its files stay
#[derive(Args)]
pub(crate) struct Kill {
    #[command(flatten)]
    which: Which,
    /// The host's name
    node: String,
}

impl Kill {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let host = self.which.open()?.find(&self.node)?;
        host.kill()?;
        say(format_args!("{0} is dead; `cargo lab reboot {0}` boots it", host.name()));
        Ok(ExitCode::SUCCESS)
    }
}
