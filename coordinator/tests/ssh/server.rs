//! A real sshd of our own: temporary folder, free port on loopback, own keys. Gone when dropped.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rackwright::ssh::target::{Deadlines, Endpoint, Privilege, Target};
use rackwright::ssh::{Ask, Dialer};
use tempfile::TempDir;

const SSHD: &str = "/usr/sbin/sshd";

pub struct Sshd {
    pub dir: TempDir,
    pub port: u16,
    child: Child,
}

/// Who runs the tests; an sshd that is not root's can log in only its own user.
pub fn me() -> String {
    nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().name
}

pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

pub fn keygen(path: &Path, kind: &str, passphrase: &str, more: &[&str]) {
    let mut args = vec!["-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", path.to_str().unwrap()];
    args.extend(more);
    run("ssh-keygen", &args);
}

/// `kind base64`, without the comment.
pub fn public(path: &Path) -> String {
    let text = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ").trim().to_owned()
}

impl Sshd {
    /// With an ed25519 host key, a login key `id` that it accepts, and further lines of configuration.
    pub fn start(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        keygen(&dir.path().join("host_ed25519"), "ed25519", "", &[]);
        Self::start_in(dir, &["host_ed25519"], more)
    }

    pub fn start_in(dir: TempDir, host_keys: &[&str], more: &str) -> Self {
        Self::start_by(&["env"], dir, host_keys, more)
    }

    /// With mounts of its own: `mounts` is a line of shell, run in the server's folder.
    pub fn start_with_mounts(mounts: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        keygen(&dir.path().join("host_ed25519"), "ed25519", "", &[]);
        let script = format!("cd {} && {mounts} && exec \"$@\"", dir.path().display());
        Self::start_by(&["unshare", "-m", "sh", "-c", &script, "sh"], dir, &["host_ed25519"], "")
    }

    fn start_by(launcher: &[&str], dir: TempDir, host_keys: &[&str], more: &str) -> Self {
        let path = dir.path();
        keygen(&path.join("id"), "ed25519", "", &[]);
        std::fs::copy(path.join("id.pub"), path.join("authorized_keys")).unwrap();
        if nix::unistd::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\n\
             PidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 100\n\
             AuthorizedKeysFile {}\n",
            path.join("authorized_keys").display()
        );
        for key in host_keys {
            config += &format!("HostKey {}\n", path.join(key).display());
        }
        config += &more.replace("DIR", path.to_str().unwrap());
        std::fs::write(path.join("sshd_config"), config).unwrap();
        let mut child = Command::new(launcher[0])
            .args(&launcher[1..])
            .args([SSHD, "-D", "-e", "-f"])
            .arg(path.join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssh-server must be installed");
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("Server listening") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "sshd ended at once");
        }
        // A full pipe would stop the server.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { dir, port, child }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// known_hosts with the server's own key, and the file's path.
    pub fn known_hosts(&self) -> PathBuf {
        let file = self.path("known_hosts");
        std::fs::write(&file, format!("[127.0.0.1]:{} {}\n", self.port, public(&self.path("host_ed25519"))))
            .unwrap();
        file
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            identities: vec![self.path("id")],
            known_hosts: vec![self.known_hosts()],
            ..Endpoint::new("127.0.0.1", self.port, me())
        }
    }

    pub fn target(&self) -> Target {
        let (jump, privilege, deadlines) = (vec![], Privilege::Login, Deadlines::default());
        Target { node: "w1".into(), endpoint: self.endpoint(), jump, privilege, deadlines, rack: None }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A dialer that may ask nobody.
pub fn dialer() -> Dialer {
    let ask: Ask = Arc::new(|question| panic!("nobody should be asked: {question:?}"));
    Dialer::new(ask)
}

pub use rackwright::console::chain;
