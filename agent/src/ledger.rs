//! The ledger on the host's disk: the fold of all receipts.
//!
//! A run's journal is its receipt. `ledger.json` holds what follows from the runs that were folded in, and their
//! ids, in one file that is replaced as a whole: a run is folded in exactly once, wherever a crash falls. Who only
//! reads folds the rest in memory.

use std::time::Duration;

use rackwright_proto::event::Event;
use rackwright_proto::name::RunId;
use rackwright_proto::receipt::Ledger;
use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::host::fs::{Access, FsError, LONGEST};
use crate::journal::{RunDir, RunError, is_finished};

/// The ledger's path.
pub const LEDGER: &str = "/var/lib/rackwright/ledger.json";

/// How many runs that were folded in are kept, the latest.
const KEEP_RUNS: usize = 50;

/// How long a plan whose run never began is kept.
const KEEP_PLANS: Duration = Duration::from_secs(24 * 3600);

/// Why the ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system said no.
    #[error("keep the ledger")]
    Fs(#[source] FsError),
    /// A run could not be read.
    #[error("fold a run into the ledger")]
    Run(#[source] RunError),
    /// The file is not a ledger.
    #[error("read {LEDGER}; it was changed by hand, or is of a later build")]
    Content(#[source] serde_json::Error),
    /// Written by a later build.
    #[error("{LEDGER} has format {0}, this build knows {known}; use the build that wrote it", known = Ledger::FORMAT)]
    Later(u32),
}

/// The ledger and the runs that are in it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Book {
    /// What is in effect.
    #[serde(flatten)]
    pub ledger: Ledger,
    /// The runs that were folded in and whose directories may still be there, in order.
    #[serde(default)]
    folded: Vec<RunId>,
}

impl Book {
    /// The ledger as it is on disk.
    pub fn load(host: &Host) -> Result<Self, LedgerError> {
        let bytes = match host.read_file(LEDGER, LONGEST) {
            Ok(bytes) => bytes,
            Err(e) if e.is_missing() => return Ok(Self::default()),
            Err(e) => return Err(LedgerError::Fs(e)),
        };
        let book: Self = serde_json::from_slice(&bytes).map_err(LedgerError::Content)?;
        if book.ledger.format > Ledger::FORMAT {
            return Err(LedgerError::Later(book.ledger.format));
        }
        Ok(book)
    }

    /// What is in effect, with the runs that are on disk but not in the file yet folded in; nothing is written.
    /// The run in progress is left out until its last record is there.
    pub fn current(host: &Host) -> Result<Ledger, LedgerError> {
        let busy = crate::lock::holder(host).map(|h| h.run);
        let mut book = Self::load(host)?;
        for (dir, events) in book.unfolded(host)? {
            if is_finished(&events) {
                book.ledger.fold(dir.id(), &events);
            } else if busy.as_ref() != Some(dir.id()) {
                book.ledger.fold(dir.id(), &dir.events_of_dead().map_err(LedgerError::Run)?);
            }
        }
        Ok(book.ledger)
    }

    /// Runs that began and are not in this book, in the order in which they began.
    pub fn unfolded(&self, host: &Host) -> Result<Vec<(RunDir, Vec<Event>)>, LedgerError> {
        let mut runs = Vec::new();
        for dir in RunDir::all(host).map_err(LedgerError::Fs)? {
            if self.folded.contains(dir.id()) {
                continue;
            }
            let events = dir.events().map_err(LedgerError::Run)?;
            if !events.is_empty() {
                runs.push((dir, events));
            }
        }
        runs.sort_by_key(|(dir, events)| (events[0].at_ms, dir.id().clone()));
        Ok(runs)
    }

    /// Folds a run in and makes that durable; old runs go. Only for the holder of the lock.
    pub fn fold(&mut self, host: &Host, run: &RunId, events: &[Event]) -> Result<(), LedgerError> {
        self.ledger.fold(run, events);
        self.folded.push(run.clone());
        let old = self.folded.len().saturating_sub(KEEP_RUNS);
        // First the directory, then its id: a directory whose id is unknown would be folded in again.
        let gone: Vec<RunId> =
            self.folded[..old].iter().filter(|id| RunDir::of(host, id).remove()).cloned().collect();
        self.folded.retain(|id| !gone.contains(id));
        self.remove_forgotten_plans(host)?;
        self.save(host)
    }

    /// Plans whose runs never began: systemd was told to start them, and the host went down first.
    fn remove_forgotten_plans(&self, host: &Host) -> Result<(), LedgerError> {
        for dir in RunDir::all(host).map_err(LedgerError::Fs)? {
            let old = dir.touched().and_then(|at| at.elapsed().ok()).is_some_and(|age| age > KEEP_PLANS);
            if old && !self.folded.contains(dir.id()) && dir.events().map_err(LedgerError::Run)?.is_empty() {
                dir.remove();
            }
        }
        Ok(())
    }

    fn save(&self, host: &Host) -> Result<(), LedgerError> {
        let bytes = serde_json::to_vec_pretty(self).map_err(LedgerError::Content)?;
        host.replace(LEDGER, &bytes, Access::PRIVATE).map_err(LedgerError::Fs)
    }
}
