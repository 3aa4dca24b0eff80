//! One host: its directory, its boot, its death, and commands inside it.
//! What is said of hosts here holds for virtual machines too, but for what only a shared kernel gives.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cgroup::{self, Extent};
use crate::error::{Doing, LabError, Result};
use crate::names::netns_path;
use crate::run::{self, Output, await_until, command, last_lines};
use crate::spec::Kind;
use crate::vm;

/// How long a host may take to boot. Generous: the machine may be busy with other racks.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// A machine that is emulated takes ten times as long.
const VM_BOOT_LIMIT: Duration = Duration::from_secs(300);
const COMMAND_LIMIT: Duration = Duration::from_secs(120);
const SSH: u16 = 22;

/// A host of a rack. A handle only: dropping it does nothing to the host.
#[derive(Debug, Clone)]
pub struct Host {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) dir: PathBuf,
    pub(crate) address: IpAddr,
    /// The network namespace from which its port 22 must be reachable.
    pub(crate) vantage: String,
    /// The operator's network namespace.
    pub(crate) operator: String,
}

impl Host {
    /// Its name, which is also its hostname.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address of its first interface.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether it is a virtual machine, with a kernel and a disk of its own.
    pub fn is_vm(&self) -> bool {
        self.kind == Kind::Vm
    }

    /// The host's PID 1 as the machine numbers it, while the host runs. Of a virtual machine the process that holds
    /// emulator and disk: when it ends, they do.
    pub fn pid(&self) -> Option<i32> {
        cgroup::first_process(&self.groups())
    }

    /// The host's file system as it stands, seen from the machine; only while the host runs. A virtual machine's is
    /// its own affair.
    pub fn root(&self) -> Result<PathBuf> {
        vm::refuse(self, "the file system")?;
        Ok(PathBuf::from(format!("/proc/{}/root", self.running_pid()?)))
    }

    /// The host's directory on the machine: `upper/` holds what differs from the base tree, `console.log`
    /// what the host said on its console.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of the host's network namespace. A new one at each boot. A virtual machine has none.
    pub fn network(&self) -> Result<PathBuf> {
        vm::refuse(self, "the network namespace")?;
        Ok(netns_path(&self.id))
    }

    /// CPU time of everything on the host since the rack was made.
    pub fn cpu_time(&self) -> Option<Duration> {
        cgroup::cpu_time(&self.groups())
    }

    /// All processes of the host, as the machine numbers them. Of a virtual machine the emulator's, not those inside.
    pub fn processes(&self) -> BTreeSet<i32> {
        cgroup::processes(&self.groups().iter().map(|group| group.join("host")).collect::<Vec<_>>())
    }

    /// Runs a shell command as root inside the host, in all its namespaces, without SSH. It has all of root's
    /// capabilities, more than the host's own processes: what could touch the machine goes by SSH instead.
    /// A virtual machine is asked by SSH, over one connection that the lab keeps.
    pub fn sh(&self, script: &str) -> Result<Output> {
        self.sh_with(script, None, COMMAND_LIMIT)
    }

    /// The same with standard input and a deadline of the caller's.
    pub fn sh_with(&self, script: &str, input: Option<&[u8]>, limit: Duration) -> Result<Output> {
        let mut shell = self.command("sh")?;
        shell.args(["-c", script]);
        run::run(shell, input, limit)
    }

