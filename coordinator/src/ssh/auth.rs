//! Logging in: key files, plain and encrypted, their certificates, and the keys of an ssh-agent.
//!
//! The order: key files that can be read as they are, the agent's keys (those that match a named file first),
//! then encrypted files that the agent does not hold. Only these last ones ask a person, once per file for all nodes.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::error::Fault;
use super::handler::{Notes, Verifier};
use super::known_hosts::describe;
use super::secret::{Ask, Question, Secret};
use super::target::Endpoint;

/// The largest private key file that is read, in bytes.
const MAX_KEY_FILE: u64 = 256 * 1024;

/// A key file, as far as it can be read without a passphrase.
#[derive(Clone)]
enum KeyFile {
    Missing,
    Bad(String),
    Plain(Arc<PrivateKey>),
    /// Only the public half is there, which names a key of the agent.
    Public(PublicKey),
    /// With its public half, when the file or its `.pub` sibling shows it.
    Encrypted(Option<PublicKey>),
}

/// A key that was encrypted, or why it still is.
type Unlocked = Result<Arc<PrivateKey>, String>;
type Cell<T> = Arc<OnceCell<T>>;

/// Keys and passwords, shared by all nodes: every file is read once, and every question is asked once.
pub struct Keyring {
    ask: Ask,
    files: Mutex<HashMap<PathBuf, Cell<KeyFile>>>,
    unlocked: Mutex<HashMap<PathBuf, Cell<Unlocked>>>,
    answers: Mutex<HashMap<Question, Cell<Option<Secret>>>>,
}

fn cell<K: std::hash::Hash + Eq + Clone, T>(map: &Mutex<HashMap<K, Cell<T>>>, key: &K) -> Cell<T> {
    map.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone()
}

impl Keyring {
    /// An empty ring that puts its questions to `ask`.
    pub fn new(ask: Ask) -> Self {
        Self { ask, files: Mutex::default(), unlocked: Mutex::default(), answers: Mutex::default() }
    }

    /// The answer to a question; the first caller's asking serves all.
    pub async fn answer(&self, question: &Question) -> Option<Secret> {
        let cell = cell(&self.answers, question);
        cell.get_or_init(|| async {
            let (ask, question) = (self.ask.clone(), question.clone());
            tokio::task::spawn_blocking(move || ask(&question)).await.ok().flatten()
        })
        .await
        .clone()
    }

    async fn file(&self, path: &PathBuf) -> KeyFile {
        cell(&self.files, path).get_or_init(|| async { read_key_file(path) }).await.clone()
    }

    async fn unlock(&self, path: &PathBuf) -> Unlocked {
        let cell = cell(&self.unlocked, path);
        cell.get_or_init(|| async {
            let secret =
                self.answer(&Question::Passphrase(path.clone())).await.ok_or("no passphrase given")?;
            let path = path.clone();
            // Deriving the key takes a tenth of a second of pure computation, by design.
            tokio::task::spawn_blocking(move || decrypt(&path, &secret))
                .await
                .unwrap_or_else(|_| Err("decryption failed".to_owned()))
        })
        .await
        .clone()
    }
}

fn read_bounded(path: &Path) -> std::io::Result<Zeroizing<String>> {
    if std::fs::metadata(path)?.len() > MAX_KEY_FILE {
        return Err(std::io::Error::other("larger than any key"));
    }
    std::fs::read_to_string(path).map(Zeroizing::new)
}

fn read_key_file(path: &Path) -> KeyFile {
    let text = match read_bounded(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return public_sibling(path).map_or(KeyFile::Missing, KeyFile::Public);
        }
        Err(e) => return KeyFile::Bad(e.to_string()),
        Ok(text) => text,
    };
    if let Ok(key) = PrivateKey::from_openssh(text.as_bytes())
        && key.is_encrypted()
    {
        return KeyFile::Encrypted(Some(key.public_key().clone()));
    }
    if let Ok(key) = PublicKey::from_openssh(text.trim()) {
        return KeyFile::Public(key);
    }
    match russh::keys::decode_secret_key(&text, None) {
        Ok(key) => KeyFile::Plain(Arc::new(key)),
        Err(russh::keys::Error::KeyIsEncrypted) => KeyFile::Encrypted(public_sibling(path)),
        Err(_) if text.contains("ENCRYPTED") => KeyFile::Encrypted(public_sibling(path)),
        Err(e) => KeyFile::Bad(e.to_string()),
    }
}

fn public_sibling(path: &Path) -> Option<PublicKey> {
    PublicKey::from_openssh(read_bounded(&with_suffix(path, ".pub")).ok()?.trim()).ok()
}

