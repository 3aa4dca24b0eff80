//! Files: read bounded, replaced atomically, durable when a call returns.
//!
//! All paths are absolute paths of the node. A replacement is written beside its target under a hidden name
//! that follows from the target's, so that a run that died in between leaves at most one such file, which the
//! next run removes.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink,
};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, fchown};
use rackwright_proto::file::{FileSeen, sha256_hex};

use super::Host;

/// The longest file that is looked at; a longer one is reported as something that is not replaced.
pub const LONGEST: u64 = 64 * 1024 * 1024;

/// Where replaced bytes are kept, by their SHA-256.
pub const KEPT: &str = "/var/lib/rackwright/kept";

/// What could not be done to which path.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path}")]
pub struct FsError {
    doing: &'static str,
    path: String,
    #[source]
    source: io::Error,
}

impl FsError {
    /// A closure for `map_err`: what was being done to `path`.
    pub fn of(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self { doing, path: path.display().to_string(), source }
    }

    /// Whether there was nothing at the path.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Permission bits and, where given, numeric owner and group of a new file.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// Owner and group; ours if left out.
    pub owner: Option<(u32, u32)>,
}

impl Access {
    /// For root's eyes only.
    pub const PRIVATE: Self = Self { mode: 0o600, owner: None };
    /// For everybody to read.
    pub const PUBLIC: Self = Self { mode: 0o644, owner: None };
}

impl Host {
    /// The bytes of a regular file, at most `longest`; links are followed.
    pub fn read_file(&self, path: impl AsRef<Path>, longest: u64) -> Result<Vec<u8>, FsError> {
        let real = self.path(path);
        let file = File::open(&real).map_err(FsError::of("open", &real))?;
        read_bounded(&file, longest).map_err(FsError::of("read", &real))
    }

    /// What is at a path; its last component is not followed.
    pub fn look(&self, path: impl AsRef<Path>) -> Result<FileSeen, FsError> {
        let real = self.path(path);
        let meta = match real.symlink_metadata() {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(FileSeen::Absent),
            Err(e) => return Err(FsError::of("look at", &real)(e)),
        };
        if meta.is_symlink() {
            let target = real.read_link().map_err(FsError::of("read link", &real))?;
            return Ok(FileSeen::Link { target: target.to_string_lossy().into_owned() });
        }
        if !meta.is_file() {
            return Ok(FileSeen::Other { what: kind_in_words(&meta).into() });
        }
        if meta.len() > LONGEST {
            return Ok(FileSeen::Other { what: format!("file of {} bytes, too long to keep", meta.len()) });
        }
        self.look_into(&real)
    }

