//! Changes that could cut the node off come back on a timer (rule 7 of the design).
//!
//! The risky steps of a run come after its others and stand or fall together. A file of `/etc/sysctl.d` is as risky
//! as what it sets, so it is among them: a value that is undone now does not come back at the next boot. What a plan
//! has behind them waits until they are confirmed: without it they would not be taken back at boot.
//!
//! Whatever was meant to be done after the [`Record::Armed`] of a journal is what has to be undone, so the
//! journal alone is enough: for the run itself, for its watchdog after the run was killed, for the next run, and
//! for `restore` after a reboot in between.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rackwright_proto::event::{Event, Outcome, Record};
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::kernel::KernelStep;
use rackwright_proto::l2::{Probe, Probed};
use rackwright_proto::name::IfName;
use rackwright_proto::plan::{Confirm, PlannedStep};
use rackwright_proto::step::{Decision, HostStep};

use crate::converge::{self, Engine};
use crate::host::detach::Task;
use crate::host::fs::{Access, FsError};
use crate::host::watch::Watch;
use crate::host::{Host, now_ms};
use crate::journal::{Journal, RunDir, RunError};

/// A step with its index in the plan.
pub type Indexed<'a> = (u32, &'a PlannedStep);

/// How long after the deadline the watchdog looks: a live run undoes its steps itself.
const WATCHDOG_GRACE: Duration = Duration::from_secs(2);

/// How the risky steps of a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// They stay.
    Kept,
    /// They were undone.
    RolledBack,
}

/// The steps of a run, each part in the plan's order.
#[derive(Debug)]
pub struct Parts<'a> {
    /// They stand by themselves.
    pub calm: Vec<Indexed<'a>>,
    /// They are risky together.
    pub risky: Vec<Indexed<'a>>,
    /// They wait until it is known what becomes of the risky ones.
    pub behind: Vec<Indexed<'a>>,
}

/// Parts a plan's steps.
pub fn split(steps: &[PlannedStep]) -> Parts<'_> {
    let last = steps.iter().rposition(|s| s.step.risky());
    let (before, behind) = steps.split_at(last.map_or(steps.len(), |last| last + 1));
    let (risky, calm) = (0..).zip(before).partition(|(_, s)| s.step.risky());
    Parts { calm, risky, behind: (before.len() as u32..).zip(behind).collect() }
}

/// Carries out the risky steps of a run.
pub async fn risky(
    engine: &mut Engine<'_>,
    steps: &[Indexed<'_>],
    confirm: Option<&Confirm>,
    dir: &RunDir,
    host: &Host,
) -> Result<Ended, RunError> {
    if engine.failed {
        for (index, planned) in steps {
            engine.skip(*index, planned, "an earlier step failed, and this one could cut the node off")?;
        }
        return Ok(Ended::Kept);
    }
    if !changes_something(steps, host).await {
        for (index, planned) in steps {
            engine.step(*index, planned).await?;
        }
        return Ok(Ended::Kept);
    }
    let armed = match confirm {
        Some(confirm) => arm(engine.journal, confirm, dir, host).await?,
        None => Err(Fault::new(FaultKind::Internal, "arm the way back", "the plan has no way to confirm it")),
    };
    match armed {
        Ok(armed) => under_arms(engine, steps, &armed, dir, host).await,
        Err(fault) => {
            for (index, planned) in steps {
                engine.fail(*index, planned, fault.clone())?;
            }
            Ok(Ended::Kept)
        }
    }
}

/// Whether one of the steps would act.
async fn changes_something(steps: &[Indexed<'_>], host: &Host) -> bool {
    for (_, planned) in steps {
        let seen = converge::observe(&planned.step, host).await;
        if seen.is_ok_and(|seen| matches!(planned.step.decide(&seen), Decision::Change { .. })) {
            return true;
        }
    }
    false
}

/// What was true before the risky steps.
struct Armed<'a> {
    /// By the clock that nobody sets; the journal has it by the host's clock.
    deadline: Instant,
    probes: &'a [Probe],
    answered: BTreeSet<(IfName, IpAddr)>,
}

/// Asks the probes, writes the deadline down, and starts the watchdog: in this order, so that there is no
/// watchdog without its deadline and no act without a watchdog.
async fn arm<'a>(
    journal: &mut Journal,
    confirm: &'a Confirm,
    dir: &RunDir,
    host: &Host,
) -> Result<Result<Armed<'a>, Fault>, RunError> {
    let answered = answered(&confirm.probes).await;
    let within = Duration::from_secs(confirm.within_s.clamp(Confirm::SHORTEST_S, Confirm::LONGEST_S).into());
    let deadline = Instant::now() + within;
    let until_ms = now_ms() + within.as_millis() as u64;
    journal.write(Record::Armed { until_ms })?;
    journal.sync()?;
    match host.start_detached(Task::Watchdog(within + WATCHDOG_GRACE), dir.id()).await {
        Ok(()) => Ok(Ok(Armed { deadline, probes: &confirm.probes, answered })),
        Err(e) => Ok(Err(Fault::from(e))),
    }
}

