//! The engine: observe, decide, act, observe, decide. The second decision must be to keep.
//!
//! Steps run one after the other, on purpose: a later one may need what an earlier one did.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rackwright_proto::event::{Outcome, Record};
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::kernel::{KernelSeen, KernelStep, SysctlSeen, SysctlStep};
use rackwright_proto::name::ModuleName;
use rackwright_proto::plan::PlannedStep;
use rackwright_proto::step::{Decision, HostStep, Seen};
use rackwright_proto::tool::{ToolStep, TreeStep};

use crate::host::Host;
use crate::host::systemd::is_unit_file;
use crate::journal::{Journal, RunError};
use crate::step;

/// The longest that one step may take, once. Swap that is full takes the kernel its time to bring back, and so does
/// an archive from far away.
fn deadline(step: &HostStep) -> Duration {
    Duration::from_secs(if matches!(step, HostStep::Memory(_) | HostStep::Tool(_)) { 310 } else { 60 })
}

/// Carries out planned steps and keeps a journal of it.
#[derive(Debug)]
pub struct Engine<'a> {
    host: &'a Host,
    /// Where it is written what is about to be done, and what came of it.
    pub journal: &'a mut Journal,
    /// Whether a step failed so far.
    pub failed: bool,
    /// Modules that are not there after their step, each with how that ended.
    without: BTreeMap<ModuleName, Outcome>,
    /// Trees of tools that are not there after their step.
    not_unpacked: Vec<TreeStep>,
    /// systemd has not read its unit files since one was changed.
    stale_units: bool,
}

impl<'a> Engine<'a> {
    /// An engine that has done nothing yet. After a crash it is not known what systemd has read.
    pub fn new(host: &'a Host, journal: &'a mut Journal, after_crash: bool) -> Self {
        Self {
            host,
            journal,
            failed: false,
            without: BTreeMap::new(),
            not_unpacked: Vec::new(),
            stale_units: after_crash,
        }
    }

    /// Carries out one step. The error is of the journal: without it nothing may be done.
    pub async fn step(&mut self, index: u32, planned: &PlannedStep) -> Result<(), RunError> {
        let outcome = match observe(&planned.step, self.host).await {
            Err(fault) => Outcome::Failed { fault },
            Ok(now) => match self.waits(&planned.step, &now).or_else(|| settled(planned, &now)) {
                Some(outcome) => outcome,
                None => self.change(index, planned, now).await?,
            },
        };
        self.settle(index, planned, outcome)
    }

    /// Ends a step without trying it.
    pub fn skip(&mut self, index: u32, planned: &PlannedStep, why: &str) -> Result<(), RunError> {
        self.settle(index, planned, Outcome::Skipped { why: why.to_owned() })
    }

    /// Ends a step with a fault.
    pub fn fail(&mut self, index: u32, planned: &PlannedStep, fault: Fault) -> Result<(), RunError> {
        self.settle(index, planned, Outcome::Failed { fault })
    }

    /// Lets systemd read unit files that were changed and that no unit step made it read. Best effort: what is
    /// not read now is read at the next boot.
    pub async fn tidy(&mut self) {
        if std::mem::take(&mut self.stale_units) && self.host.has_systemd() && self.host.is_this() {
            let _ = self.host.systemctl("daemon-reload", None).await;
        }
    }

    /// Intent, act, and the decision afterwards. The intent is durable before the act.
    async fn change(&mut self, index: u32, planned: &PlannedStep, before: Seen) -> Result<Outcome, RunError> {
        let PlannedStep { step, purpose, .. } = planned;
        let intent = Record::Intent { index, step: step.clone(), purpose: *purpose, before: before.clone() };
        self.journal.write(intent)?;
        self.journal.sync()?;
        match step {
            HostStep::File(file) if is_unit_file(&file.path) => self.stale_units = true,
            HostStep::Unit(_) => self.stale_units = false,
            _ => {}
        }
        let outcome = match converge(step, &before, self.host).await {
            Ok(after) => Outcome::Changed { before, after },
            Err(fault) => Outcome::Failed { fault },
        };
        self.host.boundary();
        Ok(outcome)
    }

    fn settle(&mut self, index: u32, planned: &PlannedStep, outcome: Outcome) -> Result<(), RunError> {
        let step = planned.step.clone();
        if let HostStep::Tool(ToolStep::Tree(tree)) = &step
            && tree.archive.is_some()
            && !matches!(outcome, Outcome::Unchanged { .. } | Outcome::Changed { .. })
        {
            self.not_unpacked.push(tree.clone());
        }
        if let Some(module) = module_of(&step)
            && !matches!(outcome, Outcome::Unchanged { .. } | Outcome::Changed { .. })
        {
            self.without.insert(module.clone(), outcome.clone());
        }
        self.failed |= matches!(outcome, Outcome::Failed { .. } | Outcome::Skipped { .. });
        self.journal.write(Record::Outcome { index, step, purpose: planned.purpose, outcome })
    }

