//! How the process ends; the same codes for all commands.

/// What an exit code says. See [`crate::cli::EXIT_CODES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// Something failed, or a node was not reached.
    Failed = 1,
    /// Bad usage, or a rack that is not valid.
    Invalid = 2,
    /// A finding blocks, a plan is stale, or a host is held by another run.
    Refused = 3,
    /// Drift, or changes pending.
    Differences = 4,
    /// The work goes on at the hosts without us.
    Detached = 5,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
