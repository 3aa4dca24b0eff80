//! `cargo lab test`: all tests, and what was skipped.

use std::fs;
use std::process::ExitCode;

use clap::Args;
use rackwright_lab::talk::say;
use rackwright_lab::{Lack, Result, agents, ensure_base, need, skip, sweep};

use super::{attend, code};

/// Run all tests, on real hosts where the machine can carry them
#[derive(Args)]
pub(crate) struct Test {
    /// The long ones too
    #[arg(long)]
    all: bool,
    /// Passed on to `cargo test`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Test {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match need::lack() {
            Some(Lack::Machine(reason)) => {
                say(format_args!("tests that need hosts will be skipped: {reason}"))
            }
            Some(Lack::Packages(_)) => need::ensure()?,
            None => {}
        }
        if need::lack().is_none() {
            ensure_base()?;
            sweep::down_dead_tests()?;
        }
        say("building the static agent");
        let agents = agents::build()?;
        let skips = std::env::temp_dir().join(format!("rackwright-lab-skips-{}", std::process::id()));
        let mut cargo = agents::cargo();
        cargo.args(["test", "--workspace", "--no-fail-fast"]).args(&self.arguments);
        cargo.env(skip::SKIPS, &skips).env("RACKWRIGHT_AGENTS", agents);
        if self.all {
            cargo.env("RACKWRIGHT_LAB_ALL", "1");
        }
        let status = attend(cargo)?;
        let skipped = fs::read_to_string(&skips).unwrap_or_default();
        let _ = fs::remove_file(&skips);
        report(&skipped);
        if need::lack().is_none() {
            sweep::down_dead_tests()?;
        }
        Ok(code(status))
    }
}

fn report(skipped: &str) {
    let mut lines: Vec<&str> = skipped.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    if !lines.is_empty() {
        say(format_args!("{} tests were skipped:", lines.len()));
    }
    for line in lines {
        say(format_args!("  {line}"));
    }
}
