//! What the operator's SSH configuration says about a node: `ssh -G` answers, since no parser knows all of it.
//!
//! `ssh -G` costs 6 ms, so it runs once for all nodes, unless the configuration could tell hosts apart.
//! What the rack says wins.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::known_hosts::matches_pattern;
use super::target::{Deadlines, Endpoint, Pin, Privilege, Target};

/// The deadline of `ssh -G`.
const DEADLINE: Duration = Duration::from_secs(10);
/// The largest configuration file that is scanned, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// The name asked about when one answer serves all hosts.
const ANY_HOST: &str = "rackwright-any-host";
/// How many `Include`s deep files are scanned (OpenSSH's own bound).
const MAX_DEPTH: usize = 16;
/// How many jump hosts may lie between coordinator and node.
const MAX_JUMPS: usize = 8;

/// What the rack says about how to reach a node. What it leaves out, the SSH configuration or a default fills in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The node's name.
    pub node: String,
    /// Its address.
    pub address: String,
    /// Its SSH port.
    pub port: Option<u16>,
    /// The login name.
    pub user: Option<String>,
    /// Private key files; if any is named, only these and the agent's are offered.
    pub identities: Vec<PathBuf>,
    /// known_hosts files; if any is named, only these count.
    pub known_hosts: Vec<PathBuf>,
    /// The node's host key.
    pub pin: Option<Pin>,
    /// Jump hosts as `[user@]host[:port]`; `Some` of an empty list means: none, whatever the configuration says.
    pub jump: Option<Vec<String>>,
    /// How root is reached.
    pub privilege: Privilege,
    /// How long things may take.
    pub deadlines: Deadlines,
}

/// Why the SSH configuration could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// `ssh -G` failed.
    #[error(
        "`ssh -G {host}` failed: {why}; correct ~/.ssh/config, or set `ssh: {{config: none}}` in the rack"
    )]
    Failed {
        /// Who was asked about.
        host: String,
        /// Its words.
        why: String,
    },
    /// A `ProxyCommand` is set, and only `ProxyJump` is understood.
    #[error("{host} is reached by a ProxyCommand, which rackwright does not run; use ProxyJump")]
    ProxyCommand {
        /// The host.
        host: String,
    },
    /// A jump host that is not `[user@]host[:port]`.
    #[error("{0:?} is not a jump host; write it as [user@]host[:port]")]
    Jump(String),
    /// Jump hosts that go through each other, or too many of them.
    #[error("more than {MAX_JUMPS} jump hosts to {0}; do they lead through each other?")]
    TooManyJumps(String),
}

/// Reads the SSH configuration for nodes.
pub struct Resolver {
    ssh: Option<PathBuf>,
    home: PathBuf,
    local_user: String,
    agent: Option<PathBuf>,
    per_host: bool,
    shared: OnceCell<Result<Answer, ConfigError>>,
}

