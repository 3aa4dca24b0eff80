//! `cargo lab`: racks of real hosts on this machine.
#![cfg_attr(test, allow(clippy::unwrap_used))]
#![allow(clippy::disallowed_methods)]

mod cmd;

use std::process::ExitCode;

use clap::Parser;
use rackwright_lab::{chain, talk};

fn main() -> ExitCode {
    match cmd::Lab::parse().run() {
        Ok(code) => code,
        Err(error) => {
            talk::say(format_args!("error: {}", chain(&error)));
            ExitCode::FAILURE
        }
    }
}
