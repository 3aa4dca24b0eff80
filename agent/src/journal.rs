//! A run on the host's disk: its plan, and its journal of records, one JSON object per line.
//!
//! A record can be read by followers as soon as it is written; it counts as done only once it is synced. Every
//! intent is synced before its act and every outcome before the next act, so an outcome and the intent after it
//! share one sync.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::SystemTime;

use rackwright_proto::event::{Event, Record};
use rackwright_proto::name::RunId;
use rackwright_proto::plan::Run;

use crate::host::fs::{Access, FsError, sync_dir};
use crate::host::{Host, now_ms};
use crate::meant;

/// Where runs are kept.
pub const RUNS: &str = "/var/lib/rackwright/runs";

/// The longest journal or plan that is read, in bytes.
const LONGEST: u64 = 64 * 1024 * 1024;

/// Why a run on disk could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The file system said no.
    #[error("keep the run {run}")]
    Fs {
        /// The run.
        run: RunId,
        /// What failed.
        #[source]
        source: FsError,
    },
    /// The plan on disk is not one of this build.
    #[error("read the plan of run {run}")]
    Plan {
        /// The run.
        run: RunId,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The run was started before; a plan runs once.
    #[error("run {0} was started before; plan again")]
    Started(RunId),
}

/// A run's directory.
#[derive(Debug, Clone)]
pub struct RunDir {
    host: Host,
    id: RunId,
}

impl RunDir {
    /// The directory of a run, whether it exists or not.
    pub fn of(host: &Host, id: &RunId) -> Self {
        Self { host: host.clone(), id: id.clone() }
    }

    /// All runs of a host, in the order of their names.
    pub fn all(host: &Host) -> Result<Vec<Self>, FsError> {
        let names = host.names_in(RUNS)?;
        Ok(names.iter().filter_map(|n| n.parse().ok()).map(|id| Self::of(host, &id)).collect())
    }

    /// Keeps a new run's plan, durable.
    pub fn create(host: &Host, run: &Run) -> Result<Self, RunError> {
        let dir = Self::of(host, &run.id);
        if dir.exists() {
            return Err(RunError::Started(run.id.clone()));
        }
        let plan =
            serde_json::to_vec(run).map_err(|source| RunError::Plan { run: run.id.clone(), source })?;
        host.make_dirs(dir.inside(""), 0o700).map_err(|e| dir.error(e))?;
        host.replace(dir.inside("plan.json"), &plan, Access::PRIVATE).map_err(|e| dir.error(e))?;
        Ok(dir)
    }

    /// The run's id.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// The path of a file of the run, as the node sees it.
    pub fn inside(&self, file: &str) -> PathBuf {
        let dir = PathBuf::from(RUNS).join(self.id.as_str());
        if file.is_empty() { dir } else { dir.join(file) }
    }

    /// Whether the run has a plan here.
    pub fn exists(&self) -> bool {
        self.host.path(self.inside("plan.json")).exists()
    }

    /// Removes the run from the disk. False when something of it is left.
    pub fn remove(&self) -> bool {
        let removed = self.host.remove_flat_dir(self.inside(""));
        removed.is_ok() || !self.host.path(self.inside("")).exists()
    }

    /// When the run's journal was last written, or else its plan; for finding the latest.
    pub fn touched(&self) -> Option<SystemTime> {
        let time = |file| self.host.path(self.inside(file)).metadata().ok()?.modified().ok();
        time("journal.jsonl").or_else(|| time("plan.json"))
    }

    /// The run's plan.
    pub fn plan(&self) -> Result<Run, RunError> {
        let bytes = self.host.read_file(self.inside("plan.json"), LONGEST).map_err(|e| self.error(e))?;
        serde_json::from_slice(&bytes).map_err(|source| RunError::Plan { run: self.id.clone(), source })
    }

