//! What the operator's SSH configuration says about a node: `ssh -G` answers, since no parser knows all of it.
//!
//! `ssh -G` costs 6 ms, so it runs once for all nodes, unless the configuration could tell hosts apart, and not at
//! all if the configuration plainly says nothing about how nodes are reached.
//! What the rack says wins.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::scan::Scan;
use super::target::{Deadlines, Endpoint, Pin, Privilege, Target};

/// The deadline of `ssh -G`.
const DEADLINE: Duration = Duration::from_secs(10);
/// The name asked about when one answer serves all hosts.
const ANY_HOST: &str = "rackwright-any-host";
/// OpenSSH's own defaults, for when it is not asked.
const DEFAULT_IDENTITIES: [&str; 3] = ["~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"];
const DEFAULT_KNOWN_HOSTS: [&str; 4] =
    ["~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];
/// How many jump hosts may lie between coordinator and node.
const MAX_JUMPS: usize = 8;

/// Which SSH configuration counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Source {
    /// `~/.ssh/config` and the system's.
    #[default]
    Default,
    /// None; `ssh` is not run.
    None,
    /// This file only.
    File(PathBuf),
}

/// What the rack says about how to reach a node. What it leaves out, the SSH configuration or a default fills in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The node's name.
    pub node: String,
    /// The node itself.
    pub hop: WantedHop,
    /// Jump hosts; `Some` of an empty list means: none, whatever the configuration says.
    pub jump: Option<Vec<WantedHop>>,
    /// known_hosts files; if any is named, only these count.
    pub known_hosts: Vec<PathBuf>,
    /// Never ask the ssh-agent.
    pub no_agent: bool,
    /// How root is reached.
    pub privilege: Privilege,
    /// How long things may take. The configuration's `ConnectTimeout` counts if `connect` is the default.
    pub deadlines: Deadlines,
}

/// What the rack says about one server on the way to a node, or the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedHop {
    /// Its address, or a name that the SSH configuration knows.
    pub address: String,
    /// Its SSH port.
    pub port: Option<u16>,
    /// The login name.
    pub user: Option<String>,
    /// Private key files, instead of the configuration's.
    pub identities: Vec<PathBuf>,
    /// Its host keys, instead of known_hosts.
    pub pins: Vec<Pin>,
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
    /// The only configuration file, if one was named.
    file: Option<PathBuf>,
    home: PathBuf,
    local_user: String,
    agent: Option<PathBuf>,
    per_host: bool,
    hash_known_hosts: bool,
    shared: OnceCell<Result<Answer, ConfigError>>,
}

