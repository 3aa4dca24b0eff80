//! Words that only the rack uses, parsed once and valid ever after.
//!
//! Shared ones (node names, sysctl keys, address ranges, ...) are in `rackwright-proto`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use address::{Cidr, HostAddress, InterfaceChoice, Upstream};
pub use secure::{HostKeyPin, SshConfig};
pub use value::{Mode, Period, Version};

/// Why a text is not what its field wants, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WordError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl WordError {
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: Some(help.into()) }
    }
}

/// Serde through `Display` and `FromStr`: in YAML and JSON all of these are plain text.
macro_rules! as_text {
    ($($type:ident),*) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

macro_rules! word {
    ($(#[$doc:meta])* $type:ident, $what:literal, $help:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// As written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = WordError;
            fn from_str(text: &str) -> Result<Self, WordError> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(WordError::new(format!(concat!("`{}` is not ", $what), text), $help))
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        as_text!($type);
    };
}

mod address;
mod secure;
mod value;

fn dns_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(dns_label)
}

fn qualified(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.len() <= 63 && text.bytes().all(inner) && edge(text.bytes().next()) && edge(text.bytes().last())
}

fn plain_path(text: &str) -> bool {
    !text.is_empty() && text.len() <= 4096 && !text.contains('\0')
}

word!(
    /// An absolute path on a host, without `.`, `..`, `//` or a final `/`.
    AbsolutePath,
    "an absolute path without `.`, `..`, `//` or a final `/`",
    "write the whole path, such as /etc/modprobe.d/local.conf",
    |text| plain_path(text)
        && text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(|p| !matches!(p, "" | "." | "..")))
);

word!(
    /// A path where the operator sits: absolute, below `~/`, or relative to the rack's folder.
    LocalPath,
    "a path",
    "write a path; a relative one starts at the rack's folder",
    plain_path
);

word!(
    /// The name of a Kubernetes object (RFC 1123 subdomain).
    ObjectName,
    "a name of a Kubernetes object",
    "lower-case letters, digits and `-`, in parts separated by dots (RFC 1123)",
    dns_subdomain
);

word!(
    /// A Kubernetes namespace, or another name that is one DNS label (RFC 1123).
    Label,
    "a DNS label",
    "lower-case letters, digits and `-`, at most 63 (RFC 1123)",
    dns_label
);

word!(
    /// The key of a Kubernetes label, with or without a prefix.
    LabelKey,
    "a label key",
    "write NAME or PREFIX/NAME, such as example.com/room",
    |text| match text.split_once('/') {
        Some((prefix, name)) => dns_subdomain(prefix) && qualified(name),
        None => qualified(text),
    }
);

word!(
    /// The value of a Kubernetes label; may be empty.
    LabelValue,
    "a label value",
    "at most 63 letters, digits, `.`, `_` and `-`, with a letter or digit at both ends",
    |text| text.is_empty() || qualified(text)
);

word!(
    /// The stable name of a finding, by which it is waived.
    FindingName,
    "the name of a finding",
    "copy the name from `rackwright check`, such as pool-address-in-use",
    |text| dns_label(text) && text.contains('-')
);

word!(
    /// A SHA-256 in lower-case hex.
    Sha256,
    "a SHA-256",
    "64 digits of lower-case hex, as sha256sum prints them",
    |text| text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
);

word!(
    /// An address on the web, by https only.
    HttpsUrl,
    "an https address",
    "write https://HOST/PATH, without user or password",
    |text| {
        let rest = text.strip_prefix("https://").filter(|_| text.len() <= 2048);
        let host = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        !host.is_empty() && !host.contains('@') && plain && text.parse::<http::Uri>().is_ok()
    }
);

word!(
    /// A user or group of a host: a name or a numeric id.
    UserName,
    "a user name or numeric id",
    "letters, digits, `.`, `_` and `-`, at most 32, not beginning with `-`",
    |text| (1..=32).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-$@\\".contains(&b))
);

word!(
    /// The name of an environment variable.
    EnvName,
    "the name of an environment variable",
    "letters, digits and `_`, such as RACK_SUDO_PASSWORD; never the secret itself",
    |text| (1..=128).contains(&text.len())
        && !text.as_bytes()[0].is_ascii_digit()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
);

word!(
    /// Words for people; anything but nothing.
    Prose,
    "a reason",
    "say it in a few words",
    |text| !text.trim().is_empty()
);

word!(
    /// The whole content of a file, any text.
    Text,
    "text",
    "any text",
    |_| true
);

word!(
    /// A sysctl's value as `/proc/sys` would take it: one line.
    SysctlValue,
    "a sysctl's value",
    "one line, as `sysctl -n KEY` would print it",
    |text| !text.trim().is_empty() && text.len() <= 4096 && !text.contains(['\n', '\0'])
);

impl LocalPath {
    /// The path to open: relative ones start at the rack's folder, `~/` at the operator's home.
    pub fn resolve(&self, folder: &Path, home: Option<&Path>) -> PathBuf {
        match (self.0.strip_prefix("~/"), home) {
            (Some(below), Some(home)) => home.join(below),
            _ => folder.join(&self.0),
        }
    }
}