impl Resolver {
    /// Looks for `ssh` in `PATH` and scans the configuration; with `use_config` false, does neither.
    pub fn new(use_config: bool) -> Self {
        let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
        let files = [home.join(".ssh/config"), PathBuf::from("/etc/ssh/ssh_config")];
        Self {
            ssh: if use_config { find_ssh() } else { None },
            per_host: use_config && files.iter().any(|file| tells_hosts_apart(file, &home)),
            local_user: std::env::var("USER").unwrap_or_else(|_| "root".to_owned()),
            agent: std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from),
            home,
            shared: OnceCell::new(),
        }
    }

    /// The target for a node.
    ///
    /// # Errors
    /// The configuration cannot be read, or says what is not supported.
    pub async fn target(&self, wanted: &Wanted) -> Result<Target, ConfigError> {
        let answer = self.answer(&wanted.address).await?;
        let jump = match &wanted.jump {
            Some(named) => named.clone(),
            None => answer.jumps(&wanted.address)?,
        };
        let mut endpoint = self.endpoint(&wanted.address, &answer);
        endpoint.port = wanted.port.unwrap_or(endpoint.port);
        endpoint.user = wanted.user.clone().unwrap_or(endpoint.user);
        if !wanted.identities.is_empty() {
            endpoint.identities = wanted.identities.iter().map(|path| self.expand_home(path)).collect();
        }
        if !wanted.known_hosts.is_empty() {
            endpoint.known_hosts = wanted.known_hosts.iter().map(|path| self.expand_home(path)).collect();
        }
        endpoint.pin = wanted.pin.clone();
        let mut deadlines = wanted.deadlines;
        if let (Some(connect), true) =
            (answer.connect_timeout, deadlines.connect == Deadlines::default().connect)
        {
            deadlines.connect = connect;
        }
        let jump = self.jumps(&jump, wanted).await?;
        Ok(Target { node: wanted.node.clone(), endpoint, jump, privilege: wanted.privilege, deadlines })
    }

    /// The jump hosts with what the configuration says about each; a jump host may have jump hosts of its own.
    async fn jumps(&self, named: &[String], wanted: &Wanted) -> Result<Vec<Endpoint>, ConfigError> {
        let mut chain = Vec::new();
        for (index, name) in named.iter().enumerate() {
            let (user, host, port) = parse_jump(name).ok_or_else(|| ConfigError::Jump(name.clone()))?;
            let answer = self.answer(&host).await?;
            // As with `ssh -J`, the first one's own jump hosts come before it; later ones are named explicitly.
            if index == 0 && self.per_host && chain.is_empty() && named.len() < MAX_JUMPS {
                let own = answer.jumps(&host)?;
                if own.iter().any(|hop| hop == name) {
                    return Err(ConfigError::TooManyJumps(wanted.node.clone()));
                }
                chain = Box::pin(self.jumps(&own, wanted)).await?;
            }
            let mut endpoint = self.endpoint(&host, &answer);
            endpoint.user = user.or_else(|| wanted.user.clone()).unwrap_or(endpoint.user);
            endpoint.port = port.unwrap_or(endpoint.port);
            if !wanted.identities.is_empty() {
                endpoint.identities = wanted.identities.iter().map(|path| self.expand_home(path)).collect();
            }
            if !wanted.known_hosts.is_empty() {
                endpoint.known_hosts = wanted.known_hosts.iter().map(|path| self.expand_home(path)).collect();
            }
            chain.push(endpoint);
            if chain.len() > MAX_JUMPS {
                return Err(ConfigError::TooManyJumps(wanted.node.clone()));
            }
        }
        Ok(chain)
    }

    async fn answer(&self, host: &str) -> Result<Answer, ConfigError> {
        let Some(ssh) = &self.ssh else { return Ok(Answer::default()) };
        if self.per_host {
            return ask(ssh, host).await;
        }
        let mut answer = self.shared.get_or_init(|| ask(ssh, ANY_HOST)).await.clone()?;
        answer.hostname = None;
        Ok(answer)
    }

    fn endpoint(&self, host: &str, answer: &Answer) -> Endpoint {
        let name = answer.hostname.clone().unwrap_or_else(|| host.to_owned());
        let user = answer.user.clone().unwrap_or_else(|| self.local_user.clone());
        let mut endpoint = Endpoint::new(name, answer.port.unwrap_or(22), user);
        let expand = |text: &String| self.expand(text, &endpoint, host);
        let or_default = |given: &[String], default: &[&str]| -> Vec<PathBuf> {
            if given.is_empty() {
                return default.iter().map(|path| self.expand_home(Path::new(path))).collect();
            }
            given.iter().filter(|path| *path != "none" && *path != "/dev/null").map(expand).collect()
        };
        let identities =
            or_default(&answer.identities, &["~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"]);
        let default = ["~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts"];
        let known_hosts = or_default(&answer.known_hosts, &default);
        let agent_socket = match answer.identity_agent.as_deref() {
            Some("none") => None,
            None | Some("SSH_AUTH_SOCK") => self.agent.clone(),
            Some(path) => Some(self.expand(path, &endpoint, host)),
        };
        let host_key_alias = answer.host_key_alias.clone();
        // Of the default key files only those that exist are worth a word.
        endpoint.identities = identities.into_iter().filter(|path| path.exists()).collect();
        endpoint.identities_only = answer.identities_only;
        endpoint.hash_known_hosts = answer.hash_known_hosts;
        Endpoint { known_hosts, agent_socket, host_key_alias, ..endpoint }
    }

    fn expand_home(&self, path: &Path) -> PathBuf {
        path.strip_prefix("~").map_or_else(|_| path.to_owned(), |rest| self.home.join(rest))
    }

    /// Expands `~` and the tokens of ssh_config(5), "TOKENS", that `ssh -G` leaves in paths.
    fn expand(&self, text: &str, endpoint: &Endpoint, original: &str) -> PathBuf {
        let mut out = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match (c, if c == '%' { chars.next() } else { None }) {
                ('%', Some('%')) => out.push('%'),
                ('%', Some('d')) => out.push_str(&self.home.to_string_lossy()),
                ('%', Some('h')) => out.push_str(&endpoint.host),
                ('%', Some('n')) => out.push_str(original),
                ('%', Some('p')) => out.push_str(&endpoint.port.to_string()),
                ('%', Some('r')) => out.push_str(&endpoint.user),
                ('%', Some('u')) => out.push_str(&self.local_user),
                ('%', Some(other)) => out.extend(['%', other]),
                (c, _) => out.push(c),
            }
        }
        self.expand_home(Path::new(&out))
    }
}

