//! Keys: plain, encrypted, RSA, certified, in an ssh-agent; and what the operator reads when none is accepted.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rackwright::ssh::{Ask, Dialer, Question, Secret};

use crate::server::{Sshd, chain, dialer, keygen, me, run};

fn authorize(server: &Sshd, key: &str) {
    std::fs::copy(server.path(&format!("{key}.pub")), server.path("authorized_keys")).unwrap();
}

#[tokio::test]
async fn an_encrypted_key_is_asked_for_once() {
    for (kind, format) in [("ed25519", "RFC4716"), ("rsa", "RFC4716"), ("rsa", "PEM"), ("ecdsa", "PKCS8")] {
        let server = Sshd::start("");
        keygen(&server.path("enc"), kind, "open sesame", &["-a", "1", "-m", format]);
        authorize(&server, "enc");
        let asked = Arc::new(AtomicUsize::new(0));
        let (count, path) = (asked.clone(), server.path("enc"));
        let ask: Ask = Arc::new(move |question| {
            assert_eq!(*question, Question::Passphrase(path.clone()));
            count.fetch_add(1, Ordering::SeqCst);
            Some(Secret::new("open sesame".into()))
        });
        let dialer = Dialer::new(ask);
        let mut target = server.target();
        target.endpoint.identities = vec![server.path("enc")];
        let all = futures_util::future::join_all((0..4).map(|_| dialer.connect(&target))).await;
        for connection in all {
            connection.unwrap_or_else(|e| panic!("{kind} {format}: {}", chain(&e))).close().await;
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{kind} {format}");
    }
}

#[tokio::test]
async fn a_wrong_passphrase_is_named_and_not_shown() {
    let server = Sshd::start("");
    keygen(&server.path("enc"), "ed25519", "open sesame", &["-a", "1"]);
    let ask: Ask = Arc::new(|_| Some(Secret::new("hunter2".into())));
    let mut target = server.target();
    target.endpoint.identities = vec![server.path("enc"), server.path("absent")];
    let text = chain(&Dialer::new(ask).connect(&target).await.err().unwrap());
    assert!(
        text.contains("enc (the passphrase is wrong)") && text.contains("absent (no such file)"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn an_rsa_key_signs_with_sha2() {
    let server = Sshd::start("");
    keygen(&server.path("rsa"), "rsa", "", &["-b", "2048"]);
    authorize(&server, "rsa");
    let mut target = server.target();
    target.endpoint.identities = vec![server.path("rsa")];
    dialer().connect(&target).await.unwrap().close().await;
}

#[tokio::test]
async fn a_user_certificate_beside_the_key() {
    let server = Sshd::start("TrustedUserCAKeys DIR/ca.pub\n");
    keygen(&server.path("ca"), "ed25519", "", &[]);
    std::fs::write(server.path("authorized_keys"), "").unwrap();
    let (ca, id, me) = (server.path("ca"), server.path("id.pub"), me());
    run("ssh-keygen", &["-q", "-s", ca.to_str().unwrap(), "-I", "me", "-n", &me, id.to_str().unwrap()]);
    dialer().connect(&server.target()).await.unwrap().close().await;
}

#[tokio::test]
async fn a_login_that_fails_lists_what_was_tried() {
    let server = Sshd::start("");
    std::fs::write(server.path("authorized_keys"), "").unwrap();
    let mut target = server.target();
    target.endpoint.agent_socket = Some(server.path("no.sock"));
    let text = chain(&dialer().connect(&target).await.err().unwrap());
    for part in
        [&format!("no login as {}", me()), "/id (ssh-ed25519 SHA256:", "ssh-agent at", "accepts publickey"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    target.endpoint.identities.clear();
    target.endpoint.agent_socket = None;
    let text = chain(&dialer().connect(&target).await.err().unwrap());
    assert!(text.contains("tried nothing"), "{text}");
}

struct Agent(Child);

impl Agent {
    fn start(socket: &Path) -> Self {
        use std::io::BufRead as _;
        let mut child = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It names its socket once it listens.
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self(child)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn add(socket: &Path, key: &Path) {
    let status = Command::new("ssh-add")
        .args(["-q", key.to_str().unwrap()])
        .env("SSH_AUTH_SOCK", socket)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn keys_of_an_agent() {
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let server = Sshd::start("");
        let socket = server.path("agent.sock");
        let _agent = Agent::start(&socket);
        keygen(&server.path("stranger"), "ed25519", "", &[]);
        keygen(&server.path("held"), kind, "", &[]);
        authorize(&server, "held");
        add(&socket, &server.path("stranger"));
        add(&socket, &server.path("held"));
        // The file is encrypted, but the agent holds it: nobody is asked.
        run("ssh-keygen", &["-q", "-p", "-P", "", "-N", "pass", "-f", server.path("held").to_str().unwrap()]);
        let mut target = server.target();
        target.endpoint.identities = vec![server.path("held")];
        target.endpoint.agent_socket = Some(socket);
        dialer().connect(&target).await.unwrap().close().await;
        target.endpoint.identities_only = true;
        dialer().connect(&target).await.unwrap().close().await;
    }
}

#[tokio::test]
async fn a_banner_that_says_booting() {
    let server = Sshd::start("Banner DIR/banner\n");
    std::fs::write(server.path("authorized_keys"), "").unwrap();
    let words = "System is booting up. Unprivileged users are not permitted to log in yet.";
    std::fs::write(server.path("banner"), words).unwrap();
    let text = chain(&dialer().connect(&server.target()).await.err().unwrap());
    assert!(text.contains("lets nobody log in yet") && text.contains("wait until it has booted"), "{text}");
}

#[tokio::test]
async fn too_many_keys_are_named_as_such() {
    let server = Sshd::start("MaxAuthTries 2\n");
    std::fs::write(server.path("authorized_keys"), "").unwrap();
    let mut target = server.target();
    for name in ["a", "b", "c"] {
        keygen(&server.path(name), "ed25519", "", &[]);
        target.endpoint.identities.push(server.path(name));
    }
    let text = chain(&dialer().connect(&target).await.err().unwrap());
    assert!(text.contains("Too many authentication failures") && text.contains("/a (ssh-ed25519"), "{text}");
}

#[tokio::test]
async fn a_public_key_names_one_of_the_agents() {
    let server = Sshd::start("MaxAuthTries 2\n");
    let socket = server.path("agent.sock");
    let _agent = Agent::start(&socket);
    for name in ["a", "b", "c", "held"] {
        keygen(&server.path(name), "ed25519", "", &[]);
        add(&socket, &server.path(name));
    }
    authorize(&server, "held");
    std::fs::remove_file(server.path("held")).unwrap();
    let mut target = server.target();
    target.endpoint.agent_socket = Some(socket);
    for named in ["held", "held.pub"] {
        target.endpoint.identities = vec![server.path(named)];
        dialer().connect(&target).await.unwrap().close().await;
    }
}
