//! Control groups: one tree per host, so that nothing a host starts can be lost, and its CPU time can be read.
//!
//! Under `HOST/` lie two groups: `launch` holds the launcher, `host` becomes the root of the host's cgroup
//! namespace. Both hierarchies are handled: version 1 (one tree per controller, perhaps with a hybrid
//! `unified`), as tried on Debian 12; version 2 (one tree) as cgroup-v2.rst asks for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Doing, LabError, Result};
use crate::run::{await_until, each};

const ROOT: &str = "/sys/fs/cgroup";
const REMOVALS_AT_A_TIME: usize = 16;
const EMPTY_LIMIT: Duration = Duration::from_secs(20);

/// Which trees a host needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All: systemd runs inside.
    Whole,
    /// Just enough to find its processes and to read its CPU time.
    Accounting,
}

/// The roots of all hierarchies: one on a cgroup v2 machine, several on v1.
pub(crate) fn hierarchies() -> Vec<PathBuf> {
    if Path::new(ROOT).join("cgroup.controllers").exists() {
        return vec![PathBuf::from(ROOT)];
    }
    let mut roots: Vec<PathBuf> = subdirectories(Path::new(ROOT));
    roots.retain(|root| root.join("cgroup.procs").exists());
    roots.sort();
    roots
}

/// Makes the groups of one host and returns its directory in every tree.
pub(crate) fn create(id: &str, extent: Extent) -> Result<Vec<PathBuf>> {
    let mut groups = Vec::new();
    for root in hierarchies() {
        let tree = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if extent == Extent::Accounting
            && !["cgroup", "cpuacct", "cpu,cpuacct", "pids"].contains(&tree.as_str())
        {
            continue;
        }
        let group = root.join(id);
        create_in(&root, &group)?;
        groups.push(group);
    }
    if groups.is_empty() {
        return Err(LabError::Refused(format!(
            "no control groups are mounted below {ROOT}: the lab needs them"
        )));
    }
    Ok(groups)
}

fn create_in(root: &Path, group: &Path) -> Result<()> {
    let make =
        |path: &Path| fs::create_dir_all(path).doing(|| format!("create control group {}", path.display()));
    make(group)?;
    if root.join("cgroup.clone_children").exists() {
        inherit_cpuset(root, group)?;
    } else if root.join("cgroup.subtree_control").exists() {
        delegate(root, group);
    }
    for child in ["launch", "host"] {
        make(&group.join(child))?;
        inherit_cpuset(group, &group.join(child))?;
    }
    Ok(())
}

/// A v1 cpuset takes no process before it has CPUs and memory nodes of its own.
fn inherit_cpuset(parent: &Path, group: &Path) -> Result<()> {
    for key in ["cpuset.cpus", "cpuset.mems"] {
        if parent.join(key).exists() && parent.join("cgroup.clone_children").exists() {
            let value = fs::read_to_string(parent.join(key))
                .doing(|| format!("read {key} of {}", parent.display()))?;
            fs::write(group.join(key), value.trim()).doing(|| format!("set {key} of {}", group.display()))?;
            fs::write(group.join("cgroup.clone_children"), "1")
                .doing(|| format!("set up {}", group.display()))?;
        }
    }
    Ok(())
}

/// On v2 a host gets the controllers that the machine offers; one that cannot be had is no reason to stop.
fn delegate(root: &Path, group: &Path) {
    let offered = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    for controller in offered.split_whitespace() {
        let _ = fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"));
        let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// Every group on the machine whose name begins with `prefix`, in every tree.
pub(crate) fn find(prefix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for root in hierarchies() {
        found.extend(subdirectories(&root).into_iter().filter(|group| {
            group.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        }));
    }
    found
}

/// All processes in these groups and below.
pub(crate) fn processes(groups: &[PathBuf]) -> BTreeSet<i32> {
    let mut all = BTreeSet::new();
    for group in groups {
        let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        all.extend(listed.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
        all.extend(processes(&subdirectories(group)));
    }
    all
}

/// The process that is PID 1 of the host in these groups, while there is one.
pub(crate) fn first_process(groups: &[PathBuf]) -> Option<i32> {
    let inside: Vec<PathBuf> = groups.iter().map(|group| group.join("host")).collect();
    processes(&inside).into_iter().find(|pid| is_first(*pid))
}

/// `NSpid:` lists the numbers of a process from our namespace inwards (proc_pid_status(5)).
fn is_first(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| numbers.split_whitespace().skip(1).eq(["1"]))
}

/// Kills everything in these groups, waits until it is gone, and removes them.
pub(crate) fn remove(groups: &[PathBuf]) -> Result<()> {
    kill_all("no process is left in the control groups", || processes(groups))?;
    let remove =
        |group: &PathBuf| await_until("the control group can be removed", EMPTY_LIMIT, || remove_tree(group));
    each(groups, REMOVALS_AT_A_TIME, remove).into_iter().collect()
}

/// Kills what `list` finds until it finds nothing more.
pub(crate) fn kill_all(what: &str, list: impl Fn() -> BTreeSet<i32>) -> Result<()> {
    await_until(what, EMPTY_LIMIT, || {
        let left = list();
        for pid in &left {
            match kill(Pid::from_raw(*pid), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(format!("process {pid}: {errno}")),
            }
        }
        if left.is_empty() { Ok(()) } else { Err(format!("processes {left:?}")) }
    })
}

/// CPU time of everything that ever ran in these groups, where a tree accounts for it.
pub(crate) fn cpu_time(groups: &[PathBuf]) -> Option<Duration> {
    groups.iter().find_map(|group| {
        if let Ok(nanos) = fs::read_to_string(group.join("cpuacct.usage")) {
            return Some(Duration::from_nanos(nanos.trim().parse().ok()?));
        }
        let stat = fs::read_to_string(group.join("cpu.stat")).ok()?;
        let micros = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        Some(Duration::from_micros(micros.trim().parse().ok()?))
    })
}

fn remove_tree(group: &Path) -> std::result::Result<(), String> {
    for child in subdirectories(group) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", group.display()))
        }
        _ => Ok(()),
    }
}

fn subdirectories(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|e| e.path())
        .collect()
}
