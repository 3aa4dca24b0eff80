//! From a [`Target`] to a [`Connection`]: jump hosts, key exchange, host key, login, each with its deadline.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use russh::client::{self, Handle};
use russh::keys::{Algorithm, PublicKey};
use russh::{Disconnect, Preferred, cipher};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::auth::{Keyring, Login};
use super::error::{Fault, SshError};
use super::handler::{Check, Notes, Trouble, Verifier};
use super::known_hosts::{Cache, HOST_KEY_ALGORITHMS, KnownHostsError};
use super::secret::{Ask, Question, Secret};
use super::target::{Deadlines, Endpoint, Privilege, Target};
use super::transport::Link;
use super::tunnel::Tunnel;

/// Logins in progress per server: sshd drops new ones from its tenth on (`MaxStartups 10:30:100`).
const LOGINS_PER_SERVER: usize = 8;
/// How often a connection that is reset before it began is tried again.
const ATTEMPTS: u32 = 4;
/// How long a clean goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);
/// Bytes a server may send ahead of our reading, per channel: bounds the memory of a connection.
const WINDOW: u32 = 256 * 1024;

/// Parts of the names of [`HOST_KEY_ALGORITHMS`] that tell kinds of keys apart.
const HOST_KEY_FAMILIES: [&str; 3] = ["ed25519", "ecdsa", "rsa"];

/// Opens connections, and shares between them what can be shared: jump hosts, keys, answers, known_hosts.
pub struct Dialer {
    keyring: Arc<Keyring>,
    known_hosts: Cache,
    gates: Mutex<HashMap<(String, u16), Arc<Semaphore>>>,
    jumps: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Jump>>>>,
}

/// A connection to a jump host, or the last failure to make one.
#[derive(Default)]
struct Jump {
    open: Option<Arc<Connection>>,
    failed: Option<(Instant, SshError)>,
}

/// An authenticated connection to a node or a jump host. Dropping it ends it; [`Connection::close`] says goodbye.
pub struct Connection {
    pub(super) handle: Handle<Verifier>,
    pub(super) notes: Notes,
    pub(super) keyring: Arc<Keyring>,
    node: String,
    place: String,
    user: String,
    pub(super) privilege: Privilege,
    pub(super) deadlines: Deadlines,
    /// Keeps the jump host's connection open for as long as this one runs through it.
    _via: Option<Arc<Connection>>,
}

/// Who is dialled, and what errors call it.
struct Call<'a> {
    node: &'a str,
    place: String,
    trust: String,
    endpoint: &'a Endpoint,
    deadlines: Deadlines,
}

impl Dialer {
    /// A dialer that puts its questions to `ask`.
    pub fn new(ask: Ask) -> Self {
        Self {
            keyring: Arc::new(Keyring::new(ask)),
            known_hosts: Cache::default(),
            gates: Mutex::default(),
            jumps: Mutex::default(),
        }
    }

    /// Connects and logs in, through the jump hosts if there are any.
    ///
    /// # Errors
    /// Where on the way it failed, why, and what to do next.
    pub async fn connect(&self, target: &Target) -> Result<Connection, SshError> {
        let via = self.jump_to(target, target.jump.len()).await?;
        let call = Call::node(target);
        let mut connection = self.dial(&call, via).await.map_err(|fault| call.error(fault))?;
        connection.privilege = target.privilege;
        Ok(connection)
    }

    /// Says goodbye to the jump hosts. Those that connections still run through stay open for them.
    pub async fn close(self) {
        let slots: Vec<_> =
            self.jumps.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect();
        for slot in slots {
            let open = slot.lock().await.open.take();
            if let Some(connection) = open.and_then(Arc::into_inner) {
                connection.close().await;
            }
        }
    }

    /// The keys that the target's own server presents, one per kind, without logging in there.
    ///
    /// # Errors
    /// The server, or a jump host before it, could not be reached.
    pub async fn host_keys(&self, target: &Target) -> Result<Vec<PublicKey>, SshError> {
        let via = self.jump_to(target, target.jump.len()).await?;
        let call = Call::node(target);
        let mut keys: Vec<PublicKey> = Vec::new();
        // One dial per family: a server with many unfinished logins behind it is soon suspicious of us.
        for family in HOST_KEY_FAMILIES {
            let key =
                self.host_key(&call, via.as_ref(), offer(family)).await.map_err(|fault| call.error(fault))?;
            keys.extend(key);
        }
        Ok(keys)
    }

