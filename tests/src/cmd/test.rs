//! `cargo lab test`: all tests, and what was skipped.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use clap::Args;
use rackwright_lab::talk::{say, show};
use rackwright_lab::{Doing, Lack, Result, agents, clusters, ensure_base, need, sweep, vms};

use super::report::Report;

/// Run all tests, on real hosts where the machine can carry them
#[derive(Args)]
pub(crate) struct Test {
    /// The long ones and the measurements too
    #[arg(long)]
    all: bool,
    /// Passed on to `cargo test`, and after `--` to the test programs
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Test {
    pub(crate) fn run(self) -> Result<ExitCode> {
        need::ensure_for_tests()?;
        let able = prepare(self.all)?;
        say("building the static agent (the first time takes minutes)");
        let mut cargo = self.cargo();
        cargo.env("RACKWRIGHT_AGENTS", agents::build(false)?);
        let report = attend(cargo)?;
        if able {
            sweep::down_dead_tests()?;
        }
        if !report.skipped.is_empty() {
            show(format_args!("\n{} tests did not run:", report.skipped.len()));
        }
        for line in &report.skipped {
            show(format_args!("  {line}"));
        }
        show(format_args!("\n{report}"));
        Ok(if report.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn cargo(&self) -> Command {
        let mut parts = self.arguments.splitn(2, |argument| argument == "--");
        let mut cargo = agents::cargo();
        cargo.args(["test", "--workspace", "--no-fail-fast"]).args(parts.next().unwrap_or_default());
        cargo.args(["--", "--show-output"]).args(parts.next().unwrap_or_default());
        if self.all {
            cargo.arg("--include-ignored");
        }
        cargo
    }
}

/// Says whether this machine can carry hosts, after installing what apt has.
fn prepare(all: bool) -> Result<bool> {
    match need::lack() {
        Some(Lack::Machine(reason)) => {
            say(format_args!("tests that need hosts will be skipped: {reason}"));
            return Ok(false);
        }
        Some(Lack::Packages(_)) => need::ensure()?,
        None => {}
    }
    ensure_base()?;
    sweep::down_dead_tests()?;
    match need::lack_of_vm() {
        Some(Lack::Machine(reason)) => {
            say(format_args!("tests that need virtual machines will be skipped: {reason}"))
        }
        _ => vms::prepare()?,
    }
    match clusters::lack() {
        None => clusters::prepare(all)?,
        Some(reason) => say(format_args!("tests that need clusters will be skipped: {reason}")),
    }
    Ok(true)
}

/// Runs the tests, passing on what they say.
fn attend(mut cargo: Command) -> Result<Report> {
    let mut child = cargo.stdout(Stdio::piped()).spawn().doing(|| "start `cargo test`".to_owned())?;
    let mut report = Report::default();
    if let Some(pipe) = child.stdout.take() {
        for line in BufReader::new(pipe).lines().map_while(|line| line.ok()) {
            if report.hear(&line) {
                show(line);
            }
        }
    }
    let status = child.wait().doing(|| "wait for `cargo test`".to_owned())?;
    // A program that did not build or crashed has no summary of its own.
    report.failed |= !status.success();
    Ok(report)
}
