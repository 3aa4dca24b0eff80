//! Builds the programs of a cluster from their Go modules, once, into the lab's cache.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::release::Component;
use super::{given, go};
use crate::agents::checkout;
use crate::base::{CACHE, lock_cache, short_hash};
use crate::error::{Doing, LabError, Result};
use crate::run::{command, last_lines, must};
use crate::sys;
use crate::talk::say;

/// Between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(20);
const LIST_LIMIT: Duration = Duration::from_secs(120);
/// Cgo would tie the programs to a C library. The checkout's version control has nothing to do with them.
const FLAGS: &[&str] = &["-mod=readonly", "-trimpath", "-buildvcs=false"];
const LINKER_FLAGS: &str = "-s -w";

/// The directory of a component: `bin/` holds all its programs, `host/` is a layer for hosts,
/// `files/` what else was kept. Builds it when
/// its module was never built here; one that was interrupted goes on where Go's own cache ends.
pub(crate) fn ensure(component: &Component) -> Result<PathBuf> {
    let (source, place) = place(component)?;
    if place.is_dir() {
        return Ok(place);
    }
    let lock = lock_cache()?;
    if !place.is_dir() {
        build(component, &source, &place)?;
    }
    drop(lock);
    Ok(place)
}

/// The module of a component, and its directory in the cache.
fn place(component: &Component) -> Result<(PathBuf, PathBuf)> {
    let source = checkout().join("tests/kubelab").join(component.name);
    let place = Path::new(CACHE).join(format!("kube-{}-{}", component.name, hash(component, &source)?));
    Ok((source, place))
}

/// Names what is built by all that decides it.
fn hash(component: &Component, source: &Path) -> Result<String> {
    let mut parts = vec![format!("{component:?}{FLAGS:?}{LINKER_FLAGS}").into_bytes()];
    let given = given::candidates(component);
    if !given.is_empty() {
        parts.push(given::recipe(&given).into_bytes());
    }
    let entries = fs::read_dir(source).doing(|| format!("read {}", source.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        parts.push(fs::read(&file).doing(|| format!("read {}", file.display()))?);
    }
    Ok(short_hash(parts.iter().map(Vec::as_slice)))
}

fn build(component: &Component, source: &Path, place: &Path) -> Result<()> {
    let (started, name) = (Instant::now(), component.name);
    let partial = Path::new(CACHE).join(format!("partial-kube-{name}"));
    if partial.exists() {
        fs::remove_dir_all(&partial).doing(|| format!("remove {}", partial.display()))?;
    }
    let bin = partial.join("bin");
    fs::create_dir_all(&bin).doing(|| format!("create {}", bin.display()))?;
    let missing = take_given(component, &bin)?;
    if missing.as_ref().is_none_or(|packages| !packages.is_empty()) {
        say(format_args!("building {name} (once; Kubernetes takes up to half an hour)"));
        compile(component, source, &bin, missing.as_deref().unwrap_or(&["tool".to_owned()]))?;
    }
    let (programs, directory) = component.on_hosts;
    let host = partial.join("host").join(directory);
    fs::create_dir_all(&host).doing(|| format!("create {}", host.display()))?;
    for program in programs {
        fs::hard_link(bin.join(program), host.join(program)).doing(|| format!("link {program} of {name}"))?;
    }
    keep_files(component, source, &partial.join("files"))?;
    fs::rename(&partial, place).doing(|| format!("move {name} to {}", place.display()))?;
    say(format_args!("{name} ready in {} s: {}", started.elapsed().as_secs(), place.display()));
    Ok(())
}

/// Copies the operator's own programs that fit. Returns the packages of those that are still to build; `None`
/// when that is all of them.
fn take_given(component: &Component, bin: &Path) -> Result<Option<Vec<String>>> {
    let mut given = given::candidates(component);
    given.retain(|(program, path)| given::fits(program, path));
    for (program, path) in &given {
        say(format_args!("{}: taking {}", component.name, path.display()));
        fs::copy(path, bin.join(program.name)).doing(|| format!("copy {}", path.display()))?;
    }
    if given.is_empty() {
        return Ok(None);
    }
    let mut missing = given::programs(component);
    missing.retain(|program| !given.iter().any(|(taken, _)| taken == program));
    Ok(Some(missing.into_iter().map(|program| program.package).collect()))
}

/// Copies what else of the modules is wanted, such as manifests.
fn keep_files(component: &Component, source: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into).doing(|| format!("create {}", into.display()))?;
    for (module, path) in component.files {
        let mut list = go::ensure()?.command();
        list.args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module]).current_dir(source);
        let from = must(list, &format!("find the source of {module}"), LIST_LIMIT)?;
        let from = Path::new(from.text()).join(path);
        let mut copy = command("cp");
        copy.args(["--recursive", "--no-preserve=mode"]).arg(&from).arg(into);
        must(copy, &format!("copy {}", from.display()), LIST_LIMIT)?;
    }
    Ok(())
}

fn compile(component: &Component, source: &Path, into: &Path, packages: &[String]) -> Result<()> {
    let doing = || format!("build {}", component.name);
    let mut go = go(component)?;
    go.arg("-o").arg(into).args(packages).current_dir(source);
    go.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    sys::die_with_parent(&mut go);
    let mut child = go.spawn().doing(doing)?;
    let said = child.stderr.take().map_or_else(String::new, |pipe| follow(component.name, pipe));
    let status = child.wait().doing(doing)?;
    if status.success() {
        return Ok(());
    }
    let code = status.code().unwrap_or(-1);
    Err(LabError::Program { doing: doing(), program: "go".to_owned(), code, said: last_lines(&said) })
}

/// Tells every now and then how far it is; returns all that was said.
fn follow(name: &str, pipe: impl std::io::Read) -> String {
    let (started, mut told, mut said) = (Instant::now(), Instant::now(), String::new());
    for (line, count) in BufReader::new(pipe).lines().map_while(|line| line.ok()).zip(1..) {
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            say(format_args!("{name}: {count} packages after {} s: {line}", started.elapsed().as_secs()));
        }
        said.push_str(&line);
        said.push('\n');
    }
    said
}

fn go(component: &Component) -> Result<Command> {
    let mut go = go::ensure()?.humble_command();
    go.args(["build", "-v"]).args(FLAGS).arg(format!("-ldflags={}", linker_flags(component)));
    Ok(go)
}

fn linker_flags(component: &Component) -> String {
    let sets = component.link.iter().map(|(name, value)| format!(" -X {name}={value}"));
    LINKER_FLAGS.to_owned() + &sets.collect::<String>()
}

/// Why a component is neither in the cache nor can be built here, if so.
pub(super) fn lack(component: &Component) -> Option<LabError> {
    let built = place(component).is_ok_and(|(_, place)| place.is_dir());
    if built { None } else { go::lack() }
}
