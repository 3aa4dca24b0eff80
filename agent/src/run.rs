//! One run, from the lock to the ledger, detached from whoever asked for it.

use std::time::{Duration, Instant};

use rackwright_proto::event::{Event, Record, RunResult};
use rackwright_proto::name::RunId;
use rackwright_proto::plan::{Confirm, Run};
use rackwright_proto::step::HostStep;
use rackwright_proto::tool::ToolStep;

use crate::confirm::{self, Ended};
use crate::converge::Engine;
use crate::host::watch::Watch;
use crate::host::{Host, now_ms};
use crate::journal::{Journal, RunDir, RunError, is_finished};
use crate::ledger::{Book, LedgerError};
use crate::lock::{Lock, LockError};

/// How long a run waits for the one before it, which may be closing.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a watchdog waits for a live run, which undoes its steps itself, each within its own deadline.
const WATCHDOG_PATIENCE: Duration = Duration::from_secs(300);

/// How long after the deadline of its risky steps a live run may take to undo them itself.
const GRACE: Duration = Duration::from_secs(2);

/// Why a run could not be carried out to its end. Failed steps are no such reason: they are in its journal.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// Another run holds the host.
    #[error("begin")]
    Lock(#[source] LockError),
    /// The run's directory could not be read or written.
    #[error("carry out the run")]
    Run(#[from] RunError),
    /// The ledger could not be read or written.
    #[error("close the run")]
    Ledger(#[from] LedgerError),
}

/// Executes a run whose plan is on disk. Runs that died before are closed first.
pub async fn execute(host: &Host, id: &RunId) -> Result<RunResult, ExecuteError> {
    let dir = RunDir::of(host, id);
    let run = dir.plan()?;
    let lock = Lock::take(host, id, &run.operator, PATIENCE).await.map_err(ExecuteError::Lock)?;
    let Closed { mut book, runs: dead } = close_dead_runs(host, &lock).await?;
    if !dir.events()?.is_empty() {
        return Err(RunError::Started(id.clone()).into());
    }
    let mut journal = dir.journal()?;
    let result = carry_out(host, &dir, &run, &mut journal, !dead.is_empty()).await?;
    finish(host, &mut book, &dir, &mut journal, result)?;
    Ok(result)
}

async fn carry_out(
    host: &Host,
    dir: &RunDir,
    run: &Run,
    journal: &mut Journal,
    after_crash: bool,
) -> Result<RunResult, ExecuteError> {
    journal.write(Record::Started {
        format: Event::FORMAT,
        run: run.id.clone(),
        operator: run.operator.clone(),
        steps: run.plan.steps.len() as u32,
    })?;
    let parts = confirm::split(&run.plan.steps);
    let mut engine = Engine::new(host, journal, after_crash);
    for (index, planned) in parts.calm {
        engine.step(index, planned).await?;
    }
    let ended = confirm::risky(&mut engine, &parts.risky, run.plan.confirm.as_ref(), dir, host).await?;
    // A run in which something failed is followed by another, which may have risky steps again.
    let stays = ended == Ended::RolledBack || engine.failed;
    for (index, planned) in parts.behind {
        if stays {
            engine.skip(index, planned, "it stays until all that could cut the node off is done")?;
        } else {
            engine.step(index, planned).await?;
        }
    }
    engine.tidy().await;
    Ok(match (ended, engine.failed) {
        (Ended::RolledBack, _) => RunResult::RolledBack,
        (Ended::Kept, true) => RunResult::Failed,
        (Ended::Kept, false) => RunResult::Done,
    })
}

/// Writes the last record and folds the run into the ledger. A crash in between is mended by whoever comes next.
fn finish(
    host: &Host,
    book: &mut Book,
    dir: &RunDir,
    journal: &mut Journal,
    result: RunResult,
) -> Result<(), ExecuteError> {
    journal.write(Record::Finished { result })?;
    journal.sync()?;
    book.fold(host, dir.id(), &dir.events()?)?;
    if result == RunResult::Done {
        host.forget_artifacts();
    }
    host.boundary();
    Ok(())
}

/// What was found of runs that died.
#[derive(Debug)]
pub struct Closed {
    /// The ledger, with all of them in it.
    pub book: Book,
    /// The runs that had to be closed, each with how.
    pub runs: Vec<(RunId, RunResult)>,
}

/// Closes runs that died: unconfirmed risky steps are undone, the last record is written, and the ledger learns
/// what they did. The lock is asked for so that nobody does this to a run that lives.
pub async fn close_dead_runs(host: &Host, _lock: &Lock) -> Result<Closed, ExecuteError> {
    let mut closed = Closed { book: Book::load(host)?, runs: Vec::new() };
    for (dir, events) in closed.book.unfolded(host)? {
        remove_debris(host, &events);
        if is_finished(&events) {
            closed.book.fold(host, dir.id(), &events)?;
            continue;
        }
        let mut journal = dir.journal()?;
        let known = events.len();
        let events = dir.events_of_dead()?;
        events[known..].iter().try_for_each(|meant| journal.write(meant.record.clone()))?;
        journal.sync()?;
        let result = match confirm::settle_dead(&mut journal, &events, &dir, host).await? {
            Ended::RolledBack => RunResult::RolledBack,
            Ended::Kept => RunResult::Interrupted,
        };
        finish(host, &mut closed.book, &dir, &mut journal, result)?;
        closed.runs.push((dir.id().clone(), result));
    }
    Ok(closed)
}

/// Removes half-written files and trees that a run which died left beside those it was about to replace.
fn remove_debris(host: &Host, events: &[Event]) {
    for event in events {
        let Record::Intent { step, .. } = &event.record else { continue };
        // What cannot be removed now is in nobody's way: its name is hidden, and the next write takes it over.
        let _ = match step {
            HostStep::File(file) => host.remove_debris(&file.path),
            HostStep::Tool(ToolStep::Tree(tree)) => host.remove_tree_debris(&tree.path()),
            HostStep::Tool(ToolStep::Link(link)) => host.remove_debris(link.path()),
            HostStep::Kernel(_) | HostStep::Memory(_) | HostStep::Unit(_) => Ok(()),
        };
    }
}

/// Undoes the risky steps of a run that is neither confirmed nor alive when its time is up.
pub async fn watchdog(host: &Host, id: &RunId) -> Result<(), ExecuteError> {
    let dir = RunDir::of(host, id);
    let confirm::Stage::Open { until_ms, .. } = confirm::stage(&dir.events()?) else { return Ok(()) };
    // The host's clock may have been set back meanwhile; no deadline lies further away than the longest.
    let left = Duration::from_millis(until_ms.saturating_sub(now_ms()));
    let left = left.min(Duration::from_secs(Confirm::LONGEST_S.into()));
    if !left.is_zero() && settles_within(host, &dir, left + GRACE).await? {
        return Ok(());
    }
    undo_if_dead(host, &dir).await
}

/// Whether the risky steps of a run are settled within this time: then nobody needs a watchdog, and where there
/// is no systemd to call it off, it would only linger.
async fn settles_within(host: &Host, dir: &RunDir, limit: Duration) -> Result<bool, RunError> {
    // Not by the host's clock, which somebody may set meanwhile.
    let deadline = Instant::now() + limit;
    let mut watch = Watch::on(&[&host.path(dir.inside(""))]).ok();
    while confirm::stage(&dir.events()?) != confirm::Stage::Settled {
        let left = deadline.saturating_duration_since(Instant::now());
        match &mut watch {
            _ if left.is_zero() => return Ok(false),
            Some(watch) => watch.changed(left).await,
            None => tokio::time::sleep(left).await,
        }
    }
    Ok(true)
}

async fn undo_if_dead(host: &Host, dir: &RunDir) -> Result<(), ExecuteError> {
    let lock = Lock::take(host, dir.id(), "watchdog", WATCHDOG_PATIENCE).await.map_err(ExecuteError::Lock)?;
    if confirm::stage(&dir.events()?) != confirm::Stage::Settled {
        close_dead_runs(host, &lock).await?;
    }
    Ok(())
}
