//! The agent's file: which one a host needs, and how it gets there whole or not at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::connect::Connection;
use super::error::Fault;
use super::greeting::{Heard, said};
use super::process::{Exit, Process};
use super::session::Turn;

/// Where agents live on a host.
pub const AGENT_DIR: &str = "/usr/local/lib/rackwright";
/// The largest manifest, in bytes.
const MAX_MANIFEST: u64 = 64 * 1024;
/// The largest agent, in bytes.
const MAX_AGENT: u64 = 64 * 1024 * 1024;
/// Deliveries at once. The link is shared anyway; of each one some 300 KiB wait in memory for it.
const DELIVERIES: usize = 8;

/// The agents that this coordinator brought along, one per machine.
#[derive(Debug)]
pub struct Agents {
    dir: PathBuf,
    /// The folder on the hosts.
    home: String,
    binaries: BTreeMap<String, AgentBinary>,
    gate: Semaphore,
}

/// One agent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentBinary {
    file: String,
    sha256: String,
    size: u64,
    #[serde(skip)]
    dir: PathBuf,
    #[serde(skip)]
    bytes: OnceLock<Result<Vec<u8>, String>>,
}

impl Agents {
    /// Reads `manifest.json` in `dir`. The agents themselves are read when the first host needs one.
    ///
    /// # Errors
    /// It is missing, or not a manifest.
    pub fn load(dir: &Path) -> Result<Self, Fault> {
        let path = dir.join("manifest.json");
        let bad = |why: String| {
            let text = "reinstall rackwright, or set RACKWRIGHT_AGENTS to the folder with the agents";
            Fault::Agents(format!("the agents' manifest {} {why}; {text}", path.display()))
        };
        let size = std::fs::metadata(&path).map_err(|e| bad(format!("cannot be read ({e})")))?.len();
        if size > MAX_MANIFEST {
            return Err(bad("is too large".to_owned()));
        }
        let text = std::fs::read(&path).map_err(|e| bad(format!("cannot be read ({e})")))?;
        let mut binaries: BTreeMap<String, AgentBinary> =
            serde_json::from_slice(&text).map_err(|e| bad(format!("is not valid ({e})")))?;
        for binary in binaries.values_mut() {
            if !binary.is_sane() {
                return Err(bad(format!("describes {:?} wrongly", binary.file)));
            }
            binary.dir = dir.to_owned();
        }
        let gate = Semaphore::new(DELIVERIES);
        Ok(Self { dir: dir.to_owned(), home: AGENT_DIR.to_owned(), binaries, gate })
    }

    /// The folder of the agents: `named` (from `RACKWRIGHT_AGENTS`), else `agents` beside the executable.
    pub fn folder(named: Option<PathBuf>) -> PathBuf {
        named.unwrap_or_else(|| {
            let executable = std::env::current_exe().unwrap_or_default();
            executable.parent().unwrap_or(Path::new(".")).join("agents")
        })
    }

    /// Keeps the agents in another folder on the hosts, for those whose `/usr/local` cannot be written.
    ///
    /// # Errors
    /// Not an absolute path of plain characters.
    pub fn kept_in(mut self, home: &str) -> Result<Self, Fault> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        if !home.starts_with('/') || !home.chars().all(plain) {
            return Err(Fault::Agents(format!(
                "{home:?} is not a plain absolute path for the agents on hosts"
            )));
        }
        self.home = home.trim_end_matches('/').to_owned();
        Ok(self)
    }

    /// The folder on the hosts.
    pub fn home(&self) -> &str {
        &self.home
    }

    /// The names under which hosts keep these agents.
    pub fn names(&self) -> Vec<String> {
        self.binaries.values().map(AgentBinary::name).collect()
    }

    /// Waits until another delivery may begin; the next one may when the result is dropped.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it.
        self.gate.acquire().await.ok()
    }

    /// The agent for a machine as `uname -m` names it.
    ///
    /// # Errors
    /// There is none for it.
    pub fn pick(&self, machine: &str) -> Result<&AgentBinary, Fault> {
        let machine = if machine == "arm64" { "aarch64" } else { machine };
        self.binaries.get(machine).ok_or_else(|| {
            let have: Vec<&str> = self.binaries.keys().map(String::as_str).collect();
            let (dir, have) = (self.dir.display(), have.join(", "));
            Fault::Agents(format!("no agent for machine {machine:?} in {dir} (there is: {have})"))
        })
    }
}

