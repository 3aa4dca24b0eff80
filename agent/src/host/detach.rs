//! Starting the agent so that it outlives whoever started it.
//!
//! With systemd that is a transient unit: neither the end of an SSH session, nor logind's `KillUserProcesses=`,
//! nor a restart of sshd reaches it. Without, it is an orphan in a session of its own.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rackwright_proto::name::RunId;

use super::Host;
use super::command::CommandError;
use crate::fault::chain;

const DEADLINE: Duration = Duration::from_secs(20);

/// What a run's unit can take. It loads modules, writes sysctls, files anywhere and units, turns swap off and
/// asks the segment by ARP, so nearly all of `Protect*=` and a capability bound would forbid its work.
/// - no new privileges: everything it starts is started by root already;
/// - address families: files, netlink, ARP and the two of IP are all it opens;
/// - no namespaces, no realtime, no personality, native system calls only: none of its steps uses them;
/// - the journal on disk makes a kill harmless, but the host runs short of memory less gladly without its
///   half-done preparation, so others go first.
const UNIT_PROPERTIES: [&str; 7] = [
    "NoNewPrivileges=yes",
    "RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_PACKET AF_INET AF_INET6",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
    "OOMScoreAdjust=-500",
];

/// A part of the agent that works on its own.
#[derive(Debug, Clone, Copy)]
pub enum Task {
    /// Executes a run.
    Run,
    /// Undoes a run's risky steps, this long from now, unless they were confirmed.
    Watchdog(Duration),
}

impl Task {
    fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Watchdog(_) => "watchdog",
        }
    }

    /// The transient unit's name without its suffix.
    fn unit(self, id: &RunId) -> String {
        format!("rackwright-{}-{id}", self.name())
    }
}

/// Why the agent could not be started.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// The running binary could not be found.
    #[error("find the agent's own file")]
    Own(#[source] std::io::Error),
    /// Nothing could be started.
    #[error("start it in its own session")]
    Spawn(#[source] std::io::Error),
    /// systemd would not start it.
    #[error("start it as a transient unit")]
    Unit(#[source] CommandError),
    /// The helper that starts it failed.
    #[error("the helper that starts it ended with {0}")]
    Helper(std::process::ExitStatus),
}

impl Host {
    /// Starts a task of a run, detached. It is queued or started when this returns, not done.
    pub async fn start_detached(&self, task: Task, id: &RunId) -> Result<(), DetachError> {
        if self.has_systemd() && self.is_this() {
            self.start_unit(task, id).await
        } else {
            self.start_orphan(task, id).await
        }
    }

    /// Forgets a watchdog that is no longer needed. It would find nothing to do, so failing is harmless.
    pub async fn call_off_watchdog(&self, id: &RunId) {
        if self.has_systemd() && self.is_this() {
            let timer = format!("{}.timer", Task::Watchdog(Duration::ZERO).unit(id));
            let _ = self.run(&["systemctl", "stop", "--quiet", &timer], DEADLINE).await;
        }
    }

    async fn start_unit(&self, task: Task, id: &RunId) -> Result<(), DetachError> {
        let own = own_file()?;
        let mut argv: Vec<String> =
            ["systemd-run", "--quiet", "--collect", "--no-block"].map(String::from).to_vec();
        argv.push(format!("--unit={}", task.unit(id)));
        argv.push(format!("--description=Rackwright {} {id}", task.name()));
        if let Task::Watchdog(wait) = task {
            argv.push(format!("--on-active={}ms", wait.as_millis()));
            argv.push("--timer-property=AccuracySec=500ms".into());
        }
        argv.extend(UNIT_PROPERTIES.map(|p| format!("--property={p}")));
        argv.extend(["--".into(), own.to_string_lossy().into_owned()]);
        argv.extend([task.name().into(), id.to_string()]);
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        self.run_ok(&argv, DEADLINE).await.map(|_| ()).map_err(DetachError::Unit)
    }

    async fn start_orphan(&self, task: Task, id: &RunId) -> Result<(), DetachError> {
        let mut child = self.agent()?;
        let mut child =
            child.args(["detach", task.name(), id.as_str()]).spawn().map_err(DetachError::Spawn)?;
        let ended = tokio::time::timeout(DEADLINE, child.wait()).await;
        let ended = ended.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        let status = ended.map_err(DetachError::Spawn)?;
        if status.success() { Ok(()) } else { Err(DetachError::Helper(status)) }
    }

    /// The other half of [`Host::start_detached`] without systemd: leaves the caller's session, starts the
    /// task and ends, so that init adopts it.
    pub fn become_orphan(&self, task: &str, id: &RunId) -> Result<(), DetachError> {
        nix::unistd::setsid().map_err(|e| DetachError::Spawn(e.into()))?;
        let mut child = self.agent()?;
        child.args([task, id.as_str()]).spawn().map(|_| ()).map_err(DetachError::Spawn)
    }

    fn agent(&self) -> Result<tokio::process::Command, DetachError> {
        let mut command = tokio::process::Command::new(own_file()?);
        command.env_clear().current_dir("/").args(self.hidden_args());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }

    /// Arguments that make another process of the agent speak of the same host: none on a real one.
    fn hidden_args(&self) -> Vec<std::ffi::OsString> {
        if self.is_this() { Vec::new() } else { vec!["--root".into(), self.root().into()] }
    }
}

fn own_file() -> Result<PathBuf, DetachError> {
    std::env::current_exe().map_err(DetachError::Own)
}

impl From<DetachError> for rackwright_proto::fault::Fault {
    fn from(error: DetachError) -> Self {
        Self::new(rackwright_proto::fault::FaultKind::Host, "start the run on its own", chain(&error))
    }
}
