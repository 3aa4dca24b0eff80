//! From a node of the rack to the SSH target that reaches it.

use std::path::{Path, PathBuf};

use crate::rack::model::ssh::{Become, Jump};
use crate::rack::words::{HostKeyPin, LocalPath, SshConfig};
use crate::rack::{Loaded, Node};
use crate::ssh::config::{ConfigError, Resolver, Wanted};
use crate::ssh::target::PinError;
use crate::ssh::{Deadlines, Endpoint, Pin, Privilege, Target};

/// Why a node of the rack has no target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The SSH configuration cannot be used.
    #[error("find out how to reach {node}")]
    Config {
        /// The node.
        node: String,
        /// Why.
        #[source]
        source: ConfigError,
    },
    /// A pinned host key is none.
    #[error("read the pinned host key of {node}")]
    Pin {
        /// The node, or jump host.
        node: String,
        /// Why.
        #[source]
        source: PinError,
    },
}

/// Finds targets for the nodes of one rack.
pub struct Targets {
    with_config: Resolver,
    without: Resolver,
    folder: PathBuf,
    home: Option<PathBuf>,
}

impl Targets {
    /// For a rack that was read from a file: its relative paths begin at the file's folder.
    pub fn new(loaded: &Loaded, home: Option<PathBuf>) -> Self {
        let with_config = Resolver::new(true);
        Self { with_config, without: Resolver::new(false), folder: loaded.folder.clone(), home }
    }

    /// How to reach a node: the rack's word first, then OpenSSH's configuration, then defaults.
    pub async fn of(&self, node: &Node) -> Result<Target, TargetError> {
        let name = node.name.to_string();
        let ssh = &node.ssh;
        let wanted = Wanted {
            node: name.clone(),
            address: node.address.to_string(),
            port: node.port,
            user: ssh.user.as_ref().map(ToString::to_string),
            identities: self.paths(&ssh.identity),
            known_hosts: self.paths(&ssh.known_hosts),
            pin: pins(&name, &ssh.host_keys)?.into_iter().next(),
            jump: ssh.jump.as_ref().map(|jumps| jumps.iter().map(jump_words).collect()),
            privilege: match (ssh.become_root, &ssh.become_password) {
                (Become::None, _) => Privilege::Login,
                (Become::Sudo, None) => Privilege::Sudo,
                (Become::Sudo, Some(_)) => Privilege::SudoPassword,
            },
            deadlines: Deadlines { connect: ssh.connect_timeout, ..Deadlines::default() },
        };
        let resolver = match &ssh.config {
            SshConfig::None => &self.without,
            SshConfig::Default | SshConfig::Path(_) => &self.with_config,
        };
        let mut target = resolver
            .target(&wanted)
            .await
            .map_err(|source| TargetError::Config { node: name.clone(), source })?;
        for (endpoint, jump) in target.jump.iter_mut().zip(ssh.jump.iter().flatten()) {
            self.adjust(endpoint, jump)?;
        }
        if !ssh.agent {
            target.jump.iter_mut().for_each(|hop| hop.agent_socket = None);
            target.endpoint.agent_socket = None;
        }
        Ok(target)
    }

    /// What the rack says of a jump host beyond `user@host:port`.
    fn adjust(&self, endpoint: &mut Endpoint, jump: &Jump) -> Result<(), TargetError> {
        if let Some(identity) = &jump.identity {
            endpoint.identities = self.paths(&identity.0);
        }
        let keys = &jump.host_key.0;
        if !keys.is_empty() {
            endpoint.pin = pins(&format!("jump host {}", jump.address), keys)?.into_iter().next();
        }
        Ok(())
    }

    fn paths(&self, paths: &[LocalPath]) -> Vec<PathBuf> {
        paths.iter().map(|path| self.path(path)).collect()
    }

    fn path(&self, path: &LocalPath) -> PathBuf {
        path.resolve(&self.folder, self.home.as_deref().map(Path::new))
    }
}

fn pins(node: &str, keys: &[HostKeyPin]) -> Result<Vec<Pin>, TargetError> {
    let pin = |key: &HostKeyPin| key.to_string().parse();
    keys.iter()
        .map(pin)
        .collect::<Result<_, _>>()
        .map_err(|source| TargetError::Pin { node: node.to_owned(), source })
}

fn jump_words(jump: &Jump) -> String {
    let user = jump.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    let address = match jump.address.ip() {
        Some(std::net::IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => jump.address.to_string(),
    };
    match jump.port {
        Some(port) => format!("{user}{address}:{port}"),
        None => format!("{user}{address}"),
    }
}
