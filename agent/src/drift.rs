//! The drift check: is the host still as the receipts say? Reads only, but for its own result.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use rackwright_proto::facts::DriftResult;
use rackwright_proto::receipt::{Entry, Ledger};
use rackwright_proto::step::Decision;

use crate::host::fs::{Access, FsError, LONGEST};
use crate::host::{Host, now_ms};
use crate::ledger::{Book, LedgerError};
use crate::{lock, step};

/// Where the last result lies.
pub const DRIFT: &str = "/var/lib/rackwright/drift.json";

/// The name of the Prometheus textfile.
const TEXTFILE: &str = "rackwright.prom";

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum DriftError {
    /// The receipts could not be read.
    #[error("read the receipts")]
    Ledger(#[source] LedgerError),
    /// The result could not be written.
    #[error("write the result")]
    Write(#[source] FsError),
    /// The result could not be put into JSON.
    #[error("write the result as JSON")]
    Json(#[source] serde_json::Error),
}

/// The last result, if there is one that can be read.
pub fn last(host: &Host) -> Option<DriftResult> {
    serde_json::from_slice(&host.read_file(DRIFT, LONGEST).ok()?).ok()
}

/// Checks all that is in effect, writes the result down, and tells it in lines. With a directory, also as a
/// textfile for node_exporter. A host that is being changed is left for the next time.
pub async fn check(host: &Host, textfile: Option<&Path>) -> Result<Vec<String>, DriftError> {
    if let Some(holder) = lock::holder(host) {
        return Ok(vec![format!(
            "run {} of {} is changing this host; not checked",
            holder.run, holder.operator
        )]);
    }
    let ledger = Book::current(host).map_err(DriftError::Ledger)?;
    let result = compare(host, &ledger).await;
    let json = serde_json::to_vec_pretty(&result).map_err(DriftError::Json)?;
    host.replace(DRIFT, &json, Access::PRIVATE).map_err(DriftError::Write)?;
    if let Some(dir) = textfile {
        let text = metrics(&ledger, &result);
        host.replace(dir.join(TEXTFILE), text.as_bytes(), Access::PUBLIC).map_err(DriftError::Write)?;
    }
    Ok(lines(&ledger, &result))
}

async fn compare(host: &Host, ledger: &Ledger) -> DriftResult {
    let steps: Vec<_> = ledger.entries.values().map(|e| e.step.clone()).collect();
    let (seen, _) = step::observe_all(&steps, host).await;
    let mut drifted = BTreeMap::new();
    for (key, entry) in &ledger.entries {
        let words = match seen.get(key) {
            None => Some("it could not be observed".to_owned()),
            Some(now) => in_words(entry, entry.step.decide(now)),
        };
        drifted.extend(words.map(|words| (key.clone(), words)));
    }
    DriftResult { at_ms: now_ms(), drifted }
}

fn in_words(entry: &Entry, decision: Decision) -> Option<String> {
    match decision {
        Decision::Keep => None,
        Decision::Change { from, to } => Some(format!("is {from}, was left {to}")),
        Decision::Refuse { why } => Some(why),
        // What this host could not have then, it need not have now.
        Decision::Unsupported { why } => entry.after.is_some().then_some(why),
    }
}

fn lines(ledger: &Ledger, result: &DriftResult) -> Vec<String> {
    let mut lines: Vec<String> =
        result.drifted.iter().map(|(key, words)| format!("drifted: {key}: {words}")).collect();
    lines.push(format!("{} steps in effect, {} drifted", ledger.entries.len(), result.drifted.len()));
    lines
}

/// The text format of Prometheus, version 0.0.4.
fn metrics(ledger: &Ledger, result: &DriftResult) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, samples: &[(String, String)]| {
        let _ = writeln!(text, "# HELP rackwright_{name} {help}\n# TYPE rackwright_{name} gauge");
        for (labels, value) in samples {
            let _ = writeln!(text, "rackwright_{name}{labels} {value}");
        }
    };
    let one = |value: String| [(String::new(), value)];
    gauge(
        "steps_in_effect",
        "Steps on this host that receipts answer for.",
        &one(count(ledger.entries.len())),
    );
    gauge(
        "steps_drifted",
        "Steps that are no longer as the receipts say.",
        &one(count(result.drifted.len())),
    );
    let each: Vec<_> = ledger.entries.keys().map(|key| sample(key, result)).collect();
    gauge("step_drifted", "1 where a step is no longer as its receipt says, else 0.", &each);
    let seconds = format!("{}.{:03}", result.at_ms / 1000, result.at_ms % 1000);
    gauge("drift_check_timestamp_seconds", "When the drift was last checked.", &one(seconds));
    text
}

fn count(n: usize) -> String {
    n.to_string()
}

fn sample(key: &str, result: &DriftResult) -> (String, String) {
    let escaped = key.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let drifted = u8::from(result.drifted.contains_key(key));
    (format!("{{step=\"{escaped}\"}}"), drifted.to_string())
}
