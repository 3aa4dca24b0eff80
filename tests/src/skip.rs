//! Tests that cannot run here say so, in one form, and `cargo lab test` repeats it at the end.

use std::io::Write;

use crate::need::{self, Lack};

/// The file that `cargo lab test` collects the reasons in.
pub const SKIPS: &str = "RACKWRIGHT_LAB_SKIPS";

/// Why tests of the host rack cannot run here, if so.
///
/// # Panics
/// With `CI=true` and something missing that apt could install: there, a skip would hide a broken runner.
pub fn reason() -> Option<String> {
    match need::lack()? {
        Lack::Machine(reason) => Some(reason),
        Lack::Packages(packages) => {
            let list = packages.join(" ");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must have these packages: {list}");
            Some(format!("missing: {list} (`apt-get install {list}`)"))
        }
    }
}

/// Says that a test did not run, on stderr and to `cargo lab test`.
pub fn report(test: &str, reason: &str) {
    let line = format!("SKIPPED: {test}: {reason}\n");
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os(SKIPS)
        && let Ok(mut file) = std::fs::OpenOptions::new().append(true).create(true).open(path)
    {
        let _ = file.write_all(line.as_bytes());
    }
}

/// Ends the test here, loudly, when the machine cannot carry a host rack.
#[macro_export]
macro_rules! need_lab {
    () => {
        if let Some(reason) = $crate::skip::reason() {
            $crate::skip!("{reason}");
        }
    };
}

/// Ends the test here, loudly, for a reason of the caller's.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        let thread = ::std::thread::current();
        $crate::skip::report(thread.name().unwrap_or("test"), &::std::format!($($reason)+));
        return;
    }};
}
