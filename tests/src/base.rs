//! The base trees: one Debian for plain hosts, one for hosts of clusters, and the same with a kernel for virtual
//! machines, each built once by debootstrap. Hosts read theirs through an overlay, machines have it on their disks.

use std::fs::{self, DirBuilder, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use crate::error::{Doing, LabError, Result};
use crate::run::{command, must_with};
use crate::talk::say;
use crate::{need, sys};

/// Where the lab keeps what is costly to make.
pub(crate) const CACHE: &str = "/var/cache/rackwright-lab";

const SUITE: &str = "bookworm";
const PACKAGES: &[&str] = &[
    "conntrack",
    "dbus",
    "ethtool",
    "iproute2",
    "iptables",
    "iputils-arping",
    "iputils-ping",
    "kmod",
    "less",
    "libpam-systemd",
    "nftables",
    "openssh-server",
    "procps",
    "socat",
    "sudo",
    "systemd",
    "systemd-sysv",
];
/// What a node of a cluster has besides, and what the images of the lab are made of.
const KUBE_PACKAGES: &[&str] = &["busybox-static", "containerd", "ipset", "runc"];
/// What a machine with a kernel of its own has besides: the kernel, and tools for what only such a one shows.
const VM_PACKAGES: &[&str] = &["busybox-static", "ipvsadm", "linux-image-cloud-amd64", "strace", "udev"];
const FINISH: &str = include_str!("base.sh");
const KUBE_FINISH: &str = include_str!("kube/base.sh");
const VM_FINISH: &str = include_str!("vm/base.sh");
const FINISH_LIMIT: Duration = Duration::from_secs(120);

/// What goes into a base tree.
struct Recipe {
    packages: Vec<&'static str>,
    /// Scripts that run inside the tree, one after the other.
    finish: Vec<&'static str>,
}

/// The path of the base tree of plain hosts; builds it when its recipe was never built here.
pub fn ensure() -> Result<PathBuf> {
    Recipe { packages: PACKAGES.to_vec(), finish: vec![FINISH] }.ensure()
}

/// The path of the base tree of a cluster's hosts, likewise.
pub(crate) fn ensure_kube() -> Result<PathBuf> {
    Recipe { packages: [PACKAGES, KUBE_PACKAGES].concat(), finish: vec![FINISH, KUBE_FINISH] }.ensure()
}

/// The path of the base tree of virtual machines, plain ones or those of a cluster.
pub(crate) fn ensure_vm(kube: bool) -> Result<PathBuf> {
    let (mut packages, mut finish) = ([PACKAGES, VM_PACKAGES].concat(), vec![FINISH]);
    if kube {
        packages.extend(KUBE_PACKAGES.iter().filter(|package| !VM_PACKAGES.contains(package)));
        finish.push(KUBE_FINISH);
    }
    finish.push(VM_FINISH);
    Recipe { packages, finish }.ensure()
}

impl Recipe {
    fn ensure(&self) -> Result<PathBuf> {
        let tree = Path::new(CACHE).join(format!("base-{}", self.hash()));
        if tree.is_dir() {
            return Ok(tree);
        }
        need::ensure()?;
        let lock = lock_cache()?;
        if !tree.is_dir() {
            self.build(&tree)?;
        }
        drop(lock);
        Ok(tree)
    }

    /// Another suite, package or finishing step makes another tree.
    fn hash(&self) -> String {
        short_hash([SUITE].iter().chain(&self.packages).chain(&self.finish).map(|part| part.as_bytes()))
    }

    fn build(&self, tree: &Path) -> Result<()> {
        let started = Instant::now();
        let temporary = Path::new(CACHE).join("partial");
        if temporary.exists() {
            say("removing a base tree whose build was interrupted");
            fs::remove_dir_all(&temporary).doing(|| format!("remove {}", temporary.display()))?;
        }
        let count = self.packages.len();
        say(format_args!("building a base tree (Debian {SUITE}, {count} packages; once, some minutes)"));
        debootstrap(&self.packages, &temporary)?;
        say("finishing the base tree");
        for script in &self.finish {
            let mut finish = command("chroot");
            finish.arg(&temporary).args(["/bin/sh", "-s"]);
            must_with(finish, Some(script.as_bytes()), "finish the base tree", FINISH_LIMIT)?;
        }
        fs::rename(&temporary, tree).doing(|| format!("move the base tree to {}", tree.display()))?;
        say(format_args!("base tree ready in {} s: {}", started.elapsed().as_secs(), tree.display()));
        Ok(())
    }
}

/// Names a recipe by its parts, in twelve hexadecimal digits.
pub(crate) fn short_hash<'a>(parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Two builds at once would double the work; the kernel drops the lock with its holder.
pub(crate) fn lock_cache() -> Result<Flock<File>> {
    DirBuilder::new().recursive(true).mode(0o755).create(CACHE).doing(|| format!("create {CACHE}"))?;
    let directory = File::open(CACHE).doing(|| format!("open {CACHE}"))?;
    let directory = match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => return Ok(lock),
        Err((directory, _)) => directory,
    };
    say("another process is building into the cache; waiting for it");
    Flock::lock(directory, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .doing(|| format!("lock {CACHE}"))
}

/// In mount and PID namespaces of its own, so that a killed build leaves no mount and no process.
fn debootstrap(packages: &[&str], into: &Path) -> Result<()> {
    let mut build = command("unshare");
    build.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "debootstrap"]);
    build.args(["--variant=minbase", &format!("--include={}", packages.join(",")), SUITE]).arg(into);
    build.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    sys::die_with_parent(&mut build);
    let mut child = build.spawn().doing(|| "start debootstrap".to_owned())?;
    let lines = child.stdout.take().map(|pipe| BufReader::new(pipe).lines());
    let mut last = String::new();
    for (count, line) in lines.into_iter().flatten().map_while(|line| line.ok()).enumerate() {
        if count % 40 == 0 {
            say(format_args!("debootstrap: {line}"));
        }
        last = line;
    }
    let status = child.wait().doing(|| "wait for debootstrap".to_owned())?;
    if status.success() {
        return Ok(());
    }
    let code = status.code().unwrap_or(-1);
    let log = fs::read_to_string(into.join("debootstrap/debootstrap.log")).unwrap_or_default();
    let said = format!("{last}\n  {}", crate::run::last_lines(&log));
    Err(LabError::Program {
        doing: "build the base tree".to_owned(),
        program: "debootstrap".to_owned(),
        code,
        said,
    })
}