async fn under_arms(
    engine: &mut Engine<'_>,
    steps: &[Indexed<'_>],
    armed: &Armed<'_>,
    dir: &RunDir,
    host: &Host,
) -> Result<Ended, RunError> {
    for (index, planned) in steps {
        if engine.failed {
            engine.skip(*index, planned, "the step before it failed")?;
        } else {
            engine.step(*index, planned).await?;
        }
    }
    engine.journal.sync()?;
    let trouble = if engine.failed {
        Some("one of the steps that belong together failed".to_owned())
    } else {
        match lost(armed).await {
            Some(lost) => Some(lost),
            None => await_confirmation(engine.journal, armed, dir, host).await?,
        }
    };
    let ended = match trouble {
        Some(why) => {
            roll_back(engine.journal, &dir.events()?, &why, host).await?;
            Ended::RolledBack
        }
        None => {
            engine.journal.write(Record::Confirmed)?;
            engine.journal.sync()?;
            Ended::Kept
        }
    };
    host.call_off_watchdog(dir.id()).await;
    Ok(ended)
}

async fn answered(probes: &[Probe]) -> BTreeSet<(IfName, IpAddr)> {
    let probed = crate::l2::reach(probes).await;
    let claimed = |p: &Probed| p.answers.iter().filter(|a| a.is_claimed()).map(|a| a.ip).collect::<Vec<_>>();
    probed.iter().flat_map(|p| claimed(p).into_iter().map(|ip| (p.link.clone(), ip))).collect()
}

/// A neighbour that answered before and no longer does, in words.
async fn lost(armed: &Armed<'_>) -> Option<String> {
    if armed.answered.is_empty() {
        return None;
    }
    let now = answered(armed.probes).await;
    let (link, ip) = armed.answered.difference(&now).next()?;
    Some(format!("{ip} on {link} answered before and no longer does"))
}

/// Waits for the coordinator's word over a new connection; why there was none, if so.
async fn await_confirmation(
    journal: &mut Journal,
    armed: &Armed<'_>,
    dir: &RunDir,
    host: &Host,
) -> Result<Option<String>, RunError> {
    journal.write(Record::AwaitingConfirm)?;
    journal.sync()?;
    let Ok(mut watch) = Watch::on(&[&host.path(dir.inside(""))]) else {
        return Ok(Some("the run's directory could not be watched".into()));
    };
    loop {
        if is_confirmed(dir, host) {
            return Ok(None);
        }
        let left = armed.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Some("nobody confirmed in time over a new connection".into()));
        }
        watch.changed(left).await;
    }
}

fn is_confirmed(dir: &RunDir, host: &Host) -> bool {
    host.path(dir.inside("confirmed")).exists()
}

/// Leaves word for the run that the node is reachable.
pub fn leave_word(dir: &RunDir, host: &Host) -> Result<(), FsError> {
    host.replace(dir.inside("confirmed"), b"", Access::PRIVATE)
}

