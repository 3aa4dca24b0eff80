//! `cargo lab exec`: runs something where the operator sits.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;
use rackwright_lab::{LabError, Result};

use super::{Which, become_command};

/// Run a command in the operator's network, from where the hosts are reached
#[derive(Args)]
pub(crate) struct Exec {
    #[command(flatten)]
    which: Which,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Exec {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let lab = self.which.open()?;
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(LabError::Refused("nothing to run".to_owned()));
        };
        let mut command = lab.op_command(program)?;
        command.args(arguments);
        Err(become_command(command))
    }
}
