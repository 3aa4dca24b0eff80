//! OpenSSH's known_hosts (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"): parsing and judging, pure but for [`load`].
//!
//! The verdicts are those of `ssh` itself; a test runs both on the same files. One thing is stricter: a
//! `@revoked` line that cannot be read is an error, since skipping it would trust the key it revokes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use russh::keys::key::parse_public_key;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, EcdsaCurve, HashAlg, PublicKey, PublicKeyOrCertificate};

use super::certificate::{self, CertificateFault};

/// The largest known_hosts file that is read, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// A line of a known_hosts file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// Its line, from 1.
    pub line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Why known_hosts cannot be relied on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KnownHostsError {
    /// A file is there and cannot be read.
    #[error("cannot read {}; make it readable, or name another file as ssh.known_hosts in the rack", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// A file is larger than any real one.
    #[error("{} is larger than 16 MiB, so it is not read as known_hosts", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// A `@revoked` line that cannot be understood.
    #[error(
        "{place}: a @revoked line that cannot be read ({why}); correct it, or the key it revokes would be trusted"
    )]
    Revoked {
        /// The line.
        place: Place,
        /// What is wrong.
        why: &'static str,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    None,
    Authority,
    Revoked,
}

#[derive(Debug)]
enum Hosts {
    Patterns(String),
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

/// One readable line.
#[derive(Debug)]
pub struct Entry {
    place: Place,
    marker: Marker,
    hosts: Hosts,
    key: KeyData,
}

/// All lines of some known_hosts files.
#[derive(Debug, Default)]
pub struct KnownHosts {
    entries: Vec<Arc<Entry>>,
    /// Lines that were skipped, and why.
    pub skipped: Vec<(Place, &'static str)>,
}

/// What is known about a host key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The key, or the authority of its certificate, is in this line.
    Trusted(Place),
    /// The key, or its authority, is revoked.
    Revoked(Place),
    /// The host is known with other keys only.
    Changed {
        /// The line with one of them.
        place: Place,
        /// That key's kind, as `ssh-ed25519`.
        algorithm: String,
        /// That key's SHA-256 fingerprint.
        fingerprint: String,
    },
    /// A trusted authority signed the certificate, but it does not hold, and the bare key is not known.
    Certificate(CertificateFault),
    /// Nothing is known.
    Unknown,
}

/// Reads and parses files; a missing file is empty.
///
/// # Errors
/// A file that is there and cannot be read, and what [`KnownHosts::parse`] refuses.
pub fn load(files: &[PathBuf]) -> Result<KnownHosts, KnownHostsError> {
    let mut known = KnownHosts::default();
    for file in files {
        let fault = |source| KnownHostsError::Unreadable { file: file.clone(), source: Arc::new(source) };
        match std::fs::metadata(file) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(fault(e)),
            Ok(meta) if meta.len() > MAX_FILE => {
                return Err(KnownHostsError::TooLarge { file: file.clone() });
            }
            Ok(_) => {}
        }
        let bytes = std::fs::read(file).map_err(fault)?;
        known.parse(file, &String::from_utf8_lossy(&bytes))?;
    }
    Ok(known)
}

impl KnownHosts {
    /// Adds the lines of one file.
    ///
    /// # Errors
    /// A `@revoked` line that cannot be understood. Other bad lines go to `skipped`.
    pub fn parse(&mut self, file: &Path, text: &str) -> Result<(), KnownHostsError> {
        let file: Arc<Path> = file.into();
        for (index, line) in text.split('\n').enumerate() {
            let line = line.trim_matches([' ', '\t', '\r']);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = Place { file: file.clone(), line: index + 1 };
            match parse_line(line) {
                Ok((marker, hosts, key)) => {
                    self.entries.push(Arc::new(Entry { place, marker, hosts, key }));
                }
                Err(why) if line.starts_with("@revoked") => {
                    return Err(KnownHostsError::Revoked { place, why });
                }
                Err(why) => self.skipped.push((place, why)),
            }
        }
        Ok(())
    }

    /// The lines about one host. `alias` replaces host and port, as OpenSSH's `HostKeyAlias` does.
    pub fn about(&self, host: &str, port: u16, alias: Option<&str>) -> HostEntries {
        let host = host.to_ascii_lowercase();
        let principal = alias.map_or(host.clone(), str::to_ascii_lowercase);
        let named = match alias {
            Some(_) => principal.clone(),
            None => host_form(&host, port),
        };
        let plain = if named == principal { Vec::new() } else { self.matching(&principal) };
        HostEntries { entries: self.matching(&named), plain, principal }
    }