/// How far the risky steps of a journal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// None were begun, or all is said about them.
    Settled,
    /// They may have been done, and nobody confirmed.
    Open {
        /// The deadline, Unix time in milliseconds.
        until_ms: u64,
        /// When the confirmation began to be awaited.
        awaiting_since_ms: Option<u64>,
    },
}

/// How far the risky steps came.
pub fn stage(events: &[Event]) -> Stage {
    let mut stage = Stage::Settled;
    for event in events {
        stage = match (&event.record, stage) {
            (Record::Armed { until_ms }, _) => Stage::Open { until_ms: *until_ms, awaiting_since_ms: None },
            (Record::AwaitingConfirm, Stage::Open { until_ms, .. }) => {
                Stage::Open { until_ms, awaiting_since_ms: Some(event.at_ms) }
            }
            (Record::Confirmed | Record::RolledBack { .. } | Record::Finished { .. }, _) => Stage::Settled,
            (_, stage) => stage,
        };
    }
    stage
}

/// Settles the risky steps of a run that was found dead: kept if the word was left, else undone.
/// Only for the holder of the lock.
pub async fn settle_dead(
    journal: &mut Journal,
    events: &[Event],
    dir: &RunDir,
    host: &Host,
) -> Result<Ended, RunError> {
    match stage(events) {
        Stage::Settled => Ok(Ended::Kept),
        Stage::Open { awaiting_since_ms: Some(_), .. } if is_confirmed(dir, host) => {
            journal.write(Record::Confirmed)?;
            Ok(Ended::Kept)
        }
        Stage::Open { .. } => {
            let why = "the run died before anybody confirmed";
            roll_back(journal, events, why, host).await?;
            Ok(Ended::RolledBack)
        }
    }
}

/// Undoes, in reverse, what was meant to be done since the run was armed. Each undo is tried, whatever comes of
/// the others; those that fail are named and their receipts stay.
async fn roll_back(journal: &mut Journal, events: &[Event], why: &str, host: &Host) -> Result<(), RunError> {
    let armed = events.iter().position(|e| matches!(e.record, Record::Armed { .. }));
    let events = &events[armed.unwrap_or(events.len())..];
    let mut why = why.to_owned();
    let mut keys = Vec::new();
    for event in events.iter().rev() {
        let Record::Intent { step, before, .. } = &event.record else { continue };
        let undone = match step.inverse(before) {
            Some(inverse) => put_back(&inverse, host).await,
            None => Ok(()),
        };
        match undone {
            Ok(()) => keys.push(step.key()),
            Err(fault) => why.push_str(&format!("; NOT undone: {fault}")),
        }
    }
    // The kernel sets other sysctls with a switch like ip_forward, also some that were as wanted before it.
    for step in found_as_wanted(events) {
        if let Err(fault) = put_back(step, host).await {
            why.push_str(&format!("; NOT set again: {fault}"));
        }
    }
    journal.write(Record::RolledBack { why, keys })?;
    journal.sync()
}

/// Sysctls that needed no change when they were first looked at.
fn found_as_wanted(events: &[Event]) -> impl Iterator<Item = &HostStep> {
    let mut known = BTreeSet::new();
    events.iter().filter_map(move |event| match &event.record {
        Record::Outcome { step: step @ HostStep::Kernel(KernelStep::Sysctl(_)), outcome, .. } => {
            let first = known.insert(step.key());
            (first && matches!(outcome, Outcome::Unchanged { .. })).then_some(step)
        }
        _ => None,
    })
}

async fn put_back(step: &HostStep, host: &Host) -> Result<(), Fault> {
    let now = converge::observe(step, host).await?;
    match step.decide(&now) {
        Decision::Change { .. } => converge::converge(step, &now, host).await.map(|_| ()),
        Decision::Keep | Decision::Unsupported { .. } => Ok(()),
        Decision::Refuse { why } => Err(Fault::new(FaultKind::Host, step.title(), why)),
    }
}
