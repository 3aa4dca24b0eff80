//! `cargo lab agents`: the static agents.

use std::process::ExitCode;

use clap::Args;
use rackwright_lab::talk::show;
use rackwright_lab::{Result, agents};

/// Build the static agents and put them beside the coordinator
#[derive(Args)]
pub(crate) struct Agents {}

impl Agents {
    pub(crate) fn run(self) -> Result<ExitCode> {
        show(agents::build()?.join("manifest.json").display());
        Ok(ExitCode::SUCCESS)
    }
}
