//! Reads what `cargo test` says: adds its summaries up, and finds the tests that did not run.

use std::fmt;

/// What was said so far.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Report {
    /// `NAME: reason` of every test that did not run.
    pub(super) skipped: Vec<String>,
    /// Whether something failed, be it only to build.
    pub(super) failed: bool,
    /// Passed, failed, ignored, measured, filtered out.
    counts: [u64; 5],
    seconds: f64,
    /// Inside the output of tests that passed, which test it is.
    passed_test: Option<String>,
}

impl Report {
    /// Takes the next line; says whether the reader wants to see it. The output of tests that passed is only
    /// searched for lines `SKIPPED: reason`.
    pub(super) fn hear(&mut self, line: &str) -> bool {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.passed_test = None;
            self.add(result);
            return true;
        }
        match line {
            "successes:" => self.passed_test = Some(String::new()),
            "failures:" => self.passed_test = None,
            _ => {}
        }
        let Some(test) = &mut self.passed_test else {
            self.skipped.extend(ignored(line));
            return true;
        };
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            name.clone_into(test);
        } else if let Some(reason) = line.strip_prefix("SKIPPED: ") {
            self.skipped.push(format!("{test}: {reason}"));
        }
        false
    }

    fn add(&mut self, result: &str) {
        self.failed |= result.starts_with("FAILED");
        let numbers = result.split([';', '.', ' ']).filter_map(|word| word.parse::<u64>().ok());
        for (count, number) in self.counts.iter_mut().zip(numbers) {
            *count += number;
        }
        let time = result
            .rsplit_once("finished in ")
            .and_then(|(_, time)| time.strip_suffix('s')?.parse::<f64>().ok());
        self.seconds += time.unwrap_or_default();
    }
}

/// Cargo's own summary line, over all test programs.
impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.failed { "FAILED" } else { "ok" };
        let [passed, failed, ignored, measured, filtered] = self.counts;
        write!(out, "test result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored; ")?;
        write!(out, "{measured} measured; {filtered} filtered out; finished in {:.2}s", self.seconds)
    }
}

fn ignored(line: &str) -> Option<String> {
    let (name, reason) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    let reason = reason.strip_prefix(", ").unwrap_or("only with `cargo lab test --all`");
    Some(format!("{name}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
running 3 tests
test a ... ok
test b ... ignored, a measurement
test c ... ok

successes:

---- c stdout ----
noise
SKIPPED: needs root

successes:
    a
    c

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.25s
test d ... FAILED

failures:

---- d stdout ----
thread 'd' panicked

test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s
";

    #[test]
    fn summaries_add_up_and_skips_are_found() {
        let mut report = Report::default();
        let seen: Vec<&str> = SAID.lines().filter(|line| report.hear(line)).collect();
        let summary = "test result: FAILED. 3 passed; 3 failed; 1 ignored; 0 measured; 2 filtered out; finished in 1.75s";
        assert_eq!(report.to_string(), summary);
        assert_eq!(report.skipped, ["b: a measurement", "c: needs root"]);
        assert!(!seen.contains(&"noise"), "{seen:?}");
        assert!(seen.contains(&"thread 'd' panicked"), "{seen:?}");
    }
}
