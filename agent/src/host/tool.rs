//! Running a tool of the cluster: in a process group and a private folder of its own, which both go with it.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::FutureExt as _;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rackwright_proto::tool::ToolOutcome;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::Host;
use super::fs::FsError;
use super::sys;
use crate::tool::Lines;

/// Where a run's folder lies: in memory, gone with a reboot at the latest.
const RUNS: &str = "/run/rackwright/tools";
/// Where programs of the host are looked for.
const PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// The most bytes of standard output that are kept.
const STDOUT: usize = 8 << 20;
/// The most bytes of the end of standard error that are kept.
const STDERR: usize = 64 << 10;
/// How long a tool may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(3);
/// How long what a tool wrote may take to arrive after it ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Lines that wait for the coordinator; more are left out.
const WAITING: usize = 2000;

/// What to start.
#[derive(Debug)]
pub struct Program {
    /// Its file, as it really lies.
    pub file: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// The kubeconfig that it finds, as it really lies.
    pub kubeconfig: Option<PathBuf>,
    /// How long it may take.
    pub deadline: Duration,
}

/// A tool that runs. It is killed, with all that it started, when this is dropped.
#[derive(Debug)]
pub struct Running {
    /// What it says on standard error, line by line; ends when it ended.
    pub said: mpsc::Receiver<String>,
    ended: tokio::task::JoinHandle<std::io::Result<ToolOutcome>>,
}

impl Running {
    /// How it ended. To be asked once, after the last line.
    pub async fn outcome(&mut self) -> std::io::Result<ToolOutcome> {
        (&mut self.ended).await.map_err(std::io::Error::other)?
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ended.abort();
    }
}

/// The private folder of a run; it goes with this value.
#[derive(Debug)]
pub struct Folder {
    real: PathBuf,
}

impl Folder {
    /// Where the run's files lie.
    pub fn files(&self) -> PathBuf {
        self.real.join("files")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.real);
    }
}

impl Host {
    /// A program of the host by its name.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        PATH.iter().map(|dir| self.path(Path::new(dir).join(name))).find(|real| is_program(real))
    }

    /// A new private folder with these files in it. Those of agents that are no more go first.
    pub fn tool_folder(&self, files: &BTreeMap<String, String>) -> Result<Folder, FsError> {
        self.make_dirs("/run/rackwright", 0o755)?;
        self.make_dirs(RUNS, 0o700)?;
        for name in self.names_in(RUNS)? {
            let pid = name.split('-').next().and_then(|pid| pid.parse::<u32>().ok());
            if pid.is_none_or(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                let _ = std::fs::remove_dir_all(self.path(RUNS).join(name));
            }
        }
        let name = format!("{}-{:016x}", std::process::id(), fastrand::u64(..));
        let folder = Folder { real: self.path(RUNS).join(name) };
        for dir in ["", "files", "home", "tmp"] {
            let real = folder.real.join(dir);
            DirBuilder::new().mode(0o700).create(&real).map_err(FsError::of("make directory", &real))?;
        }
        for (name, text) in files {
            let real = folder.files().join(name);
            let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&real);
            let mut file = open.map_err(FsError::of("create", &real))?;
            file.write_all(text.as_bytes()).map_err(FsError::of("write", &real))?;
        }
        Ok(folder)
    }

    /// Starts a program in its folder.
    pub fn start_tool(&self, program: Program, folder: Folder) -> std::io::Result<Running> {
        let mut command = Command::new(&program.file);
        command.args(&program.args).current_dir(folder.real.join("home")).env_clear();
        command.env("PATH", PATH.join(":")).env("LC_ALL", "C.UTF-8");
        command.env("HOME", folder.real.join("home")).env("TMPDIR", folder.real.join("tmp"));
        if let Some(path) = &program.kubeconfig {
            command.env("KUBECONFIG", path);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        sys::dies_with_us(&mut command);
        let child = command.spawn()?;
        let group = Group(child.id().map(|id| Pid::from_raw(id as i32)));
        let (say, said) = mpsc::channel(WAITING);
        let ended = tokio::spawn(watch(child, group, folder, say, program.deadline));
        Ok(Running { said, ended })
    }
}

fn is_program(real: &Path) -> bool {
    real.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A process group; what is left of it is killed when this is dropped.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // It may be gone already.
            let _ = killpg(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// Reads what a tool writes until it ended, within its time. The folder goes last.
async fn watch(
    mut child: Child,
    mut group: Group,
    folder: Folder,
    say: mpsc::Sender<String>,
    deadline: Duration,
) -> std::io::Result<ToolOutcome> {
    let until = Instant::now() + deadline;
    let (mut out, mut err) = (Kept::first(STDOUT), Kept::last(STDERR));
    let mut lines = Lines::new(move |line| say.try_send(line).is_ok());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let status = {
        let reading = async {
            tokio::join!(
                each(stdout, |bytes| out.take(bytes)),
                each(stderr, |bytes| {
                    err.take(bytes);
                    lines.take(bytes);
                })
            )
        };
        let mut reading = std::pin::pin!(reading.fuse());
        let status = tokio::select! {
            biased;
            status = wait(&mut child, &group, until) => status?,
            // Both streams were closed before it ended.
            _ = &mut reading => wait(&mut child, &group, until).await?,
        };
        // What it left behind would hold the streams open. Once empty, the group's number may be somebody else's.
        group.signal(Signal::SIGKILL);
        group.0 = None;
        let _ = timeout(LAST_WORDS, &mut reading).await;
        status
    };
    lines.end();
    let cut = out.cut || err.cut || lines.left_out();
    drop(folder);
    Ok(ToolOutcome { code: status.and_then(|s| s.code()), stdout: out.text(), stderr: err.text(), cut })
}

/// Waits for the end; asks for it and then insists when the time is up. `None` is the deadline's end.
async fn wait(child: &mut Child, group: &Group, until: Instant) -> std::io::Result<Option<ExitStatus>> {
    if let Ok(status) = timeout_at(until, child.wait()).await {
        return status.map(Some);
    }
    group.signal(Signal::SIGTERM);
    if timeout(GRACE, child.wait()).await.is_err() {
        group.signal(Signal::SIGKILL);
        child.wait().await?;
    }
    Ok(None)
}

async fn each(stream: Option<impl AsyncRead + Unpin>, mut take: impl FnMut(&[u8])) {
    let Some(mut stream) = stream else { return };
    let mut chunk = vec![0; 16 * 1024];
    // A stream that breaks off still yields what came before; the exit code tells the rest.
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        take(&chunk[..read]);
    }
}

/// The first or last bytes of a stream.
struct Kept {
    bytes: Vec<u8>,
    most: usize,
    last: bool,
    cut: bool,
}

impl Kept {
    fn first(most: usize) -> Self {
        Self { bytes: Vec::new(), most, last: false, cut: false }
    }

    fn last(most: usize) -> Self {
        Self { bytes: Vec::new(), most, last: true, cut: false }
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.last {
            self.bytes.extend_from_slice(bytes);
            let over = self.bytes.len().saturating_sub(self.most);
            self.bytes.drain(..over);
            self.cut |= over > 0;
        } else {
            let room = self.most - self.bytes.len();
            self.bytes.extend_from_slice(&bytes[..room.min(bytes.len())]);
            self.cut |= bytes.len() > room;
        }
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}
