//! From a node of the rack to the SSH target that reaches it.

use std::path::PathBuf;

use crate::rack::model::ssh::{Become, Jump};
use crate::rack::words::{HostKeyPin, LocalPath, SshConfig};
use crate::rack::{Loaded, Node};
use crate::ssh::config::{ConfigError, Resolver, Source, Wanted, WantedHop};
use crate::ssh::target::PinError;
use crate::ssh::{Deadlines, Pin, Privilege, Target};

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
    resolvers: Vec<(SshConfig, Resolver)>,
    rack: String,
    folder: PathBuf,
    home: Option<PathBuf>,
}

impl Targets {
    /// For a rack that was read from a file: its relative paths begin at the file's folder.
    pub fn new(loaded: &Loaded, home: Option<PathBuf>) -> Self {
        let (rack, folder) = (loaded.name.clone(), loaded.folder.clone());
        let mut targets = Self { resolvers: Vec::new(), rack, folder, home };
        for node in loaded.rack.nodes() {
            let config = &node.ssh.config;
            if !targets.resolvers.iter().any(|(known, _)| known == config) {
                let source = match config {
                    SshConfig::Default => Source::Default,
                    SshConfig::None => Source::None,
                    SshConfig::Path(path) => Source::File(targets.path(path)),
                };
                targets.resolvers.push((config.clone(), Resolver::new(&source)));
            }
        }
        targets
    }

    /// How to reach a node: the rack's word first, then OpenSSH's configuration, then defaults.
    pub async fn of(&self, node: &Node) -> Result<Target, TargetError> {
        let name = node.name.to_string();
        let ssh = &node.ssh;
        let jump = |jumps: &Vec<Jump>| jumps.iter().map(|jump| self.jump(jump, node)).collect();
        let wanted = Wanted {
            node: name.clone(),
            hop: WantedHop {
                address: node.address.to_string(),
                port: node.port,
                user: ssh.user.as_ref().map(ToString::to_string),
                identities: self.paths(&ssh.identity),
                pins: pins(&name, &ssh.host_keys)?,
            },
            jump: ssh.jump.as_ref().map(jump).transpose()?,
            known_hosts: self.paths(&ssh.known_hosts),
            no_agent: !ssh.agent,
            privilege: match (ssh.become_root, &ssh.become_password) {
                (Become::None, _) => Privilege::Login,
                (Become::Sudo, None) => Privilege::Sudo,
                (Become::Sudo, Some(_)) => Privilege::SudoPassword,
            },
            deadlines: Deadlines { connect: ssh.connect_timeout, ..Deadlines::default() },
        };
        let resolver = self.resolvers.iter().find(|(config, _)| *config == ssh.config);
        let (_, resolver) = resolver.expect("each node's configuration has a resolver");
        let target = resolver.target(&wanted).await;
        let mut target = target.map_err(|source| TargetError::Config { node: name, source })?;
        target.rack = (self.rack != "rack.yaml").then(|| self.rack.clone());
        Ok(target)
    }

    /// What the rack leaves out of a jump host is as for the node behind it.
    fn jump(&self, jump: &Jump, node: &Node) -> Result<WantedHop, TargetError> {
        let identities = jump.identity.as_ref().map_or(&node.ssh.identity, |list| &list.0);
        Ok(WantedHop {
            address: jump.address.to_string(),
            port: jump.port,
            user: jump.user.as_ref().or(node.ssh.user.as_ref()).map(ToString::to_string),
            identities: self.paths(identities),
            pins: pins(&format!("jump host {}", jump.address), &jump.host_key.0)?,
        })
    }

    fn paths(&self, paths: &[LocalPath]) -> Vec<PathBuf> {
        paths.iter().map(|path| self.path(path)).collect()
    }

    fn path(&self, path: &LocalPath) -> PathBuf {
        path.resolve(&self.folder, self.home.as_deref())
    }
}

fn pins(node: &str, keys: &[HostKeyPin]) -> Result<Vec<Pin>, TargetError> {
    let pin = |key: &HostKeyPin| key.to_string().parse();
    keys.iter()
        .map(pin)
        .collect::<Result<_, _>>()
        .map_err(|source| TargetError::Pin { node: node.to_owned(), source })
}
