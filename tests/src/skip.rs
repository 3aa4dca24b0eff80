//! Tests that cannot run here say so in one form, `SKIPPED: reason` on stdout; `cargo lab test` collects them.

use crate::need::{self, Lack};

/// Why tests of the host rack cannot run here, if so.
///
/// # Panics
/// With `CI=true` and something missing that apt could install: there, a skip would hide a broken runner.
pub fn reason() -> Option<String> {
    need::lack().map(told)
}

/// The reason in words.
pub(crate) fn told(lack: Lack) -> String {
    match lack {
        Lack::Machine(reason) => reason,
        Lack::Packages(packages) => {
            let list = packages.join(" ");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must have these packages: {list}");
            format!("missing: {list} (`apt-get install {list}`)")
        }
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

/// Ends the test here, loudly, when the machine cannot carry virtual machines.
#[macro_export]
macro_rules! need_vm {
    () => {
        if let Some(reason) = $crate::vms::lack() {
            $crate::skip!("{reason}");
        }
    };
}

/// Ends the test here, loudly, when the machine cannot carry a cluster.
#[macro_export]
macro_rules! need_cluster {
    () => {
        if let Some(reason) = $crate::clusters::lack() {
            $crate::skip!("{reason}");
        }
    };
}

/// Ends the test here, loudly, for a reason of the caller's.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        // Not through the lab's own writer: the test harness captures only this one.
        #[allow(clippy::print_stdout)]
        {
            ::std::println!("SKIPPED: {}", ::std::format_args!($($reason)+));
        }
        return;
    }};
}
