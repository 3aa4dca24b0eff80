//! `cargo lab test`: all tests, and what was skipped.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use clap::Args;
use rackwright_lab::talk::{say, show};
use rackwright_lab::{Doing, Lack, Result, agents, ensure_base, need, skip, sweep};

use super::code;

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
        let agents = agents::build(false)?;
        let skips = std::env::temp_dir().join(format!("rackwright-lab-skips-{}", std::process::id()));
        let mut cargo = agents::cargo();
        cargo.args(["test", "--workspace", "--no-fail-fast"]).args(&self.arguments);
        cargo.env(skip::SKIPS, &skips).env("RACKWRIGHT_AGENTS", agents);
        if self.all {
            cargo.env("RACKWRIGHT_LAB_ALL", "1");
        }
        let (status, summary) = attend(cargo)?;
        let skipped = fs::read_to_string(&skips).unwrap_or_default();
        let _ = fs::remove_file(&skips);
        report(&skipped);
        if need::lack().is_none() {
            sweep::down_dead_tests()?;
        }
        show(summary);
        Ok(code(status))
    }
}

/// Cargo's own summary lines, one per test program, added up.
#[derive(Debug, Default, PartialEq)]
struct Summary {
    failed_somewhere: bool,
    /// Passed, failed, ignored, measured, filtered out.
    counts: [u64; 5],
    seconds: f64,
}

impl Summary {
    fn add(&mut self, line: &str) {
        let Some(line) = line.trim().strip_prefix("test result: ") else { return };
        self.failed_somewhere |= line.starts_with("FAILED");
        let numbers = line.split([';', '.', ' ']).filter_map(|word| word.parse::<u64>().ok());
        for (count, number) in self.counts.iter_mut().zip(numbers) {
            *count += number;
        }
        let seconds = line
            .rsplit_once("finished in ")
            .and_then(|(_, time)| time.strip_suffix('s')?.parse::<f64>().ok());
        self.seconds += seconds.unwrap_or_default();
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.failed_somewhere { "FAILED" } else { "ok" };
        let [passed, failed, ignored, measured, filtered] = self.counts;
        write!(
            out,
            "test result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored; {measured} measured; "
        )?;
        write!(out, "{filtered} filtered out; finished in {:.2}s", self.seconds)
    }
}

/// Runs the tests, passing on what they say, and adds their summaries up.
fn attend(mut cargo: Command) -> Result<(ExitStatus, Summary)> {
    let mut child = cargo.stdout(Stdio::piped()).spawn().doing(|| "start `cargo test`".to_owned())?;
    let mut summary = Summary::default();
    if let Some(pipe) = child.stdout.take() {
        for line in BufReader::new(pipe).lines().map_while(|line| line.ok()) {
            summary.add(&line);
            show(line);
        }
    }
    let status = child.wait().doing(|| "wait for `cargo test`".to_owned())?;
    // A program that did not build or crashed has no summary of its own.
    summary.failed_somewhere |= !status.success();
    Ok((status, summary))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_add_up() {
        let mut summary = Summary::default();
        summary.add(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.25s",
        );
        summary.add("running 4 tests");
        summary.add("test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s");
        let line = "test result: FAILED. 4 passed; 3 failed; 1 ignored; 0 measured; 2 filtered out; finished in 1.75s";
        assert_eq!(summary.to_string(), line);
    }
}