impl AgentBinary {
    fn is_sane(&self) -> bool {
        let hex =
            self.sha256.len() == 64 && self.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        hex && self.size <= MAX_AGENT && !self.file.contains('/') && !self.file.is_empty()
    }

    /// `agent-` and the first 16 hex digits of its SHA-256.
    pub fn name(&self) -> String {
        format!("agent-{}", &self.sha256[..16])
    }

    /// Its bytes, checked against the manifest once.
    fn bytes(&self) -> Result<&[u8], Fault> {
        let read = || {
            let path = self.dir.join(&self.file);
            let bytes = std::fs::read(&path)
                .map_err(|e| format!("cannot read the agent {} ({e})", path.display()))?;
            let sum = ring::digest::digest(&ring::digest::SHA256, &bytes);
            let hex: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            if hex == self.sha256 {
                return Ok(bytes);
            }
            Err(format!("the agent {} is not the one in its manifest; reinstall rackwright", path.display()))
        };
        self.bytes.get_or_init(read).as_deref().map_err(|why| Fault::Agents(why.clone()))
    }
}

/// Receives an agent on standard input and becomes it: `sh -c SCRIPT sh FOLDER NAME SHA256 SIZE`. No single quote may
/// stand in it, nor an exclamation mark. Written beside its place, checked, synced, tried, and only then renamed; so a
/// file under an agent's name is always a whole one. What a delivery left that died with its host goes first. All but
/// the three newest agents go, unless they run, the link of the units leads to them, or a unit names them.
pub(super) const SCRIPT: &str = r#"umask 022; d=$1; n=$2; install -d -m 755 $d && cd $d || exit 20;
for f in .agent-*.*; do test -d "/proc/${f##*.}" || rm -f "$f"; done;
t=.$2.$$; trap "rm -f $d/$t" EXIT; trap "exit 29" HUP INT TERM; true > $t || exit 20;
echo RACKWRIGHT-READY; head -c $4 > $t || exit 21;
s=$(sha256sum $t) || exit 22; test "${s%% *}" = "$3" || exit 23;
chmod 755 $t || exit 20; sync $t 2> /dev/null || sync; ./$t --version > /dev/null 2>&1 < /dev/null; r=$?;
case $r in 126|127) exit 24;; esac;
mv -f $t $2 || exit 20; sync . 2> /dev/null || sync;
set -- agent-*; test $# -le 3 || for a in $(ls -1t | grep "^agent-" | tail -n +4); do
ls -l /proc/[0-9]*/exe 2> /dev/null | grep -qF "$d/$a" || test "$(readlink agent)" = "$d/$a" || grep -rqsF "$a" /etc/systemd/system || rm -f "$a"; done;
trap - EXIT HUP INT TERM; exec "$d/$n" session"#;

impl Connection {
    /// Sends an agent to a host that said it has none; returns the first bytes of its session.
    pub(super) async fn deliver(
        &self,
        process: &mut Process,
        binary: &AgentBinary,
        prompt: &str,
    ) -> Result<Vec<u8>, Fault> {
        let bytes = binary.bytes()?;
        let order = format!("{} {} {}\n", binary.name(), binary.sha256, bytes.len());
        self.send(process, order.as_bytes()).await?;
        match self.listen(process, prompt, self.deadlines.greeting).await? {
            Turn::Heard(Heard::Ready) => {}
            turn => return Err(self.refusal(turn)),
        }
        // If the host stops reading, its last words say why.
        let _ = self.send(process, bytes).await;
        match self.listen(process, prompt, self.deadlines.command).await? {
            Turn::Heard(Heard::Agent(first)) => Ok(first),
            turn => Err(self.refusal(turn)),
        }
    }

