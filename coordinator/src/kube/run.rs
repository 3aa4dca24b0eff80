//! Carrying out the cluster's part of a plan: under the lock, each step observed again, intentions on record before
//! they are acts.

use std::time::Duration;

use rackwright_proto::cluster::mesh::MeshWant;
use rackwright_proto::cluster::receipt::Done;
use rackwright_proto::cluster::{ClusterLedger, ClusterPlan, ClusterSeen, ClusterStep, PlannedClusterStep};
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::name::RunId;
use rackwright_proto::plan::Purpose;
use rackwright_proto::receipt::LastRun;
use rackwright_proto::step::Decision;

use super::Api;
use super::act::{self, Manner, fault};
use super::lease::{Hold, Holder, LeaseError};
use super::mesh::{self, Tools};
use super::receipts::Receipts;
use super::turns::Turns;
use crate::cluster::digest;
use crate::cluster::outcome::{ClusterOutcome, ClusterResult, ClusterStepOutcome, StepResult};
use crate::console::chain;

/// What happens right now.
pub enum Now<'a> {
    /// A step starts: its number from 1, of how many, what it does, and why.
    Step(usize, usize, &'a PlannedClusterStep),
    /// Something is waited for.
    Waiting(&'a str),
}

/// One run on the cluster.
pub struct Run<'a> {
    /// The cluster.
    pub api: &'a Api,
    /// The run's id, the same as on the hosts.
    pub id: RunId,
    /// Who asks: `user@machine`.
    pub operator: String,
    /// How long a step may wait without anything getting better.
    pub patience: Duration,
    /// Fields that others own are taken over.
    pub force: bool,
    /// Hears what happens.
    pub tell: &'a (dyn Fn(Now<'_>) + Sync),
    /// Whether the operator wants to stop after the present step.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// What happens around the replacement of each node's pod, where that goes node by node.
    pub turns: Option<&'a dyn Turns>,
    /// The way to tools on a control plane, where a step needs one.
    pub tools: Option<&'a dyn Tools>,
}

