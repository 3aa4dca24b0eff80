//! Carrying out plans on many nodes: start the runs, tell what happens, confirm over new connections, go on
//! listening when a connection is lost.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rackwright_proto::event::{Event, Outcome, Record};
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::name::{NodeName, RunId, Sha256};
use rackwright_proto::plan::{NodePlan, Run};
use rackwright_proto::tool::ArtifactPart;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::Context;
use super::witness::{Candidate, Witness};
use crate::agent::AgentError;
use crate::exit::Exit;
use crate::fleet;
use crate::report::apply::{NodeOutcome, NodeResult};
use crate::report::progress::{Now, Progress};
use crate::ssh::Target;
use crate::survey::{NodeError, Session, Surveyed};
use crate::tools;

/// How often a lost connection is made anew before the run is left to itself.
const REATTACH: u32 = 5;
/// Between two attempts at that.
const PAUSE: Duration = Duration::from_secs(2);

const LOST: &str = "connection lost; the run goes on, connecting again";

/// A run's id: UTC time and chance.
pub fn run_id() -> RunId {
    let now = jiff::Timestamp::now().strftime("%Y%m%dt%H%M%S").to_string();
    let chance: String = (0..6).map(|_| fastrand::char('a'..='z')).collect();
    format!("{now}-{chance}").parse().expect("digits, letters and a dash are a run id")
}

/// Who asks, for those who find a host held: `user@machine`.
pub fn operator() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "root".into());
    let machine = nix::unistd::gethostname().unwrap_or_default();
    format!("{user}@{}", machine.to_string_lossy())
}

/// One node's share of a push.
pub struct Share {
    /// The node, with its session open.
    pub surveyed: Surveyed,
    /// What is to happen there.
    pub plan: NodePlan,
    /// Neighbours that may tell whether it still answers them after its risky steps.
    pub candidates: Vec<Candidate>,
}

/// Runs all plans, each on its node, all at once. `None` when the operator broke off: the runs go on.
pub async fn all(context: &Context, run: &RunId, shares: Vec<Share>) -> Option<Vec<NodeOutcome>> {
    let progress = context.console.progress(shares.len());
    let work = async {
        let shares = fleet::each(context.parallel, shares, |share| with_witness(context, share)).await;
        fleet::each(context.parallel, shares, |share| one(context, run, share, &progress)).await
    };
    let outcomes = tokio::select! {
        outcomes = work => Some(outcomes),
        _ = tokio::signal::ctrl_c() => None,
    };
    progress.end();
    outcomes
}

/// Chosen among those that hear the node, before any node is changed.
async fn with_witness(context: &Context, mut share: Share) -> (Share, Option<Witness>) {
    let candidates = std::mem::take(&mut share.candidates);
    match &share.plan.confirm {
        Some(_) => (share, Witness::find(context, candidates).await),
        None => (share, None),
    }
}

async fn one(
    context: &Context,
    run: &RunId,
    (share, witness): (Share, Option<Witness>),
    progress: &Progress,
) -> NodeOutcome {
    let Share { surveyed: Surveyed { mut session, .. }, plan, .. } = share;
    let (node, target) = (session.node.clone(), session.target.clone());
    if let Err(fault) = archives(context, &mut session, &plan, progress).await {
        progress.done(&node, &fault.to_string());
        return NodeOutcome::idle(node, NodeResult::Failed { fault });
    }
    let request = Run { id: run.clone(), operator: operator(), plan: plan.clone() };
    let session = match session.ask(async |agent| agent.run(request).await).await {
        Ok(_) => Some(session),
        // The run may have begun all the same: only the host can tell.
        Err(error) if is_lost(&error) => None,
        Err(error) => return NodeOutcome::idle(node, refused(&error)),
    };
    let (run, plan) = (run.clone(), Some(plan));
    let mut following = Following { context, target, node, run, plan, witness, progress };
    let outcome = following.to_its_end(session).await;
    if let Some(witness) = following.witness {
        witness.close().await;
    }
    outcome
}

