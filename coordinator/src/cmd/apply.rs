//! `rackwright apply`: show the plan, ask, run it on all nodes, verify, sum up.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use rackwright_proto::cluster::ClusterPlan;
use rackwright_proto::facts::Depth;
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::file::sha256_hex;
use rackwright_proto::name::{NodeName, RunId};
use rackwright_proto::plan::{NodePlan, Plan};

use super::check::close;
use super::cluster::{self, Found};
use super::prove;
use super::push::{self, Following, Share};
use super::{Context, blocked, plan, split, witness};
use crate::cli::ApplyArgs;
use crate::cluster::outcome::{ClusterOutcome, ClusterResult, Proof};
use crate::cluster::plan as cluster_plan;
use crate::console::Console;
use crate::exit::Exit;
use crate::rack::Rack;
use crate::report;
use crate::report::apply::{NodeOutcome, NodeResult};
use crate::survey::{About, NodeError, Surveyed};

/// The largest saved plan, in bytes.
const LARGEST_PLAN: u64 = 256 * 1024 * 1024;

/// Runs the command.
pub async fn run(console: Console, mut args: ApplyArgs) -> Exit {
    let saved = match saved_plan(&args.common.rack) {
        Ok(saved) => saved,
        Err(why) => {
            console.say(format_args!("error: {why}"));
            return Exit::Invalid;
        }
    };
    if let (Some(plan), true) = (&saved, args.common.nodes.is_empty()) {
        // Just that: nodes that the plan does not know take no part.
        args.common.nodes = plan.nodes.iter().map(|n| n.node.clone()).collect();
    }
    let path = saved.as_ref().map_or(args.common.rack.clone(), |plan| PathBuf::from(&plan.rack));
    match Context::load(console, &path, &args.common) {
        Ok(context) => apply(&context, saved, args.yes).await,
        Err(exit) => exit,
    }
}

async fn apply(context: &Context, saved: Option<Plan>, yes: bool) -> Exit {
    let (mut heard, lost, mut outcomes) = observe(context, About::Rack).await;
    context.say_lost(&lost);
    outcomes.extend(lost.iter().map(not_reached));
    let cluster = cluster::find(context, &mut heard, cluster::About::Rack).await;
    let mut plan = plan::whole(context, &mut heard, &cluster, false).await;
    if let Some(saved) = saved {
        match fitting(context, saved, &plan, &heard, &cluster) {
            Some(saved) => (plan.nodes, plan.cluster) = (saved.nodes, saved.cluster),
            None => {
                close(heard).await;
                return Exit::Refused;
            }
        }
    }
    let work = Work { plan, heard, outcomes, cluster };
    carry_out(context, work, yes, "apply").await
}

/// What is to be carried out, and on whom.
pub struct Work {
    /// The plan.
    pub plan: Plan,
    /// The nodes that were heard from.
    pub heard: Vec<Surveyed>,
    /// Outcomes of nodes that take no part.
    pub outcomes: Vec<NodeOutcome>,
    /// The cluster.
    pub cluster: Found,
}

/// Shows a plan, asks, carries it out and sums up. Hosts come before their cluster, and after it where all is undone.
pub async fn carry_out(context: &Context, work: Work, yes: bool, command: &str) -> Exit {
    let Work { plan, heard, outcomes, cluster } = work;
    let nothing = !plan::changes(&plan) && plan.nodes.iter().all(NodePlan::is_empty);
    let refused = blocked(&plan.findings);
    if refused || !nothing {
        talk(context, &plan);
    }
    if refused {
        close(heard).await;
        return Exit::Refused;
    }
    if !nothing
        && !yes
        && let Err(exit) = agreed(context, &plan, command)
    {
        return exit;
    }
    let run = push::run_id();
    let begun = !nothing;
    let mut done = Done { outcomes, heard, cluster: None, proof: Proof::default() };
    let carried = match plan.revert {
        true => {
            done.on_cluster(context, &cluster, &run, plan.cluster.as_ref()).await;
            done.on_hosts(context, &run, plan.nodes).await
        }
        false => {
            let carried = done.on_hosts(context, &run, plan.nodes).await;
            if carried {
                done.on_cluster(context, &cluster, &run, plan.cluster.as_ref()).await;
                done.prove(context, &cluster).await;
            }
            carried
        }
    };
    if !carried {
        let attach = context.command("attach");
        context.console.say(format_args!("\ndetached: run {run} goes on; `{attach}` listens again"));
        return Exit::Detached;
    }
    done.sum_up(context, begun.then_some(&run)).await
}