impl Run<'_> {
    /// Does the plan's steps in order; after one that failed the rest is left. Nothing is done without the lock.
    pub async fn carry_out(&self, plan: &ClusterPlan) -> ClusterOutcome {
        let mut steps = Vec::new();
        let result = match self.locked(plan, &mut steps).await {
            Ok(()) => match steps.iter().filter(|s| s.outcome == StepResult::Changed).count() {
                0 => ClusterResult::Unchanged,
                changes => ClusterResult::Changed { changes },
            },
            Err(fault) if is_refusal(&fault, &steps) => ClusterResult::Refused { fault },
            Err(fault) => ClusterResult::Failed { fault },
        };
        let skipped = plan.steps[steps.len()..].iter().map(|s| told(s, StepResult::Skipped));
        steps.extend(skipped);
        let counts = self.api.counts();
        ClusterOutcome { result, steps, requests: counts.total(), asked: counts.requests }
    }

    async fn locked(&self, plan: &ClusterPlan, steps: &mut Vec<ClusterStepOutcome>) -> Result<(), Fault> {
        let (operator, machine) = self.operator.split_once('@').unwrap_or((&self.operator, ""));
        let holder =
            Holder { operator: operator.to_owned(), machine: machine.to_owned(), run: self.id.to_string() };
        let hold = Hold::take(self.api, &holder, &|text| (self.tell)(Now::Waiting(text)))
            .await
            .map_err(|e| locked(&e))?;
        let mut receipts = Receipts::open(self.api).await.map_err(|e| fault(&e))?;
        let worked = self.work(&hold, &mut receipts, plan, steps).await;
        let ended = self.end(hold, receipts, worked.is_ok()).await;
        worked.and(ended.map_err(|e| locked(&e)))
    }

    async fn work(
        &self,
        hold: &Hold,
        receipts: &mut Receipts,
        plan: &ClusterPlan,
        steps: &mut Vec<ClusterStepOutcome>,
    ) -> Result<(), Fault> {
        let mut left = plan.steps.as_slice();
        while !left.is_empty() {
            // The objects of one manifest are put on record together: each writing is a request.
            let together =
                left.iter().take_while(|s| matches!(s.step, ClusterStep::Object(_))).count().max(1);
            let (some, rest) = left.split_at(together);
            self.group(hold, receipts, (some, plan.steps.len()), steps).await?;
            left = rest;
        }
        Ok(())
    }

    /// Some steps between two writings of the receipts.
    async fn group(
        &self,
        hold: &Hold,
        receipts: &mut Receipts,
        (group, of): (&[PlannedClusterStep], usize),
        steps: &mut Vec<ClusterStepOutcome>,
    ) -> Result<(), Fault> {
        let mut intended = false;
        let mut seen = Vec::new();
        let before = receipts.ledger.clone();
        for planned in group {
            let now = act::observe(self.api, &planned.step, &receipts.ledger).await.map_err(|e| fault(&e))?;
            let (step, wanted) = (&planned.step, planned.purpose == Purpose::Want);
            // What needs no undoing, such as waiting, needs no record.
            let acts = match acts(planned, &now) {
                Err(fault) if fault.kind == FaultKind::Stale => {
                    return Err(act::edited_since(self.api, step, fault).await);
                }
                acts => acts?,
            };
            if acts && wanted && step.inverse(&now).is_some() {
                let meant = digest::intended(step);
                receipts.ledger.intend(&self.id, step, &now, digest::seen(&now), meant);
                intended = true;
            }
            seen.push(now);
        }
        if intended {
            receipts.save().await.map_err(|e| fault(&e))?;
        }
        let mut result = Ok(());
        let begun = steps.len();
        for (planned, seen) in group.iter().zip(&seen) {
            hold.ensure().await.map_err(|e| locked(&e))?;
            if (self.stop)() {
                result = Err(stopped());
                break;
            }
            (self.tell)(Now::Step(steps.len() + 1, of, planned));
            match self.one(hold, receipts, planned, seen).await {
                Ok(outcome) => steps.push(told(planned, outcome)),
                Err(fault) => {
                    steps.push(told(planned, StepResult::Failed { fault: fault.clone() }));
                    result = Err(fault);
                    break;
                }
            }
        }
        if result.is_err() {
            let done =
                steps[begun..].iter().filter(|s| !matches!(s.outcome, StepResult::Failed { .. })).count();
            let untouched = group.iter().zip(&seen).skip(done);
            self.take_back(receipts, &before, untouched).await;
        }
        receipts.save().await.map_err(|e| fault(&e))?;
        result
    }

    /// Intentions that came to nothing are no receipts: of steps that were not reached, and of one that was refused
    /// before anything changed.
    async fn take_back<'a>(
        &self,
        receipts: &mut Receipts,
        before: &ClusterLedger,
        untouched: impl Iterator<Item = (&'a PlannedClusterStep, &'a ClusterSeen)>,
    ) {
        for (planned, seen) in untouched {
            let now = act::observe(self.api, &planned.step, &receipts.ledger).await;
            if !now.is_ok_and(|now| now == *seen) {
                continue;
            }
            let key = planned.step.key();
            match before.entries.get(&key) {
                Some(entry) => drop(receipts.ledger.entries.insert(key, entry.clone())),
                None => drop(receipts.ledger.entries.remove(&key)),
            }
        }
    }

    /// Observed before, decided, done, and observed again: after acting, the decision must be to keep.
    async fn one(
        &self,
        hold: &Hold,
        receipts: &mut Receipts,
        planned: &PlannedClusterStep,
        seen: &ClusterSeen,
    ) -> Result<StepResult, Fault> {
        let (step, key) = (&planned.step, planned.step.key());
        if !acts(planned, seen)? {
            if planned.purpose == Purpose::Undo {
                receipts.ledger.undone(&key);
            }
            return Ok(StepResult::Unchanged);
        }
        let manner = Manner {
            patience: self.patience,
            // What an undo brings back is ours to give.
            force: self.force || planned.purpose == Purpose::Undo,
            tell: &|text| (self.tell)(Now::Waiting(text)),
            lock: hold,
            stop: self.stop,
            turns: self.turns,
            tools: self.tools,
        };
        act::act(self.api, step, seen, &manner).await?;
        let record = self.recorded(receipts, planned).await?;
        let (now, done) = act::observe_done(self.api, step, &receipts.ledger).await.map_err(|e| fault(&e))?;
        kept(step, &now)?;
        let done = record.or(done);
        match (planned.purpose, done) {
            (Purpose::Undo, _) => receipts.ledger.undone(&key),
            (Purpose::Want, Some(done)) => receipts.ledger.done(&key, done),
            (Purpose::Want, None) => {}
        }
        Ok(StepResult::Changed)
    }

    /// Puts on record what an installation of Istio brought: what is observed then is compared with it.
    async fn recorded(
        &self,
        receipts: &mut Receipts,
        planned: &PlannedClusterStep,
    ) -> Result<Option<Done>, Fault> {
        let ClusterStep::Mesh(step) = &planned.step else { return Ok(None) };
        if step.want != MeshWant::Installed {
            return Ok(None);
        }
        let record = mesh::record(self.api, step, &receipts.ledger).await.map_err(|e| fault(&e))?;
        let done = digest::mesh(&record);
        receipts.ledger.installed(&planned.step.key(), record);
        Ok(Some(done))
    }

    /// The last record, and the lock is given back. Where nothing is in effect any more, nothing of ours stays.
    async fn end(&self, hold: Hold, mut receipts: Receipts, good: bool) -> Result<(), LeaseError> {
        if receipts.ledger.entries.is_empty() {
            receipts.remove().await?;
            return hold.remove().await;
        }
        let now = jiff::Timestamp::now().as_millisecond();
        receipts.ledger.last = Some(LastRun {
            run: self.id.clone(),
            operator: self.operator.clone(),
            at_ms: u64::try_from(now).unwrap_or(0),
            result: match good {
                true => rackwright_proto::event::RunResult::Done,
                false => rackwright_proto::event::RunResult::Failed,
            },
        });
        receipts.save().await?;
        hold.release().await
    }
}

