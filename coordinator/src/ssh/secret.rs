//! Passwords and passphrases: the questions that yield them.

use std::path::PathBuf;
use std::sync::Arc;

pub use rackwright_proto::secret::Secret;

/// What is asked for. Each distinct question is asked at most once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Question {
    /// The passphrase of an encrypted private key file.
    Passphrase(PathBuf),
    /// The password that sudo wants from this user.
    Sudo {
        /// The login name there.
        user: String,
        /// The node's name in the rack: it says where the password comes from.
        node: String,
    },
}

/// Answers questions, or declines with `None`. Called on a thread that may block, so it can use a terminal.
pub type Ask = Arc<dyn Fn(&Question) -> Option<Secret> + Send + Sync>;
