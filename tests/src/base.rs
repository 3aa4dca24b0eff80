//! The base tree: one Debian, built once by debootstrap, read by every host through an overlay.

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
const FINISH: &str = include_str!("base.sh");
const FINISH_LIMIT: Duration = Duration::from_secs(120);

/// The path of the base tree; builds it when this recipe was never built here.
pub fn ensure() -> Result<PathBuf> {
    let tree = Path::new(CACHE).join(format!("base-{}", recipe_hash()));
    if tree.is_dir() {
        return Ok(tree);
    }
    need::ensure()?;
    let lock = lock_cache()?;
    if !tree.is_dir() {
        build(&tree)?;
    }
    drop(lock);
    Ok(tree)
}

/// Names the recipe: another suite, package or finishing step makes another tree.
fn recipe_hash() -> String {
    let mut hash = Sha256::new();
    for part in [SUITE].iter().chain(PACKAGES).chain(&[FINISH]) {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Two builds at once would double the work; the kernel drops the lock with its holder.
fn lock_cache() -> Result<Flock<File>> {
    DirBuilder::new().recursive(true).mode(0o755).create(CACHE).doing(|| format!("create {CACHE}"))?;
    let directory = File::open(CACHE).doing(|| format!("open {CACHE}"))?;
    let directory = match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => return Ok(lock),
        Err((directory, _)) => directory,
    };
    say("another process is building the base tree; waiting for it");
    Flock::lock(directory, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .doing(|| format!("lock {CACHE}"))
}

fn build(tree: &Path) -> Result<()> {
    let started = Instant::now();
    let temporary = Path::new(CACHE).join("partial");
    if temporary.exists() {
        say("removing a base tree whose build was interrupted");
        fs::remove_dir_all(&temporary).doing(|| format!("remove {}", temporary.display()))?;
    }
    say(format_args!(
        "building the base tree (Debian {SUITE}, {} packages; once, some minutes)",
        PACKAGES.len()
    ));
    debootstrap(&temporary)?;
    say("finishing the base tree");
    let mut finish = command("chroot");
    finish.arg(&temporary).args(["/bin/sh", "-s"]);
    must_with(finish, Some(FINISH.as_bytes()), "finish the base tree", FINISH_LIMIT)?;
    fs::rename(&temporary, tree).doing(|| format!("move the base tree to {}", tree.display()))?;
    say(format_args!("base tree ready in {} s: {}", started.elapsed().as_secs(), tree.display()));
    Ok(())
}

/// In mount and PID namespaces of its own, so that a killed build leaves no mount and no process.
fn debootstrap(into: &Path) -> Result<()> {
    let mut build = command("unshare");
    build.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "debootstrap"]);
    build.args(["--variant=minbase", &format!("--include={}", PACKAGES.join(",")), SUITE]).arg(into);
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
