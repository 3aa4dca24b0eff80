//! Host keys as the operator meets them, pins, jump hosts, and servers that misbehave.

use std::time::{Duration, Instant};

use rackwright::ssh::trust::{Existing, record};
use rackwright::ssh::{Fault, SshError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::server::{Sshd, chain, dialer, keygen, public, run};

async fn refused(target: &rackwright::ssh::Target) -> SshError {
    dialer().connect(target).await.err().expect("must be refused")
}

fn fingerprint(server: &Sshd) -> String {
    let key = server.path("host_ed25519.pub");
    run("ssh-keygen", &["-lf", key.to_str().unwrap()]).split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn an_unknown_key_is_refused_until_it_is_trusted() {
    let server = Sshd::start("");
    let mut target = server.target();
    target.endpoint.known_hosts = vec![server.path("sub/none")];
    target.endpoint.hash_known_hosts = true;
    let text = chain(&refused(&target).await);
    assert!(text.contains(&fingerprint(&server)) && text.contains("`rackwright trust w1`"), "{text}");
    let keys = dialer().host_keys(&target).await.unwrap();
    assert_eq!(keys.len(), 1);
    let file = record(&target.endpoint, &keys, Existing::Keep).unwrap();
    let name = format!("[127.0.0.1]:{}", server.port);
    let found = run("ssh-keygen", &["-F", &name, "-f", file.to_str().unwrap()]);
    assert!(found.contains("|1|") && found.contains(&public(&server.path("host_ed25519"))), "{found}");
    dialer().connect(&target).await.unwrap().close().await;
}

#[tokio::test]
async fn a_changed_key_is_refused_until_it_is_replaced() {
    let server = Sshd::start("");
    let mut target = server.target();
    keygen(&server.path("old"), "ed25519", "", &[]);
    let file = server.path("changed");
    std::fs::write(&file, format!("[127.0.0.1]:{} {}\n", server.port, public(&server.path("old")))).unwrap();
    target.endpoint.known_hosts = vec![file];
    let text = chain(&refused(&target).await);
    assert!(text.contains("changed:1 knows") && text.contains("trust w1 --replace"), "{text}");
    let keys = dialer().host_keys(&target).await.unwrap();
    record(&target.endpoint, &keys, Existing::Replace).unwrap();
    dialer().connect(&target).await.unwrap().close().await;
}

#[tokio::test]
async fn all_kinds_of_host_key_are_fetched() {
    let dir = tempfile::tempdir().unwrap();
    keygen(&dir.path().join("host_ed25519"), "ed25519", "", &[]);
    keygen(&dir.path().join("ec"), "ecdsa", "", &["-b", "384"]);
    keygen(&dir.path().join("rsa"), "rsa", "", &["-b", "2048"]);
    let server = Sshd::start_in(dir, &["host_ed25519", "ec", "rsa"], "");
    let keys = dialer().host_keys(&server.target()).await.unwrap();
    let kinds: Vec<String> = keys.iter().map(|key| key.algorithm().to_string()).collect();
    assert_eq!(kinds, ["ssh-ed25519", "ecdsa-sha2-nistp384", "ssh-rsa"]);
}

#[tokio::test]
async fn a_file_that_cannot_be_relied_on_stops_everything() {
    let server = Sshd::start("");
    let mut target = server.target();
    let file = server.path("broken");
    std::fs::write(&file, "@revoked * ssh-ed25519 oops\n").unwrap();
    target.endpoint.known_hosts.push(file);
    let text = chain(&refused(&target).await);
    assert!(text.contains("broken:1") && text.contains("@revoked"), "{text}");
    target.endpoint.known_hosts = vec![server.dir.path().to_owned()];
    assert!(chain(&refused(&target).await).contains("cannot read"));
}

#[tokio::test]
async fn a_pin_overrides_known_hosts() {
    let server = Sshd::start("");
    let mut target = server.target();
    target.endpoint.known_hosts.clear();
    for pin in [fingerprint(&server), public(&server.path("host_ed25519"))] {
        target.endpoint.pins = vec![pin.parse().unwrap()];
        dialer().connect(&target).await.unwrap().close().await;
    }
    target.endpoint.known_hosts = vec![server.known_hosts()];
    target.endpoint.pins = vec![public(&server.path("id")).parse().unwrap()];
    let text = chain(&refused(&target).await);
    assert!(text.contains("pinned in the rack") && text.contains(&fingerprint(&server)), "{text}");
}

#[tokio::test]
async fn a_fingerprint_of_any_kind_of_key() {
    let dir = tempfile::tempdir().unwrap();
    keygen(&dir.path().join("host_ed25519"), "ed25519", "", &[]);
    keygen(&dir.path().join("rsa"), "rsa", "", &["-b", "2048"]);
    let server = Sshd::start_in(dir, &["host_ed25519", "rsa"], "");
    let print = run("ssh-keygen", &["-lf", server.path("rsa.pub").to_str().unwrap()]);
    let mut target = server.target();
    target.endpoint.pins = vec![print.split(' ').nth(1).unwrap().parse().unwrap()];
    dialer().connect(&target).await.unwrap().close().await;
}

#[tokio::test]
async fn one_connection_per_jump_host() {
    let bastion = Sshd::start("");
    let server = Sshd::start("ForceCommand echo $SSH_CONNECTION\n");
    let mut target = server.target();
    target.jump = vec![bastion.endpoint()];
    let dialer = dialer();
    let dial = || async {
        let connection = dialer.connect(&target).await.unwrap();
        let output = connection.exec("true", b"").await.unwrap();
        connection.close().await;
        String::from_utf8(output.stdout).unwrap()
    };
    let seen = futures_util::future::join_all((0..12).map(|_| dial())).await;
    assert!(seen.iter().all(|line| line.starts_with("127.0.0.1 ")), "{seen:?}");
    let bastion_port = bastion.port.to_string();
    let established = run("ss", &["-Htn", "state", "established", "sport", "=", &format!(":{bastion_port}")]);
    assert_eq!(established.lines().count(), 1, "{established}");
}

#[tokio::test]
async fn a_failing_jump_host_is_named() {
    let bastion = Sshd::start("AllowTcpForwarding no\n");
    let server = Sshd::start("");
    let mut target = server.target();
    target.jump = vec![bastion.endpoint()];
    let text = chain(&refused(&target).await);
    assert!(text.contains("AllowTcpForwarding"), "{text}");
    target.jump[0].known_hosts.clear();
    let text = chain(&refused(&target).await);
    assert!(
        text.starts_with("w1: jump host 127.0.0.1:") && text.contains("rackwright trust 127.0.0.1"),
        "{text}"
    );
}

#[tokio::test]
async fn a_tunnel_through_the_connection() {
    let server = Sshd::start("");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    let connection = dialer().connect(&server.target()).await.unwrap();
    let mut tunnel = connection.direct_tcpip("127.0.0.1", port).await.unwrap();
    tunnel.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    tunnel.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"ping");
    drop(tunnel);
    connection.close().await;
    echo.await.unwrap();
}

#[tokio::test]
async fn a_server_that_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Sshd::start("");
    let mut target = server.target();
    target.endpoint.port = listener.local_addr().unwrap().port();
    target.deadlines.handshake = Duration::from_millis(200);
    let error = refused(&target).await;
    assert!(matches!(*error.fault, Fault::Timeout { doing: "waiting for the SSH banner", .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there() {
    let server = Sshd::start("");
    let mut target = server.target();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    target.endpoint.port = listener.local_addr().unwrap().port();
    drop(listener);
    assert!(matches!(*refused(&target).await.fault, Fault::Refused));
    target.endpoint.host = "no-such-host.invalid".into();
    assert!(matches!(*refused(&target).await.fault, Fault::Resolve(_)));
}

#[tokio::test]
async fn a_server_that_hangs_up_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Sshd::start("");
    let mut target = server.target();
    let (port, behind) = (listener.local_addr().unwrap().port(), server.port);
    target.endpoint.host_key_alias = Some(format!("[127.0.0.1]:{behind}"));
    target.endpoint.port = port;
    // Drops two connections as sshd's MaxStartups does, then lets one through.
    let relay = tokio::spawn(async move {
        for _ in 0..2 {
            drop(listener.accept().await.unwrap());
        }
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = tokio::net::TcpStream::connect(("127.0.0.1", behind)).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    dialer().connect(&target).await.unwrap().close().await;
    relay.await.unwrap();
}

#[tokio::test]
async fn something_that_is_not_ssh() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Sshd::start("");
    let mut target = server.target();
    target.endpoint.port = listener.local_addr().unwrap().port();
    let web = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"220 mail ESMTP\r\n").await;
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink).await;
    });
    target.deadlines.handshake = Duration::from_millis(300);
    let error = refused(&target).await;
    assert!(matches!(*error.fault, Fault::Timeout { doing: "waiting for the SSH banner", .. }), "{error}");
    web.await.unwrap();
}

/// Prints what connections cost; run it by name, with `--ignored --nocapture`, in a release build.
#[tokio::test]
#[ignore = "a measurement, not a test"]
async fn cost_of_connections() {
    let server = Sshd::start("");
    let (dialer, target) = (dialer(), server.target());
    let usage = || {
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
        let micros = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
        micros(usage.user_time()) + micros(usage.system_time())
    };
    for (count, exec) in [(1, true), (1, true), (1, false), (32, true), (32, false), (64, true), (64, false)]
    {
        let (start, before) = (Instant::now(), usage());
        let all = (0..count).map(|_| async {
            let connection = dialer.connect(&target).await.unwrap();
            if exec {
                connection.exec("true", b"").await.unwrap();
            }
            connection.close().await;
        });
        futures_util::future::join_all(all).await;
        let (wall, cpu) = (start.elapsed(), usage() - before);
        eprintln!("{count} connections, exec {exec}: wall {wall:?}, cpu {} us each", cpu / count);
    }
}
