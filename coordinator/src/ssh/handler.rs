//! What the SSH library asks us: is this host key right? And what it tells: banners, and why a connection ended.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use russh::client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session};
use russh::keys::{Algorithm, HashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Channel, ChannelId};

use super::error::Fault;
use super::known_hosts::{HostEntries, KnownHostsError, Verdict, describe, order_algorithms};
use super::target::{Endpoint, Pin};

/// The most that is kept of what a server says before or instead of a login, in bytes.
const MAX_BANNER: usize = 4096;

/// What a host key must satisfy.
pub(super) enum Check {
    /// One of the rack's pins, and nothing else; with the algorithms to offer.
    Pins(Vec<Pin>, Vec<Algorithm>),
    /// known_hosts.
    Known(HostEntries),
    /// Refuse whatever comes, but report it: for `trust`.
    Collect(Vec<Algorithm>),
}

impl Check {
    /// The check for an endpoint, by its pin or its known_hosts files.
    pub(super) fn of(
        endpoint: &Endpoint,
        cache: &super::known_hosts::Cache,
    ) -> Result<Self, KnownHostsError> {
        if !endpoint.pins.is_empty() {
            let known: Vec<Algorithm> = endpoint.pins.iter().filter_map(Pin::algorithm).collect();
            return Ok(Self::Pins(endpoint.pins.clone(), order_algorithms(&known)));
        }
        let known = cache.get(&endpoint.known_hosts)?;
        Ok(Self::Known(known.about(&endpoint.host, endpoint.port, endpoint.host_key_alias.as_deref())))
    }

    /// Host key algorithms to offer, best first.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        match self {
            Self::Known(entries) => entries.algorithms(),
            Self::Pins(_, offer) | Self::Collect(offer) => offer.clone(),
        }
    }

    /// Whether a certificate is of use.
    pub(super) fn wants_certificate(&self) -> bool {
        matches!(self, Self::Known(entries) if entries.has_authority())
    }

    fn judge(&self, presented: &PublicKeyOrCertificate, trust: &str) -> Result<(), Fault> {
        match self {
            Self::Pins(pins, _) if pins.iter().any(|pin| pin.matches(presented)) => Ok(()),
            Self::Pins(pins, _) => Err(Fault::PinMismatch {
                pinned: pins.iter().map(|pin| pin.fingerprint().to_string()).collect::<Vec<_>>().join(", "),
                fingerprint: describe(&presented.public_key()),
            }),
            Self::Known(entries) => verdict(entries.judge(presented, now()), presented, trust),
            // Never trusted: the key is reported as unknown, which is what `trust` looks for.
            Self::Collect(_) => verdict(Verdict::Unknown, presented, trust),
        }
    }
}

fn verdict(verdict: Verdict, presented: &PublicKeyOrCertificate, trust: &str) -> Result<(), Fault> {
    let key = presented.public_key();
    Err(match verdict {
        Verdict::Trusted(_) => return Ok(()),
        Verdict::Revoked(place) => Fault::RevokedKey { place, fingerprint: describe(&key) },
        Verdict::Changed { place, algorithm, fingerprint } => Fault::ChangedKey {
            place,
            known: format!("{algorithm} {fingerprint}"),
            fingerprint: describe(&key),
            trust: trust.to_owned(),
        },
        Verdict::Certificate(fault) => Fault::Certificate(fault),
        Verdict::Unknown => Fault::UnknownKey {
            algorithm: key.algorithm().to_string(),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
            trust: trust.to_owned(),
        },
    })
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// What a server has said or done, for messages.
#[derive(Debug, Default)]
struct Said {
    banner: String,
    end: Option<Arc<russh::Error>>,
    key: Option<PublicKey>,
}

/// Shared between the connection's task and its owner.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes(Arc<Mutex<Said>>);

impl Notes {
    fn with<T>(&self, f: impl FnOnce(&mut Said) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the server said before the login.
    pub(super) fn banner(&self) -> String {
        self.with(|said| said.banner.trim().to_owned())
    }

    /// Why the connection ended, if it did and gave a reason.
    pub(super) fn end(&self) -> Option<Arc<russh::Error>> {
        self.with(|said| said.end.clone())
    }

    /// The host key that was presented.
    pub(super) fn key(&self) -> Option<PublicKey> {
        self.with(|said| said.key.clone())
    }
}

/// An error out of a connection's task: ours or the library's.
#[derive(Debug)]
pub(super) enum Trouble {
    Refused(Fault),
    Library(russh::Error),
}

impl From<russh::Error> for Trouble {
    fn from(error: russh::Error) -> Self {
        Self::Library(error)
    }
}

/// Answers one connection's questions.
pub(super) struct Verifier {
    pub(super) check: Check,
    /// The node's name, or the jump host's: what `rackwright trust` would be given.
    pub(super) trust: String,
    pub(super) notes: Notes,
}

impl Handler for Verifier {
    type Error = Trouble;

    async fn check_server_key(&mut self, presented: &PublicKeyOrCertificate) -> Result<bool, Trouble> {
        self.notes.with(|said| said.key = Some(presented.public_key()));
        self.check.judge(presented, &self.trust).map_err(Trouble::Refused)?;
        Ok(true)
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut Session) -> Result<(), Trouble> {
        self.notes.with(|said| {
            let room = MAX_BANNER.saturating_sub(said.banner.len());
            said.banner.extend(banner.chars().filter(|c| !c.is_control() || *c == '\n').take(room / 4));
        });
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Trouble>) -> Result<(), Trouble> {
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                self.notes.with(|said| {
                    if said.banner.len() < MAX_BANNER {
                        said.banner.push('\n');
                        said.banner.extend(info.message.chars().filter(|c| !c.is_control()).take(500));
                    }
                });
            }
            DisconnectReason::Error(Trouble::Library(error)) => {
                self.notes.with(|said| said.end = Some(Arc::new(error)));
            }
            DisconnectReason::Error(refused) => return Err(refused),
        }
        Ok(())
    }

    // A server has no business opening channels to us; a dropped handle rejects.

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Trouble> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Trouble> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Trouble> {
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Trouble> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Trouble> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Trouble> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Trouble> {
        Ok(())
    }

    async fn should_accept_unknown_server_channel(&mut self, _: ChannelId, _: &str) -> bool {
        false
    }
}