    async fn host_key(
        &self,
        call: &Call<'_>,
        via: Option<&Arc<Connection>>,
        offer: Vec<Algorithm>,
    ) -> Result<Option<PublicKey>, Fault> {
        let _permit = self.gate(call.endpoint).await;
        let (check, notes) = (Check::Collect(offer), Notes::default());
        match self.handshake(call, via, check, &notes).await {
            Err(Fault::UnknownKey { .. }) => Ok(notes.key()),
            // The server has no key of this kind.
            Err(Fault::Handshake(e)) if matches!(*e, russh::Error::NoCommonAlgo { .. }) => Ok(None),
            Err(fault) => Err(fault),
            Ok(_) => Ok(None),
        }
    }

    /// The connection to the last of the first `hops` jump hosts; `None` if there are none.
    async fn jump_to(&self, target: &Target, hops: usize) -> Result<Option<Arc<Connection>>, SshError> {
        let Some(endpoint) = hops.checked_sub(1).and_then(|last| target.jump.get(last)) else {
            return Ok(None);
        };
        let slot = self.jump_slot(&target.jump[..hops]);
        let asked = Instant::now();
        let mut slot = slot.lock().await;
        if let Some(open) = slot.open.as_ref().filter(|open| !open.handle.is_closed()) {
            return Ok(Some(open.clone()));
        }
        // Whoever waited while the jump host failed shares that failure, instead of waiting for one more.
        if let Some((_, failed)) = slot.failed.as_ref().filter(|(at, _)| *at > asked) {
            return Err(SshError { node: target.node.clone(), ..failed.clone() });
        }
        let call = Call::jump(target, endpoint);
        let dialled = async {
            let via = Box::pin(self.jump_to(target, hops - 1)).await?;
            self.dial(&call, via).await.map_err(|fault| call.error(fault))
        };
        match dialled.await {
            Ok(connection) => Ok(Some(slot.open.insert(Arc::new(connection)).clone())),
            Err(error) => {
                slot.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn jump_slot(&self, hops: &[Endpoint]) -> Arc<tokio::sync::Mutex<Jump>> {
        let names: Vec<String> = hops.iter().map(|hop| format!("{}@{hop}", hop.user)).collect();
        let mut jumps = self.jumps.lock().unwrap_or_else(PoisonError::into_inner);
        jumps.entry(names.join(",")).or_default().clone()
    }

    async fn gate(&self, endpoint: &Endpoint) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let gate = {
            let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (endpoint.host.clone(), endpoint.port);
            gates.entry(key).or_insert_with(|| Arc::new(Semaphore::new(LOGINS_PER_SERVER))).clone()
        };
        // The semaphore is never closed, so there is always a permit in the end.
        gate.acquire_owned().await.ok()
    }

    async fn dial(&self, call: &Call<'_>, via: Option<Arc<Connection>>) -> Result<Connection, Fault> {
        let permit = self.gate(call.endpoint).await;
        let notes = Notes::default();
        let mut handle = self.handshake_checked(call, via.as_ref(), &notes).await?;
        Login::new(&mut handle, call.endpoint, &self.keyring, &notes, call.deadlines.login).run().await?;
        drop(permit);
        Ok(Connection {
            handle,
            notes,
            keyring: self.keyring.clone(),
            node: call.node.to_owned(),
            place: call.place.clone(),
            user: call.endpoint.user.clone(),
            privilege: Privilege::Login,
            deadlines: call.deadlines,
            _via: via,
        })
    }

    /// A handshake whose host key is checked as the endpoint says.
    async fn handshake_checked(
        &self,
        call: &Call<'_>,
        via: Option<&Arc<Connection>>,
        notes: &Notes,
    ) -> Result<Handle<Verifier>, Fault> {
        let check = || Check::of(call.endpoint, &self.known_hosts);
        let result = self.handshake_patiently(call, via, &check, notes).await;
        let pins = &call.endpoint.pins;
        if !matches!(result, Err(Fault::PinMismatch { .. }))
            || pins.iter().all(|pin| pin.algorithm().is_some())
        {
            return result;
        }
        // A fingerprint does not tell the kind of its key, so the server is asked for its other kinds too.
        for family in &HOST_KEY_FAMILIES[1..] {
            let check = || Ok(Check::Pins(pins.clone(), offer(family)));
            if let Ok(handle) = self.handshake_patiently(call, via, &check, notes).await {
                return Ok(handle);
            }
        }
        result
    }

    /// A handshake that is tried again, a little later each time, if the server is too busy to begin one.
    async fn handshake_patiently(
        &self,
        call: &Call<'_>,
        via: Option<&Arc<Connection>>,
        check: &(dyn Fn() -> Result<Check, KnownHostsError> + Send + Sync),
        notes: &Notes,
    ) -> Result<Handle<Verifier>, Fault> {
        for attempt in 1..ATTEMPTS {
            match self.handshake(call, via, check()?, notes).await {
                Err(Fault::Throttled) => {
                    let pause = 100 * u64::from(attempt) + fastrand::u64(0..200);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                result => return result,
            }
        }
        self.handshake(call, via, check()?, notes).await
    }

    async fn handshake(
        &self,
        call: &Call<'_>,
        via: Option<&Arc<Connection>>,
        check: Check,
        notes: &Notes,
    ) -> Result<Handle<Verifier>, Fault> {
        let link = call.link(via).await?;
        let reads = link.reads();
        let config = Arc::new(config(&check, call.deadlines.keepalive));
        let verifier = Verifier { check, trust: call.trust.clone(), notes: notes.clone() };
        let after = call.deadlines.handshake;
        match timeout(after, client::connect_stream(config, link, verifier)).await {
            Ok(Ok(handle)) => Ok(handle),
            Ok(Err(Trouble::Refused(fault))) => Err(fault),
            Ok(Err(Trouble::Library(error))) => Err(handshake_fault(error, reads.any())),
            Err(_) if reads.ssh() => {
                let hint = "the host may be overloaded, or large packets are lost on the way (MTU)";
                Err(Fault::Timeout { doing: "the key exchange", after, hint })
            }
            Err(_) => {
                let hint = "TCP is accepted, but nothing speaks SSH there: a hung host, a firewall, or another service";
                Err(Fault::Timeout { doing: "waiting for the SSH banner", after, hint })
            }
        }
    }
}

/// The algorithms of one family.
fn offer(family: &str) -> Vec<Algorithm> {
    HOST_KEY_ALGORITHMS.into_iter().filter(|kind| kind.as_str().contains(family)).collect()
}

fn handshake_fault(error: russh::Error, spoken: bool) -> Fault {
    use russh::Error as E;
    match error {
        E::Disconnect | E::HUP | E::IO(_) if !spoken => Fault::Throttled,
        E::IO(e) if e.kind() == std::io::ErrorKind::ConnectionReset => Fault::Throttled,
        E::NoCommonAlgo { .. } | E::Version | E::UnknownAlgo | E::KexInit | E::Kex => {
            Fault::Handshake(Arc::new(error))
        }
        error => Fault::Broken { doing: "exchanging keys", source: Some(Arc::new(error)) },
    }
}

/// The ciphers in our order; what OpenSSH has offered since 6.2.
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];

fn config(check: &Check, keepalive: Duration) -> client::Config {
    let algorithms = check.algorithms();
    let certificates = if check.wants_certificate() { algorithms.clone() } else { Vec::new() };
    client::Config {
        window_size: WINDOW,
        keepalive_interval: Some(keepalive),
        keepalive_max: 3,
        nodelay: true,
        preferred: Preferred {
            key: Cow::Owned(algorithms),
            host_key_certificates: Cow::Owned(certificates),
            // Compression costs more than it saves on the networks that racks hang on.
            compression: Cow::Borrowed(&[russh::compression::NONE]),
            // Half the CPU of ChaCha20 on both ends where the CPU knows AES, and only a delivery is long.
            cipher: Cow::Borrowed(CIPHERS),
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    }
}

/// What `rackwright trust` is to be given.
fn with_rack(target: &Target, name: &str) -> String {
    let rack = target.rack.as_ref().map(|rack| format!(" {rack}"));
    format!("{name}{}", rack.unwrap_or_default())
}

impl<'a> Call<'a> {
    fn node(target: &'a Target) -> Self {
        Self {
            node: &target.node,
            place: target.endpoint.to_string(),
            trust: with_rack(target, &target.node),
            endpoint: &target.endpoint,
            deadlines: target.deadlines,
        }
    }

    fn jump(target: &'a Target, endpoint: &'a Endpoint) -> Self {
        Self {
            node: &target.node,
            place: format!("jump host {endpoint}"),
            trust: with_rack(target, &endpoint.host),
            endpoint,
            deadlines: target.deadlines,
        }
    }

    fn error(&self, fault: Fault) -> SshError {
        fault.at(self.node, self.place.clone())
    }

    async fn link(&self, via: Option<&Arc<Connection>>) -> Result<Link, Fault> {
        let after = self.deadlines.connect;
        let open = async {
            match via {
                None => Link::tcp(self.endpoint).await,
                Some(via) => {
                    let stream = via.open_direct_tcpip(&self.endpoint.host, self.endpoint.port).await?;
                    Ok(Link::through(stream))
                }
            }
        };
        timeout(after, open).await.unwrap_or(Err(Fault::Timeout {
            doing: "connecting",
            after,
            hint: "the host is down, or a firewall drops the packets",
        }))
    }
}

impl Connection {
    /// The node's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The login name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// A TCP stream to `host:port` as the server sees it.
    ///
    /// # Errors
    /// The server refuses, or cannot connect there, or does not answer in time.
    pub async fn direct_tcpip(&self, host: &str, port: u16) -> Result<Tunnel, SshError> {
        let after = self.deadlines.connect;
        timeout(after, self.open_direct_tcpip(host, port))
            .await
            .unwrap_or(Err(Fault::Timeout {
                doing: "opening a tunnel",
                after,
                hint: "the far end does not answer",
            }))
            .map_err(|fault| self.error(fault))
    }

    async fn open_direct_tcpip(&self, host: &str, port: u16) -> Result<Tunnel, Fault> {
        // RFC 4254 7.2 wants an originator; nothing listens here, and servers only log it.
        let channel = self.handle.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0).await;
        let what = || format!("a tunnel to {host}:{port}");
        channel.map(Tunnel::over).map_err(|e| self.channel_fault(e, what()))
    }

    pub(super) fn channel_fault(&self, error: russh::Error, what: String) -> Fault {
        use russh::ChannelOpenFailure as F;
        match error {
            russh::Error::ChannelOpenFailure(F::ConnectFailed) => Fault::Channel {
                what,
                why: "it cannot connect there: nothing listens, or no route".to_owned(),
            },
            russh::Error::ChannelOpenFailure(F::AdministrativelyProhibited) => Fault::Channel {
                what,
                why: "forbidden; see AllowTcpForwarding in its sshd_config".to_owned(),
            },
            russh::Error::ChannelOpenFailure(reason) => Fault::Channel { what, why: format!("{reason:?}") },
            error => self.broken("opening a channel", Some(error)),
        }
    }

    pub(super) fn broken(&self, doing: &'static str, error: Option<russh::Error>) -> Fault {
        Fault::Broken { doing, source: self.notes.end().or_else(|| error.map(Arc::new)) }
    }

    pub(super) fn error(&self, fault: Fault) -> SshError {
        fault.at(&self.node, self.place.clone())
    }

    pub(super) async fn sudo_password(&self) -> Option<Secret> {
        self.keyring.answer(&Question::Sudo { user: self.user.clone(), node: self.node.clone() }).await
    }

    /// Says goodbye and waits for the end, but not long.
    pub async fn close(self) {
        let goodbye = async {
            let _ = self.handle.disconnect(Disconnect::ByApplication, "done", "en").await;
            let _ = self.handle.await;
        };
        let _ = timeout(GOODBYE, goodbye).await;
    }
}