/// Sends the archives that a plan needs and that come from here. What a host has of one already is not sent again.
async fn archives(
    context: &Context,
    session: &mut Session,
    plan: &NodePlan,
    progress: &Progress,
) -> Result<(), Fault> {
    let needed = crate::plan::pushed(plan);
    if needed.is_empty() {
        return Ok(());
    }
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let local = tools::local(&context.loaded, home.as_deref());
    for (sha256, title) in needed {
        let fault = |why: String| {
            Fault::new(FaultKind::Host, format!("push the archive of {title}"), why)
                .next("apply again: what came already is kept on the host")
        };
        let path = local.get(&sha256).ok_or_else(|| fault("the rack no longer says where it lies".into()))?;
        let size = tools::check(path, &sha256).map_err(fault)?;
        progress.say(&session.node, &format!("pushing the archive of {title} ({} KiB)", size.div_ceil(1024)));
        push_one(session, path, &sha256, size).await.map_err(|e| match e {
            Pushing::Read(e) => fault(format!("{} cannot be read: {e}", path.display())),
            Pushing::Node(e) => fault(e.fault().to_string()),
        })?;
    }
    Ok(())
}

enum Pushing {
    Read(std::io::Error),
    Node(NodeError),
}

async fn push_one(session: &mut Session, path: &Path, sha256: &Sha256, size: u64) -> Result<(), Pushing> {
    let mut file = tokio::fs::File::open(path).await.map_err(Pushing::Read)?;
    let asked = session.ask(async |agent| agent.artifact(sha256.clone(), size).await).await;
    let mut have = asked.map_err(Pushing::Node)?;
    while have < size {
        file.seek(SeekFrom::Start(have)).await.map_err(Pushing::Read)?;
        let mut bytes = Vec::new();
        (&mut file)
            .take(ArtifactPart::LONGEST as u64)
            .read_to_end(&mut bytes)
            .await
            .map_err(Pushing::Read)?;
        let part = ArtifactPart::new(sha256.clone(), size, have, &bytes);
        // Another coordinator may send the same: wherever the host is, it goes on from there.
        let took = session.ask(async |agent| agent.artifact_part(part).await).await;
        have = took.map_err(Pushing::Node)?;
    }
    Ok(())
}

fn is_lost(error: &NodeError) -> bool {
    matches!(error, NodeError::Agent { source, .. } if source.is_lost())
}

fn refused(error: &NodeError) -> NodeResult {
    let fault = error.fault();
    match fault.kind {
        FaultKind::Locked | FaultKind::Stale => NodeResult::Refused { fault },
        _ => NodeResult::Failed { fault },
    }
}

/// A run that is listened to.
pub struct Following<'a> {
    /// What all commands have at hand.
    pub context: &'a Context,
    /// How to reach the node again.
    pub target: Target,
    /// The node.
    pub node: NodeName,
    /// The run.
    pub run: RunId,
    /// Its plan, where it is ours: for reasons and the number of steps.
    pub plan: Option<NodePlan>,
    /// A neighbour that heard the node before.
    pub witness: Option<Witness>,
    /// Where it is told.
    pub progress: &'a Progress,
}

