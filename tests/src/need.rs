//! What the machine must have. What is missing is named, and installed from apt by root; never silently.

use std::path::Path;
use std::time::Duration;

use crate::error::{LabError, Result};
use crate::run::{command, must};
use crate::talk::say;

/// A program, or the path of another file, and the Debian package that brings it.
type Tool = (&'static str, &'static str);

const TOOLS: &[Tool] = &[
    ("systemd-nspawn", "systemd-container"),
    ("debootstrap", "debootstrap"),
    ("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setsid", "util-linux"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
];

/// What tests need besides the hosts: servers and programs that the system's own answers come from.
const FOR_TESTS: &[Tool] = &[
    ("sshd", "openssh-server"),
    ("ssh-agent", "openssh-client"),
    ("arping", "iputils-arping"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
];

/// What virtual machines need besides.
const FOR_VMS: &[Tool] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("nbdkit", "nbdkit"),
    ("mke2fs", "e2fsprogs"),
    ("debugfs", "e2fsprogs"),
];

const INSTALL_LIMIT: Duration = Duration::from_secs(600);

/// Why the lab cannot run on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// Something that no package brings; the text says what.
    Machine(String),
    /// Packages that apt can install.
    Packages(Vec<&'static str>),
}

/// What is missing for the host rack, if anything. Changes nothing.
pub fn lack() -> Option<Lack> {
    if !nix::unistd::geteuid().is_root() {
        return Some(Lack::Machine("not root: namespaces, overlays and control groups need it".to_owned()));
    }
    if !Path::new("/proc/self/ns/cgroup").exists() {
        return Some(Lack::Machine("the kernel has no cgroup namespaces".to_owned()));
    }
    let missing = missing_packages(TOOLS);
    if missing.is_empty() { None } else { Some(Lack::Packages(missing)) }
}

/// What is missing for virtual machines besides, if anything. Changes nothing.
pub fn lack_of_vm() -> Option<Lack> {
    if !cfg!(target_arch = "x86_64") {
        return Some(Lack::Machine("the lab's virtual machines are of x86_64 only".to_owned()));
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some(Lack::Machine("no /dev/net/tun: virtual machines need it".to_owned()));
    }
    let missing = missing_packages(FOR_VMS);
    if missing.is_empty() { None } else { Some(Lack::Packages(missing)) }
}

/// Sees to it that all is there, or says what is not and what to do.
pub fn ensure() -> Result<()> {
    make_good(lack())
}

/// The same for what virtual machines need besides.
pub(crate) fn ensure_vm() -> Result<()> {
    make_good(lack_of_vm())
}

fn make_good(lack: Option<Lack>) -> Result<()> {
    match lack {
        None => Ok(()),
        Some(Lack::Machine(reason)) => Err(LabError::Refused(format!(
            "the lab cannot run here: {reason} (as another user: `sudo -E env PATH=\"$PATH\" cargo lab …`)"
        ))),
        Some(Lack::Packages(packages)) => install(&packages),
    }
}

/// Sees to it that the tests' own programs are there. Who is not root is only told what will fail.
pub fn ensure_for_tests() -> Result<()> {
    let missing = missing_packages(FOR_TESTS);
    if missing.is_empty() {
        return Ok(());
    }
    if nix::unistd::geteuid().is_root() {
        return install(&missing);
    }
    say(format_args!(
        "missing: {}; as another user than root nothing is installed, and tests that need it fail",
        missing.join(" ")
    ));
    Ok(())
}

/// Installs from apt, telling so first.
pub fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if !on_path("apt-get") {
        return Err(LabError::Refused(format!(
            "missing: {list} (Debian's names), and there is no apt-get here: install them by your own means"
        )));
    }
    say(format_args!("missing on this machine: {list}; installing with `apt-get install {list}`"));
    if apt(&["install", "--yes", "--no-install-recommends"], packages).is_err() {
        say("apt-get install failed; trying again after `apt-get update`");
        apt(&["update"], &[])?;
        apt(&["install", "--yes", "--no-install-recommends"], packages)?;
    }
    Ok(())
}

/// Whether [`install`] has a chance.
pub(crate) fn can_install() -> bool {
    nix::unistd::geteuid().is_root() && on_path("apt-get")
}

fn apt(arguments: &[&str], packages: &[&str]) -> Result<()> {
    let mut apt = command("apt-get");
    apt.args(["--quiet"]).args(arguments).args(packages).env("DEBIAN_FRONTEND", "noninteractive");
    must(apt, &format!("run `apt-get {} {}`", arguments.join(" "), packages.join(" ")), INSTALL_LIMIT)
        .map(drop)
}

fn missing_packages(tools: &[Tool]) -> Vec<&'static str> {
    let mut packages: Vec<&str> =
        tools.iter().filter(|(program, _)| !on_path(program)).map(|(_, p)| *p).collect();
    packages.dedup();
    packages
}

pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"])
        .any(|dir| Path::new(dir).join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_programs_become_packages_once() {
        let tools = [("sh", "dash"), ("no-such-program-a", "one"), ("no-such-program-b", "one")];
        assert_eq!(missing_packages(&tools), ["one"]);
    }
}
