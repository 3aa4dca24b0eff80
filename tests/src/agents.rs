//! The agent as it crosses the wire: one static binary per architecture, beside the coordinator.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rackwright_proto::file::sha256_hex;
use serde::Serialize;

use crate::base::CACHE;
use crate::error::{Doing, LabError, Result};
use crate::run::{command, must, must_with};
use crate::talk::say;

/// The agent is sent to every host: more than this is a mistake.
const MOST_BYTES: usize = 5_000_000;
const BUILD_LIMIT: Duration = Duration::from_secs(1800);
/// The type of the program header that names a dynamic linker (elf(5)).
const PT_INTERP: u32 = 3;

/// One line of the manifest that the coordinator reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Agent {
    /// File name, beside the manifest.
    pub file: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Bytes.
    pub size: usize,
}

/// An architecture that agents are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Architecture {
    /// As `uname -m` says it.
    name: &'static str,
    triple: &'static str,
    /// `e_machine` of the ELF header (elf(5)).
    machine: u16,
}

const X86_64: Architecture = Architecture { name: "x86_64", triple: "x86_64-unknown-linux-gnu", machine: 62 };
const AARCH64: Architecture =
    Architecture { name: "aarch64", triple: "aarch64-unknown-linux-gnu", machine: 183 };

/// Builds the agents and puts them beside the coordinators of the debug and release profiles. Returns the
/// directory of the debug one. `arm64` adds an agent for arm64 hosts, built by a toolchain of its own.
pub fn build(arm64: bool) -> Result<PathBuf> {
    let native = if cfg!(target_arch = "aarch64") { AARCH64 } else { X86_64 };
    let mut agents = vec![(native, build_native(native)?)];
    if arm64 && native != AARCH64 {
        agents.push((AARCH64, build_arm64()?));
    }
    let target = checkout().join("target");
    for profile in ["debug", "release"] {
        install(&target.join(profile).join("agents"), &agents)?;
    }
    Ok(target.join("debug/agents"))
}

/// The checkout that this lab was built from.
pub fn checkout() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Cargo, in the checkout.
pub fn cargo() -> Command {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(checkout());
    cargo
}

fn build_native(native: Architecture) -> Result<Vec<u8>> {
    build_one(native, cargo(), "agent")
}

/// rustup has no standard library for another architecture where it is offline; Debian's compiler has one.
fn build_arm64() -> Result<Vec<u8>> {
    let toolchain = Path::new(CACHE).join("arm64-toolchain");
    if !toolchain.exists() {
        say("unpacking a toolchain for arm64 from Debian packages (once; 160 MB)");
    }
    let mut unpack = command("bash");
    unpack.arg("-s").arg(&toolchain);
    must_with(unpack, Some(include_bytes!("arm64.sh")), "unpack the toolchain for arm64", BUILD_LIMIT)?;
    let mut cargo = cargo();
    cargo.env("RUSTC", toolchain.join("rustc"));
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", toolchain.join("cc"));
    // Two compilers in one directory would build everything anew each time.
    build_one(AARCH64, cargo, "agent-arm64")
}

/// With a target named explicitly: else build scripts and macros would be linked statically too, and fail.
fn build_one(architecture: Architecture, mut cargo: Command, directory: &str) -> Result<Vec<u8>> {
    let directory = checkout().join("target").join(directory);
    let triple = architecture.triple;
    cargo.args([
        "build",
        "--quiet",
        "--profile",
        "agent",
        "--target",
        triple,
        "--package",
        "rackwright-agent",
    ]);
    cargo.arg("--target-dir").arg(&directory).env("RUSTFLAGS", "-C target-feature=+crt-static");
    must(cargo, &format!("build the static agent for {}", architecture.name), BUILD_LIMIT)?;
    let binary = directory.join(triple).join("agent/rackwright-agent");
    let bytes = fs::read(&binary).doing(|| format!("read {}", binary.display()))?;
    check(architecture, &bytes)?;
    Ok(bytes)
}

/// Exactly these agents: one of an earlier build would not understand today's coordinator.
fn install(directory: &Path, agents: &[(Architecture, Vec<u8>)]) -> Result<()> {
    fs::create_dir_all(directory).doing(|| format!("create {}", directory.display()))?;
    let mut manifest = BTreeMap::new();
    for (architecture, bytes) in agents {
        let file = format!("rackwright-agent-{}", architecture.name);
        replace(&directory.join(&file), bytes, 0o755)?;
        manifest.insert(architecture.name, Agent { file, sha256: sha256_hex(bytes), size: bytes.len() });
    }
    let text =
        serde_json::to_vec_pretty(&manifest).map_err(std::io::Error::from).doing(|| "write it".to_owned())?;
    replace(&directory.join("manifest.json"), &text, 0o644)
}

/// By rename: a coordinator that runs now reads the old file or the new one.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let new = path.with_extension(format!("new{}", std::process::id()));
    let doing = || format!("write {}", path.display());
    fs::write(&new, bytes).doing(doing)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(mode)).doing(doing)?;
    fs::rename(&new, path).doing(doing)
}

/// Refuses an agent that would not run on a bare host, or is too large to send.
fn check(architecture: Architecture, bytes: &[u8]) -> Result<()> {
    let refuse = |why: String| Err(LabError::Refused(format!("the agent was built, but {why}")));
    if machine(bytes) != Some(architecture.machine) {
        return refuse(format!("it is no program for {}", architecture.name));
    }
    if program_headers(bytes).contains(&PT_INTERP) {
        return refuse("it is not static: it asks for an interpreter".to_owned());
    }
    if bytes.len() >= MOST_BYTES {
        return refuse(format!("it has {} bytes; {MOST_BYTES} is the most", bytes.len()));
    }
    Ok(())
}

fn machine(elf: &[u8]) -> Option<u16> {
    elf.starts_with(b"\x7fELF\x02\x01").then(|| number::<2>(elf, 18)).flatten().map(u16::from_le_bytes)
}

/// The types of the program headers (elf(5), 64 bit, little endian).
fn program_headers(elf: &[u8]) -> Vec<u32> {
    let offset = number::<8>(elf, 32).map(u64::from_le_bytes).and_then(|offset| usize::try_from(offset).ok());
    let (Some(offset), Some(size), Some(count)) = (offset, number::<2>(elf, 54), number::<2>(elf, 56)) else {
        return Vec::new();
    };
    let (size, count) = (usize::from(u16::from_le_bytes(size)), usize::from(u16::from_le_bytes(count)));
    let types = (0..count).map_while(|index| number::<4>(elf, offset.checked_add(index * size)?));
    types.map(u32::from_le_bytes).collect()
}

fn number<const WIDTH: usize>(bytes: &[u8], at: usize) -> Option<[u8; WIDTH]> {
    bytes.get(at..at.checked_add(WIDTH)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_refused() {
        let native = if cfg!(target_arch = "aarch64") { AARCH64 } else { X86_64 };
        let shell = fs::read("/bin/sh").unwrap();
        let error = check(native, &shell).unwrap_err().to_string();
        assert!(error.contains("interpreter"), "{error}");
    }

    #[test]
    fn garbage_is_refused() {
        for bytes in [&b""[..], b"\x7fELF\x02\x01", &[0xff; 64]] {
            assert!(check(X86_64, bytes).is_err());
        }
    }
}
