//! Names that are parsed once, at the door, and valid ever after.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a valid name: what was expected, and of what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {kind}: {why}")]
pub struct NameError {
    /// The kind of name, as the operator would call it.
    pub kind: &'static str,
    /// The offending text.
    pub text: String,
    /// The rule that it breaks.
    pub why: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<String, &'static str> = $check;
                check(text)
                    .map(Self)
                    .map_err(|why| NameError { kind: $kind, text: text.to_owned(), why })
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A node's name: an RFC 1123 subdomain, as Kubernetes wants node names.
    NodeName,
    "node name",
    |text| {
        let label = |l: &str| {
            !l.is_empty()
                && l.len() <= 63
                && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        if text.len() > 253 {
            return Err("at most 253 characters");
        }
        if !text.split('.').all(label) {
            return Err("lower-case letters, digits and `-` in parts separated by dots (RFC 1123)");
        }
        Ok(text.to_owned())
    }
);

name!(
    /// A tool's name, or that of one of its programs: part of a path.
    ToolName,
    "tool name",
    |text| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if text.is_empty() || text.len() > 63 || text.starts_with('-') || text == "link" {
            return Err("1 to 63 characters, not beginning with `-`");
        }
        if !text.bytes().all(plain) {
            return Err("lower-case letters, digits, `-` and `_` only");
        }
        Ok(text.to_owned())
    }
);

name!(
    /// A tool's version: part of a path.
    ToolVersion,
    "version",
    |text| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
        if text.is_empty() || text.len() > 63 || !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err("1 to 63 characters, beginning with a letter or digit");
        }
        if !text.bytes().all(plain) {
            return Err("letters, digits, `.`, `_`, `+` and `-` only");
        }
        Ok(text.to_owned())
    }
);

name!(
    /// A SHA-256 (FIPS 180-4).
    Sha256,
    "SHA-256",
    |text| {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 64 || !text.bytes().all(hex) {
            return Err("64 hexadecimal digits in lower case");
        }
        Ok(text.to_owned())
    }
);

name!(
    /// A network interface's name, as the kernel accepts it (`dev_valid_name`: 1 to 15 bytes, no `/`, `:` or blank).
    IfName,
    "interface name",
    |text| {
        if text.is_empty() || text.len() > 15 {
            return Err("1 to 15 characters");
        }
        if text == "." || text == ".." || text.bytes().any(|b| b == b'/' || b == b':' || b.is_ascii_whitespace()) {
            return Err("no `/`, `:` or blank in it");
        }
        Ok(text.to_owned())
    }
);

name!(
    /// A kernel module's name, normalised as modprobe does: `-` becomes `_`.
    ModuleName,
    "kernel module name",
    |text| {
        if text.is_empty() || text.len() > 55 {
            return Err("1 to 55 characters");
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            return Err("letters, digits, `_` and `-` only");
        }
        Ok(text.replace('-', "_"))
    }
);

name!(
    /// A sysctl key in the dotted form of sysctl.d(5). A `/` separated key is accepted too; a dot inside an
    /// interface's name is then kept, written as `/` (`net.ipv4.conf.eth0/100.rp_filter`).
    SysctlKey,
    "sysctl key",
    |text| {
        let slash_first = text.find(['.', '/']).is_some_and(|i| text.as_bytes()[i] == b'/');
        let dotted: String = if slash_first {
            text.chars().map(|c| match c { '/' => '.', '.' => '/', c => c }).collect()
        } else {
            text.to_owned()
        };
        let part = |p: &str| !p.is_empty() && p != "/" && !p.split('/').any(str::is_empty);
        if dotted.len() > 255 || !dotted.contains('.') || !dotted.split('.').all(part) {
            return Err("a key like `net.ipv4.ip_forward`");
        }
        if !dotted.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/@:".contains(&b)) {
            return Err("letters, digits and `._-/` only");
        }
        if dotted.split(['.', '/']).any(|p| p == "..") {
            return Err("no `..` in it");
        }
        Ok(dotted)
    }
);

impl SysctlKey {
    /// The key's path below `/proc/sys`, for example `net/ipv4/ip_forward`.
    pub fn path(&self) -> String {
        self.0
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect()
    }
}

name!(
    /// A systemd unit's name with its suffix, for example `rackwright-drift.timer`.
    UnitName,
    "systemd unit name",
    |text| {
        const SUFFIXES: [&str; 6] = [".service", ".timer", ".swap", ".socket", ".target", ".mount"];
        if text.len() > 255 || !SUFFIXES.iter().any(|s| text.len() > s.len() && text.ends_with(s)) {
            return Err("a unit like `name.service`");
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b)) {
            return Err("letters, digits and `:-_.\\@` only");
        }
        Ok(text.to_owned())
    }
);

name!(
    /// A run's id: time and chance, safe as a file and unit name, for example `20261123t142233-7k3f9x`.
    RunId,
    "run id",
    |text| {
        if text.is_empty() || text.len() > 40 {
            return Err("1 to 40 characters");
        }
        if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return Err("lower-case letters, digits and `-` only");
        }
        Ok(text.to_owned())
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctl_keys_keep_dots_of_interface_names() {
        let key: SysctlKey = "net/ipv4/conf/eth0.100/rp_filter".parse().expect("valid");
        assert_eq!(key.as_str(), "net.ipv4.conf.eth0/100.rp_filter");
        assert_eq!(key.path(), "net/ipv4/conf/eth0.100/rp_filter");
        assert_eq!(key.as_str().parse::<SysctlKey>().expect("valid"), key);
    }

    #[test]
    fn sysctl_keys_cannot_leave_proc_sys() {
        for bad in ["", "net", "../../etc/passwd", "net/../../etc", "net..ipv4", "net.ipv4.", "a b.c"] {
            assert!(bad.parse::<SysctlKey>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn module_names_are_normalised() {
        assert_eq!("nf-conntrack".parse::<ModuleName>().expect("valid").as_str(), "nf_conntrack");
        assert!("../x".parse::<ModuleName>().is_err());
    }

    #[test]
    fn node_names_follow_rfc_1123() {
        for good in ["cp1", "a.b-c.d", "0"] {
            assert!(good.parse::<NodeName>().is_ok(), "{good:?} was refused");
        }
        for bad in ["", "CP1", "a_b", "-a", "a-", "a..b", "a b"] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad:?} was accepted");
        }
    }
}