/// What came of it so far.
struct Done {
    outcomes: Vec<NodeOutcome>,
    /// Nodes with open sessions.
    heard: Vec<Surveyed>,
    cluster: Option<ClusterOutcome>,
    proof: Proof,
}

impl Done {
    /// Runs the hosts' plans. False when the operator broke off: the runs go on.
    async fn on_hosts(&mut self, context: &Context, run: &RunId, plans: Vec<NodePlan>) -> bool {
        let rack = &context.loaded.rack;
        let (shares, idle) = share_out(rack, plans, std::mem::take(&mut self.heard));
        let idle_ones = idle.iter();
        self.outcomes
            .extend(idle_ones.map(|s| NodeOutcome::idle(s.session.node.clone(), NodeResult::Unchanged)));
        self.heard = idle;
        if shares.is_empty() {
            return true;
        }
        let pushed: Vec<NodeName> = shares.iter().map(|s| s.plan.node.clone()).collect();
        // A session that waits for an hour of other nodes' work would be ended by its agent.
        match push::all(context, run, shares).await {
            Some(outcomes) => self.outcomes.extend(outcomes),
            None => return false,
        }
        if rack.kubernetes().is_some() {
            let nodes: Vec<_> = context.nodes().into_iter().filter(|n| pushed.contains(&n.name)).collect();
            let (again, _) = split(context.surveyor().survey(&nodes, About::Rack, Depth::Quick).await);
            self.heard.extend(again);
        }
        true
    }

    /// Runs the cluster's part, if all hosts are ready.
    async fn on_cluster(
        &mut self,
        context: &Context,
        found: &Found,
        run: &RunId,
        plan: Option<&ClusterPlan>,
    ) {
        let outcome = match found {
            Found::Unwanted | Found::Aside => return,
            Found::Absent => cluster::idle(ClusterResult::Absent),
            Found::Lost(fault) => cluster::idle(ClusterResult::NotReached { fault: fault.clone() }),
            Found::Here(here) => match plan.filter(|p| !p.steps.is_empty()) {
                None => cluster::idle(ClusterResult::Unchanged),
                Some(_) if !self.outcomes.iter().all(NodeOutcome::is_good) => cluster::idle(hosts_first()),
                Some(plan) => cluster::carry_out(context, here, run, plan, None).await,
            },
        };
        self.cluster = Some(outcome);
    }

    /// The proof from outside, once all steps are done.
    async fn prove(&mut self, context: &Context, found: &Found) {
        let (Found::Here(here), Some(outcome)) = (found, &mut self.cluster) else { return };
        if !outcome.result.is_good() {
            return;
        }
        // Also where what was to be changed came right by itself meanwhile: that may be on its way still.
        let changed = !outcome.steps.is_empty();
        self.proof = prove::all(context, here, &mut self.heard, changed).await;
        if self.proof.errors() > 0 {
            outcome.result = ClusterResult::NotProven { findings: self.proof.errors() };
        }
        let counts = here.api.counts();
        (outcome.requests, outcome.asked) = (counts.total(), counts.requests);
    }

    async fn sum_up(mut self, context: &Context, run: Option<&RunId>) -> Exit {
        close(self.heard).await;
        in_rack_order(context, &mut self.outcomes);
        let whole = report::apply::Whole {
            run,
            nodes: &self.outcomes,
            cluster: self.cluster.as_ref(),
            proof: &self.proof,
            rack: context.rack_name(),
        };
        context.console.data(|out| match context.json {
            true => report::apply::json_text(out, &whole),
            false => report::apply::text(out, &whole, context.view()),
        });
        match (push::exit(&self.outcomes), self.cluster.map(|c| c.result)) {
            (Exit::Done, Some(ClusterResult::Refused { .. })) => Exit::Refused,
            (Exit::Done, Some(result)) if !result.is_good() => Exit::Failed,
            (exit, _) => exit,
        }
    }
}

