//! Unpacked release archives: looked at, unpacked as a whole or not at all, removed.
//!
//! A tree carries a list of what we put there. Without that list it is not ours.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink,
};
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use rackwright_proto::name::Sha256;
use rackwright_proto::tool::{Archive, ArchiveFormat, LINKS, LinkSeen, TOOLS, TreeSeen};
use serde::{Deserialize, Serialize};
use tar::EntryType;

use super::Host;
use super::fs::{FsError, beside, kind_in_words, sync_dir};
use crate::archive::{Allowance, MOST_ENTRIES, Meter, leads_inside, place};

/// The list of a tree's entries, inside of it.
const LIST: &str = ".rackwright.json";
/// The longest list.
const LONGEST_LIST: u64 = 16 << 20;
/// How long it may take to unpack an archive.
const DEADLINE: Duration = Duration::from_secs(120);
/// Bytes at a time.
const CHUNK: usize = 128 * 1024;

/// Why an archive was not unpacked. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The host would not have it.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// It breaks off, is no archive, or becomes too large.
    #[error("read the archive")]
    Read(#[source] io::Error),
    /// Something in it may not be there.
    #[error("`{entry}` in the archive {why}")]
    Entry {
        /// Its name, as far as it can be shown.
        entry: String,
        /// Why not.
        why: &'static str,
    },
    /// Too many entries.
    #[error("there are more than {MOST_ENTRIES} entries in the archive")]
    Crowd,
    /// Nothing in it.
    #[error("there is nothing in the archive's folder `{0}`")]
    Empty(String),
    /// It took too long.
    #[error("it is not unpacked within {} s", DEADLINE.as_secs())]
    Deadline,
}

/// What a tree is made of.
#[derive(Debug, Serialize, Deserialize)]
struct List {
    format: u32,
    archive: Sha256,
    entries: BTreeMap<String, Made>,
}

/// One entry of a tree, as we left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Made {
    Folder,
    File { size: u64, mode: u32, modified: i64 },
    Link(String),
}

impl Host {
    /// What is where a tree would be: by names, sizes, modes and times, not by reading all of it.
    pub fn look_at_tree(&self, path: &str) -> Result<TreeSeen, FsError> {
        let real = self.path(path);
        let meta = match real.symlink_metadata() {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(TreeSeen::Absent),
            Err(e) => return Err(FsError::of("look at", &real)(e)),
        };
        let foreign = |what: &str| Ok(TreeSeen::Foreign { what: what.into() });
        if !meta.is_dir() {
            return foreign(if meta.is_symlink() { "a link" } else { "no folder" });
        }
        let list = match self.read_file(Path::new(path).join(LIST), LONGEST_LIST) {
            Ok(bytes) => serde_json::from_slice::<List>(&bytes).ok(),
            Err(e) if e.is_missing() => None,
            Err(e) => return Err(e),
        };
        let Some(list) = list else {
            // An undo that was cut off leaves no more than this.
            let empty = self.names_in(path)?.is_empty();
            return if empty {
                Ok(TreeSeen::Absent)
            } else {
                foreign("a folder without our list of its files")
            };
        };
        let changed = list.entries.iter().find(|(at, made)| look_at(&real.join(at)).as_ref() != Some(made));
        Ok(match changed {
            None => TreeSeen::Unpacked { sha256: list.archive },
            Some((at, _)) if real.join(at).symlink_metadata().is_err() => {
                TreeSeen::Damaged { sha256: list.archive, what: format!("{at} is missing") }
            }
            Some((at, _)) => TreeSeen::Damaged { sha256: list.archive, what: format!("{at} was changed") },
        })
    }

