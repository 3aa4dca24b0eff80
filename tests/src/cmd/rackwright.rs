//! `cargo lab rackwright`: the coordinator, built and run where the operator sits.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Args;
use rackwright_lab::talk::say;
use rackwright_lab::{Lab, Result, agents, must};

use super::{Which, become_command};

const BUILD_LIMIT: Duration = Duration::from_secs(1800);

/// Build rackwright and run it on a rack: `cargo lab rackwright check`
#[derive(Args)]
pub(crate) struct Rackwright {
    #[command(flatten)]
    which: Which,
    /// What to pass on
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Rackwright {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let lab = self.which.open()?;
        let mut command = coordinator(&lab, &build()?)?;
        command.args(self.arguments);
        Err(become_command(command))
    }
}

/// Builds the coordinator and the agents that it delivers; returns the coordinator's path.
pub(super) fn build() -> Result<PathBuf> {
    say("building rackwright and its agent (the first time takes minutes)");
    let mut cargo = agents::cargo();
    let target = agents::checkout().join("target");
    cargo.args(["build", "--quiet", "--package", "rackwright", "--target-dir"]).arg(&target);
    must(cargo, "build rackwright", BUILD_LIMIT)?;
    agents::build(false)?;
    Ok(target.join("debug/rackwright"))
}

/// The coordinator on a rack, in the folder of the rack's file.
pub(super) fn coordinator(lab: &Lab, program: &std::path::Path) -> Result<Command> {
    let mut command = lab.op_command(program)?;
    command.current_dir(lab.dir());
    Ok(command)
}