fn hosts_first() -> ClusterResult {
    let fault =
        Fault::new(FaultKind::Host, "work on the cluster", "not all hosts are ready, and they come first")
            .next("mend those hosts and apply again, or choose nodes with -n");
    ClusterResult::Refused { fault }
}

/// The plan for the operator to read: on standard error when standard output is for a machine.
fn talk(context: &Context, plan: &Plan) {
    let mut text = Vec::new();
    // Writing into memory does not fail.
    let _ = report::plan::text(&mut text, plan, None, context.view());
    if context.json {
        context.console.say(String::from_utf8_lossy(&text));
    } else {
        context.console.data(|out| {
            out.extend_from_slice(&text);
            Ok(())
        });
    }
}

fn agreed(context: &Context, plan: &Plan, command: &str) -> Result<(), Exit> {
    let verb = if command == "revert" { "Revert this" } else { "Apply this" };
    let nodes = plan.nodes.iter().filter(|n| !n.is_empty()).count();
    let on_cluster = plan.cluster.as_ref().is_some_and(|c| !c.steps.is_empty());
    let places = match (nodes, on_cluster) {
        (0, _) => "the cluster".to_owned(),
        (_, true) => format!("{} and the cluster", count(nodes)),
        (_, false) => count(nodes),
    };
    match context.console.ask(&format!("{verb} on {places}?")) {
        Some(true) => Ok(()),
        Some(false) => {
            context.console.say("nothing was changed");
            Err(Exit::Refused)
        }
        None => {
            context.console.say("error: there is no terminal to ask on; nothing was changed; say --yes");
            Err(Exit::Invalid)
        }
    }
}

/// Observes all nodes. A run of our own that is still on is listened to first; a foreign one refuses its node.
pub async fn observe(
    context: &Context,
    about: About,
) -> (Vec<Surveyed>, Vec<(NodeName, NodeError)>, Vec<NodeOutcome>) {
    let surveyor = context.surveyor();
    let (heard, mut lost) = split(surveyor.survey(&context.nodes(), about, Depth::Quick).await);
    let (held, mut free): (Vec<_>, Vec<_>) = heard.into_iter().partition(|s| s.session.holder().is_some());
    let (ours, foreign): (Vec<_>, Vec<_>) =
        held.into_iter().partition(|s| s.session.holder().is_some_and(|h| h.operator == push::operator()));
    let refused = foreign.iter().map(held_by).collect();
    close(foreign).await;
    let again: Vec<NodeName> = ours.iter().map(|s| s.session.node.clone()).collect();
    wait_for(context, ours).await;
    let nodes: Vec<_> = context.nodes().into_iter().filter(|n| again.contains(&n.name)).collect();
    let (more, more_lost) = split(surveyor.survey(&nodes, about, Depth::Quick).await);
    free.extend(more);
    lost.extend(more_lost);
    free.sort_by_key(|s| context.loaded.rack.nodes().position(|n| n.name == s.session.node));
    (free, lost, refused)
}

/// Listens to runs of an earlier process of the same operator until they end.
async fn wait_for(context: &Context, ours: Vec<Surveyed>) {
    let progress = context.console.progress(ours.len());
    crate::fleet::each(context.parallel, ours, |surveyed| {
        let progress = &progress;
        async move {
            let Surveyed { mut session, .. } = surveyed;
            let Some(run) = session.holder().map(|h| h.run.clone()) else { return };
            progress.say(&session.node, &format!("run {run} is still on; listening to it first"));
            let wanted = Some(run.clone());
            if session.ask(async |agent| agent.attach(wanted, 0).await).await.is_ok() {
                let (node, target) = (session.node.clone(), session.target.clone());
                let mut following =
                    Following { context, target, node, run, plan: None, witness: None, progress };
                following.to_its_end(Some(session)).await;
            }
        }
    })
    .await;
    progress.end();
}

fn held_by(surveyed: &Surveyed) -> NodeOutcome {
    let node = surveyed.session.node.clone();
    let who = surveyed.session.holder().map_or_else(String::new, |h| {
        format!("{} holds it since {} (run {})", h.operator, report::words::utc(h.since_ms), h.run)
    });
    let fault = Fault::new(FaultKind::Locked, "take the host", who).next(format!(
        "`rackwright attach --node {node}` listens to that run; apply again when it has ended"
    ));
    NodeOutcome::idle(node, NodeResult::Refused { fault })
}

