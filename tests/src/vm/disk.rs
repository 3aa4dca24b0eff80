//! A machine's own disk: a copy of an image, with the files that make it this host.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::error::{Doing, LabError, Result};
use crate::host::Host;
use crate::run::{command, must, must_with};

const LIMIT: Duration = Duration::from_secs(300);
/// What debugfs may say: what is replaced need not have been there, and directories may be.
const FINE: [&str; 3] = ["debugfs 1.", "File not found by ext2_lookup", "already exists"];

/// Copies a disk; its holes stay holes.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut copy = command("cp");
    copy.args(["--sparse=always", "--reflink=auto"]).arg(from).arg(to);
    must(copy, &format!("copy {}", from.display()), LIMIT).map(drop)
}

/// Lets a disk whose machine was cut off catch up with its journal, so that it can be written into from here.
pub(crate) fn settle(disk: &Path) -> Result<()> {
    let mut check = command("e2fsck");
    check.args(["-y", "-E", "journal_only"]).arg(disk);
    let output = crate::run::run(check, None, LIMIT)?;
    // 1: errors were corrected (e2fsck(8)).
    if (0..=1).contains(&output.code) {
        return Ok(());
    }
    let said = crate::run::last_lines(&format!("{}\n{}", output.stdout, output.stderr));
    let doing = format!("replay the journal of {}", disk.display());
    Err(LabError::Program { doing, program: "e2fsck".to_owned(), code: output.code, said })
}

/// Gives a machine its disk: a copy of `from` with the files of the host's own layer.
pub(crate) fn give(from: &Path, host: &Host) -> Result<()> {
    let disk = host.dir().join("disk.raw");
    copy(from, &disk)?;
    let mut commands = String::new();
    pour(&host.dir().join("upper"), "", &mut commands)?;
    let mut debugfs = command("debugfs");
    debugfs.args(["-w", "-f", "/dev/stdin"]).arg(&disk);
    let doing = format!("write {}'s files to its disk", host.name());
    // It goes on after any error and ends with 0.
    let said = must_with(debugfs, Some(commands.as_bytes()), &doing, LIMIT)?.stderr;
    let bad = |line: &&str| !line.trim().is_empty() && !FINE.iter().any(|fine| line.contains(fine));
    match said.lines().find(bad) {
        None => Ok(()),
        Some(line) => {
            let (program, said) = ("debugfs".to_owned(), line.to_owned());
            Err(LabError::Program { doing, program, code: 0, said })
        }
    }
}

/// Commands of debugfs(8) that make the directory `at` of the disk have all that is in `from`.
fn pour(from: &Path, at: &str, commands: &mut String) -> Result<()> {
    let doing = || format!("read {}", from.display());
    let mut entries = fs::read_dir(from).doing(doing)?.collect::<std::io::Result<Vec<_>>>().doing(doing)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (source, path) = (entry.path(), format!("{at}/{}", entry.file_name().to_string_lossy()));
        let meta = entry.metadata().doing(doing)?;
        if meta.is_dir() {
            let _ = writeln!(commands, "mkdir {path}");
        } else {
            let _ = writeln!(commands, "rm {path}\nwrite {} {path}", source.display());
        }
        let fields = [("mode", format!("0{:o}", meta.mode())), ("uid", meta.uid().to_string())];
        for (field, value) in fields.into_iter().chain([("gid", meta.gid().to_string())]) {
            let _ = writeln!(commands, "set_inode_field {path} {field} {value}");
        }
        if meta.is_dir() {
            pour(&source, &path, commands)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_becomes_commands() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc/ssh")).unwrap();
        fs::write(dir.path().join("etc/hostname"), "w1\n").unwrap();
        let mut commands = String::new();
        pour(dir.path(), "", &mut commands).unwrap();
        let lines: Vec<&str> = commands.lines().collect();
        assert_eq!(lines[0], "mkdir /etc");
        assert!(lines.contains(&"mkdir /etc/ssh"), "{commands}");
        let write = lines.iter().position(|line| line.starts_with("write ")).unwrap();
        assert_eq!(lines[write - 1], "rm /etc/hostname");
        assert!(lines[write + 1].starts_with("set_inode_field /etc/hostname mode 0100"), "{commands}");
    }
}
