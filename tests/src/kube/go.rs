//! Go itself: the machine's, or the right one, which an older one fetches as it fetches modules.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::base::CACHE;
use crate::error::{Doing, LabError, Result};
use crate::need;
use crate::run::{command, must};
use crate::talk::say;

/// The modules of the lab want this of Go 1.
const MINOR: u32 = 26;
/// Since this one, Go gets a newer one for itself.
const SELF_SERVING: u32 = 21;
/// What a still older one is told to fetch.
const TOOLCHAIN: &str = "1.26.8";
/// Debian's.
const PACKAGE: &str = "golang-go";
const ASK_LIMIT: Duration = Duration::from_secs(60);
const FETCH_LIMIT: Duration = Duration::from_secs(600);

/// A Go that can build.
#[derive(Debug, Clone)]
pub(super) struct Go {
    program: PathBuf,
    /// What it is told of toolchains.
    toolchain: &'static str,
}

impl Go {
    /// A command of it that asks nobody for flags.
    pub(super) fn command(&self) -> Command {
        self.set(command(&self.program))
    }

    /// The same out of everybody's way: a build would take all of a small machine for minutes.
    pub(super) fn humble_command(&self) -> Command {
        let mut nice = command("nice");
        nice.args(["-n", "19", "ionice", "-c", "3"]).arg(&self.program);
        self.set(nice)
    }

    fn set(&self, mut go: Command) -> Command {
        go.env_remove("GOROOT").env("GOTOOLCHAIN", self.toolchain).env("GOFLAGS", "").env("CGO_ENABLED", "0");
        go
    }
}

/// Finds Go, or sees to it that there is one.
pub(super) fn ensure() -> Result<Go> {
    if let Some(go) = find() {
        return Ok(go);
    }
    let fetched = fetched();
    let program = fetched.join("bin/go");
    if !program.is_file() {
        if old().is_none() {
            need::install(&[PACKAGE])?;
        }
        match (find(), old()) {
            (Some(go), _) => return Ok(go),
            (None, Some(old)) => fetch(&old, &fetched)?,
            (None, None) => return Err(hint()),
        }
    }
    Ok(Go { program, toolchain: "local" })
}

/// Why there is none and none can be had, if so.
pub(super) fn lack() -> Option<LabError> {
    let there = !installed().is_empty() || fetched().is_dir();
    if there || need::can_install() { None } else { Some(hint()) }
}

fn hint() -> LabError {
    LabError::Refused("a cluster is built from Go modules: install Go 1.26 or newer first".to_owned())
}

/// The best that is installed and of use as it is.
fn find() -> Option<Go> {
    let mut all = installed();
    all.retain(|(_, minor)| *minor >= SELF_SERVING);
    let (program, minor) = all.into_iter().max_by_key(|(_, minor)| *minor)?;
    Some(Go { program, toolchain: if minor >= MINOR { "local" } else { "auto" } })
}

fn old() -> Option<PathBuf> {
    Some(installed().into_iter().next()?.0)
}

/// Every Go of this machine, and the minor number of its version.
fn installed() -> Vec<(PathBuf, u32)> {
    let path = std::env::var("PATH").unwrap_or_default();
    let directories = path.split(':').chain(["/usr/bin", "/usr/local/go/bin"]);
    let programs = directories.map(|directory| Path::new(directory).join("go")).filter(|go| go.is_file());
    programs.filter_map(|program| Some((program.clone(), minor(&version(&program)?)?))).collect()
}

fn version(program: &Path) -> Option<String> {
    let mut ask = command(program);
    ask.args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").current_dir("/");
    Some(must(ask, "ask Go for its version", ASK_LIMIT).ok()?.text().to_owned())
}

/// `go1.26.8` is 26.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("go1.")?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn fetched() -> PathBuf {
    Path::new(CACHE).join(format!("go-{TOOLCHAIN}"))
}

/// Toolchains are modules, checked as modules are. In a module nothing is a program: that is made up for here.
fn fetch(old: &Path, into: &Path) -> Result<()> {
    say(format_args!("fetching Go {TOOLCHAIN}"));
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let module = format!("golang.org/toolchain@v0.0.1-go{TOOLCHAIN}.linux-{architecture}");
    let mut download = command(old);
    download.args(["mod", "download", "-json", &module]).env("GOFLAGS", "").current_dir("/");
    let said = must(download, "fetch Go", FETCH_LIMIT)?;
    let told: serde_json::Value =
        serde_json::from_str(&said.stdout).map_err(std::io::Error::from).doing(|| "fetch Go".to_owned())?;
    let partial = into.with_extension("partial");
    let mut copy = command("cp");
    copy.args(["--recursive", "--no-target-directory", told["Dir"].as_str().unwrap_or_default()])
        .arg(&partial);
    must(copy, "copy Go into the cache", FETCH_LIMIT)?;
    for directory in ["bin".to_owned(), format!("pkg/tool/linux_{architecture}")] {
        let entries = fs::read_dir(partial.join(&directory)).doing(|| format!("read {directory} of Go"))?;
        for entry in entries.flatten() {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o755))
                .doing(|| format!("make {} a program", entry.path().display()))?;
        }
    }
    fs::rename(&partial, into).doing(|| format!("move Go to {}", into.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let said = [("go1.26.8", Some(26)), ("go1.27rc1", Some(27)), ("go1.9", Some(9)), ("devel", None)];
        for (said, read) in said {
            assert_eq!(minor(said), read, "{said}");
        }
    }
}
