//! What can go wrong on the way to a node: where, what, and what to do next.

use std::sync::Arc;
use std::time::Duration;

use super::certificate::CertificateFault;
use super::known_hosts::{KnownHostsError, Place};

/// A node that could not be reached or would not do as asked.
#[derive(Debug, Clone)]
pub struct SshError {
    /// The node's name in the rack.
    pub node: String,
    /// Where on the way: `192.0.2.11:22`, or `jump host bastion:22`.
    pub place: String,
    /// What went wrong. Its own sources are reached through it.
    pub fault: Box<Fault>,
}

impl std::fmt::Display for SshError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.node, self.place, self.fault)
    }
}

impl std::error::Error for SshError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The fault is in the message already; what lies under it is not.
        self.fault.source()
    }
}

/// What went wrong.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The name has no address.
    #[error("the name cannot be resolved; check the address in the rack")]
    Resolve(#[source] Arc<std::io::Error>),
    /// Nobody listens.
    #[error("connection refused; is sshd running, and is this the right port?")]
    Refused,
    /// No way there.
    #[error("no route to it; check address, cabling and firewall")]
    Unreachable(#[source] Arc<std::io::Error>),
    /// Nothing came back in time.
    #[error("{doing} took longer than {after:?}; {hint}")]
    Timeout {
        /// What we waited for.
        doing: &'static str,
        /// For how long.
        after: Duration,
        /// What to look at.
        hint: &'static str,
    },
    /// Any other trouble with the transport.
    #[error("the connection broke while {doing}")]
    Broken {
        /// What we were doing.
        doing: &'static str,
        /// The transport's own words.
        #[source]
        source: Option<Arc<russh::Error>>,
    },
    /// The server hung up on us before it said who it is.
    #[error(
        "the server closes new connections at once (MaxStartups, a penalty or fail2ban); try again later"
    )]
    Throttled,
    /// It speaks, but not SSH, or shares no algorithm with us.
    #[error("no common ground for a handshake; is this an SSH server of the last ten years?")]
    Handshake(#[source] Arc<russh::Error>),
    /// PAM lets nobody in yet.
    #[error("the host is up but lets nobody log in yet: {0:?}; wait until it has booted and try again")]
    Booting(String),
    /// No key was accepted.
    #[error(
        "no login as {user}; tried {tried}; the server accepts {accepts}{banner}; check `ssh.user` and `ssh.identity` \
         in the rack"
    )]
    Login {
        /// The login name.
        user: String,
        /// What was offered, in words.
        tried: String,
        /// Methods that the server would take.
        accepts: String,
        /// What the server said besides, or nothing.
        banner: String,
    },
    /// known_hosts could not be read.
    #[error("host keys cannot be checked")]
    KnownHosts(#[from] KnownHostsError),
    /// A key that nobody has vouched for.
    #[error(
        "the host key is unknown: {algorithm} {fingerprint}; compare it with `ssh-keygen -lf` on the host's \
         console, then run `rackwright trust {trust}`"
    )]
    UnknownKey {
        /// Its kind.
        algorithm: String,
        /// Its SHA-256 fingerprint.
        fingerprint: String,
        /// The argument of `rackwright trust`.
        trust: String,
    },
    /// The host is known by another key.
    #[error(
        "THE HOST KEY HAS CHANGED: {place} knows {known}, the server shows {fingerprint}. Either somebody is in \
         between, or the host was installed anew. If it was, run `rackwright trust {trust} --replace`"
    )]
    ChangedKey {
        /// The line that knows the host.
        place: Place,
        /// The key it knows: kind and fingerprint.
        known: String,
        /// The presented key: kind and fingerprint.
        fingerprint: String,
        /// The argument of `rackwright trust`.
        trust: String,
    },
    /// The key is marked as revoked.
    #[error(
        "the host key {fingerprint} is revoked by {place}; give the host new keys (ssh-keygen -A) and trust those"
    )]
    RevokedKey {
        /// The `@revoked` line.
        place: Place,
        /// The presented key.
        fingerprint: String,
    },
    /// The rack pins another key.
    #[error(
        "the host key {fingerprint} is not the one pinned in the rack ({pinned}); if the host was installed anew, \
         correct the rack"
    )]
    PinMismatch {
        /// The pinned key's fingerprint.
        pinned: String,
        /// The presented key: kind and fingerprint.
        fingerprint: String,
    },
    /// A certificate of a trusted authority that does not hold.
    #[error("the host certificate is not accepted; have it signed anew for this host")]
    Certificate(#[from] CertificateFault),
    /// The server refuses a channel.
    #[error("the server refuses {what} ({why})")]
    Channel {
        /// What was asked for.
        what: String,
        /// Its reason.
        why: String,
    },
    /// sudo wants a password and none is provided for.
    #[error(
        "sudo wants a password from {user}; say in the rack where it comes from (ssh.becomePassword), or allow \
         {user} NOPASSWD in sudoers"
    )]
    SudoPassword {
        /// The login name.
        user: String,
    },
    /// sudo did not accept the password.
    #[error("sudo does not accept the password of {user}; check what `ssh.becomePassword` names")]
    SudoWrong {
        /// The login name.
        user: String,
    },
    /// The user has no rights there.
    #[error(
        "{user} may not use sudo on this host; add it to sudoers (group sudo or wheel), or log in as root"
    )]
    SudoDenied {
        /// The login name.
        user: String,
    },
    /// There is no sudo.
    #[error("sudo is not installed on this host; install it, or log in as root")]
    SudoMissing,
    /// sudoers has requiretty.
    #[error("sudo wants a terminal (Defaults requiretty); remove that from sudoers for {user}")]
    SudoTty {
        /// The login name.
        user: String,
    },
    /// The shell prints without end before the agent speaks.
    #[error(
        "the login shell printed more than 64 KiB before the agent could speak; look at its start-up files"
    )]
    Noise,
    /// The agent, or what should have started it, ended at once.
    #[error("the agent did not start: {exit}{said}")]
    Start {
        /// How it ended.
        exit: String,
        /// The end of what it wrote to stderr, or nothing.
        said: String,
    },
    /// The agent cannot be put onto the host.
    #[error("the agent cannot be delivered: {why}{said}")]
    Deliver {
        /// Why, and what to do.
        why: String,
        /// The end of what the host said, or nothing.
        said: String,
    },
    /// The files of the agent on this side are not in order.
    #[error("{0}")]
    Agents(String),
    /// A command wrote more than it may.
    #[error("a command wrote more than {limit} bytes")]
    TooMuch {
        /// The bound.
        limit: usize,
    },
    /// A jump host has failed for every node behind it.
    #[error("unreachable because of the jump host: {0}")]
    Jump(Box<Fault>),
}

impl Fault {
    /// The error for a node, at a place on the way to it.
    pub fn at(self, node: &str, place: impl Into<String>) -> SshError {
        SshError { node: node.to_owned(), place: place.into(), fault: Box::new(self) }
    }
}
