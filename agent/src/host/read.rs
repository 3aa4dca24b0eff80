//! Reading the node's files: bounded, and never waiting for a pipe or a device.
//!
//! These reads are blocking on purpose: files of `/proc` and `/sys` answer at once, and handing each to a
//! thread of its own would cost more than the read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::Host;

/// The most that is read of a file that people write.
pub(crate) const SMALL: u64 = 256 * 1024;

/// The most that is read of a table that the kernel or a package writes.
pub(crate) const LARGE: u64 = 16 * 1024 * 1024;

impl Host {
    /// The bytes of a regular file, at most `limit`; `None` when there is no such file.
    /// A longer file is an error ([`io::ErrorKind::FileTooLarge`]), anything that is no file reads as empty.
    pub(crate) fn read_if_there(&self, path: impl AsRef<Path>, limit: u64) -> io::Result<Option<Vec<u8>>> {
        match open(&self.path(path)) {
            Ok(file) => read_bounded(file, limit).map(Some),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The same as text, where bytes that are not UTF-8 are replaced.
    pub(crate) fn read_text(&self, path: impl AsRef<Path>, limit: u64) -> io::Result<Option<String>> {
        Ok(self.read_if_there(path, limit)?.map(into_text))
    }

    /// The text of a small file without blanks around it; `None` when it is absent, unreadable or blank.
    pub(crate) fn word(&self, path: impl AsRef<Path>) -> Option<String> {
        let text = self.read_text(path, SMALL).ok()??;
        let word = text.trim();
        (!word.is_empty()).then(|| word.to_owned())
    }

    /// Whether something is at `path`, links followed.
    pub(crate) fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).exists()
    }

    /// The names in a directory, sorted; none when it cannot be read. At most 65,536.
    pub(crate) fn names(&self, directory: impl AsRef<Path>) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(directory)) else { return Vec::new() };
        let name = |entry: fs::DirEntry| entry.file_name().into_string().ok();
        let mut names: Vec<_> = entries.take(65_536).flatten().filter_map(name).collect();
        names.sort_unstable();
        names
    }

    /// The target of a symbolic link, as written.
    pub(crate) fn link_target(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        fs::read_link(self.path(path)).ok()
    }

    /// The configuration files `*.conf` of several directories as systemd and kmod order them: by file name,
    /// where a name in an earlier directory hides the same name in later ones (sysctl.d(5), modprobe.d(5)).
    /// At most 1,000.
    pub(crate) fn drop_ins(&self, directories: &[&str]) -> Vec<String> {
        let mut files = std::collections::BTreeMap::new();
        for directory in directories {
            for name in self.names(directory).into_iter().filter(|n| n.ends_with(".conf")) {
                files.entry(name).or_insert(*directory);
            }
        }
        files.into_iter().take(1_000).map(|(name, directory)| format!("{directory}/{name}")).collect()
    }
}

/// Whether an error says that nothing is there.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Opens without waiting for the other end of a pipe.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)
}

fn read_bounded(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if !file.metadata()?.is_file() {
        return Ok(bytes);
    }
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {limit} bytes")));
    }
    Ok(bytes)
}

/// Text without a copy where the bytes are UTF-8, as they nearly always are.
fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_or_device_reads_as_empty_and_a_long_file_is_an_error() {
        let tree = tempfile::tempdir().unwrap();
        let host = Host::at(tree.path());
        nix::unistd::mkfifo(&tree.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::write(tree.path().join("long"), "12345").unwrap();
        assert_eq!(host.read_if_there("/pipe", 4).unwrap(), Some(vec![]));
        assert_eq!(host.read_if_there("/long", 5).unwrap().unwrap().len(), 5);
        assert_eq!(host.read_if_there("/long", 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(host.read_if_there("/long/below", 4).unwrap(), None);
        assert_eq!(host.read_if_there("/absent", 4).unwrap(), None);
    }

    #[test]
    fn drop_ins_are_ordered_by_name_and_hidden_by_earlier_directories() {
        let tree = tempfile::tempdir().unwrap();
        let host = Host::at(tree.path());
        for path in ["etc/x.d/20-b.conf", "usr/x.d/10-a.conf", "usr/x.d/20-b.conf", "usr/x.d/30-c.txt"] {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        assert_eq!(host.drop_ins(&["/etc/x.d", "/usr/x.d"]), ["/usr/x.d/10-a.conf", "/etc/x.d/20-b.conf"]);
    }
}
