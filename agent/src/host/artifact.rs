//! Archives on their way into the host: they come in parts over the wire, or whole from elsewhere, and are used only
//! under their SHA-256.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::name::Sha256;
use rackwright_proto::tool::{ArtifactPart, LARGEST_ARTIFACT};
use sha2::Digest as _;

use super::Host;
use super::fs::{FsError, sync_dir};
use crate::fault::host_fault;

/// Where archives wait to be unpacked.
const ARTIFACTS: &str = "/var/lib/rackwright/artifacts";

impl Host {
    /// How much of an archive is there already, from its beginning. All of it means that its hash is right.
    pub fn artifact_have(&self, sha256: &Sha256, size: u64) -> Result<u64, Fault> {
        check_size(sha256, size)?;
        let fault = |e: FsError| host_fault(doing(sha256), &e);
        if self.artifact(sha256).map_err(fault)?.is_some() {
            return Ok(size);
        }
        let have = self.path(part_of(sha256)).metadata().map_or(0, |meta| meta.len());
        if have < size {
            return Ok(have);
        }
        // It was whole when somebody was cut off before it was checked, or it is of no use.
        self.remove(part_of(sha256)).map_err(fault)?;
        Ok(0)
    }

    /// Takes one part of an archive, where it is the next one, and says how much is there then.
    pub fn artifact_part(&self, part: &ArtifactPart) -> Result<u64, Fault> {
        check_size(&part.sha256, part.size)?;
        let fault = |e: FsError| host_fault(doing(&part.sha256), &e);
        let broken = |why: &str| Fault::new(FaultKind::Protocol, doing(&part.sha256), why);
        let bytes = part.bytes().map_err(|why| broken(&why))?;
        if bytes.is_empty()
            || bytes.len() > ArtifactPart::LONGEST
            || part.offset.saturating_add(bytes.len() as u64) > part.size
        {
            return Err(broken("a part of it is empty, too long, or goes beyond its end"));
        }
        self.make_dirs(ARTIFACTS, 0o700).map_err(fault)?;
        let real = self.path(part_of(&part.sha256));
        let Some(have) =
            append(&real, part.offset, &bytes).map_err(|e| fault(FsError::of("write", &real)(e)))?
        else {
            return Err(Fault::new(
                FaultKind::Locked,
                doing(&part.sha256),
                "somebody else sends it at this moment",
            )
            .next("apply again"));
        };
        self.boundary();
        if have == part.size {
            self.accept(&part.sha256)?;
        }
        Ok(have)
    }

    /// Takes a file of [`ARTIFACTS`] for the archive, if it is.
    fn accept(&self, sha256: &Sha256) -> Result<(), Fault> {
        let fault = |e: FsError| host_fault(doing(sha256), &e);
        let (part, whole) = (self.path(part_of(sha256)), self.path(whole_of(sha256)));
        let found = hash(&part).map_err(|e| fault(FsError::of("read", &part)(e)))?;
        if found != sha256.as_str() {
            self.remove(part_of(sha256)).map_err(fault)?;
            let cause = format!("what came has the SHA-256 {found}; it was not used");
            return Err(Fault::new(FaultKind::Host, doing(sha256), cause).next("apply again"));
        }
        std::fs::rename(&part, &whole).map_err(|e| fault(FsError::of("rename", &part)(e)))?;
        sync_dir(&self.path(ARTIFACTS)).map_err(fault)
    }

    /// An archive that is whole, by its hash as it is now; one that is not goes.
    pub fn artifact(&self, sha256: &Sha256) -> Result<Option<PathBuf>, FsError> {
        let real = self.path(whole_of(sha256));
        match hash(&real) {
            Ok(found) if found == sha256.as_str() => Ok(Some(real)),
            Ok(_) => self.remove(whole_of(sha256)).map(|()| None),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(FsError::of("read", &real)(e)),
        }
    }

    /// A new file for an archive that comes whole, and what makes it one.
    pub fn new_artifact(&self, sha256: &Sha256) -> Result<Arriving<'_>, Fault> {
        let fault = |e: FsError| host_fault(doing(sha256), &e);
        self.make_dirs(ARTIFACTS, 0o700).map_err(fault)?;
        self.remove(part_of(sha256)).map_err(fault)?;
        let real = self.path(part_of(sha256));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&real);
        let file = file.map_err(|e| fault(FsError::of("create", &real)(e)))?;
        Ok(Arriving { host: self, sha256: sha256.clone(), file, size: 0 })
    }

    /// Removes archives that wait for nobody. Best effort: they are looked at again at the end of the next run.
    pub fn forget_artifacts(&self) {
        if self.path(ARTIFACTS).exists() {
            let _ = self.remove_flat_dir(ARTIFACTS);
        }
    }
}

/// An archive that is written as it comes.
#[derive(Debug)]
pub struct Arriving<'a> {
    host: &'a Host,
    sha256: Sha256,
    file: File,
    size: u64,
}

impl Arriving<'_> {
    /// The next of its bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.size += bytes.len() as u64;
        check_size(&self.sha256, self.size)?;
        let real = self.host.path(part_of(&self.sha256));
        self.file
            .write_all(bytes)
            .map_err(|e| host_fault(doing(&self.sha256), &FsError::of("write", &real)(e)))
    }

    /// All of it came.
    pub fn done(self) -> Result<(), Fault> {
        let real = self.host.path(part_of(&self.sha256));
        self.file.sync_all().map_err(|e| host_fault(doing(&self.sha256), &FsError::of("write", &real)(e)))?;
        self.host.accept(&self.sha256)
    }
}

fn whole_of(sha256: &Sha256) -> String {
    format!("{ARTIFACTS}/{sha256}")
}

fn part_of(sha256: &Sha256) -> String {
    format!("{ARTIFACTS}/{sha256}.part")
}

fn doing(sha256: &Sha256) -> String {
    format!("take the archive {}", &sha256.as_str()[..12])
}

fn check_size(sha256: &Sha256, size: u64) -> Result<(), Fault> {
    match size {
        1..=LARGEST_ARTIFACT => Ok(()),
        0 => Err(Fault::new(FaultKind::Host, doing(sha256), "it is empty")),
        _ => {
            let cause = format!("it is larger than {} MiB", LARGEST_ARTIFACT >> 20);
            Err(Fault::new(FaultKind::Host, doing(sha256), cause))
        }
    }
}

/// Appends bytes to a file that is `offset` bytes long; to another one nothing. Says how long it is then; `None` when
/// somebody else is at it. What was cut off by a power loss is found by the hash.
fn append(real: &Path, offset: u64, bytes: &[u8]) -> io::Result<Option<u64>> {
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(real)?;
    let Ok(mut file) = Flock::lock(open, FlockArg::LockExclusiveNonblock) else { return Ok(None) };
    let have = file.seek(SeekFrom::End(0))?;
    if have != offset {
        return Ok(Some(have));
    }
    file.write_all(bytes)?;
    file.sync_data()?;
    Ok(Some(have + bytes.len() as u64))
}

/// The SHA-256 of a file, at most one byte more of it than an archive may have.
fn hash(real: &Path) -> io::Result<String> {
    let mut file = File::open(real)?.take(LARGEST_ARTIFACT + 1);
    let mut hasher = sha2::Sha256::new();
    let mut chunk = vec![0; 128 * 1024];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            read => hasher.update(&chunk[..read]),
        }
    }
    Ok(hasher.finalize().iter().map(|b| format!("{b:02x}")).collect())
}
