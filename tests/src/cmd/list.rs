//! `cargo lab list`: which racks stand.

use std::process::ExitCode;

use clap::Args;
use rackwright_lab::talk::show;
use rackwright_lab::{Lab, Result, sweep};

/// List the racks of this machine and their hosts
#[derive(Args)]
pub(crate) struct List {}

impl List {
    pub(crate) fn run(self) -> Result<ExitCode> {
        for rack in sweep::racks() {
            let Ok(lab) = Lab::open(&rack) else {
                show(format_args!("{rack}: half made, or being made; `cargo lab down {rack}` removes it"));
                continue;
            };
            let running = lab.hosts().iter().filter(|host| host.pid().is_some()).count();
            show(format_args!(
                "{rack}: {running} of {} hosts run; {}",
                lab.hosts().len(),
                lab.dir().display()
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}