    fn look_into(&self, real: &Path) -> Result<FileSeen, FsError> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
            .open(real)
            .map_err(FsError::of("open", real))?;
        let meta = file.metadata().map_err(FsError::of("look at", real))?;
        let bytes = read_bounded(&file, LONGEST).map_err(FsError::of("read", real))?;
        // What not everybody on the host may read does not travel.
        let shown = bytes.len() as u64 <= FileSeen::INLINE && meta.mode() & 0o004 != 0;
        Ok(FileSeen::File {
            sha256: sha256_hex(&bytes),
            text: if shown { String::from_utf8(bytes).ok() } else { None },
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
            owner: self.owner_name("/etc/passwd", meta.uid()),
            group: self.owner_name("/etc/group", meta.gid()),
        })
    }

    /// Replaces a file as a whole: all of the old bytes or all of the new ones, whatever happens.
    pub fn replace(&self, path: impl AsRef<Path>, bytes: &[u8], access: Access) -> Result<(), FsError> {
        let real = self.path(path);
        let new = beside(&real);
        remove_if_there(&new)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)
            .map_err(FsError::of("create", &new))?;
        let doing = FsError::of("write", &new);
        file.write_all(bytes).map_err(&doing)?;
        if let Some((uid, gid)) = access.owner {
            let ids = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            fchown(&file, ids.0, ids.1).map_err(|e| FsError::of("change the owner of", &new)(e.into()))?;
        }
        let mode = std::fs::Permissions::from_mode(access.mode);
        file.set_permissions(mode).map_err(FsError::of("change the mode of", &new))?;
        file.sync_all().map_err(&doing)?;
        self.boundary();
        put(&new, &real)
    }

    /// Replaces what is at a path by a symbolic link.
    pub fn replace_by_link(&self, path: impl AsRef<Path>, target: &str) -> Result<(), FsError> {
        let real = self.path(path);
        let new = beside(&real);
        remove_if_there(&new)?;
        symlink(target, &new).map_err(FsError::of("link", &new))?;
        self.boundary();
        put(&new, &real)
    }

    /// Removes a file or link; nothing there is fine.
    pub fn remove(&self, path: impl AsRef<Path>) -> Result<(), FsError> {
        let real = self.path(path);
        if remove_if_there(&real)? { sync_dir(parent(&real)) } else { Ok(()) }
    }

    /// Removes what a run that died may have left beside a path.
    pub fn remove_debris(&self, path: impl AsRef<Path>) -> Result<(), FsError> {
        remove_if_there(&beside(&self.path(path))).map(|_| ())
    }

    /// Makes a directory and its missing parents, durable; those that exist stay as they are.
    pub fn make_dirs(&self, path: impl AsRef<Path>, mode: u32) -> Result<(), FsError> {
        let real = self.path(path);
        let missing: Vec<&Path> = real.ancestors().take_while(|dir| !dir.exists()).collect();
        for dir in missing.into_iter().rev() {
            DirBuilder::new().mode(mode).create(dir).map_err(FsError::of("make directory", dir))?;
            let bits = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(dir, bits).map_err(FsError::of("change the mode of", dir))?;
            sync_dir(parent(dir))?;
        }
        Ok(())
    }

    /// Names in a directory, sorted; none when there is no such directory.
    pub fn names_in(&self, path: impl AsRef<Path>) -> Result<Vec<String>, FsError> {
        let real = self.path(path);
        let entries = match std::fs::read_dir(&real) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(FsError::of("list", &real)(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(FsError::of("list", &real))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Removes a directory and the files in it, not deeper.
    pub fn remove_flat_dir(&self, path: impl AsRef<Path>) -> Result<(), FsError> {
        let path = path.as_ref();
        for name in self.names_in(path)? {
            remove_if_there(&self.path(path.join(name)))?;
        }
        let real = self.path(path);
        std::fs::remove_dir(&real).map_err(FsError::of("remove directory", &real))
    }

    /// Keeps a file's bytes under their SHA-256, durable, for a later undo.
    pub fn keep(&self, path: impl AsRef<Path>) -> Result<(), FsError> {
        let bytes = self.read_file(path, LONGEST)?;
        let kept = format!("{KEPT}/{}", sha256_hex(&bytes));
        if self.path(&kept).exists() {
            return Ok(());
        }
        self.make_dirs(KEPT, 0o700)?;
        self.replace(kept, &bytes, Access::PRIVATE)
    }

    /// The bytes that were kept under a SHA-256.
    pub fn kept(&self, sha256: &str) -> Result<Vec<u8>, FsError> {
        let path = Path::new(KEPT).join(sha256);
        let bytes = self.read_file(&path, LONGEST)?;
        if sha256_hex(&bytes) == sha256 {
            return Ok(bytes);
        }
        let broken = io::Error::new(io::ErrorKind::InvalidData, "the kept bytes were changed");
        Err(FsError::of("read", &path)(broken))
    }

    /// The id behind a name of `/etc/passwd` or `/etc/group`, or behind digits. A static binary asks no NSS.
    pub fn id_of(&self, list: &'static str, name: &str) -> Result<Option<u32>, FsError> {
        if let Ok(id) = name.parse() {
            return Ok(Some(id));
        }
        let text = self.read_file(list, LONGEST)?;
        Ok(named_ids(&String::from_utf8_lossy(&text)).find(|(n, _)| *n == name).map(|(_, id)| id))
    }

    fn owner_name(&self, list: &'static str, id: u32) -> Option<String> {
        let text = self.read_file(list, LONGEST).ok()?;
        named_ids(&String::from_utf8_lossy(&text)).find(|(_, i)| *i == id).map(|(n, _)| n.to_owned())
    }
}

/// Names and ids of passwd(5) and group(5): both have the id in the third field.
fn named_ids(text: &str) -> impl Iterator<Item = (&str, u32)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((name, fields.nth(1)?.parse().ok()?))
    })
}

pub(super) fn kind_in_words(meta: &std::fs::Metadata) -> &'static str {
    match meta.mode() & nix::libc::S_IFMT {
        nix::libc::S_IFDIR => "directory",
        nix::libc::S_IFCHR | nix::libc::S_IFBLK => "device",
        nix::libc::S_IFSOCK => "socket",
        nix::libc::S_IFIFO => "pipe",
        _ => "special file",
    }
}

fn read_bounded(file: &File, longest: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(longest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {longest} bytes")));
    }
    Ok(bytes)
}

/// The hidden name beside a target: short, so that no name becomes too long, and no suffix that a program
/// which reads whole directories (sysctl.d, systemd) would take for its own.
pub(super) fn beside(real: &Path) -> PathBuf {
    let name = real.file_name().unwrap_or_default();
    let mark = sha256_hex(name.as_encoded_bytes());
    real.with_file_name(format!(".rackwright-{}", &mark[..16]))
}

fn parent(real: &Path) -> &Path {
    real.parent().unwrap_or(Path::new("/"))
}

fn put(new: &Path, real: &Path) -> Result<(), FsError> {
    if let Err(e) = std::fs::rename(new, real) {
        let _ = std::fs::remove_file(new);
        return Err(FsError::of("replace", real)(e));
    }
    sync_dir(parent(real))
}

fn remove_if_there(real: &Path) -> Result<bool, FsError> {
    match std::fs::remove_file(real) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(FsError::of("remove", real)(e)),
    }
}

/// Makes a directory's entries durable.
pub fn sync_dir(real: &Path) -> Result<(), FsError> {
    File::open(real).and_then(|dir| dir.sync_all()).map_err(FsError::of("sync directory", real))
}
