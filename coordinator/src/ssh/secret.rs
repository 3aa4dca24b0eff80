//! Passwords and passphrases: a type that cannot be printed, and the questions that yield them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

/// A password or passphrase. Wiped when dropped; `Debug` shows `***`; it has no `Display` and no `Serialize`.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over the text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for the one place that must send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2".into()))), "Some(***)");
    }
}
