//! What a connection needs to know: where a node is, as whom to log in, what proves its identity.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use russh::keys::ssh_key::{Fingerprint, HashAlg};
use russh::keys::{PublicKey, PublicKeyOrCertificate};

/// One SSH server: a node, or a jump host on the way to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address to connect to.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Login name.
    pub user: String,
    /// Private key files, in the order in which they are tried. Missing files are skipped.
    pub identities: Vec<PathBuf>,
    /// Offer only `identities`, even if the ssh-agent holds more keys.
    pub identities_only: bool,
    /// Socket of the ssh-agent, if one is to be used.
    pub agent_socket: Option<PathBuf>,
    /// known_hosts files, the user's first. `trust` writes to the first.
    pub known_hosts: Vec<PathBuf>,
    /// Whether `trust` hashes the names that it writes (OpenSSH's `HashKnownHosts`).
    pub hash_known_hosts: bool,
    /// Name to look up in known_hosts instead of `host` and `port` (OpenSSH's `HostKeyAlias`).
    pub host_key_alias: Option<String>,
    /// The host's keys as the rack states them. If there are any, known_hosts is not asked.
    pub pins: Vec<Pin>,
}

impl Endpoint {
    /// An endpoint with nothing but an address and a user: no keys, no known_hosts, no pin.
    pub fn new(host: impl Into<String>, port: u16, user: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port,
            user: user.into(),
            identities: Vec::new(),
            identities_only: false,
            agent_socket: None,
            known_hosts: Vec::new(),
            hash_known_hosts: false,
            host_key_alias: None,
            pins: Vec::new(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A node and the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The node's name in the rack: what errors call it, and what `rackwright trust` takes.
    pub node: String,
    /// The node's own SSH server.
    pub endpoint: Endpoint,
    /// Jump hosts, the first one nearest to the coordinator.
    pub jump: Vec<Endpoint>,
    /// How root is reached after the login.
    pub privilege: Privilege,
    /// How long each thing may take.
    pub deadlines: Deadlines,
    /// The rack's file where it is not the default one: for commands that errors tell to type.
    pub rack: Option<String>,
}

impl Target {
    /// The jump host of this name as a target of its own, with the jump hosts before it: for `rackwright trust`.
    pub fn jump_host(&self, host: &str) -> Option<Self> {
        let index = self.jump.iter().position(|hop| hop.host == host)?;
        Some(Self {
            node: host.to_owned(),
            endpoint: self.jump[index].clone(),
            jump: self.jump[..index].to_vec(),
            privilege: Privilege::Login,
            deadlines: self.deadlines,
            rack: self.rack.clone(),
        })
    }
}

/// How the agent gets root's rights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Privilege {
    /// The login user is root already.
    #[default]
    Login,
    /// `sudo -n`: sudo must not ask for a password.
    Sudo,
    /// `sudo -S`: if sudo asks, [`Question::Sudo`](super::Question::Sudo) is answered; who answers sees to it that a person is asked once.
    SudoPassword,
}

/// How long each thing may take. Time in which a person is asked a question does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Name resolution and TCP, per attempt.
    pub connect: Duration,
    /// From TCP to the end of the key exchange.
    pub handshake: Duration,
    /// Each offer of a key, with all that PAM does after it.
    pub login: Duration,
    /// From the exec to the agent's first line: shell start-up files and sudo.
    pub greeting: Duration,
    /// Delivery of the agent, and other commands as a whole.
    pub command: Duration,
    /// Silence after which the server is asked for a sign of life; three unanswered ones end the connection.
    pub keepalive: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(15),
            login: Duration::from_secs(30),
            greeting: Duration::from_secs(30),
            command: Duration::from_secs(120),
            keepalive: Duration::from_secs(15),
        }
    }
}

/// A host key that the rack states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// The whole public key, as in a `.pub` file.
    Key(Box<PublicKey>),
    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    Fingerprint(Fingerprint),
}

/// A pin that is neither a public key nor a SHA-256 fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a host key is pinned as SHA256:… (see ssh-keygen -lf) or as the whole line of its .pub file")]
pub struct PinError;

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let text = text.trim();
        if text.starts_with("SHA256:") {
            return text.parse().map(Self::Fingerprint).map_err(|_| PinError);
        }
        PublicKey::from_openssh(text).map(|key| Self::Key(Box::new(key))).map_err(|_| PinError)
    }
}

impl Pin {
    /// Whether the server presented this key. Of a certificate the key inside it counts.
    pub fn matches(&self, presented: &PublicKeyOrCertificate) -> bool {
        let key = presented.public_key();
        match self {
            Self::Key(pinned) => pinned.key_data() == key.key_data(),
            Self::Fingerprint(pinned) => *pinned == key.fingerprint(HashAlg::Sha256),
        }
    }

    /// The kind of the pinned key; a fingerprint does not tell.
    pub fn algorithm(&self) -> Option<russh::keys::Algorithm> {
        match self {
            Self::Key(key) => Some(key.algorithm()),
            Self::Fingerprint(_) => None,
        }
    }

    /// The pinned key's fingerprint, for messages.
    pub fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Key(key) => key.fingerprint(HashAlg::Sha256),
            Self::Fingerprint(fingerprint) => *fingerprint,
        }
    }
}
