//! The agent as it crosses the wire: one static binary per architecture, beside the coordinator.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::{Doing, LabError, Result};
use crate::run::{command, must};

/// The agent is sent to every host: more than this is a mistake.
const MOST_BYTES: usize = 4_000_000;
const BUILD_LIMIT: Duration = Duration::from_secs(1800);
/// `e_machine` of the ELF header (elf(5)).
const EM_X86_64: u16 = 62;
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

/// Builds the agents and puts them beside the coordinators of the debug and release profiles. Returns the
/// directory of the debug one.
pub fn build() -> Result<PathBuf> {
    let root = checkout();
    let binary = build_native(&root)?;
    let bytes = fs::read(&binary).doing(|| format!("read {}", binary.display()))?;
    check(&bytes)?;
    for profile in ["debug", "release"] {
        install(&root.join("target").join(profile).join("agents"), &bytes)?;
    }
    Ok(root.join("target/debug/agents"))
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

/// With a target named explicitly: else build scripts and macros would be linked statically too, and fail.
fn build_native(root: &Path) -> Result<PathBuf> {
    let triple = "x86_64-unknown-linux-gnu";
    let directory = root.join("target/agent");
    let mut cargo = cargo();
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
    must(cargo, "build the static agent", BUILD_LIMIT)?;
    Ok(directory.join(triple).join("agent/rackwright-agent"))
}

fn install(directory: &Path, bytes: &[u8]) -> Result<()> {
    fs::create_dir_all(directory).doing(|| format!("create {}", directory.display()))?;
    let agent = Agent { file: "rackwright-agent-x86_64".to_owned(), sha256: hex(bytes), size: bytes.len() };
    replace(&directory.join(&agent.file), bytes, 0o755)?;
    let manifest = BTreeMap::from([("x86_64", &agent)]);
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
fn check(bytes: &[u8]) -> Result<()> {
    let refuse = |why: String| Err(LabError::Refused(format!("the agent was built, but {why}")));
    if machine(bytes) != Some(EM_X86_64) {
        return refuse("it is no x86_64 program".to_owned());
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

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_refused() {
        let shell = fs::read("/bin/sh").unwrap();
        let error = check(&shell).unwrap_err().to_string();
        assert!(error.contains("interpreter"), "{error}");
    }

    #[test]
    fn garbage_is_refused() {
        for bytes in [&b""[..], b"\x7fELF\x02\x01", &[0xff; 64]] {
            assert!(check(bytes).is_err());
        }
    }
}