fn find_ssh() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("ssh")).find(|file| file.is_file())
}

async fn ask(ssh: &Path, host: &str) -> Result<Answer, ConfigError> {
    let failed = |why: String| ConfigError::Failed { host: host.to_owned(), why };
    if host.starts_with('-') {
        return Err(failed("a name that begins with a dash".to_owned()));
    }
    #[allow(clippy::disallowed_methods, reason = "this is the door: by argv, with a deadline")]
    let mut command = tokio::process::Command::new(ssh);
    command.args(["-G", host]).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output())
        .await
        .map_err(|_| failed(format!("no answer in {DEADLINE:?}")))?
        .map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        return Err(failed(super::process::printable(&output.stderr).chars().take(400).collect()));
    }
    Ok(Answer::parse(&String::from_utf8_lossy(&output.stdout)))
}

/// The part of `ssh -G`'s answer that matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    hostname: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    identities: Vec<String>,
    identities_only: bool,
    identity_agent: Option<String>,
    known_hosts: Vec<String>,
    hash_known_hosts: bool,
    host_key_alias: Option<String>,
    proxy_jump: Option<String>,
    proxy_command: bool,
    connect_timeout: Option<Duration>,
}

impl Answer {
    /// Reads lines of `keyword value`; unknown ones are none of our business.
    pub fn parse(text: &str) -> Self {
        let mut answer = Self::default();
        for (keyword, value) in text.lines().filter_map(|line| line.split_once(' ')) {
            let owned = || Some(value.to_owned());
            match keyword {
                "hostname" => answer.hostname = owned(),
                "port" => answer.port = value.parse().ok(),
                "user" => answer.user = owned(),
                "identityfile" => answer.identities.push(value.to_owned()),
                "identitiesonly" => answer.identities_only = value == "yes",
                "identityagent" => answer.identity_agent = owned(),
                "userknownhostsfile" => {
                    let files: Vec<String> = value.split(' ').map(str::to_owned).collect();
                    answer.known_hosts.splice(0..0, files);
                }
                "globalknownhostsfile" => answer.known_hosts.extend(value.split(' ').map(str::to_owned)),
                "hashknownhosts" => answer.hash_known_hosts = value == "yes",
                "hostkeyalias" => answer.host_key_alias = owned(),
                "proxyjump" => answer.proxy_jump = owned().filter(|jump| jump != "none"),
                "proxycommand" => answer.proxy_command = value != "none",
                "connecttimeout" => answer.connect_timeout = value.parse().ok().map(Duration::from_secs),
                _ => {}
            }
        }
        answer
    }

