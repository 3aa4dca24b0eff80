//! What the host's own unit does at boot, before kubelet starts: a run that nobody confirmed is undone, and
//! modules and sysctls that receipts answer for are put back where another program at boot set them otherwise.

use std::time::Duration;

use rackwright_proto::event::RunResult;
use rackwright_proto::name::RunId;
use rackwright_proto::receipt::{Entry, Ledger};
use rackwright_proto::step::{Decision, HostStep};

use crate::converge;
use crate::fault::chain;
use crate::host::Host;
use crate::lock::{Lock, LockError};
use crate::run::{ExecuteError, close_dead_runs};

const PATIENCE: Duration = Duration::from_secs(60);

/// What was done, in lines for the system's journal, and whether all of it worked.
#[derive(Debug, Default)]
pub struct Restored {
    /// One per step that was not as it was left.
    pub lines: Vec<String>,
    /// How many could not be put back.
    pub failed: usize,
}

/// Puts the host back as the receipts say.
pub async fn restore(host: &Host, id: &RunId) -> Result<Restored, ExecuteError> {
    let lock = match Lock::take(host, id, "restore at boot", PATIENCE).await {
        Ok(lock) => lock,
        Err(e @ LockError::Held(_)) => {
            let line = format!("{}; it sees to it itself", chain(&e));
            return Ok(Restored { lines: vec![line], failed: 0 });
        }
        Err(e) => return Err(ExecuteError::Lock(e)),
    };
    let closed = close_dead_runs(host, &lock).await?;
    let mut restored = put_back(host, &closed.book.ledger).await;
    let runs = closed.runs.iter().map(|(run, result)| match result {
        RunResult::RolledBack => format!("run {run} was not confirmed: its risky steps were undone"),
        _ => format!("run {run} was interrupted; apply again"),
    });
    restored.lines.splice(0..0, runs);
    Ok(restored)
}

async fn put_back(host: &Host, ledger: &Ledger) -> Restored {
    let mut entries: Vec<&Entry> =
        ledger.entries.values().filter(|e| matches!(e.step, HostStep::Kernel(_))).collect();
    entries.sort_by_key(|e| e.order);
    let mut restored = Restored::default();
    for entry in &entries {
        match put_back_one(host, &entry.step).await {
            Ok(None) => {}
            Ok(Some(line)) => restored.lines.push(line),
            Err(line) => {
                restored.lines.push(line);
                restored.failed += 1;
            }
        }
    }
    restored.lines.push(format!("{} modules and sysctls looked at", entries.len()));
    restored
}

/// What was done, or why it could not be.
async fn put_back_one(host: &Host, step: &HostStep) -> Result<Option<String>, String> {
    let title = step.title();
    let failed = |fault| format!("{title}: FAILED: {}", chain(&fault));
    let now = converge::observe(step, host).await.map_err(failed)?;
    match step.decide(&now) {
        Decision::Keep => Ok(None),
        Decision::Unsupported { why } => Ok(Some(format!("{title}: not possible: {why}"))),
        Decision::Refuse { why } => Err(format!("{title}: FAILED: {why}")),
        Decision::Change { from, to } => {
            converge::converge(step, &now, host).await.map_err(failed)?;
            Ok(Some(format!("{title}: was {from}, is {to} again")))
        }
    }
}
