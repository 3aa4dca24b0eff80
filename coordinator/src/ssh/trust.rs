//! Recording a host key, as an explicit act: append it to known_hosts, or replace what is there.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use russh::keys::PublicKey;

use super::known_hosts::{host_form, matches_list, name_hash};
use super::target::Endpoint;

/// Why known_hosts was not written. It is as it was.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}; nothing was changed", file.display())]
pub struct TrustError {
    doing: &'static str,
    file: PathBuf,
    source: std::io::Error,
}

/// What to do with keys of the host that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave them, and add.
    Keep,
    /// Remove them: the host was installed anew.
    Replace,
}

/// Records `keys` as the endpoint's in its first known_hosts file; returns the file. Names are hashed if the endpoint
/// says so, or if names in the file are.
///
/// # Errors
/// The file cannot be read or replaced.
pub fn record(endpoint: &Endpoint, keys: &[PublicKey], existing: Existing) -> Result<PathBuf, TrustError> {
    let file = endpoint.known_hosts.first().cloned().unwrap_or_default();
    let failed = |doing| {
        let file = file.clone();
        move |source| TrustError { doing, file, source }
    };
    // A link, as dotfile managers make it, stays one.
    let file = std::fs::canonicalize(&file).unwrap_or_else(|_| file.clone());
    let text = match std::fs::read(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(failed("read")(e)),
    };
    // Bytes that are not UTF-8 must survive, so each byte becomes a character and later a byte again.
    let text: String = text.into_iter().map(char::from).collect();
    let name = match &endpoint.host_key_alias {
        Some(alias) => alias.to_ascii_lowercase(),
        None => host_form(&endpoint.host.to_ascii_lowercase(), endpoint.port),
    };
    let hashed = endpoint.hash_known_hosts || text.lines().any(|line| line.starts_with("|1|"));
    let salts = salts(if hashed { keys.len() } else { 0 }).map_err(failed("hash names for"))?;
    let text = edited(&text, &name, keys, existing, &salts);
    let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
    replace(&file, &bytes).map_err(failed("write"))?;
    Ok(file)
}

fn salts(count: usize) -> std::io::Result<Vec<[u8; 20]>> {
    let random = SystemRandom::new();
    (0..count)
        .map(|_| {
            let mut salt = [0; 20];
            random.fill(&mut salt).map_err(|_| std::io::Error::other("no random numbers"))?;
            Ok(salt)
        })
        .collect()
}

/// The file's text with the keys in it. Other hosts' lines stay as they are, byte by byte; so do markers, comments,
/// and lines with wildcards. Pure: `salts` holds one salt per key if names are hashed, else nothing.
pub fn edited(text: &str, name: &str, keys: &[PublicKey], existing: Existing, salts: &[[u8; 20]]) -> String {
    let mut out = String::with_capacity(text.len() + keys.len() * 128);
    let mut there: Vec<String> = Vec::new();
    for line in text.split_inclusive('\n') {
        let mut words = line.split_whitespace();
        let (hosts, key) = (words.next().unwrap_or(""), [words.next(), words.next()]);
        let ours = is_ours(hosts, name);
        match existing {
            Existing::Replace if ours => out.push_str(&without(line, hosts, name)),
            _ => out.push_str(line),
        }
        if let (true, Existing::Keep, [Some(kind), Some(blob)]) = (ours, existing, key) {
            there.push(format!("{kind} {blob}"));
        }
    }
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    for (index, key) in keys.iter().enumerate() {
        let bare = PublicKey::new(key.key_data().clone(), "");
        // Encoding a key that was decoded before does not fail.
        let Ok(key) = bare.to_openssh() else { continue };
        if !there.contains(&key) {
            let name = salts.get(index).map_or_else(|| name.to_owned(), |salt| hashed_name(salt, name));
            out.push_str(&format!("{name} {key}\n"));
        }
    }
    out
}

fn is_ours(hosts: &str, name: &str) -> bool {
    if hosts.starts_with(['#', '@']) || hosts.is_empty() {
        return false;
    }
    let Some((salt, hash)) = hosts.strip_prefix("|1|").and_then(|hashed| hashed.split_once('|')) else {
        return hosts.split(',').any(|host| host.eq_ignore_ascii_case(name));
    };
    let decoded = STANDARD.decode(salt).ok().zip(STANDARD.decode(hash).ok());
    decoded.is_some_and(|(salt, hash)| name_hash(&salt, name).as_ref() == hash.as_slice())
}

/// The line for the other hosts that it names; empty if there are none.
fn without(line: &str, hosts: &str, name: &str) -> String {
    let others: Vec<&str> =
        hosts.split(',').filter(|host| !hosts.starts_with('|') && !host.eq_ignore_ascii_case(name)).collect();
    // A pattern among them that matches our name too would keep the old key alive; negation takes our name out.
    let others = others.join(",");
    if others.is_empty() {
        return String::new();
    }
    let negated =
        if matches_list(name, &others.to_ascii_lowercase()) { format!(",!{name}") } else { String::new() };
    line.replacen(hosts, &format!("{others}{negated}"), 1)
}

fn hashed_name(salt: &[u8; 20], name: &str) -> String {
    format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(name_hash(salt, name).as_ref()))
}

/// Replaces the file as a whole, keeping its mode; its folder is made if it is missing.
fn replace(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let dir = file.parent().unwrap_or(Path::new("."));
    if !dir.exists() {
        std::fs::create_dir_all(dir)?;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    }
    let mode = std::fs::metadata(file).map_or(0o600, |meta| meta.mode() & 0o777);
    crate::atomic::write(file, bytes, mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK2pr+Bfus1hvPof4Wb/plZCzSbqadHH0u+/f4ODtKnE";
    const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).unwrap()
    }

    #[test]
    fn appending_leaves_the_rest_alone() {
        let text = format!("# mine\r\nother {A}");
        let edited = edited(&text, "[h]:2222", &[key(B)], Existing::Keep, &[]);
        assert_eq!(edited, format!("{text}\n[h]:2222 {B}\n"));
    }

    #[test]
    fn a_key_is_recorded_once() {
        let text = format!("h {A} comment\n");
        assert_eq!(edited(&text, "h", &[key(A)], Existing::Keep, &[]), text);
    }

    #[test]
    fn replacing_takes_only_this_host() {
        let hashed = hashed_name(&[1; 20], "h");
        let text = format!("h,other {A}\n{hashed} {A}\nh {A}\n@revoked h {A}\n*,h {A}\n#h {A}\n");
        let edited = edited(&text, "h", &[key(B)], Existing::Replace, &[]);
        assert_eq!(edited, format!("other {A}\n@revoked h {A}\n*,!h {A}\n#h {A}\nh {B}\n"));
    }

    #[test]
    fn hashed_files_stay_hashed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sub/known_hosts");
        let mut endpoint = Endpoint::new("h", 2222, "root");
        endpoint.known_hosts = vec![file.clone()];
        endpoint.hash_known_hosts = true;
        record(&endpoint, &[key(A)], Existing::Keep).unwrap();
        endpoint.hash_known_hosts = false;
        record(&endpoint, &[key(B)], Existing::Keep).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().filter(|line| line.starts_with("|1|")).count(), 2, "{text}");
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        record(&endpoint, &[key(B)], Existing::Replace).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert_eq!(std::fs::read_dir(dir.path().join("sub")).unwrap().count(), 1);
    }
}
