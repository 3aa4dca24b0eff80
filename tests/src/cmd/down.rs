//! `cargo lab down`: takes racks down, whatever state they are in.

use std::process::ExitCode;

use clap::Args;
use rackwright_lab::talk::say;
use rackwright_lab::{RackName, Result, sweep};

/// Take a rack down, and everything that is left of it
#[derive(Args)]
pub(crate) struct Down {
    /// The rack's name
    #[arg(default_value = "lab")]
    name: RackName,
    /// All racks of this machine, those of running tests too
    #[arg(long, conflicts_with = "name")]
    all: bool,
}

impl Down {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let racks = if self.all { sweep::racks().into_iter().collect() } else { vec![self.name] };
        if racks.is_empty() {
            say("no rack stands");
        }
        for rack in racks {
            let found = sweep::down(&rack)?;
            say(format_args!("rack `{rack}` {}", if found { "is down" } else { "was not there" }));
        }
        Ok(ExitCode::SUCCESS)
    }
}