fn certificate_sibling(path: &Path) -> Option<Certificate> {
    Certificate::from_openssh(read_bounded(&with_suffix(path, "-cert.pub")).ok()?.trim()).ok()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn decrypt(path: &Path, secret: &Secret) -> Unlocked {
    let text = read_bounded(path).map_err(|e| e.to_string())?;
    // The reason would be about ciphers and padding; a person knows it as one thing.
    russh::keys::decode_secret_key(&text, Some(secret.expose()))
        .map(Arc::new)
        .map_err(|_| "the passphrase is wrong".to_owned())
}

type Agent = AgentClient<tokio::net::UnixStream>;

async fn held_keys(socket: &Path) -> Result<(Agent, Vec<AgentIdentity>), russh::keys::Error> {
    let mut agent = Agent::connect_uds(socket).await?;
    let keys = agent.request_identities().await?;
    Ok((agent, keys))
}

/// One login in progress.
pub(super) struct Login<'a> {
    pub(super) handle: &'a mut Handle<Verifier>,
    pub(super) endpoint: &'a Endpoint,
    pub(super) keyring: &'a Keyring,
    pub(super) notes: &'a Notes,
    pub(super) deadline: Duration,
    /// What was tried, in words.
    tried: Vec<String>,
    offered: HashSet<KeyData>,
    accepts: String,
}

/// Files whose private half cannot be used as it is.
#[derive(Default)]
struct Locked {
    files: Vec<(PathBuf, Option<PublicKey>)>,
    /// The public halves that are known: the agent's keys among these come first.
    named: Vec<KeyData>,
}

/// What became of one offer.
enum Offer {
    Accepted,
    Declined,
}

type Offered = Result<Offer, Fault>;

impl<'a> Login<'a> {
    pub(super) fn new(
        handle: &'a mut Handle<Verifier>,
        endpoint: &'a Endpoint,
        keyring: &'a Keyring,
        notes: &'a Notes,
        deadline: Duration,
    ) -> Self {
        let accepts = "publickey".to_owned();
        Self { handle, endpoint, keyring, notes, deadline, tried: vec![], offered: HashSet::new(), accepts }
    }

    /// Tries what there is.
    ///
    /// # Errors
    /// A [`Fault::Login`] that lists what was tried, or what broke the connection.
    pub(super) async fn run(mut self) -> Result<(), Fault> {
        let mut locked = Locked::default();
        if let Offer::Accepted = self.offer_plain(&mut locked).await? {
            return Ok(());
        }
        if let Offer::Accepted = self.offer_agent(&locked.named).await? {
            return Ok(());
        }
        if let Offer::Accepted = self.offer_encrypted(locked).await? {
            return Ok(());
        }
        Err(self.failure())
    }

    /// Offers the files that need no passphrase; sorts out the others.
    async fn offer_plain(&mut self, locked: &mut Locked) -> Offered {
        for path in self.endpoint.identities.clone() {
            match self.keyring.file(&path).await {
                KeyFile::Missing => self.tried.push(format!("{} (no such file)", path.display())),
                KeyFile::Bad(why) => self.tried.push(format!("{} ({why})", path.display())),
                KeyFile::Public(key) => locked.named.push(key.key_data().clone()),
                KeyFile::Encrypted(public) => {
                    locked.named.extend(public.as_ref().map(|key| key.key_data().clone()));
                    locked.files.push((path, public));
                }
                KeyFile::Plain(key) => {
                    if let Offer::Accepted = self.offer_file(&path, key).await? {
                        return Ok(Offer::Accepted);
                    }
                }
            }
        }
        Ok(Offer::Declined)
    }

    async fn offer_encrypted(&mut self, locked: Locked) -> Offered {
        for (path, public) in locked.files {
            if public.is_some_and(|key| self.offered.contains(key.key_data())) {
                continue;
            }
            match self.keyring.unlock(&path).await {
                Err(why) => self.tried.push(format!("{} ({why})", path.display())),
                Ok(key) => {
                    if let Offer::Accepted = self.offer_file(&path, key).await? {
                        return Ok(Offer::Accepted);
                    }
                }
            }
        }
        Ok(Offer::Declined)
    }

    async fn offer_file(&mut self, path: &Path, key: Arc<PrivateKey>) -> Offered {
        self.tried.push(format!("{} ({})", path.display(), describe(key.public_key())));
        if let Some(certificate) = certificate_sibling(path) {
            let (user, key) = (self.endpoint.user.clone(), key.clone());
            let result =
                timeout(self.deadline, self.handle.authenticate_openssh_cert(user, key, certificate)).await;
            if let Offer::Accepted = self.judge(result)? {
                return Ok(Offer::Accepted);
            }
        }
        self.offered.insert(key.public_key().key_data().clone());
        let Some(hash) = self.rsa_hash(&key.algorithm()).await? else { return Ok(Offer::Declined) };
        let key = PrivateKeyWithHashAlg::new(key, hash);
        let offer = self.handle.authenticate_publickey(self.endpoint.user.clone(), key);
        let result = timeout(self.deadline, offer).await;
        self.judge(result)
    }