fn not_reached((node, error): &(NodeName, NodeError)) -> NodeOutcome {
    NodeOutcome::idle(node.clone(), NodeResult::NotReached { fault: error.fault() })
}

/// Pairs plans with their nodes; nodes without anything to do come second.
fn share_out(rack: &Rack, plans: Vec<NodePlan>, heard: Vec<Surveyed>) -> (Vec<Share>, Vec<Surveyed>) {
    let (mut shares, mut idle) = (Vec::new(), Vec::new());
    let mut candidates = witness::candidates(rack, &heard);
    let mut plans: Vec<Option<NodePlan>> = plans.into_iter().map(Some).collect();
    for surveyed in heard {
        let of_node = |p: &&mut Option<NodePlan>| p.as_ref().is_some_and(|p| p.node == surveyed.session.node);
        match plans.iter_mut().find(of_node).and_then(Option::take) {
            Some(plan) if !plan.is_empty() => {
                let candidates = candidates.remove(&plan.node).unwrap_or_default();
                shares.push(Share { surveyed, plan, candidates });
            }
            _ => idle.push(surveyed),
        }
    }
    (shares, idle)
}

fn in_rack_order(context: &Context, outcomes: &mut [NodeOutcome]) {
    outcomes.sort_by_key(|o| context.loaded.rack.nodes().position(|n| n.name == o.node));
}

/// The saved plan, if it still fits; else tells what changed since.
fn fitting(
    context: &Context,
    saved: Plan,
    fresh: &Plan,
    heard: &[Surveyed],
    cluster: &Found,
) -> Option<Plan> {
    let stale = |why: String| {
        context.console.say(format_args!("error: the saved plan is stale: {why}; nothing was changed"));
        context.console.say(format_args!("  `{}` makes a new one", context.command("plan -o FILE")));
    };
    if saved.rack_sha256 != sha256_hex(context.loaded.text.as_bytes()) {
        stale(format!("{} was edited since", context.rack_name()));
        return None;
    }
    let mut differences = Vec::new();
    for planned in &saved.nodes {
        let (Some(one), Some(now)) = (
            heard.iter().find(|s| s.session.node == planned.node),
            fresh.nodes.iter().find(|n| n.node == planned.node),
        ) else {
            continue;
        };
        let found = crate::plan::stale(planned, now, &one.facts);
        if !found.is_empty() {
            differences.push((planned.node.clone(), found));
        }
    }
    let nodes = differences.len();
    if let (Some(planned), Some(now), Some(sight)) = (&saved.cluster, &fresh.cluster, cluster.sight()) {
        let found = cluster_plan::stale(planned, now, &sight.facts);
        if !found.is_empty() {
            differences.push(("cluster".parse().expect("a word is a name"), found));
        }
    }
    if differences.is_empty() {
        return Some(saved);
    }
    context.console.data(|out| report::plan::stale(out, &differences, context.console.paint));
    let what = match (nodes, differences.len() > nodes) {
        (0, _) => "the cluster differs".to_owned(),
        (_, true) => format!("{} and the cluster differ", count(nodes)),
        (_, false) => format!("{} differ", count(nodes)),
    };
    stale(format!("{what} from what it was made from"));
    None
}

fn count(nodes: usize) -> String {
    if nodes == 1 { "1 node".into() } else { format!("{nodes} nodes") }
}

/// A plan, if the file is one: it begins with a brace, which no rack does.
fn saved_plan(path: &Path) -> Result<Option<Plan>, String> {
    let Ok(file) = std::fs::File::open(path) else { return Ok(None) };
    let mut text = String::new();
    if file.take(LARGEST_PLAN).read_to_string(&mut text).is_err() || !text.trim_start().starts_with('{') {
        return Ok(None);
    }
    let shown = path.display();
    let plan: Plan = serde_json::from_str(&text).map_err(|e| {
        format!("{shown} is no plan of this rackwright: {e}; make a new one with `rackwright plan -o`")
    })?;
    if plan.format != Plan::FORMAT || plan.build != rackwright_proto::wire::BUILD {
        return Err(format!(
            "{shown} was made by build {}; make a new one with `rackwright plan -o`",
            plan.build
        ));
    }
    Ok(Some(plan))
}
