//! `rackwright apply`: show the plan, ask, run it on all nodes, verify, sum up.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use rackwright_proto::facts::Depth;
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::file::sha256_hex;
use rackwright_proto::name::NodeName;
use rackwright_proto::plan::{NodePlan, Plan};

use super::check::close;
use super::push::{self, Following, Share};
use super::{Context, blocked, plan, split, witness};
use crate::cli::ApplyArgs;
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
    let mut plan = plan::whole(context, &mut heard, false).await;
    if let Some(saved) = saved {
        match fitting(context, saved, &plan, &heard) {
            Some(saved) => plan.nodes = saved.nodes,
            None => {
                close(heard).await;
                return Exit::Refused;
            }
        }
    }
    carry_out(context, plan, heard, outcomes, yes, "apply").await
}

/// Shows a plan, asks, pushes it and sums up. `outcomes` are of nodes that take no part.
pub async fn carry_out(
    context: &Context,
    plan: Plan,
    heard: Vec<Surveyed>,
    mut outcomes: Vec<NodeOutcome>,
    yes: bool,
    command: &str,
) -> Exit {
    let (shares, idle) = share_out(&context.loaded.rack, plan.nodes.clone(), heard);
    if blocked(&plan.findings) || !shares.is_empty() {
        talk(context, &plan);
    }
    if blocked(&plan.findings) {
        close(shares.into_iter().map(|s| s.surveyed).chain(idle).collect()).await;
        return Exit::Refused;
    }
    if !shares.is_empty()
        && !yes
        && let Err(exit) = agreed(context, shares.len(), command)
    {
        return exit;
    }
    outcomes.extend(idle.iter().map(|s| NodeOutcome::idle(s.session.node.clone(), NodeResult::Unchanged)));
    close(idle).await;
    let run = (!shares.is_empty()).then(push::run_id);
    if let Some(run) = &run {
        match push::all(context, run, shares).await {
            Some(done) => outcomes.extend(done),
            None => {
                let attach = context.command("attach");
                context.console.say(format_args!("\ndetached: run {run} goes on; `{attach}` listens again"));
                return Exit::Detached;
            }
        }
    }
    in_rack_order(context, &mut outcomes);
    let (console, rack) = (&context.console, context.rack_name());
    console.data(|out| match context.json {
        true => report::apply::json_text(out, run.as_ref(), &outcomes, rack),
        false => report::apply::text(out, run.as_ref(), &outcomes, rack, console.paint),
    });
    push::exit(&outcomes)
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

fn agreed(context: &Context, nodes: usize, command: &str) -> Result<(), Exit> {
    let verb = if command == "revert" { "Revert this" } else { "Apply this" };
    let nodes = if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
    match context.console.ask(&format!("{verb} on {nodes}?")) {
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
fn fitting(context: &Context, saved: Plan, fresh: &Plan, heard: &[Surveyed]) -> Option<Plan> {
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
    if differences.is_empty() {
        return Some(saved);
    }
    context.console.data(|out| report::plan::stale(out, &differences, context.console.paint));
    stale(format!("{} differ from what it was made from", count(differences.len())));
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
