//! Our verdict on a host key is OpenSSH's: both clients meet the same server with the same file.

use std::path::Path;
use std::process::{Command, Stdio};

use rackwright::ssh::{Fault, SshError};

use crate::server::{Sshd, dialer, keygen, me, public, run};

/// What a client makes of the server.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Sees {
    Trusted,
    Unknown,
    Changed,
    Revoked,
}

fn openssh(server: &Sshd, host: &str, file: &Path) -> Sees {
    let output = Command::new("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
        .args(["-o", "GlobalKnownHostsFile=/dev/null", "-o", "UpdateHostKeys=no", "-o", "IdentityAgent=none"])
        .args([
            "-o",
            &format!("UserKnownHostsFile={}", file.display()),
            "-o",
            "KexAlgorithms=curve25519-sha256",
        ])
        .args([
            "-p",
            &server.port.to_string(),
            "-l",
            &me(),
            "-i",
            server.path("id").to_str().unwrap(),
            host,
            "true",
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    match () {
        () if output.status.success() => Sees::Trusted,
        () if stderr.contains("REVOKED HOST KEY") => Sees::Revoked,
        () if stderr.contains("IDENTIFICATION HAS CHANGED") => Sees::Changed,
        () if stderr.contains("host key is known") => Sees::Unknown,
        () => panic!("{stderr}"),
    }
}

async fn ours(server: &Sshd, host: &str, file: &Path) -> Sees {
    let mut target = server.target();
    target.endpoint.host = host.to_owned();
    target.endpoint.known_hosts = vec![file.to_owned()];
    match dialer().connect(&target).await {
        Ok(connection) => {
            connection.close().await;
            Sees::Trusted
        }
        Err(SshError { fault, .. }) => match *fault {
            Fault::UnknownKey { .. } | Fault::Certificate(_) => Sees::Unknown,
            Fault::ChangedKey { .. } => Sees::Changed,
            Fault::RevokedKey { .. } => Sees::Revoked,
            other => panic!("{other}"),
        },
    }
}

async fn both(server: &Sshd, host: &str, text: &str, expected: Sees) {
    let file = server.path("kh");
    std::fs::write(&file, text).unwrap();
    assert_eq!(openssh(server, host, &file), expected, "OpenSSH, {host}: {:?}\n{text}", server.dir);
    assert_eq!(ours(server, host, &file).await, expected, "ours, {host}:\n{text}");
}

/// A server with three kinds of host key, and `other`, a key that it does not have.
fn server_with_keys() -> Sshd {
    let dir = tempfile::tempdir().unwrap();
    for (name, kind, more) in [
        ("host_ed25519", "ed25519", &[][..]),
        ("host_ecdsa", "ecdsa", &[]),
        ("host_rsa", "rsa", &["-b", "2048"]),
        ("other", "ed25519", &[]),
    ] {
        keygen(&dir.path().join(name), kind, "", more);
    }
    Sshd::start_in(dir, &["host_ed25519", "host_ecdsa", "host_rsa"], "")
}

#[tokio::test]
async fn plain_lines() {
    use Sees::{Changed, Revoked, Trusted, Unknown};
    let server = server_with_keys();
    let key = |name: &str| public(&server.path(name));
    let (k, ecdsa, rsa, other) = (key("host_ed25519"), key("host_ecdsa"), key("host_rsa"), key("other"));
    let h = format!("[127.0.0.1]:{}", server.port);
    for (text, expected) in [
        (format!("{h} {k}\n"), Trusted),
        (format!("{h} {k}\r\n"), Trusted),
        (format!("{h}\t{}\n", k.replace(' ', "\t")), Trusted),
        (format!("# comment\n\n  {h} {k} a comment # more\n"), Trusted),
        (format!("a,{h},b {k}\n"), Trusted),
        (String::new(), Unknown),
        (format!("{h} {other}\n"), Changed),
        (format!("{h} {other}\n{h} {k}\n"), Trusted),
        (format!("{h} {ecdsa}\n"), Trusted),
        (format!("{h} {rsa}\n"), Trusted),
        (format!("@revoked * {k}\n{h} {k}\n"), Revoked),
        (format!("{h} {k}\n@revoked {h} {k}\n"), Revoked),
        (format!("@revoked {h} {k}\n"), Revoked),
        (format!("@revoked elsewhere {k}\n{h} {k}\n"), Trusted),
        (format!("[127.0.0.*]:{} {k}\n", server.port), Trusted),
        (format!("* {k}\n"), Trusted),
        (format!("*,!{h} {k}\n"), Trusted), // the line without port does match
        (format!("*,!{h},!127.0.0.1 {k}\n"), Unknown),
        (format!("127.0.0.1 {k}\n"), Trusted),
        (format!("127.0.0.1 {other}\n"), Unknown),
        (format!("127.0.0.1 {k}\n{h} {other}\n"), Changed),
        (format!("[127.0.0.1]:1 {k}\n"), Unknown),
        (format!("{h} ssh-ed25519 AAAA\n{h} ssh-frob AAAA\n{h}\n{h} {k}\n"), Trusted),
        (format!("{h} ssh-rsa {}\n", &k[12..]), Unknown),
        (format!("@frobbed {h} {k}\n"), Unknown),
        (format!("@cert-authority {h} {k}\n"), Unknown),
    ] {
        both(&server, "127.0.0.1", &text, expected).await;
    }
    both(&server, "localhost", &format!("[LocalHost]:{} {k}\n", server.port), Trusted).await;
}

#[tokio::test]
async fn another_kind_of_key_is_a_changed_key() {
    let server = Sshd::start("");
    keygen(&server.path("ec"), "ecdsa", "", &[]);
    let text = format!("[127.0.0.1]:{} {}\n", server.port, public(&server.path("ec")));
    both(&server, "127.0.0.1", &text, Sees::Changed).await;
}

#[tokio::test]
async fn hashed_names() {
    let server = server_with_keys();
    for (name, expected) in [("host_ed25519", Sees::Trusted), ("other", Sees::Changed)] {
        let line = format!("[127.0.0.1]:{} {}\n", server.port, public(&server.path(name)));
        let file = server.path("hashed");
        std::fs::write(&file, line).unwrap();
        run("ssh-keygen", &["-H", "-f", file.to_str().unwrap()]);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("|1|"), "{text}");
        both(&server, "127.0.0.1", &text, expected).await;
    }
}

/// A server with a host certificate that `ca` signed with these arguments.
fn certified(ca_kind: &str, sign: &[&str]) -> Sshd {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    keygen(&path("host_ed25519"), "ed25519", "", &[]);
    keygen(&path("ca"), ca_kind, "", &[]);
    keygen(&path("other"), "ed25519", "", &[]);
    let (ca, host) = (path("ca"), path("host_ed25519.pub"));
    let mut args = vec!["-q", "-s", ca.to_str().unwrap(), "-I", "host", "-h"];
    args.extend(sign);
    args.push(host.to_str().unwrap());
    run("ssh-keygen", &args);
    Sshd::start_in(dir, &["host_ed25519"], "HostCertificate DIR/host_ed25519-cert.pub\n")
}

#[tokio::test]
async fn certificates() {
    use Sees::{Changed, Revoked, Trusted, Unknown};
    let server = certified("ed25519", &["-n", "127.0.0.1"]);
    let key = |name: &str| public(&server.path(name));
    let (k, ca, other) = (key("host_ed25519"), key("ca"), key("other"));
    let h = format!("[127.0.0.1]:{}", server.port);
    for (text, expected) in [
        (format!("@cert-authority {h} {ca}\n"), Trusted),
        (format!("@cert-authority * {ca}\n"), Trusted),
        (format!("@cert-authority 127.0.0.1 {ca}\n"), Trusted),
        (format!("@cert-authority elsewhere {ca}\n"), Unknown),
        (format!("@cert-authority * {other}\n"), Unknown),
        (format!("@cert-authority * {other}\n@cert-authority * {ca}\n"), Trusted),
        (format!("@cert-authority * {other}\n{h} {k}\n"), Trusted),
        (format!("@cert-authority * {other}\n{h} {other}\n"), Changed),
        (format!("@cert-authority * {ca}\n{h} {other}\n"), Trusted),
        (format!("@cert-authority * {ca}\n@revoked * {ca}\n"), Revoked),
        (format!("@cert-authority * {ca}\n@revoked * {k}\n"), Revoked),
        (format!("{h} {ca}\n"), Changed),
        (format!("{h} {k}\n"), Trusted),
    ] {
        both(&server, "127.0.0.1", &text, expected).await;
    }
}

#[tokio::test]
async fn certificates_that_do_not_hold() {
    for (kind, sign, expected) in [
        ("ed25519", &["-n", "elsewhere"][..], Sees::Unknown),
        ("ed25519", &["-n", "elsewhere,localhost,127.0.0.1"], Sees::Trusted),
        ("ed25519", &["-n", "127.0.0.1", "-V", "20200101:20200102"], Sees::Unknown),
        ("ed25519", &["-n", "127.0.0.1", "-V", "20990101:20990102"], Sees::Unknown),
        ("ed25519", &["-n", "127.0.0.*"], Sees::Unknown),
        ("ed25519", &[], Sees::Trusted),
        ("ed25519", &["-n", "127.0.0.1", "-O", "critical:frob=x"], Sees::Unknown),
        ("ecdsa", &["-n", "127.0.0.1"], Sees::Trusted),
        ("rsa", &["-n", "127.0.0.1"], Sees::Trusted),
        ("rsa", &["-n", "127.0.0.1", "-t", "ssh-rsa"], Sees::Unknown),
    ] {
        let server = certified(kind, sign);
        let ca = public(&server.path("ca"));
        both(&server, "127.0.0.1", &format!("@cert-authority * {ca}\n"), expected).await;
        let h = format!("[127.0.0.1]:{}", server.port);
        let bare = format!("@cert-authority * {ca}\n{h} {}\n", public(&server.path("host_ed25519")));
        both(&server, "127.0.0.1", &bare, Sees::Trusted).await;
    }
}
