//! Files and symbolic links.

use base64::Engine as _;
use serde::{Deserialize, Serialize};

use crate::kernel::sysctl_is_risky;
use crate::name::SysctlKey;
use crate::step::Decision;

/// A path and what shall be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileStep {
    /// Absolute path; no `.` or `..` in it.
    pub path: String,
    /// What shall be there.
    pub want: FileWant,
}

/// What shall be at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum FileWant {
    /// A regular file with these bytes.
    Content {
        /// The bytes.
        content: Content,
        /// Permission bits, for example `0o644`.
        mode: u32,
        /// Owner: a name of the host's `/etc/passwd`, or digits.
        owner: String,
        /// Group: a name of the host's `/etc/group`, or digits.
        group: String,
    },
    /// A regular file whose bytes the agent kept when it replaced them (the inverse of `Content`).
    Kept {
        /// SHA-256 of the kept bytes, lower-case hex.
        sha256: String,
        /// Permission bits.
        mode: u32,
        /// Numeric owner.
        uid: u32,
        /// Numeric group.
        gid: u32,
    },
    /// A symbolic link.
    Link {
        /// Its target, as written.
        target: String,
    },
    /// Nothing.
    Absent,
}

/// Bytes that read well in a plan: text where they are UTF-8, base64 where not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// UTF-8.
    Text(String),
    /// Anything else, RFC 4648 with padding.
    Base64(String),
}

impl Content {
    /// The shorter form for these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(base64::engine::general_purpose::STANDARD.encode(bytes)),
        }
    }

    /// The bytes; an error text when the base64 is broken.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::Text(text) => Ok(text.as_bytes().to_vec()),
            Self::Base64(text) => {
                base64::engine::general_purpose::STANDARD.decode(text).map_err(|e| e.to_string())
            }
        }
    }
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum FileSeen {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// SHA-256 of its bytes, lower-case hex.
        sha256: String,
        /// Its bytes, when they are few ([`FileSeen::INLINE`]), UTF-8, and for everybody to read: for diffs.
        #[serde(default)]
        text: Option<String>,
        /// Permission bits.
        mode: u32,
        /// Numeric owner.
        uid: u32,
        /// Numeric group.
        gid: u32,
        /// The owner's name on that host, where it has one.
        #[serde(default)]
        owner: Option<String>,
        /// The group's name on that host, where it has one.
        #[serde(default)]
        group: Option<String>,
    },
    /// A symbolic link.
    Link {
        /// Its target, as written.
        target: String,
    },
    /// A directory, device, socket or pipe; never replaced.
    Other {
        /// The kind, for people.
        what: String,
    },
}

impl FileSeen {
    /// The longest file, in bytes, that is reported with its text.
    pub const INLINE: u64 = 64 * 1024;

    /// Equal in all that a file step cares about.
    pub fn same(&self, other: &FileSeen) -> bool {
        match (self, other) {
            (
                Self::File { sha256: a, mode: am, uid: au, gid: ag, .. },
                Self::File { sha256: b, mode: bm, uid: bu, gid: bg, .. },
            ) => (a, am, au, ag) == (b, bm, bu, bg),
            (a, b) => a == b,
        }
    }

    /// One line for people.
    pub fn words(&self) -> String {
        match self {
            Self::Absent => "absent".into(),
            Self::File { sha256, mode, uid, gid, owner, group, .. } => {
                let owner = owner.clone().unwrap_or_else(|| uid.to_string());
                let group = group.clone().unwrap_or_else(|| gid.to_string());
                format!("{} {mode:04o} {owner}:{group}", sha256.get(..12).unwrap_or(sha256))
            }
            Self::Link { target } => format!("link to {target}"),
            Self::Other { what } => what.clone(),
        }
    }
}

impl FileStep {
    pub(crate) fn title(&self) -> String {
        match &self.want {
            FileWant::Content { .. } => format!("write {}", self.path),
            FileWant::Kept { .. } => format!("restore {}", self.path),
            FileWant::Link { .. } => format!("link {}", self.path),
            FileWant::Absent => format!("remove {}", self.path),
        }
    }