    /// The records so far; none when the run has not begun.
    pub fn events(&self) -> Result<Vec<Event>, RunError> {
        match self.host.read_file(self.inside("journal.jsonl"), LONGEST) {
            Ok(bytes) => Ok(parse(&bytes).0),
            Err(e) if e.is_missing() => Ok(Vec::new()),
            Err(e) => Err(self.error(e)),
        }
    }

    /// The records of a run that died, and what a boot may have done for it since. The plan of another build tells
    /// nothing: the records alone are what is known.
    pub fn events_of_dead(&self) -> Result<Vec<Event>, RunError> {
        let mut events = self.events()?;
        let Some(last) = events.last() else { return Ok(events) };
        let (next, at_ms) = (last.seq + 1, last.at_ms);
        if !is_finished(&events)
            && let Ok(run) = self.plan()
        {
            let meant = meant::intents(&run, &events).into_iter();
            events.extend((next..).zip(meant).map(|(seq, record)| Event { seq, at_ms, record }));
        }
        Ok(events)
    }

    /// Opens the journal for writing. A torn last line is cut off first. Only for the holder of the lock.
    pub fn journal(&self) -> Result<Journal, RunError> {
        let path = self.inside("journal.jsonl");
        let known = self.host.read_file(&path, LONGEST);
        let real = self.host.path(&path);
        let open = || -> Result<Journal, FsError> {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&real)
                .map_err(FsError::of("open", &real))?;
            let (events, whole) = known.as_deref().map(parse).unwrap_or_default();
            let doing = FsError::of("write", &real);
            file.set_len(whole as u64).map_err(&doing)?;
            file.seek(SeekFrom::End(0)).map_err(&doing)?;
            sync_dir(&self.host.path(self.inside("")))?;
            let next = events.last().map_or(0, |e| e.seq + 1);
            Ok(Journal { host: self.host.clone(), file, real: real.clone(), next, run: self.id.clone() })
        };
        open().map_err(|e| self.error(e))
    }

    fn error(&self, source: FsError) -> RunError {
        RunError::Fs { run: self.id.clone(), source }
    }
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    host: Host,
    file: File,
    real: PathBuf,
    next: u64,
    run: RunId,
}

impl Journal {
    /// Writes a record, readable at once, durable with the next [`Journal::sync`].
    pub fn write(&mut self, record: Record) -> Result<(), RunError> {
        let event = Event { seq: self.next, at_ms: now_ms(), record };
        let mut line =
            serde_json::to_vec(&event).map_err(|source| RunError::Plan { run: self.run.clone(), source })?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(|e| self.error("write", e))?;
        self.next += 1;
        Ok(())
    }

    /// Makes all records so far durable.
    pub fn sync(&mut self) -> Result<(), RunError> {
        self.host.boundary();
        self.file.sync_data().map_err(|e| self.error("sync", e))?;
        self.host.boundary();
        Ok(())
    }

    fn error(&self, doing: &'static str, source: std::io::Error) -> RunError {
        RunError::Fs { run: self.run.clone(), source: FsError::of(doing, &self.real)(source) }
    }
}

/// The records of a journal and how many bytes they take. What follows them is a line that a power cut tore.
pub fn parse(bytes: &[u8]) -> (Vec<Event>, usize) {
    let mut events = Vec::new();
    let mut whole = 0;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let Some(event) = parse_line(line) else { break };
        events.push(event);
        whole += line.len();
    }
    (events, whole)
}

/// One whole line with its end. A record that this build does not understand reads as [`Record::Unknown`].
pub fn parse_line(line: &[u8]) -> Option<Event> {
    #[derive(serde::Deserialize)]
    struct Frame {
        seq: u64,
        at_ms: u64,
    }
    let line = line.strip_suffix(b"\n")?;
    serde_json::from_slice(line).ok().or_else(|| {
        let Frame { seq, at_ms } = serde_json::from_slice(line).ok()?;
        Some(Event { seq, at_ms, record: Record::Unknown })
    })
}

/// Whether a journal has its last record.
pub fn is_finished(events: &[Event]) -> bool {
    events.last().is_some_and(|e| matches!(e.record, Record::Finished { .. }))
}