    /// Unpacks a file of the host in place of what was there of ours: all of it or nothing, whatever happens.
    pub fn unpack(&self, file: &Path, archive: &Archive, path: &str) -> Result<(), UnpackError> {
        self.make_dirs(TOOLS, 0o755)?;
        let real = self.path(path);
        let new = beside(&real);
        remove_tree(&new)?;
        let done = self.unpack_into(file, archive, &new).and_then(|()| Ok(self.swap_in(&new, &real)?));
        if done.is_err() {
            let _ = remove_tree(&new);
        }
        done
    }

    fn unpack_into(&self, file: &Path, archive: &Archive, new: &Path) -> Result<(), UnpackError> {
        let file = File::open(file).map_err(FsError::of("open", file))?;
        let size = file.metadata().map_err(UnpackError::Read)?.len();
        make_dir(new)?;
        let allowance = Allowance::of(size);
        let ArchiveFormat::TarGz = archive.format;
        let stream = Meter::new(
            flate2::bufread::GzDecoder::new(io::BufReader::with_capacity(CHUNK, file)),
            &allowance,
        );
        let mut unpacking =
            Unpacking { host: self, new, made: BTreeMap::new(), until: Instant::now() + DEADLINE };
        let mut tar = tar::Archive::new(stream);
        for entry in tar.entries().map_err(UnpackError::Read)? {
            let mut entry = entry.map_err(UnpackError::Read)?;
            allowance.bytes(entry.size());
            unpacking.entry(&mut entry, &archive.folder)?;
            allowance.headers();
            self.boundary();
        }
        if unpacking.made.is_empty() {
            return Err(UnpackError::Empty(archive.folder.clone()));
        }
        unpacking.finish(&archive.sha256)
    }

    /// Puts a whole new tree where it belongs, and takes the old one away.
    fn swap_in(&self, new: &Path, real: &Path) -> Result<(), FsError> {
        self.boundary();
        let replaces = real.symlink_metadata().is_ok();
        let flags = if replaces { RenameFlags::RENAME_EXCHANGE } else { RenameFlags::RENAME_NOREPLACE };
        let renamed = renameat2(AT_FDCWD, new, AT_FDCWD, real, flags);
        renamed.map_err(|e| FsError::of("replace", real)(e.into()))?;
        sync_dir(real.parent().unwrap_or(Path::new("/")))?;
        self.boundary();
        if replaces { remove_tree(new) } else { Ok(()) }
    }

    /// Removes what a run that died may have left beside a tree.
    pub fn remove_tree_debris(&self, path: &str) -> Result<(), FsError> {
        remove_tree(&beside(&self.path(path)))
    }

    /// Removes what we put into a tree and nobody changed, and the folder where that was all. The list goes last, so
    /// that what is left when this is cut off is still known to be ours.
    pub fn remove_unpacked(&self, path: &str) -> Result<(), FsError> {
        let real = self.path(path);
        let bytes = self.read_file(Path::new(path).join(LIST), LONGEST_LIST)?;
        let invalid = |e: serde_json::Error| io::Error::new(io::ErrorKind::InvalidData, e);
        let list: List = serde_json::from_slice(&bytes)
            .map_err(|e| FsError::of("understand", &real.join(LIST))(invalid(e)))?;
        // A folder comes after all that is in it.
        for (at, made) in list.entries.iter().rev() {
            let at = real.join(at);
            if look_at(&at).as_ref() != Some(made) {
                continue;
            }
            let removed =
                if *made == Made::Folder { remove_if_empty(&at) } else { std::fs::remove_file(&at) };
            removed.map_err(FsError::of("remove", &at))?;
            self.boundary();
        }
        self.remove(Path::new(path).join(LIST))?;
        self.boundary();
        remove_if_empty(&real).map_err(FsError::of("remove", &real))?;
        sync_dir(real.parent().unwrap_or(Path::new("/")))?;
        // Whoever put something else there keeps it.
        let _ = remove_if_empty(&self.path(TOOLS));
        Ok(())
    }