impl Following<'_> {
    /// Listens until the run ends; makes lost connections anew, to begin with when there is none.
    pub async fn to_its_end(&mut self, mut session: Option<Session>) -> NodeOutcome {
        let mut events = Vec::new();
        let mut lost = 0;
        if session.is_none() {
            self.progress.say(&self.node, "connection lost; asking the host whether the run began");
        }
        loop {
            let Some(mut open) = session.take() else {
                if lost >= REATTACH {
                    break;
                }
                lost += 1;
                tokio::time::sleep(PAUSE).await;
                session = match self.again(events.len() as u64).await {
                    Ok(session) => session,
                    Err(error) => return self.failed(&error),
                };
                continue;
            };
            match self.listen(&mut open, &mut events).await {
                Ok(()) => {
                    open.close().await;
                    break;
                }
                Err(error) if is_lost(&error) => self.progress.say(&self.node, LOST),
                Err(error) => return self.failed(&error),
            }
        }
        let outcome = NodeOutcome::from_events(self.node.clone(), &self.run, &events);
        self.progress.done(&self.node, in_a_word(&outcome.result));
        outcome
    }

    fn failed(&self, error: &NodeError) -> NodeOutcome {
        let fault = error.fault();
        self.progress.done(&self.node, &fault.to_string());
        NodeOutcome::idle(self.node.clone(), NodeResult::Failed { fault })
    }

    /// A new session that listens to the run; `None` when none can be made now. The error is the host's own: it
    /// knows no such run.
    async fn again(&self, from_seq: u64) -> Result<Option<Session>, NodeError> {
        let open = Session::open(&self.context.dialer, &self.context.agents, &self.target, &self.node);
        let Ok(mut session) = open.await else { return Ok(None) };
        let run = Some(self.run.clone());
        match session.ask(async |agent| agent.attach(run, from_seq).await).await {
            Ok(_) => Ok(Some(session)),
            Err(error @ NodeError::Agent { source: AgentError::Fault(_), .. }) => Err(error),
            Err(_) => Ok(None),
        }
    }

    async fn listen(&mut self, session: &mut Session, events: &mut Vec<Event>) -> Result<(), NodeError> {
        loop {
            let next = session.ask(async |agent| agent.next_event().await).await?;
            let Some(event) = next else { return Ok(()) };
            self.tell(&event, events.first());
            let confirm = matches!(event.record, Record::AwaitingConfirm);
            events.push(event);
            if confirm {
                self.confirm().await;
            }
        }
    }

    /// Over a new connection: that it can be made is the proof, where a neighbour still hears the node, too.
    async fn confirm(&mut self) {
        let within = self.plan.as_ref().and_then(|p| p.confirm.as_ref()).map_or(60, |c| c.within_s);
        let within = Duration::from_secs(within.into());
        if tokio::time::timeout(within, self.confirm_until_done()).await.is_err() {
            self.progress.say(&self.node, "not confirmed: the node undoes its risky steps by itself");
        }
    }

    async fn confirm_until_done(&mut self) {
        while let Err(fault) = self.confirm_once().await {
            // The host no longer waits for it, as when an old run is listened to: its records tell how it went.
            if fault.kind == FaultKind::Stale && fault.next.is_empty() {
                return;
            }
            self.progress.say(&self.node, &format!("cannot confirm yet: {fault}"));
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn confirm_once(&mut self) -> Result<(), Fault> {
        let open = Session::open(&self.context.dialer, &self.context.agents, &self.target, &self.node);
        let mut session = open.await.map_err(|e| e.fault())?;
        if let Some(witness) = &mut self.witness {
            let heard = {
                let _turn = self.context.asking.lock().await;
                witness.hears().await
            };
            let cause = match heard {
                Some(true) => None,
                Some(false) => Some(format!("{} asks for it and gets no answer any more", witness.node)),
                None => Some(format!("{}, which heard it before, cannot be asked", witness.node)),
            };
            if let Some(cause) = cause {
                return Err(Fault::new(FaultKind::Host, "hear the node's ARP", cause));
            }
        }
        let run = self.run.clone();
        session.ask(async |agent| agent.confirm(run).await).await.map_err(|e| e.fault())?;
        session.close().await;
        Ok(())
    }

    fn tell(&self, event: &Event, first: Option<&Event>) {
        match &event.record {
            Record::Intent { index, step, .. } => {
                let planned = self.plan.as_ref().and_then(|p| p.steps.get(*index as usize));
                let of = match first.map(|e| &e.record) {
                    Some(Record::Started { steps, .. }) => *steps as usize,
                    _ => 0,
                };
                let why = planned.map_or("", |s| s.why.as_str());
                let now = Now { number: *index as usize + 1, of, title: &step.title(), why };
                self.progress.step(&self.node, now);
            }
            Record::Outcome { step, outcome: Outcome::Failed { fault }, .. } => {
                self.progress.say(&self.node, &format!("{} failed: {}", step.title(), fault.cause));
            }
            Record::AwaitingConfirm => {
                let and = self.witness.as_ref().map(|witness| format!(" and from {}", witness.node));
                let text = format!("confirming over a new connection{}", and.unwrap_or_default());
                self.progress.say(&self.node, &text);
            }
            Record::RolledBack { why, .. } => {
                self.progress.say(&self.node, &format!("undid its risky steps: {why}"));
            }
            _ => {}
        }
    }
}

fn in_a_word(result: &NodeResult) -> &'static str {
    match result {
        NodeResult::Changed { .. } => "changed",
        NodeResult::Unchanged => "unchanged",
        NodeResult::Failed { .. } => "failed",
        NodeResult::NotReached { .. } => "not reached",
        NodeResult::Refused { .. } => "refused",
        NodeResult::RolledBack { .. } => "rolled back",
        NodeResult::Detached { .. } => "goes on without us",
    }
}

/// How a command that pushed ends.
pub fn exit(outcomes: &[NodeOutcome]) -> Exit {
    let any = |test: fn(&NodeResult) -> bool| outcomes.iter().any(|o| test(&o.result));
    let failed = |r: &NodeResult| {
        matches!(r, NodeResult::Failed { .. } | NodeResult::NotReached { .. } | NodeResult::RolledBack { .. })
    };
    match () {
        () if any(failed) => Exit::Failed,
        () if any(|r| matches!(r, NodeResult::Refused { .. })) => Exit::Refused,
        () if any(|r| matches!(r, NodeResult::Detached { .. })) => Exit::Detached,
        () => Exit::Done,
    }
}
