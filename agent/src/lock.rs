//! One run at a time: a lock that the kernel releases when its holder dies.
//!
//! `/run/rackwright/lock` is locked by flock(2). Its text tells who holds it, for those who find it taken. It is
//! opened close-on-exec, so that no program started by a run keeps the lock after it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::name::RunId;
use rackwright_proto::wire::Holder;

use crate::host::fs::FsError;
use crate::host::{Host, now_ms};

/// The lock's path.
pub const LOCK: &str = "/run/rackwright/lock";

const STEP: Duration = Duration::from_millis(50);

/// Why the lock was not obtained.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("the host is held{}", by(.0))]
    Held(Option<Holder>),
    /// The file system said no.
    #[error("lock the host")]
    Fs(#[source] FsError),
}

fn by(holder: &Option<Holder>) -> String {
    match holder {
        None => " by another process".into(),
        Some(h) => {
            let minutes = now_ms().saturating_sub(h.since_ms) / 60_000;
            format!(" by run {} of {}, for {minutes} min now (process {})", h.run, h.operator, h.pid)
        }
    }
}

impl LockError {
    /// The fault that tells by whom, since when, and what to do next.
    pub fn fault(&self, node: &str) -> Fault {
        match self {
            Self::Held(_) => Fault::new(FaultKind::Locked, "take the host's lock", self.to_string())
                .next(format!("rackwright attach {node}")),
            Self::Fs(_) => crate::fault::host_fault("take the host's lock", self),
        }
    }
}

/// The lock, held until dropped or until this process dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock for a run, waiting at most `patience` for its holder.
    pub async fn take(
        host: &Host,
        run: &RunId,
        operator: &str,
        patience: Duration,
    ) -> Result<Self, LockError> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut file = open(host).map_err(LockError::Fs)?;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(STEP).await;
                }
                Err(TryLockError::WouldBlock) => return Err(LockError::Held(read(&mut file))),
                Err(TryLockError::Error(e)) => {
                    return Err(LockError::Fs(FsError::of("lock", &host.path(LOCK))(e)));
                }
            }
        }
        let holder = Holder {
            run: run.clone(),
            operator: operator.to_owned(),
            since_ms: now_ms(),
            pid: std::process::id(),
        };
        write(&mut file, &holder).map_err(|e| LockError::Fs(FsError::of("write", &host.path(LOCK))(e)))?;
        Ok(Self { _file: file })
    }
}

/// Who holds the host; `None` when nobody does, or when we may not look.
pub fn holder(host: &Host) -> Option<Holder> {
    let mut file = File::open(host.path(LOCK)).ok()?;
    match file.try_lock_shared() {
        Ok(()) => None,
        Err(_) => read(&mut file),
    }
}

/// Whether a process holds the host.
pub fn is_held(host: &Host) -> bool {
    File::open(host.path(LOCK)).is_ok_and(|file| file.try_lock_shared().is_err())
}

fn open(host: &Host) -> Result<File, FsError> {
    // For root only: whoever can open the file can lock it.
    host.make_dirs("/run/rackwright", 0o700)?;
    let real = host.path(LOCK);
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&real)
        .map_err(FsError::of("open", &real))
}

fn write(file: &mut File, holder: &Holder) -> std::io::Result<()> {
    let text = serde_json::to_vec(holder)?;
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&text)
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(64 * 1024).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_is_told_who_is_first() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let (first, second): (RunId, RunId) = ("one".parse().unwrap(), "two".parse().unwrap());
        assert_eq!(holder(&host), None);
        let lock = Lock::take(&host, &first, "ops@desk", Duration::ZERO).await.unwrap();
        let error = Lock::take(&host, &second, "other", Duration::ZERO).await.unwrap_err();
        let fault = error.fault("w1");
        assert_eq!(fault.kind, FaultKind::Locked);
        assert!(fault.cause.contains("run one of ops@desk"), "{}", fault.cause);
        assert_eq!(fault.next, "rackwright attach w1");
        assert_eq!(holder(&host).unwrap().run, first);
        drop(lock);
        assert_eq!(holder(&host), None);
        Lock::take(&host, &second, "other", Duration::ZERO).await.unwrap();
    }
}
