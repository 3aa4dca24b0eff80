//! `cargo lab agents`: the static agents.

use std::process::ExitCode;

use clap::Args;
use rackwright_lab::talk::{say, show};
use rackwright_lab::{Result, agents};

/// Build the static agents and put them beside the coordinator
#[derive(Args)]
pub(crate) struct Agents {
    /// One for arm64 hosts too, with a compiler unpacked from Debian packages
    #[arg(long)]
    arm64: bool,
}

impl Agents {
    pub(crate) fn run(self) -> Result<ExitCode> {
        say("building the static agent (the first time takes minutes)");
        show(agents::build(self.arm64)?.join("manifest.json").display());
        Ok(ExitCode::SUCCESS)
    }
}