    fn matching(&self, name: &str) -> Vec<Arc<Entry>> {
        // The salt is per line, so a hashed file costs one HMAC a line and name; that is the format.
        self.entries.iter().filter(|entry| entry.hosts.matches(name)).cloned().collect()
    }
}

/// How known_hosts names a host: bare on port 22, else `[host]:port`.
pub fn host_form(host: &str, port: u16) -> String {
    if port == 22 { host.to_owned() } else { format!("[{host}]:{port}") }
}

/// The lines of known_hosts that are about one host.
#[derive(Debug)]
pub struct HostEntries {
    entries: Vec<Arc<Entry>>,
    /// Lines without a port, asked when the port is not 22 and nothing names it.
    plain: Vec<Arc<Entry>>,
    principal: String,
}

impl HostEntries {
    /// Judges what the server presented, at `now` (seconds since 1970).
    pub fn judge(&self, presented: &PublicKeyOrCertificate, now: u64) -> Verdict {
        match self.judge_in(&self.entries, presented, now) {
            Verdict::Unknown => {}
            verdict => return verdict,
        }
        match self.judge_in(&self.plain, presented, now) {
            // What a line without port says against a key on another port is about another server.
            Verdict::Changed { .. } => Verdict::Unknown,
            verdict => verdict,
        }
    }

    fn judge_in(&self, entries: &[Arc<Entry>], presented: &PublicKeyOrCertificate, now: u64) -> Verdict {
        let key = presented.public_key();
        if let Some(place) = revoked(entries, presented, key.key_data()) {
            return Verdict::Revoked(place);
        }
        let certified = presented.certificate().map(|c| self.judge_certificate(entries, c, now));
        if let Some(Some(Ok(place))) = certified {
            return Verdict::Trusted(place);
        }
        // A certificate that proves nothing still shows a key, and that key may be known.
        match (judge_key(entries, key.key_data()), certified) {
            (Verdict::Unknown, Some(Some(Err(fault)))) => Verdict::Certificate(fault),
            (verdict, _) => verdict,
        }
    }

    fn judge_certificate(
        &self,
        entries: &[Arc<Entry>],
        certificate: &Certificate,
        now: u64,
    ) -> Option<Result<Place, CertificateFault>> {
        let authority =
            with(entries, Marker::Authority).find(|entry| entry.key == *certificate.signature_key())?;
        Some(certificate::judge(certificate, &self.principal, now).map(|()| authority.place.clone()))
    }

    /// Whether an authority is named for the host, so that its certificate is of use.
    pub fn has_authority(&self) -> bool {
        [&self.entries, &self.plain].into_iter().any(|list| with(list, Marker::Authority).next().is_some())
    }

    /// Host key algorithms in the order to offer them: those of known keys first, unless the best one is known
    /// anyway (OpenSSH's `order_hostkeyalgs`).
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let known: Vec<Algorithm> = with(&self.entries, Marker::None).map(|e| e.key.algorithm()).collect();
        order_algorithms(&known)
    }
}

/// [`HOST_KEY_ALGORITHMS`] with those of `known` keys first.
pub fn order_algorithms(known: &[Algorithm]) -> Vec<Algorithm> {
    let is_known = |offer: &Algorithm| known.iter().any(|k| same_kind(k, offer));
    let mut list = HOST_KEY_ALGORITHMS.to_vec();
    if !is_known(&HOST_KEY_ALGORITHMS[0]) {
        list.sort_by_key(|offer| !is_known(offer));
    }
    list
}

/// Host key algorithms, best first. No `ssh-rsa` with SHA-1 and no DSA, as in OpenSSH since 8.8.
pub const HOST_KEY_ALGORITHMS: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// A key as messages name it: kind and SHA-256 fingerprint.
pub fn describe(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256))
}

/// Whether both are of the same kind of key; an RSA key has several signature algorithms.
pub fn same_kind(a: &Algorithm, b: &Algorithm) -> bool {
    a == b || matches!((a, b), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }))
}

fn with(entries: &[Arc<Entry>], marker: Marker) -> impl Iterator<Item = &Arc<Entry>> {
    entries.iter().filter(move |entry| entry.marker == marker)
}

