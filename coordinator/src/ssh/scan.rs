//! A look at the operator's SSH configuration, only to know what need not be asked of `ssh -G`. When in doubt, it is
//! asked: no parser but OpenSSH's knows all of the format.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::known_hosts::matches_pattern;

/// The largest configuration file that is scanned, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// How many `Include`s deep files are scanned (OpenSSH's own bound).
const MAX_DEPTH: usize = 16;
/// Keywords that say nothing about how a node is reached.
const OF_NO_CONCERN: [&str; 14] = [
    "addkeystoagent",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "forwardagent",
    "forwardx11",
    "forwardx11trusted",
    "gssapiauthentication",
    "gssapidelegatecredentials",
    "sendenv",
    "serveralivecountmax",
    "serveraliveinterval",
    "setenv",
    "tcpkeepalive",
];

/// What configuration files say, as far as it matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// They could say something else for one host than for another.
    pub(super) per_host: bool,
    /// They could say something that matters besides `HashKnownHosts`.
    pub(super) speaks: bool,
    /// `HashKnownHosts`, for all hosts.
    pub(super) hash_known_hosts: Option<bool>,
}

impl Scan {
    const IN_DOUBT: Self = Self { per_host: true, speaks: true, hash_known_hosts: None };

    /// Of files and all that they include.
    pub(super) fn of(files: &[PathBuf], home: &Path) -> Self {
        let mut scan = Self::default();
        for file in files {
            let base = if file.starts_with(home) { home.join(".ssh") } else { PathBuf::from("/etc/ssh") };
            scan.add(file_and_includes(file, &base, home, &mut HashSet::new(), 0));
        }
        scan
    }

    fn add(&mut self, other: Self) {
        self.per_host |= other.per_host;
        // Of two values the first counts, but what is first only OpenSSH knows.
        let both = self.hash_known_hosts.zip(other.hash_known_hosts);
        self.speaks |= other.speaks || both.is_some_and(|(a, b)| a != b);
        self.hash_known_hosts = self.hash_known_hosts.or(other.hash_known_hosts);
    }

    fn line(&mut self, keyword: &str, value: &str) {
        match keyword {
            "" | "include" => {}
            "host" if value == "*" => {}
            "host" | "match" | "hostname" | "canonicalizehostname" | "hostkeyalias" => {
                self.add(Self::IN_DOUBT)
            }
            "hashknownhosts" => {
                let hash = match value.to_ascii_lowercase().as_str() {
                    "yes" | "true" => Some(true),
                    "no" | "false" => Some(false),
                    _ => None,
                };
                self.add(Self { per_host: false, speaks: hash.is_none(), hash_known_hosts: hash });
            }
            _ => self.speaks |= !keyword.starts_with('#') && !OF_NO_CONCERN.contains(&keyword),
        }
    }
}

fn file_and_includes(
    file: &Path,
    base: &Path,
    home: &Path,
    seen: &mut HashSet<PathBuf>,
    depth: usize,
) -> Scan {
    if depth > MAX_DEPTH {
        return Scan::IN_DOUBT;
    }
    if !seen.insert(file.to_owned()) {
        return Scan::default();
    }
    match std::fs::metadata(file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Scan::default(),
        Err(_) => return Scan::IN_DOUBT,
        Ok(meta) if meta.len() > MAX_FILE => return Scan::IN_DOUBT,
        Ok(_) => {}
    }
    let Ok(text) = std::fs::read(file) else { return Scan::IN_DOUBT };
    let (mut scan, includes) = text_alone(&String::from_utf8_lossy(&text));
    for pattern in includes {
        let pattern = pattern.strip_prefix("~/").map_or_else(|| base.join(&pattern), |rest| home.join(rest));
        for file in files_like(&pattern) {
            scan.add(file_and_includes(&file, base, home, seen, depth + 1));
        }
    }
    scan
}

/// What the text says by itself, and what it includes.
fn text_alone(text: &str) -> (Scan, Vec<String>) {
    let (mut scan, mut includes) = (Scan::default(), Vec::new());
    for line in text.lines() {
        let line = line.trim();
        let (keyword, value) = line.split_once([' ', '\t', '=']).unwrap_or((line, ""));
        let value = value.trim_start_matches([' ', '\t', '=']).trim().trim_matches('"');
        let keyword = keyword.to_ascii_lowercase();
        scan.line(&keyword, value);
        if keyword == "include" {
            includes.extend(value.split_whitespace().map(str::to_owned));
        }
    }
    (scan, includes)
}

/// Files that a pattern names; wildcards in the last component only, else the folder itself stands for "in doubt".
fn files_like(pattern: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (pattern.parent(), pattern.file_name()) else { return Vec::new() };
    let name = name.to_string_lossy();
    if dir.to_string_lossy().contains(['*', '?', '[']) || name.contains('[') {
        return vec![PathBuf::from("/")];
    }
    if !name.contains(['*', '?']) {
        return vec![pattern.to_owned()];
    }
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| matches_pattern(&entry.file_name().to_string_lossy(), &name))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_serves_all_unless_hosts_are_told_apart() {
        for (text, per_host) in [
            ("", false),
            ("# Host x\nUser ops\n", false),
            ("Host *\n  HashKnownHosts yes\n", false),
            ("host=*\n", false),
            ("Host w1\n User ops\n", true),
            ("Host * !w1\n", true),
            ("Match user ops\n", true),
            ("HostName %h.example\n", true),
        ] {
            assert_eq!(text_alone(text).0.per_host, per_host, "{text}");
        }
        assert_eq!(text_alone("Include a conf.d/*\n").1, ["a", "conf.d/*"]);
    }

    #[test]
    fn ssh_is_asked_unless_there_is_nothing_to_ask() {
        let debian = "Include /x/*.conf\nHost *\n\tSendEnv LANG LC_*\n\tHashKnownHosts yes\n\tGSSAPIAuthentication yes\n";
        for (text, speaks, hash_known_hosts) in [
            ("", false, None),
            ("#User x\n  # Port 2222\n#\n", false, None),
            (debian, false, Some(true)),
            ("HashKnownHosts=no\n", false, Some(false)),
            ("HashKnownHosts maybe\n", true, None),
            ("HashKnownHosts no\nHost *\nHashKnownHosts yes\n", true, Some(false)),
            ("user ops\n", true, None),
            ("port=2222\n", true, None),
            ("SomethingNew yes\n", true, None),
            ("\"User\" ops\n", true, None),
        ] {
            let scan = text_alone(text).0;
            assert_eq!((scan.speaks, scan.hash_known_hosts), (speaks, hash_known_hosts), "{text}");
        }
    }

    #[test]
    fn includes_are_followed() {
        let home = tempfile::tempdir().unwrap();
        let ssh = home.path().join(".ssh");
        let write = |name: &str, text: &str| {
            #[allow(clippy::disallowed_methods, reason = "a test's own folder")]
            std::fs::write(ssh.join(name), text).unwrap();
        };
        let scan = || Scan::of(&[ssh.join("config")], home.path());
        std::fs::create_dir_all(ssh.join("conf.d")).unwrap();
        write("config", "Include conf.d/*.conf\nInclude config\nInclude missing\n");
        write("conf.d/b.off", "Host w1\n");
        assert_eq!(scan(), Scan::default());
        write("conf.d/a.conf", "User ops\n");
        assert!(scan().speaks && !scan().per_host);
        write("conf.d/b.conf", "Host w1\n");
        assert!(scan().per_host);
    }
}