    fn jumps(&self, host: &str) -> Result<Vec<String>, ConfigError> {
        match &self.proxy_jump {
            Some(jump) => Ok(jump.split(',').map(|hop| hop.trim().to_owned()).collect()),
            None if self.proxy_command => Err(ConfigError::ProxyCommand { host: host.to_owned() }),
            None => Ok(Vec::new()),
        }
    }
}

/// Splits `[user@]host[:port]`, also as `ssh://…` and with an IPv6 address in brackets.
pub fn parse_jump(text: &str) -> Option<(Option<String>, String, Option<u16>)> {
    let text = text.strip_prefix("ssh://").unwrap_or(text).trim_end_matches('/');
    let (user, rest) = match text.rsplit_once('@') {
        Some((user, rest)) => (Some(user.to_owned()), rest),
        None => (None, text),
    };
    let (host, port) = if let Some(bracketed) = rest.strip_prefix('[') {
        let (host, after) = bracketed.split_once(']')?;
        (host, after.strip_prefix(':'))
    } else {
        match rest.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (rest, None),
        }
    };
    let port = port.map(str::parse).transpose().ok()?;
    let sane = !host.is_empty() && !host.starts_with('-') && !host.contains(char::is_whitespace);
    (sane && user.as_deref() != Some("")).then(|| (user, host.to_owned(), port))
}

/// Whether a configuration file, or one it includes, could say something else for one host than for another. When in
/// doubt, it could.
fn tells_hosts_apart(file: &Path, home: &Path) -> bool {
    let mut seen = HashSet::new();
    let base = if file.starts_with(home) { home.join(".ssh") } else { PathBuf::from("/etc/ssh") };
    scan(file, &base, home, &mut seen, 0)
}

fn scan(file: &Path, base: &Path, home: &Path, seen: &mut HashSet<PathBuf>, depth: usize) -> bool {
    if depth > MAX_DEPTH || !seen.insert(file.to_owned()) {
        return depth > MAX_DEPTH;
    }
    match std::fs::metadata(file) {
        Err(e) => return e.kind() != std::io::ErrorKind::NotFound,
        Ok(meta) if meta.len() > MAX_FILE => return true,
        Ok(_) => {}
    }
    let Ok(text) = std::fs::read(file) else { return true };
    let (apart, includes) = scan_text(&String::from_utf8_lossy(&text));
    apart
        || includes.iter().any(|pattern| {
            let pattern =
                pattern.strip_prefix("~/").map_or_else(|| base.join(pattern), |rest| home.join(rest));
            files_like(&pattern).iter().any(|file| scan(file, base, home, seen, depth + 1))
        })
}

/// Whether the text tells hosts apart by itself, and what it includes.
fn scan_text(text: &str) -> (bool, Vec<String>) {
    let mut includes = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        let (keyword, value) = line.split_once([' ', '\t', '=']).unwrap_or((line, ""));
        let value = value.trim_start_matches([' ', '\t', '=']).trim().trim_matches('"');
        match keyword.to_ascii_lowercase().as_str() {
            "host" if value == "*" => {}
            "host" | "match" | "hostname" | "canonicalizehostname" | "hostkeyalias" => {
                return (true, includes);
            }
            "include" => includes.extend(value.split_whitespace().map(str::to_owned)),
            _ => {}
        }
    }
    (false, includes)
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
#[path = "config_tests.rs"]
mod tests;