    async fn offer_agent(&mut self, named: &[KeyData]) -> Offered {
        let Some(socket) = self.endpoint.agent_socket.clone() else { return Ok(Offer::Declined) };
        let (mut agent, mut keys) = match timeout(self.deadline, held_keys(&socket)).await {
            Ok(Ok(held)) => held,
            Ok(Err(e)) => {
                self.tried.push(format!("ssh-agent at {} ({e})", socket.display()));
                return Ok(Offer::Declined);
            }
            Err(_) => {
                self.tried.push(format!("ssh-agent at {} (no answer)", socket.display()));
                return Ok(Offer::Declined);
            }
        };
        if keys.is_empty() {
            self.tried.push("ssh-agent (holds no keys)".to_owned());
        }
        let is_named = |key: &AgentIdentity| named.contains(key.public_key().key_data());
        keys.retain(|key| !self.endpoint.identities_only || is_named(key));
        keys.sort_by_key(|key| !is_named(key));
        for key in keys {
            if let Offer::Accepted = self.offer_agent_key(&mut agent, key).await? {
                return Ok(Offer::Accepted);
            }
        }
        Ok(Offer::Declined)
    }

    async fn offer_agent_key(&mut self, agent: &mut Agent, identity: AgentIdentity) -> Offered {
        let public = identity.public_key().into_owned();
        let fresh = self.offered.insert(public.key_data().clone());
        if !fresh && matches!(identity, AgentIdentity::PublicKey { .. }) {
            return Ok(Offer::Declined);
        }
        self.tried.push(format!("ssh-agent ({})", describe(&public)));
        let Some(hash) = self.rsa_hash(&public.algorithm()).await? else { return Ok(Offer::Declined) };
        let user = self.endpoint.user.clone();
        let result = timeout(self.deadline, async {
            match identity {
                AgentIdentity::PublicKey { key, .. } => {
                    self.handle.authenticate_publickey_with(user, key, hash, agent).await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    self.handle.authenticate_certificate_with(user, certificate, hash, agent).await
                }
            }
        })
        .await;
        match result {
            Ok(Ok(result)) => self.judge(Ok(Ok(result))),
            Ok(Err(e)) => {
                self.tried.push(format!("which would not sign ({e})"));
                Ok(Offer::Declined)
            }
            Err(elapsed) => self.judge(Err(elapsed)),
        }
    }

    /// The hash to sign with: `Some(None)` for keys other than RSA, `None` if the server wants SHA-1.
    async fn rsa_hash(&mut self, algorithm: &Algorithm) -> Result<Option<Option<HashAlg>>, Fault> {
        if !matches!(algorithm, Algorithm::Rsa { .. }) {
            return Ok(Some(None));
        }
        match timeout(self.deadline, self.handle.best_supported_rsa_hash()).await {
            Ok(Ok(Some(Some(hash)))) => Ok(Some(Some(hash))),
            // Servers that do not say are old, but know SHA-2 since OpenSSH 7.2.
            Ok(Ok(None)) => Ok(Some(Some(HashAlg::Sha256))),
            Ok(Ok(Some(None))) => {
                self.tried.push("not offered, since the server wants SHA-1".to_owned());
                Ok(None)
            }
            Ok(Err(e)) => Err(self.broken(Some(e))),
            Err(_) => Err(self.slow()),
        }
    }

    fn judge(
        &mut self,
        result: Result<Result<AuthResult, russh::Error>, tokio::time::error::Elapsed>,
    ) -> Offered {
        match result {
            Ok(Ok(AuthResult::Success)) => Ok(Offer::Accepted),
            Ok(Ok(AuthResult::Failure { .. })) if self.handle.is_closed() => Err(self.broken(None)),
            Ok(Ok(AuthResult::Failure { remaining_methods, partial_success })) => {
                let methods: Vec<&str> = remaining_methods.iter().map(<&str>::from).collect();
                if !methods.is_empty() {
                    self.accepts = methods.join(", ");
                }
                if partial_success {
                    self.tried.push("which was accepted, but a second factor is asked for".to_owned());
                }
                Ok(Offer::Declined)
            }
            Ok(Err(e)) => Err(self.broken(Some(e))),
            Err(_) => Err(self.slow()),
        }
    }

    fn slow(&self) -> Fault {
        let hint = "slow logins come from UseDNS, GSSAPI or PAM on the host";
        Fault::Timeout { doing: "logging in", after: self.deadline, hint }
    }

    /// The server hung up during the login: PAM says no, or too many keys were offered.
    fn broken(&self, error: Option<russh::Error>) -> Fault {
        let banner = self.notes.banner();
        if is_booting(&banner) {
            return Fault::Booting(banner);
        }
        if !banner.is_empty() {
            return self.failure();
        }
        Fault::Broken { doing: "logging in", source: error.map(Arc::new).or_else(|| self.notes.end()) }
    }

    fn failure(&self) -> Fault {
        let banner = self.notes.banner();
        if is_booting(&banner) {
            return Fault::Booting(banner);
        }
        let tried = if self.tried.is_empty() {
            "nothing: no key file and no ssh-agent".to_owned()
        } else {
            self.tried.join("; ")
        };
        let banner = if banner.is_empty() { banner } else { format!("; it says {banner:?}") };
        Fault::Login { user: self.endpoint.user.clone(), tried, accepts: self.accepts.clone(), banner }
    }
}

/// Whether PAM's nologin speaks (systemd-user-sessions(8), pam_nologin(8)).
fn is_booting(banner: &str) -> bool {
    ["System is booting up", "System is going down", "/run/nologin", "/etc/nologin"]
        .iter()
        .any(|text| banner.contains(text))
}