    /// What is where a link on PATH would be.
    pub fn look_at_link(&self, path: &str) -> Result<LinkSeen, FsError> {
        let real = self.path(path);
        let meta = match real.symlink_metadata() {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(LinkSeen::Absent),
            Err(e) => return Err(FsError::of("look at", &real)(e)),
        };
        if !meta.is_symlink() {
            let what = if meta.is_file() { "a file" } else { kind_in_words(&meta) };
            return Ok(LinkSeen::Foreign { what: what.into() });
        }
        let target = real.read_link().map_err(FsError::of("read link", &real))?;
        let target = target.to_string_lossy().into_owned();
        let ours =
            target.strip_prefix(TOOLS).is_some_and(|rest| rest.starts_with('/') && !rest.contains(".."));
        Ok(match ours {
            true => LinkSeen::Ours { target },
            false => LinkSeen::Foreign { what: format!("a link to {target}") },
        })
    }

    /// Whether links to programs can be made: their folder is a folder.
    pub fn make_link_folder(&self) -> Result<(), FsError> {
        self.make_dirs(LINKS, 0o755)
    }
}

/// An archive on its way out.
struct Unpacking<'a> {
    host: &'a Host,
    new: &'a Path,
    made: BTreeMap<String, Made>,
    until: Instant,
}

impl Unpacking<'_> {
    fn entry(&mut self, entry: &mut tar::Entry<'_, impl Read>, folder: &str) -> Result<(), UnpackError> {
        let name = entry.path_bytes().into_owned();
        let refused = |why| UnpackError::Entry { entry: shown(&name), why };
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let Some(at) = place(&name, folder).map_err(refused)? else {
            return if kind.is_dir() { Ok(()) } else { Err(refused("is to be a folder")) };
        };
        if self.made.len() >= MOST_ENTRIES {
            return Err(UnpackError::Crowd);
        }
        self.parents(&at).map_err(refused_or(&name))?;
        match kind {
            EntryType::Directory => self.folder(&at).map_err(refused_or(&name)),
            EntryType::Regular => {
                self.fresh(&at).map_err(refused)?;
                self.file(&at, entry, &name)
            }
            EntryType::Symlink => {
                self.fresh(&at).map_err(refused)?;
                let target = entry.link_name_bytes().unwrap_or_default();
                let target =
                    std::str::from_utf8(&target).map_err(|_| refused("is a link that is not UTF-8"))?;
                if !leads_inside(&at, target) {
                    return Err(refused("is a link that leads out of it"));
                }
                let real = self.new.join(&at);
                symlink(target, &real).map_err(FsError::of("link", &real))?;
                self.made.insert(at, Made::Link(target.to_owned()));
                Ok(())
            }
            EntryType::Link => Err(refused("is a hard link")),
            _ => Err(refused("is neither file, folder nor link")),
        }
    }

    fn fresh(&self, at: &str) -> Result<(), &'static str> {
        if self.made.contains_key(at) { Err("is there twice") } else { Ok(()) }
    }

    /// Folders above an entry: made by us, and no links.
    fn parents(&mut self, at: &str) -> Result<(), Problem> {
        for (end, _) in at.match_indices('/') {
            self.folder(&at[..end])?;
        }
        Ok(())
    }

    fn folder(&mut self, at: &str) -> Result<(), Problem> {
        match self.made.get(at) {
            Some(Made::Folder) => Ok(()),
            Some(_) => Err(Problem::Entry("lies in a folder that is none")),
            None => {
                make_dir(&self.new.join(at))?;
                self.made.insert(at.to_owned(), Made::Folder);
                Ok(())
            }
        }
    }

    fn file(
        &mut self,
        at: &str,
        entry: &mut tar::Entry<'_, impl Read>,
        name: &[u8],
    ) -> Result<(), UnpackError> {
        let real = self.new.join(at);
        let bits = entry.header().mode().map_err(UnpackError::Read)?;
        if bits & 0o7000 != 0 {
            return Err(UnpackError::Entry { entry: shown(name), why: "is to run with another's rights" });
        }
        let mode = if bits & 0o111 != 0 { 0o755 } else { 0o644 };
        let open = OpenOptions::new().write(true).create_new(true).mode(mode).open(&real);
        let mut file = open.map_err(FsError::of("create", &real))?;
        self.copy(entry, &mut file, &real)?;
        let doing = FsError::of("set the mode and time of", &real);
        file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(&doing)?;
        let modified = entry.header().mtime().unwrap_or(0).min(u32::MAX.into());
        file.set_modified(UNIX_EPOCH + Duration::from_secs(modified)).map_err(&doing)?;
        let made = look_at(&real).ok_or_else(|| doing(io::ErrorKind::NotFound.into()))?;
        self.made.insert(at.to_owned(), made);
        Ok(())
    }

    fn copy(&self, from: &mut impl Read, to: &mut File, real: &Path) -> Result<(), UnpackError> {
        let mut chunk = vec![0; CHUNK];
        loop {
            if Instant::now() > self.until {
                return Err(UnpackError::Deadline);
            }
            let read = from.read(&mut chunk).map_err(UnpackError::Read)?;
            if read == 0 {
                return Ok(());
            }
            io::Write::write_all(to, &chunk[..read]).map_err(FsError::of("write", real))?;
        }
    }

    /// The list, and all of it on disk.
    fn finish(self, archive: &Sha256) -> Result<(), UnpackError> {
        let list = List { format: 1, archive: archive.clone(), entries: self.made };
        let text = serde_json::to_vec(&list).map_err(|e| UnpackError::Read(e.into()))?;
        let real = self.new.join(LIST);
        let open = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&real);
        let mut file = open.map_err(FsError::of("create", &real))?;
        io::Write::write_all(&mut file, &text).map_err(FsError::of("write", &real))?;
        // One call for all of the tree, instead of one for each of its files.
        nix::unistd::syncfs(&file).map_err(|e| FsError::of("sync the file system of", &real)(e.into()))?;
        self.host.boundary();
        Ok(())
    }
}