fn revoked(entries: &[Arc<Entry>], presented: &PublicKeyOrCertificate, key: &KeyData) -> Option<Place> {
    let authority = presented.certificate().map(Certificate::signature_key);
    with(entries, Marker::Revoked)
        .find(|entry| entry.key == *key || Some(&entry.key) == authority)
        .map(|entry| entry.place.clone())
}

fn judge_key(entries: &[Arc<Entry>], key: &KeyData) -> Verdict {
    let mut other = None;
    for entry in with(entries, Marker::None) {
        if entry.key == *key {
            return Verdict::Trusted(entry.place.clone());
        }
        other = Some(entry);
    }
    other.map_or(Verdict::Unknown, |entry| Verdict::Changed {
        place: entry.place.clone(),
        algorithm: entry.key.algorithm().to_string(),
        fingerprint: entry.key.fingerprint(HashAlg::Sha256).to_string(),
    })
}

type Line = (Marker, Hosts, KeyData);

fn parse_line(line: &str) -> Result<Line, &'static str> {
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    let mut next = || words.next().ok_or("it ends too early");
    let mut first = next()?;
    let marker = match first.strip_prefix('@') {
        None => Marker::None,
        Some("cert-authority") => Marker::Authority,
        Some("revoked") => Marker::Revoked,
        Some(_) => return Err("its marker is neither @cert-authority nor @revoked"),
    };
    if marker != Marker::None {
        first = next()?;
    }
    let hosts = Hosts::parse(first).ok_or("its hashed name cannot be decoded")?;
    let key = parse_key(next()?, next()?)?;
    Ok((marker, hosts, key))
}

fn parse_key(algorithm: &str, base64: &str) -> Result<KeyData, &'static str> {
    let blob = STANDARD.decode(base64).map_err(|_| "its key is not base64")?;
    let key: PublicKey = parse_public_key(&blob).map_err(|_| "its key cannot be decoded")?;
    if key.algorithm().to_string() != algorithm {
        return Err("its key is not of the kind it says");
    }
    Ok(key.key_data().clone())
}

impl Hosts {
    fn parse(word: &str) -> Option<Self> {
        let Some(hashed) = word.strip_prefix("|1|") else {
            return (!word.starts_with('|')).then(|| Self::Patterns(word.to_ascii_lowercase()));
        };
        let (salt, hash) = hashed.split_once('|')?;
        Some(Self::Hashed { salt: STANDARD.decode(salt).ok()?, hash: STANDARD.decode(hash).ok()? })
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Patterns(patterns) => matches_list(name, patterns),
            Self::Hashed { salt, hash } => name_hash(salt, name).as_ref() == hash.as_slice(),
        }
    }
}

/// The hash of a hashed name: HMAC-SHA1 of the name, keyed by the salt.
pub fn name_hash(salt: &[u8], name: &str) -> ring::hmac::Tag {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
    ring::hmac::sign(&key, name.as_bytes())
}

/// A comma-separated list of patterns: one must match, and none that is negated with `!`.
pub fn matches_list(name: &str, patterns: &str) -> bool {
    let mut matched = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(negated) if matches_pattern(name, negated) => return false,
            Some(_) => {}
            None => matched |= matches_pattern(name, pattern),
        }
    }
    matched
}

/// `*` stands for any run of characters, `?` for one. Linear in both lengths but for the product of the two.
pub fn matches_pattern(name: &str, pattern: &str) -> bool {
    let (name, pattern) = (name.as_bytes(), pattern.as_bytes());
    let (mut n, mut p) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => {
                n += 1;
                p += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

/// Files as they were read, or why they could not be.
pub type Loaded = Result<Arc<KnownHosts>, KnownHostsError>;

/// Parsed files, so that a thousand nodes parse them once.
#[derive(Debug, Default)]
pub struct Cache(std::sync::Mutex<HashMap<Vec<PathBuf>, Loaded>>);

impl Cache {
    /// The parsed files; read on the first call for this list.
    ///
    /// # Errors
    /// Those of [`load`].
    pub fn get(&self, files: &[PathBuf]) -> Loaded {
        let mut cache = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = cache.get(files) {
            return known.clone();
        }
        let known = load(files).map(Arc::new);
        if let Ok(known) = &known {
            for (place, why) in &known.skipped {
                tracing::warn!("{place}: skipped: {why}");
            }
        }
        cache.insert(files.to_vec(), known.clone());
        known
    }
}

#[cfg(test)]
#[path = "known_hosts_tests.rs"]
mod tests;
