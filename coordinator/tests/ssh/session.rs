//! The agent's exec: found, missing, delivered, noisy, refused, killed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rackwright::ssh::{Agents, Ask, Connection, Dialer, Exit, Fault, Privilege, Question, Secret};
use ring::digest::{SHA256, digest};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::server::{Sshd, chain, dialer, run};

/// Speaks the first line, names its parent, then echoes.
const STUB: &str =
    "#!/bin/sh\ntest \"$1\" = --version && exit 0\necho stub >&2\necho RACKWRIGHT/1\necho $PPID\nexec cat\n";

fn sum(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A folder with one agent for this machine, kept by the "host" in `home`.
fn agents(server: &Sshd, text: &str, home: &str) -> Agents {
    agents_for(server, run("uname", &["-m"]).trim(), text, home)
}

fn agents_for(server: &Sshd, machine: &str, text: &str, home: &str) -> Agents {
    let dir = server.path("agents");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("stub"), text).unwrap();
    let (hash, size) = (sum(text.as_bytes()), text.len());
    let manifest = format!(r#"{{"{machine}": {{"file": "stub", "sha256": "{hash}", "size": {size}}}}}"#);
    std::fs::write(dir.join("manifest.json"), manifest).unwrap();
    Agents::load(&dir).unwrap().kept_in(server.path(home).to_str().unwrap()).unwrap()
}

fn kept(server: &Sshd, agents: &Agents) -> PathBuf {
    server.path("home").join(&agents.names()[0])
}

fn files(server: &Sshd) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(server.path("home")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

async fn connect(server: &Sshd) -> Connection {
    dialer().connect(&server.target()).await.unwrap()
}

#[tokio::test]
async fn a_missing_agent_is_delivered_once() {
    // With the noise of a start-up file that does not even end its line.
    let server = Sshd::start("ForceCommand printf 'Welcome to %s! ' w1; eval \"$SSH_ORIGINAL_COMMAND\"\n");
    let agents = agents(&server, STUB, "home");
    let connection = connect(&server).await;
    for delivered in [true, false] {
        let mut channel = connection.agent(&agents).await.unwrap_or_else(|e| panic!("{}", chain(&e)));
        assert_eq!(channel.delivered, delivered);
        channel.writer.write_all(b"hello\n").await.unwrap();
        channel.writer.shutdown().await.unwrap();
        let mut text = String::new();
        channel.reader.read_to_string(&mut text).await.unwrap();
        assert!(text.ends_with("\nhello\n"), "{text}");
        assert_eq!(channel.ending.wait().await, Exit::Status(0));
        assert_eq!(channel.ending.stderr(), "stub");
    }
    assert_eq!(files(&server), [kept(&server, &agents)]);
    assert_eq!(std::fs::read_to_string(kept(&server, &agents)).unwrap(), STUB);
    connection.close().await;
}

#[tokio::test]
async fn the_last_agents_are_kept() {
    let server = Sshd::start("");
    let connection = connect(&server).await;
    for version in 0..5 {
        let agents = agents(&server, &format!("{STUB}# {version}\n"), "home");
        drop(connection.agent(&agents).await.unwrap());
        let age = format!("{} minutes ago", 10 - version);
        run("touch", &["-d", &age, kept(&server, &agents).to_str().unwrap()]);
    }
    assert_eq!(files(&server).len(), 3);
}

#[tokio::test]
async fn what_arrives_broken_is_not_kept() {
    // A host whose head changes what passes.
    let server = Sshd::start("ForceCommand PATH=DIR/bin:$PATH; eval \"$SSH_ORIGINAL_COMMAND\"\n");
    std::fs::create_dir(server.path("bin")).unwrap();
    std::fs::write(server.path("bin/head"), "#!/bin/sh\n/usr/bin/head \"$@\"; echo x\n").unwrap();
    run("chmod", &["755", server.path("bin/head").to_str().unwrap()]);
    let agents = agents(&server, STUB, "home");
    let text = chain(&connect(&server).await.agent(&agents).await.err().unwrap());
    assert!(text.contains("what arrived is not what was sent"), "{text}");
    assert_eq!(files(&server), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn an_agent_that_is_not_the_manifests_is_not_sent() {
    let server = Sshd::start("");
    let agents = agents(&server, STUB, "home");
    std::fs::write(server.path("agents/stub"), "another").unwrap();
    let text = chain(&connect(&server).await.agent(&agents).await.err().unwrap());
    assert!(text.contains("not the one in its manifest"), "{text}");
}

#[tokio::test]
async fn places_that_cannot_hold_an_agent() {
    let server = Sshd::start("");
    let connection = connect(&server).await;
    for (home, part) in [("/dev/full/x", "cannot be written"), ("/proc/rackwright", "cannot be written")] {
        let agents = agents(&server, STUB, "home").kept_in(home).unwrap();
        let text = chain(&connection.agent(&agents).await.err().unwrap());
        assert!(text.contains(part) && text.contains("it said"), "{text}");
    }
    let agents = agents_for(&server, "pdp11", STUB, "home");
    let text = chain(&connection.agent(&agents).await.err().unwrap());
    assert!(text.contains("no agent for machine") && text.contains("pdp11"), "{text}");
}

#[tokio::test]
async fn file_systems_that_cannot_hold_an_agent() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: mounting needs root");
        return;
    }
    let server = Sshd::start_with_mounts(
        "mkdir full ro noexec && mount -t tmpfs -o size=16k,mode=755 t full && mount -t tmpfs -o ro t ro \
         && mount -t tmpfs -o noexec,mode=755 t noexec",
    );
    let connection = connect(&server).await;
    let large = format!("{STUB}{}", "# more\n".repeat(10_000));
    for (home, part) in [("full", "is full"), ("ro", "is read-only"), ("noexec", "noexec")] {
        let agents = agents(&server, &large, home);
        let text = chain(&connection.agent(&agents).await.err().unwrap());
        assert!(text.contains(part), "{home}: {text}");
    }
    let output = connection.exec(&format!("ls -A {}", server.path("full").display()), b"").await.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "nothing is left behind");
}

#[tokio::test]
async fn an_agent_that_cannot_run() {
    let server = Sshd::start("");
    let connection = connect(&server).await;
    let agents = agents(&server, "#!/nonexistent/interpreter\n", "home");
    let text = chain(&connection.agent(&agents).await.err().unwrap());
    assert!(text.contains("cannot be run there"), "{text}");
}

#[tokio::test]
async fn a_shell_that_never_stops_talking() {
    let server = Sshd::start("ForceCommand yes\n");
    let agents = agents(&server, STUB, "home");
    let error = connect(&server).await.agent(&agents).await.err().unwrap();
    assert!(matches!(*error.fault, Fault::Noise), "{error}");
}

#[tokio::test]
async fn a_shell_that_hangs() {
    let server = Sshd::start("ForceCommand exec cat\n");
    let agents = agents(&server, STUB, "home");
    let mut target = server.target();
    target.deadlines.greeting = Duration::from_millis(300);
    let error = dialer().connect(&target).await.unwrap().agent(&agents).await.err().unwrap();
    assert!(matches!(*error.fault, Fault::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn a_shell_that_refuses() {
    let server = Sshd::start("ForceCommand echo This account is not available. >&2; exit 1\n");
    let agents = agents(&server, STUB, "home");
    let text = chain(&connect(&server).await.agent(&agents).await.err().unwrap());
    assert!(text.contains("exit status 1") && text.contains("not available"), "{text}");
}

#[tokio::test]
async fn a_connection_that_is_cut_is_an_error_and_not_an_end() {
    let server = Sshd::start("");
    let agents = agents(&server, STUB, "home");
    let connection = connect(&server).await;
    let channel = connection.agent(&agents).await.unwrap();
    let mut lines = BufReader::new(channel.reader).lines();
    let parent = lines.next_line().await.unwrap().unwrap();
    run("kill", &["-9", &parent]);
    let error = lines.next_line().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(channel.ending.wait().await, Exit::Lost);
    let mut writer = channel.writer;
    assert!(writer.write_all(&[0; 1 << 20]).await.is_err());
    assert!(connection.exec("true", b"").await.is_err());
    assert!(connection.is_closed());
}

#[tokio::test]
async fn a_server_that_falls_silent() {
    let server = Sshd::start("");
    let agents = agents(&server, STUB, "home");
    let mut target = server.target();
    target.deadlines.keepalive = Duration::from_millis(50);
    let connection = dialer().connect(&target).await.unwrap();
    let channel = connection.agent(&agents).await.unwrap();
    let mut lines = BufReader::new(channel.reader).lines();
    let parent = lines.next_line().await.unwrap().unwrap();
    run("kill", &["-STOP", &parent]);
    assert!(lines.next_line().await.is_err());
    run("kill", &["-9", &parent]);
}

#[tokio::test]
async fn a_killed_agent_names_its_signal() {
    let server = Sshd::start("");
    let agents = agents(&server, &STUB.replace("exec cat", "kill -9 $$"), "home");
    let connection = connect(&server).await;
    let mut channel = connection.agent(&agents).await.unwrap();
    let mut rest = Vec::new();
    channel.reader.read_to_end(&mut rest).await.unwrap();
    assert_eq!(channel.ending.wait().await, Exit::Signal("KILL".into()));
}

#[tokio::test]
async fn dropped_channels_are_closed() {
    // More sessions, one after the other, than sshd allows at once (MaxSessions).
    let server = Sshd::start("MaxSessions 2\n");
    let agents = agents(&server, STUB, "home");
    let connection = connect(&server).await;
    for _ in 0..6 {
        let channel = connection.agent(&agents).await.unwrap_or_else(|e| panic!("{}", chain(&e)));
        let ending = channel.ending.clone();
        drop(channel);
        ending.wait().await;
        // The server answers in order: once it has run this, it has seen the close.
        connection.exec("true", b"").await.unwrap();
    }
}

#[tokio::test]
async fn commands_with_input_and_output() {
    let server = Sshd::start("");
    let connection = connect(&server).await;
    let big = vec![b'x'; 3 << 20];
    let output = connection.exec("cat; echo oops >&2; exit 7", &big).await.unwrap();
    assert_eq!((output.exit, output.stdout.len()), (Exit::Status(7), big.len()));
    assert_eq!(output.stderr, b"oops\n");
    let error = connection.exec("yes | head -c 20000000", b"").await.err().unwrap();
    assert!(matches!(*error.fault, Fault::TooMuch { .. }), "{error}");
    connection.close().await;
}

/// Behaves as sudo does with `-k -S -p PROMPT -- COMMAND`, and logs what it is given.
const SUDO: &str = r#"#!/bin/sh
echo "argv: $*" >> DIR/sudo.log
while test "$1" != --; do test "$1" = -p && prompt=$2; shift; done; shift
echo "sudo: unable to resolve host w1" >&2
test -e DIR/nopasswd && exec "$@"
printf "%s" "$prompt" >&2
read -r line
test "$line" = "open sesame" && exec "$@"
printf "Sorry, try again.\n%s" "$prompt" >&2
read -r line
exit 1
"#;

fn sudo_host() -> Sshd {
    let server = Sshd::start("ForceCommand PATH=DIR/bin:$PATH; eval \"$SSH_ORIGINAL_COMMAND\"\n");
    std::fs::create_dir(server.path("bin")).unwrap();
    let text = SUDO.replace("DIR", server.dir.path().to_str().unwrap());
    std::fs::write(server.path("bin/sudo"), text).unwrap();
    run("chmod", &["755", server.path("bin/sudo").to_str().unwrap()]);
    server
}

async fn with_password(server: &Sshd, password: &'static str) -> Result<String, String> {
    let agents = agents(server, STUB, "home");
    let ask: Ask = Arc::new(move |question| {
        assert!(matches!(question, Question::Sudo { .. }));
        Some(Secret::new(password.to_owned()))
    });
    let mut target = server.target();
    target.privilege = Privilege::SudoPassword;
    let connection = Dialer::new(ask).connect(&target).await.unwrap();
    let mut channel = connection.agent(&agents).await.map_err(|e| chain(&e))?;
    channel.writer.write_all(b"hello\n").await.unwrap();
    channel.writer.shutdown().await.unwrap();
    let mut text = String::new();
    channel.reader.read_to_string(&mut text).await.unwrap();
    Ok(text)
}

#[tokio::test]
async fn a_password_goes_to_sudo_only() {
    let server = sudo_host();
    let echoed = with_password(&server, "open sesame").await.unwrap();
    assert!(echoed.ends_with("\nhello\n") && !echoed.contains("sesame"), "{echoed}");
    let log = std::fs::read_to_string(server.path("sudo.log")).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(!log.contains("sesame"), "{log}");
    assert_eq!(std::fs::read_to_string(&files(&server)[0]).unwrap(), STUB);
}

#[tokio::test]
async fn a_host_that_asks_for_no_password_is_given_none() {
    let server = sudo_host();
    std::fs::write(server.path("nopasswd"), "").unwrap();
    let echoed = with_password(&server, "open sesame").await.unwrap();
    assert!(echoed.ends_with("\nhello\n") && !echoed.contains("sesame"), "{echoed}");
}

#[tokio::test]
async fn a_wrong_password_is_given_once() {
    let server = sudo_host();
    let text = with_password(&server, "hunter2").await.unwrap_err();
    assert!(text.contains("sudo does not accept the password") && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn sudo_that_is_not_there() {
    let server = Sshd::start("ForceCommand PATH=DIR/bin; eval \"$SSH_ORIGINAL_COMMAND\"\n");
    std::fs::create_dir(server.path("bin")).unwrap();
    for tool in ["sh", "uname"] {
        std::os::unix::fs::symlink(format!("/bin/{tool}"), server.path("bin").join(tool)).unwrap();
    }
    let agents = agents(&server, STUB, "home");
    let mut target = server.target();
    target.privilege = Privilege::Sudo;
    let error = dialer().connect(&target).await.unwrap().agent(&agents).await.err().unwrap();
    assert!(matches!(*error.fault, Fault::SudoMissing), "{error}");
}