impl Resolver {
    /// Looks for `ssh` in `PATH` and scans the configuration, unless there is to be none.
    pub fn new(source: &Source) -> Self {
        let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
        let files = match source {
            Source::Default => vec![home.join(".ssh/config"), PathBuf::from("/etc/ssh/ssh_config")],
            Source::None => Vec::new(),
            Source::File(file) => vec![file.clone()],
        };
        let scan = Scan::of(&files, &home);
        Self {
            ssh: if scan.speaks { find_ssh() } else { None },
            file: if let Source::File(file) = source { Some(file.clone()) } else { None },
            per_host: scan.per_host,
            hash_known_hosts: scan.hash_known_hosts.unwrap_or(false),
            local_user: local_user(),
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
        let answer = self.answer(&wanted.hop.address).await?;
        let jump = match &wanted.jump {
            Some(named) => named.clone(),
            None => answer.jumps(&wanted.hop.address)?,
        };
        let endpoint = self.endpoint(&wanted.hop, wanted, &answer);
        let mut deadlines = wanted.deadlines;
        if deadlines.connect == Deadlines::default().connect {
            deadlines.connect = answer.connect_timeout.unwrap_or(deadlines.connect);
        }
        let jump = self.jumps(jump, wanted).await?;
        Ok(Target {
            node: wanted.node.clone(),
            endpoint,
            jump,
            privilege: wanted.privilege,
            deadlines,
            rack: None,
        })
    }

    /// The jump hosts with what the configuration says about each. The first one's own jump hosts come before it, as
    /// with `ssh -J`, unless the rack names the way.
    async fn jumps(&self, named: Vec<WantedHop>, wanted: &Wanted) -> Result<Vec<Endpoint>, ConfigError> {
        let mut way: VecDeque<WantedHop> = named.into();
        while let (None, Some(first)) = (&wanted.jump, way.front()) {
            let before = self.answer(&first.address).await?.jumps(&first.address)?;
            if !self.per_host || before.is_empty() {
                break;
            }
            before.into_iter().rev().for_each(|hop| way.push_front(hop));
            if way.len() > MAX_JUMPS {
                return Err(ConfigError::TooManyJumps(wanted.node.clone()));
            }
        }
        let mut chain = Vec::new();
        for hop in way {
            let answer = self.answer(&hop.address).await?;
            chain.push(self.endpoint(&hop, wanted, &answer));
        }
        Ok(chain)
    }

    async fn answer(&self, host: &str) -> Result<Answer, ConfigError> {
        let Some(ssh) = &self.ssh else {
            return Ok(Answer { hash_known_hosts: self.hash_known_hosts, ..Answer::default() });
        };
        if self.per_host {
            return ask(ssh, self.file.as_deref(), host).await;
        }
        let mut answer =
            self.shared.get_or_init(|| ask(ssh, self.file.as_deref(), ANY_HOST)).await.clone()?;
        answer.hostname = None;
        Ok(answer)
    }

    fn endpoint(&self, hop: &WantedHop, wanted: &Wanted, answer: &Answer) -> Endpoint {
        let host = answer.hostname.clone().unwrap_or_else(|| hop.address.clone());
        let user = hop.user.as_ref().or(answer.user.as_ref()).unwrap_or(&self.local_user);
        let bare = Endpoint::new(host, hop.port.or(answer.port).unwrap_or(22), user.clone());
        let files = |rack: &[PathBuf], config: &[String], default: &[&str]| {
            self.files(rack, config, default, |path| self.expand(path, &bare, &hop.address))
        };
        let mut identities = files(&hop.identities, &answer.identities, &DEFAULT_IDENTITIES);
        if hop.identities.is_empty() {
            // Of the default key files only those that exist are worth a word.
            identities.retain(|path| path.exists());
        }
        let agent_socket = match answer.identity_agent.as_deref() {
            _ if wanted.no_agent => None,
            Some("none") => None,
            None | Some("SSH_AUTH_SOCK") => self.agent.clone(),
            Some(path) => Some(self.expand(path, &bare, &hop.address)),
        };
        Endpoint {
            identities,
            identities_only: answer.identities_only,
            agent_socket,
            known_hosts: files(&wanted.known_hosts, &answer.known_hosts, &DEFAULT_KNOWN_HOSTS),
            hash_known_hosts: answer.hash_known_hosts,
            host_key_alias: answer.host_key_alias.clone(),
            pins: hop.pins.clone(),
            ..bare
        }
    }

    /// The rack's files, else the configuration's, else the default ones.
    fn files(
        &self,
        rack: &[PathBuf],
        config: &[String],
        default: &[&str],
        expand: impl Fn(&str) -> PathBuf,
    ) -> Vec<PathBuf> {
        if !rack.is_empty() {
            return rack.iter().map(|path| self.expand_home(path)).collect();
        }
        if config.is_empty() {
            return default.iter().map(|path| self.expand_home(Path::new(path))).collect();
        }
        let given = config.iter().filter(|path| *path != "none" && *path != "/dev/null");
        given.map(|path| expand(path)).collect()
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

/// The user that runs this process, as OpenSSH names the login where nothing else does.
fn local_user() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name);
    user.or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "root".to_owned())
}

fn find_ssh() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("ssh")).find(|file| file.is_file())
}

async fn ask(ssh: &Path, file: Option<&Path>, host: &str) -> Result<Answer, ConfigError> {
    let failed = |why: String| ConfigError::Failed { host: host.to_owned(), why };
    if host.starts_with('-') {
        return Err(failed("a name that begins with a dash".to_owned()));
    }
    #[allow(clippy::disallowed_methods, reason = "this is the door: by argv, with a deadline")]
    let mut command = tokio::process::Command::new(ssh);
    if let Some(file) = file {
        command.arg("-F").arg(file);
    }
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

    fn jumps(&self, host: &str) -> Result<Vec<WantedHop>, ConfigError> {
        let parse = |hop: &str| parse_jump(hop.trim()).ok_or_else(|| ConfigError::Jump(hop.to_owned()));
        match &self.proxy_jump {
            Some(jump) => jump.split(',').map(parse).collect(),
            None if self.proxy_command => Err(ConfigError::ProxyCommand { host: host.to_owned() }),
            None => Ok(Vec::new()),
        }
    }
}

/// Splits `[user@]host[:port]`, also as `ssh://…` and with an IPv6 address in brackets.
pub fn parse_jump(text: &str) -> Option<WantedHop> {
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
    let hop = WantedHop { address: host.to_owned(), user, port, ..WantedHop::default() };
    (sane && hop.user.as_deref() != Some("")).then_some(hop)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