    async fn send(&self, process: &mut Process, bytes: &[u8]) -> Result<(), Fault> {
        let after = self.deadlines.command;
        let send = async {
            process.writer.write_all(bytes).await?;
            process.writer.flush().await
        };
        let hint = "the link is slow, or the host's disk hangs";
        let sent = timeout(after, send).await;
        let sent = sent.map_err(|_| Fault::Timeout { doing: "delivering the agent", after, hint })?;
        sent.map_err(|_| self.broken("delivering the agent", None))
    }

    fn refusal(&self, turn: Turn) -> Fault {
        match turn {
            Turn::Ended(exit, greeting) => match why(&exit, &greeting.stderr_text()) {
                Some(why) => Fault::Deliver { why, said: said(&greeting.stderr_text(), "") },
                None => greeting.ended(&exit, self.user()),
            },
            Turn::Heard(_) => {
                Fault::Deliver { why: "the host's shell is confused".to_owned(), said: String::new() }
            }
        }
    }
}

/// What the script's exit status means.
fn why(exit: &Exit, stderr: &str) -> Option<String> {
    let why = match exit {
        Exit::Status(20 | 21) => folder_trouble(stderr),
        Exit::Status(22) => "the host has no sha256sum (coreutils or busybox)",
        Exit::Status(23) => "what arrived is not what was sent; try again, and suspect the link or the disk",
        Exit::Status(24) => {
            "the agent cannot be run there: its file system is mounted noexec, or it is for another machine"
        }
        _ => return None,
    };
    Some(why.to_owned())
}

/// What keeps a file out of the agents' folder, by the words of `strerror`.
fn folder_trouble(said: &str) -> &'static str {
    if said.contains("Read-only file system") {
        "the agents' folder is read-only; remount it writable"
    } else if said.contains("No space left") {
        "the disk with the agents' folder is full; make room for 16 MiB"
    } else if said.contains("Permission denied") {
        "the login user may not write to the agents' folder; set `become: sudo` in the rack"
    } else {
        "the agents' folder cannot be written"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(dir: &Path, text: &str) -> Result<Agents, Fault> {
        #[allow(clippy::disallowed_methods, reason = "a test's own folder")]
        std::fs::write(dir.join("manifest.json"), text).unwrap();
        Agents::load(dir)
    }

    #[test]
    fn a_manifest_is_read_and_judged() {
        let dir = tempfile::tempdir().unwrap();
        let sum = "ab".repeat(32);
        let good = format!(r#"{{"x86_64": {{"file": "a", "sha256": "{sum}", "size": 3}}}}"#);
        let agents = manifest(dir.path(), &good).unwrap();
        assert_eq!(agents.names(), ["agent-abababababababab"]);
        assert_eq!(agents.home(), "/usr/local/lib/rackwright");
        assert!(agents.kept_in("/opt/x; rm").is_err());
        let agents = manifest(dir.path(), &good).unwrap();
        let fault = agents.pick("riscv64").unwrap_err().to_string();
        assert!(fault.contains("riscv64") && fault.contains("x86_64"), "{fault}");
        for bad in ["", "[]", &good.replace("ab", "AB"), &good.replace("\"a\"", "\"../a\"")] {
            assert!(manifest(dir.path(), bad).is_err(), "{bad}");
        }
        assert!(
            Agents::load(Path::new("/nonexistent")).unwrap_err().to_string().contains("RACKWRIGHT_AGENTS")
        );
    }

    #[test]
    fn the_script_can_be_quoted() {
        assert!(!SCRIPT.contains(['\'', '!']));
    }
}