    /// A program of the host as root inside of it, as with [`Host::sh`] but with arguments as they are.
    pub fn command(&self, program: &str) -> Result<Command> {
        if self.is_vm() {
            self.running_pid()?;
            return vm::command(self, program);
        }
        let mut enter = command("nsenter");
        enter.args(["--target", &self.running_pid()?.to_string()]);
        enter.args(["--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--root", "--wd", "--"]);
        enter.args(["env", "-i", "HOME=/root", "LANG=C.UTF-8"]);
        enter.args(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", program]);
        Ok(enter)
    }

    /// Standard output of a command that must succeed, without white space at its ends.
    pub fn read(&self, script: &str) -> Result<String> {
        let output = self.sh(script)?;
        if output.success() {
            return Ok(output.text().to_owned());
        }
        let doing = format!("run `{script}` on {}", self.name);
        let said = last_lines(&output.stderr);
        Err(LabError::Program { doing, program: "sh".to_owned(), code: output.code, said })
    }

    /// Runs a command that reads `text` on standard input, and insists on success.
    pub(crate) fn put(&self, script: &str, text: &str) -> Result<()> {
        let output = self.sh_with(script, Some(text.as_bytes()), COMMAND_LIMIT)?;
        let doing = || format!("run `{script}` on {}", self.name);
        let said = || last_lines(&output.stderr);
        let failed = || LabError::Program {
            doing: doing(),
            program: "sh".to_owned(),
            code: output.code,
            said: said(),
        };
        if output.success() { Ok(()) } else { Err(failed()) }
    }

    /// What the kernel calls this boot: a new one after every boot (random(4)).
    pub fn boot_id(&self) -> Result<String> {
        self.read("cat /proc/sys/kernel/random/boot_id")
    }

    /// Boots the host unless it runs, and waits until it is up.
    pub fn boot(&self) -> Result<()> {
        if self.pid().is_none() {
            self.launch()?;
        }
        self.wait_until_up()
    }

    /// SIGKILL to the host's PID 1: all its processes end at once, nothing is shut down, its files stay.
    /// Of a virtual machine the power is cut: what it wrote and did not flush to its disk is lost.
    pub fn kill(&self) -> Result<()> {
        let pid = Pid::from_raw(self.running_pid()?);
        kill(pid, Signal::SIGKILL).doing(|| format!("kill PID 1 of {}", self.name))?;
        vm::hang_up(self);
        let everything = || cgroup::processes(&self.groups());
        await_until(&format!("all processes of {} are gone", self.name), BOOT_LIMIT, || {
            let left = everything();
            if left.is_empty() { Ok(()) } else { Err(format!("processes {left:?}")) }
        })
    }

    /// Reboots as `reboot` does on the host, or boots a host that is down; waits until it is up.
    pub fn reboot(&self) -> Result<()> {
        let Some(before) = self.pid() else { return self.boot() };
        if self.kind == Kind::Light {
            self.kill()?;
            return self.boot();
        }
        if self.is_vm() {
            let before = self.boot_id()?;
            let _ = self.sh_with("systemctl reboot", None, Duration::from_secs(20));
            return self.await_boot_after(&before);
        }
        // systemd may cut the connection before it answers: only the new PID 1 counts.
        let _ = self.sh_with("systemctl reboot", None, Duration::from_secs(20));
        await_until(&format!("{} has a new PID 1", self.name), BOOT_LIMIT, || match self.pid() {
            Some(pid) if pid != before => Ok(()),
            Some(_) => Err("the old one still runs".to_owned()),
            None if cgroup::processes(&self.groups()).is_empty() => Err(self.console()),
            None => Err("none yet".to_owned()),
        })?;
        self.wait_until_up()
    }

    /// Waits until the host is up with another boot than `before`, whoever rebooted it.
    pub fn await_boot_after(&self, before: &str) -> Result<()> {
        vm::hang_up(self);
        await_until(&format!("{} has booted anew", self.name), self.boot_limit(), || {
            // Quick to fail while nobody listens: a connection that is asked for too early waits long.
            self.wait_for_banner().map_err(|error| error.to_string())?;
            match self.boot_id() {
                Ok(now) if now != before => Ok(()),
                Ok(_) => {
                    vm::hang_up(self);
                    Err("the old boot still answers".to_owned())
                }
                Err(error) => Err(error.to_string()),
            }
        })?;
        self.wait_until_up()
    }

    fn boot_limit(&self) -> Duration {
        if self.is_vm() { VM_BOOT_LIMIT } else { BOOT_LIMIT }
    }

    /// Starts the launcher in a session of its own: the host outlives whoever started it.
    fn launch(&self) -> Result<()> {
        let log = self.dir.join("console.log");
        let open = || {
            File::options().create(true).append(true).open(&log).doing(|| format!("open {}", log.display()))
        };
        let mut launcher = command("setsid");
        launcher.args(["--fork", "sh"]).arg(self.dir.join("launch.sh")).arg(&self.dir);
        launcher.stdin(Stdio::null()).stdout(open()?).stderr(open()?).current_dir("/");
        let status = launcher.status().doing(|| format!("launch {}", self.name))?;
        if status.success() {
            Ok(())
        } else {
            Err(LabError::Refused(format!("setsid could not launch {}", self.name)))
        }
    }

    /// Up means: sshd says its banner to who is on the segment, and systemd has no jobs left.
    fn wait_until_up(&self) -> Result<()> {
        let started = Instant::now();
        self.wait_for_banner()?;
        if self.kind != Kind::Light {
            let left = self.boot_limit().saturating_sub(started.elapsed());
            let state = self.sh_with("systemctl is-system-running --wait", None, left)?;
            if !["running", "degraded"].contains(&state.text()) {
                let what = format!("systemd of {} says `running`", self.name);
                let last = format!("`{}` {}", state.text(), state.stderr.trim());
                return Err(LabError::Deadline { what, limit: self.boot_limit(), last });
            }
        }
        Ok(())
    }

    fn wait_for_banner(&self) -> Result<()> {
        let path = netns_path(&self.vantage);
        let vantage = File::open(&path).doing(|| format!("open {}", path.display()))?;
        let address = SocketAddr::new(self.address, SSH);
        let begun = Instant::now();
        let alive =
            || begun.elapsed() < Duration::from_secs(5) || !cgroup::processes(&self.groups()).is_empty();
        // A thread of its own: a thread that changed its namespace must not serve anything else.
        let waiting = || {
            setns(vantage, CloneFlags::CLONE_NEWNET).doing(|| format!("enter {}", path.display()))?;
            await_until(&format!("sshd answers on {address}"), self.boot_limit(), || match banner(address) {
                Err(_) if !alive() => {
                    Ok(Err(LabError::Refused(format!("{} ended: {}", self.name, self.console()))))
                }
                Err(seen) => Err(seen),
                Ok(()) => Ok(Ok(())),
            })?
        };
        thread::scope(|scope| scope.spawn(waiting).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn groups(&self) -> Vec<PathBuf> {
        cgroup::hierarchies()
            .into_iter()
            .map(|root| root.join(&self.id))
            .filter(|group| group.is_dir())
            .collect()
    }

    fn running_pid(&self) -> Result<i32> {
        let hint =
            || LabError::Refused(format!("host {} is down: `cargo lab reboot {0}` boots it", self.name));
        self.pid().ok_or_else(hint)
    }

    fn console(&self) -> String {
        last_lines(&fs::read_to_string(self.dir.join("console.log")).unwrap_or_default())
    }
}

/// The control groups that a kind of host needs.
pub(crate) fn extent(kind: Kind) -> Extent {
    match kind {
        Kind::Systemd | Kind::Kube(_) => Extent::Whole,
        Kind::Light | Kind::Vm => Extent::Accounting,
    }
}

fn banner(address: SocketAddr) -> std::result::Result<(), String> {
    let patience = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, patience).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(patience)).map_err(|error| error.to_string())?;
    let mut start = [0; 4];
    match stream.read_exact(&mut start) {
        Ok(()) if &start == b"SSH-" => Ok(()),
        Ok(()) => Err(format!("something else than SSH: {start:?}")),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err("closed before a banner".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
