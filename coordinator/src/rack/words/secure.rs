//! Host keys, and which SSH configuration counts.

use std::fmt;
use std::str::FromStr;

use super::{LocalPath, WordError};

/// A host key that the operator vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostKeyPin {
    /// A whole public key: algorithm and base64, as in known_hosts or a `.pub` file.
    Key {
        /// `ssh-ed25519` and the like.
        algorithm: String,
        /// The key's wire form (RFC 4253), base64.
        base64: String,
    },
    /// The SHA-256 fingerprint as `ssh-keygen -l` prints it, without `SHA256:`.
    Fingerprint(String),
}

impl FromStr for HostKeyPin {
    type Err = WordError;
    fn from_str(text: &str) -> Result<Self, WordError> {
        let base64 = |t: &str| t.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
        if let Some(print) = text.strip_prefix("SHA256:")
            && print.trim_end_matches('=').len() == 43
            && base64(print)
        {
            return Ok(Self::Fingerprint(print.trim_end_matches('=').to_owned()));
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        if let [algorithm, key, ..] = words[..]
            && ["ssh-", "ecdsa-", "sk-"].iter().any(|p| algorithm.starts_with(p))
            && key.starts_with("AAAA")
            && base64(key)
        {
            return Ok(Self::Key { algorithm: algorithm.to_owned(), base64: key.to_owned() });
        }
        Err(WordError::new(
            "not a host key",
            "write \"ssh-ed25519 AAAA...\" (a line of ssh-keyscan without the name) or SHA256:... (ssh-keygen -l)",
        ))
    }
}

impl fmt::Display for HostKeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { algorithm, base64 } => write!(f, "{algorithm} {base64}"),
            Self::Fingerprint(print) => write!(f, "SHA256:{print}"),
        }
    }
}

/// Which OpenSSH client configuration to heed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum SshConfig {
    /// `~/.ssh/config` and the system's.
    #[default]
    Default,
    /// None at all.
    None,
    /// This file only.
    Path(LocalPath),
}

impl FromStr for SshConfig {
    type Err = WordError;
    fn from_str(text: &str) -> Result<Self, WordError> {
        match text {
            "default" => Ok(Self::Default),
            "none" => Ok(Self::None),
            path => path.parse().map(Self::Path),
        }
    }
}

impl fmt::Display for SshConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::None => f.write_str("none"),
            Self::Path(path) => path.fmt(f),
        }
    }
}

as_text!(HostKeyPin, SshConfig);
