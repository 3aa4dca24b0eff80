//! What can go wrong in the lab, said so that the reader knows what to do next.

use std::io;
use std::time::Duration;

/// A failure of the lab itself, not of the product under test.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The machine refused an operation.
    #[error("cannot {doing}")]
    Io {
        /// What was being done, and to what.
        doing: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A program ended with a failure.
    #[error("cannot {doing}: `{program}` ended with {code}: {said}")]
    Program {
        /// What was being done, and to what.
        doing: String,
        /// The program's name.
        program: String,
        /// Exit code, or -1 when a signal ended it.
        code: i32,
        /// The last lines of its standard error.
        said: String,
    },
    /// A condition did not come true in time.
    #[error("{what}: not so after {} s; last seen: {last}", limit.as_secs())]
    Deadline {
        /// The condition that was awaited.
        what: String,
        /// How long.
        limit: Duration,
        /// What was seen instead.
        last: String,
    },
    /// The request cannot be met; the text says why and what to do.
    #[error("{0}")]
    Refused(String),
}

/// The lab's result.
pub type Result<T> = std::result::Result<T, LabError>;

pub use rackwright_proto::fault::chain;

/// Says what was being done when an operation of the machine failed.
pub trait Doing<T> {
    /// Wraps the error; `what` completes the sentence "cannot …".
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| LabError::Io { doing: what(), source: source.into() })
    }
}