/// Whether nothing was done, because of others: they hold the lock, or changed what the plan was made from.
fn is_refusal(fault: &Fault, steps: &[ClusterStepOutcome]) -> bool {
    let idle = || steps.iter().all(|s| s.outcome != StepResult::Changed);
    fault.kind == FaultKind::Locked || (fault.kind == FaultKind::Stale && idle())
}

/// Whether a step acts, given what is there now. What changed since the plan was made stops it, unless it changed to
/// what is wanted.
fn acts(planned: &PlannedClusterStep, now: &ClusterSeen) -> Result<bool, Fault> {
    let step = &planned.step;
    match step.decide(now) {
        Decision::Keep => Ok(false),
        Decision::Change { .. } if planned.seen.still(now) => Ok(true),
        Decision::Change { .. } => Err(Fault::new(
            FaultKind::Stale,
            step.title(),
            "it changed since the plan was made; nothing of it was overwritten",
        )
        .next("plan again")),
        Decision::Unsupported { why } | Decision::Refuse { why } => {
            Err(Fault::new(FaultKind::Host, step.title(), why))
        }
    }
}

fn kept(step: &ClusterStep, now: &ClusterSeen) -> Result<(), Fault> {
    match step.decide(now) {
        Decision::Keep => Ok(()),
        Decision::Change { from, .. } => {
            let cause = format!("after acting there is still: {from}; somebody else may set it, too");
            Err(Fault::new(FaultKind::Diverged, step.title(), cause)
                .next("`kubectl get … --show-managed-fields -o yaml` tells who writes it; then apply again"))
        }
        Decision::Unsupported { why } | Decision::Refuse { why } => {
            Err(Fault::new(FaultKind::Diverged, step.title(), why))
        }
    }
}

fn told(planned: &PlannedClusterStep, outcome: StepResult) -> ClusterStepOutcome {
    ClusterStepOutcome { key: planned.step.key(), title: planned.step.title(), outcome }
}

pub(super) fn locked(error: &LeaseError) -> Fault {
    match error {
        LeaseError::Kube(error) => fault(error),
        LeaseError::Held { .. } => Fault::new(FaultKind::Locked, "work on the cluster", chain(error)),
        LeaseError::Lost { .. } => Fault::new(FaultKind::Host, "work on the cluster", chain(error)),
    }
}

pub(super) fn stopped() -> Fault {
    Fault::new(FaultKind::Host, "work on the cluster", "stopped by the operator between two steps")
        .next("apply again: it goes on from there")
}