/// Why a folder is not made.
enum Problem {
    Entry(&'static str),
    Fs(FsError),
}

impl From<FsError> for Problem {
    fn from(error: FsError) -> Self {
        Self::Fs(error)
    }
}

fn refused_or(name: &[u8]) -> impl Fn(Problem) -> UnpackError {
    move |problem| match problem {
        Problem::Entry(why) => UnpackError::Entry { entry: shown(name), why },
        Problem::Fs(error) => error.into(),
    }
}

/// A name that somebody else chose, for an error.
fn shown(name: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(name).chars().take(120).collect();
    text.escape_debug().to_string()
}

fn look_at(real: &Path) -> Option<Made> {
    let meta = real.symlink_metadata().ok()?;
    if meta.is_symlink() {
        return Some(Made::Link(real.read_link().ok()?.to_str()?.to_owned()));
    }
    let file = || Made::File { size: meta.len(), mode: meta.mode() & 0o7777, modified: meta.mtime() };
    match (meta.is_dir(), meta.is_file()) {
        (true, _) => Some(Made::Folder),
        (_, true) => Some(file()),
        _ => None,
    }
}

fn make_dir(real: &Path) -> Result<(), FsError> {
    DirBuilder::new().mode(0o755).create(real).map_err(FsError::of("make directory", real))?;
    let bits = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(real, bits).map_err(FsError::of("change the mode of", real))
}

/// Removes a hidden tree of our own, or what was a tree of ours.
fn remove_tree(real: &Path) -> Result<(), FsError> {
    match std::fs::remove_dir_all(real) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(FsError::of("remove", real)(e)),
        _ => Ok(()),
    }
}

fn remove_if_empty(real: &Path) -> io::Result<()> {
    match std::fs::remove_dir(real) {
        Err(e) if !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Err(e),
        _ => Ok(()),
    }
}