    fn waits(&self, step: &HostStep, now: &Seen) -> Option<Outcome> {
        self.waits_in_vain(step, now).or_else(|| self.waits_for_tree(step))
    }

    /// How a link ends whose tree did not come, and how a former version does that would have been replaced: without
    /// either, what worked before goes on to work.
    fn waits_for_tree(&self, step: &HostStep) -> Option<Outcome> {
        let HostStep::Tool(step) = step else { return None };
        let missing = self.not_unpacked.iter().find(|tree| match step {
            ToolStep::Link(link) => {
                link.target.as_ref().is_some_and(|to| Path::new(to).starts_with(tree.path()))
            }
            ToolStep::Tree(former) => former.archive.is_none() && former.name == tree.name,
        })?;
        Some(Outcome::Skipped { why: format!("{} {} was not unpacked", missing.name, missing.version) })
    }

    /// How a sysctl ends whose module did not come. On a kernel that cannot have the module the key may be there
    /// nevertheless; then the step goes its way.
    fn waits_in_vain(&self, step: &HostStep, now: &Seen) -> Option<Outcome> {
        let HostStep::Kernel(KernelStep::Sysctl(SysctlStep { after_module: Some(module), .. })) = step else {
            return None;
        };
        let absent = *now == Seen::Kernel(KernelSeen::Sysctl(SysctlSeen::Absent));
        let why = |cause: &str| format!("it appears only with module {module}: {cause}");
        match self.without.get(module)? {
            Outcome::Unsupported { why: cause } => absent.then(|| Outcome::Unsupported { why: why(cause) }),
            Outcome::Failed { fault } => Some(Outcome::Skipped { why: why(&fault.to_string()) }),
            Outcome::Skipped { why: cause } => Some(Outcome::Skipped { why: why(cause) }),
            Outcome::Unchanged { .. } | Outcome::Changed { .. } => None,
        }
    }
}

/// What is there, within the deadline.
pub async fn observe(step: &HostStep, host: &Host) -> Result<Seen, Fault> {
    in_time(step, step::observe(step, host)).await
}

/// Acts, and decides again: what is there now, if the decision is to keep it.
pub async fn converge(step: &HostStep, before: &Seen, host: &Host) -> Result<Seen, Fault> {
    let work = async {
        step::act(step, before, host).await?;
        host.boundary();
        let after = step::observe(step, host).await?;
        match step.decide(&after) {
            Decision::Keep => Ok(after),
            Decision::Change { from, to } => Err(diverged(step, format!("it is {from}, not {to}"))),
            Decision::Unsupported { why } | Decision::Refuse { why } => Err(diverged(step, why)),
        }
    };
    in_time(step, work).await
}

async fn in_time<T>(step: &HostStep, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let deadline = deadline(step);
    tokio::time::timeout(deadline, work).await.unwrap_or_else(|_| {
        let cause = format!("not done within {} s", deadline.as_secs());
        Err(Fault::new(FaultKind::Deadline, step.title(), cause).next("look at the host, then apply again"))
    })
}

fn diverged(step: &HostStep, cause: String) -> Fault {
    Fault::new(FaultKind::Diverged, step.title(), format!("done, and yet {cause}"))
        .next("find out who else sets it, then apply again")
}

/// How a step ends without acting, given what is there now; `None` when it is to act.
fn settled(planned: &PlannedStep, now: &Seen) -> Option<Outcome> {
    let PlannedStep { step, seen, .. } = planned;
    match step.decide(now) {
        Decision::Keep => Some(Outcome::Unchanged { seen: now.clone() }),
        Decision::Unsupported { why } => Some(Outcome::Unsupported { why }),
        Decision::Refuse { why } => {
            let fault = Fault::new(FaultKind::Host, step.title(), why);
            Some(Outcome::Failed { fault })
        }
        Decision::Change { .. } if seen.still(now) => None,
        Decision::Change { from: now, .. } => Some(Outcome::Failed { fault: stale(step, seen, &now) }),
    }
}

fn stale(step: &HostStep, planned: &Seen, now: &str) -> Fault {
    let then = match step.decide(planned) {
        Decision::Change { from, .. } => from,
        Decision::Keep => "as wanted".into(),
        Decision::Unsupported { why } | Decision::Refuse { why } => why,
    };
    let cause = format!("changed since the plan was made: planned from {then}, now {now}");
    Fault::new(FaultKind::Stale, step.title(), cause).next("plan again")
}

fn module_of(step: &HostStep) -> Option<&ModuleName> {
    match step {
        HostStep::Kernel(KernelStep::Module(module)) if module.loaded => Some(&module.name),
        _ => None,
    }
}