    /// Files that configure the network, and those of sysctl.d that would set a risky key at the next boot.
    pub(crate) fn risky(&self) -> bool {
        if self.path.starts_with("/etc/sysctl.d/") {
            return match &self.want {
                FileWant::Content { content: Content::Text(text), .. } => sets_risky_sysctl(text),
                _ => true,
            };
        }
        ["/etc/network/", "/etc/netplan/", "/etc/systemd/network/", "/etc/NetworkManager/", "/etc/ssh/"]
            .iter()
            .any(|dir| self.path.starts_with(dir))
    }

    /// Pure, given the SHA-256 of wanted bytes: the agent and the planner both have one at hand.
    pub(crate) fn decide(&self, seen: &FileSeen) -> Decision {
        if let FileSeen::Other { what } = seen {
            return Decision::Refuse { why: format!("{} is a {what}; move it away", self.path) };
        }
        if self.want.matches(seen) {
            return Decision::Keep;
        }
        Decision::change(seen.words(), self.want.words())
    }

    pub(crate) fn inverse(&self, before: &FileSeen) -> Option<FileStep> {
        if self.want.matches(before) {
            return None;
        }
        let want = match before {
            FileSeen::Absent => FileWant::Absent,
            FileSeen::File { sha256, mode, uid, gid, .. } => {
                FileWant::Kept { sha256: sha256.clone(), mode: *mode, uid: *uid, gid: *gid }
            }
            FileSeen::Link { target } => FileWant::Link { target: target.clone() },
            FileSeen::Other { .. } => return None,
        };
        Some(FileStep { path: self.path.clone(), want })
    }
}

fn sets_risky_sysctl(text: &str) -> bool {
    let key = |line: &str| line.split_once('=')?.0.trim().trim_start_matches('-').parse::<SysctlKey>().ok();
    text.lines().filter_map(key).any(|key| sysctl_is_risky(&key))
}

impl FileWant {
    /// Whether what was seen is what is wanted.
    pub fn matches(&self, seen: &FileSeen) -> bool {
        match (self, seen) {
            (
                Self::Content { content, mode, owner, group },
                FileSeen::File { sha256, mode: have, uid, gid, owner: o, group: g, .. },
            ) => {
                let named = |want: &str, name: &Option<String>, id: u32| {
                    name.as_deref() == Some(want) || want == id.to_string()
                };
                content.bytes().is_ok_and(|bytes| crate::file::sha256_hex(&bytes) == *sha256)
                    && mode == have
                    && named(owner, o, *uid)
                    && named(group, g, *gid)
            }
            (
                Self::Kept { sha256: a, mode: am, uid: au, gid: ag },
                FileSeen::File { sha256: b, mode: bm, uid: bu, gid: bg, .. },
            ) => (a, am, au, ag) == (b, bm, bu, bg),
            (Self::Link { target: a }, FileSeen::Link { target: b }) => a == b,
            (Self::Absent, FileSeen::Absent) => true,
            _ => false,
        }
    }

    /// One line for people.
    pub fn words(&self) -> String {
        match self {
            Self::Content { content, mode, owner, group } => {
                let bytes = content.bytes().unwrap_or_default();
                format!("{} {mode:04o} {owner}:{group}", &sha256_hex(&bytes)[..12])
            }
            Self::Kept { sha256, mode, uid, gid } => {
                format!("{} {mode:04o} {uid}:{gid}", sha256.get(..12).unwrap_or(sha256))
            }
            Self::Link { target } => format!("link to {target}"),
            Self::Absent => "absent".into(),
        }
    }
}

/// SHA-256 (FIPS 180-4) of `bytes`, lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sysctl_file_is_as_risky_as_what_it_sets_at_boot() {
        let file = |text: &str| FileStep {
            path: "/etc/sysctl.d/90-x.conf".into(),
            want: FileWant::Content {
                content: Content::Text(text.into()),
                mode: 0o644,
                owner: "root".into(),
                group: "root".into(),
            },
        };
        assert!(file("# x\nvm.swappiness = 1\n-net/ipv4/conf/eth0.1/rp_filter=1\n").risky());
        assert!(!file("# net.ipv4.ip_forward = 1\nvm.swappiness = 1\n").risky());
        assert!(FileStep { path: "/etc/sysctl.d/90-x.conf".into(), want: FileWant::Absent }.risky());
    }
}
