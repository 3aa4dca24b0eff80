//! `rackwright migrate-proxy`: kube-proxy's mode changed one node at a time, each proven before the next.

mod turn;

use rackwright_proto::cluster::ClusterPlan;
use rackwright_proto::finding::Finding;
use rackwright_proto::name::NodeName;
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::turn::{Desk, Seats};
use super::apply::observe;
use super::check::{close, problems};
use super::cluster::{self, Cluster, Found};
use super::{Context, blocked, prove, push};
use crate::cli::MigrateProxyArgs;
use crate::cluster::outcome::{ClusterOutcome, ClusterResult, Proof};
use crate::cluster::{plan as cluster_plan, wanted};
use crate::console::Console;
use crate::exit::Exit;
use crate::judge::{self, Asked};
use crate::proxy::home::Home;
use crate::proxy::migrate::{self, Migration, Turn};
use crate::rack::model::kubernetes::Proxy;
use crate::report::migrate as report;
use crate::survey::{About, Surveyed};

/// Runs the command.
pub async fn run(console: Console, args: MigrateProxyArgs) -> Exit {
    let mut context = match Context::load(console, &args.common.rack, &args.common) {
        Ok(context) => context,
        Err(exit) => return exit,
    };
    // All nodes are looked at, and asked for proof; those named have a turn.
    let chosen = std::mem::take(&mut context.only);
    let Some(proxy) = context.loaded.rack.kubernetes().and_then(|k| k.proxy.clone()) else {
        let name = context.rack_name();
        console.say(format_args!(
            "error: {name} says nothing of `kubernetes.proxy`, so there is no mode to change to"
        ));
        return Exit::Invalid;
    };
    let (mut heard, lost, held) = observe(&context, About::Rack).await;
    context.say_lost(&lost);
    for outcome in &held {
        console.say(format_args!("{}: held by another run", outcome.node));
    }
    let found = cluster::find(&context, &mut heard, cluster::About::Rack).await;
    match &found {
        Found::Here(cluster) if elsewhere(&context, cluster) => {
            close(heard).await;
            Exit::Refused
        }
        Found::Here(cluster) => migrate(&context, cluster, heard, (&proxy, &chosen), args.yes).await,
        other => {
            close(heard).await;
            console.say(format_args!("error: {}", why_not(other)));
            Exit::Failed
        }
    }
}

/// Whether kube-proxy's settings live where this command does not go; told if so.
fn elsewhere(context: &Context, cluster: &Cluster) -> bool {
    let home = wanted::proxy::home(&cluster.sight.facts);
    if home == Home::Kubeadm {
        return false;
    }
    let next = match home {
        Home::K3s | Home::Rke2 => {
            "; `rackwright apply` writes it, and tells which unit to restart on each node"
        }
        _ => "",
    };
    let place = home.words();
    context.console.say(format_args!(
        "error: kube-proxy's settings live elsewhere than in kubeadm's ConfigMap: {place}{next}; nothing was changed"
    ));
    true
}

fn why_not(found: &Found) -> String {
    match found {
        Found::Lost(fault) => fault.to_string(),
        _ => "there is no cluster on the control planes yet".to_owned(),
    }
}

/// What is to happen.
struct Prepared {
    migration: Migration,
    plan: ClusterPlan,
    findings: Vec<Finding>,
    /// Nodes that are not done and were not chosen.
    left: Vec<String>,
}

fn prepare(
    context: &Context,
    cluster: &Cluster,
    heard: &[Surveyed],
    (proxy, chosen): (&Proxy, &[NodeName]),
) -> Prepared {
    let rack = &context.loaded.rack;
    let change = wanted::proxy_change(rack, heard, &cluster.sight);
    let planned = cluster_plan::only(&cluster.sight.facts, &change.steps);
    let mut found = change.gates;
    found.extend(planned.findings);
    // That is what this command is for.
    found.retain(|f| f.name != "proxy-mode-from-ipvs");
    let mut migration = migrate::migration(proxy.mode, proxy.migrate, &change.nodes);
    let has_turn = |turn: &Turn| chosen.is_empty() || chosen.iter().any(|node| node.as_str() == turn.node);
    let (turns, left): (Vec<Turn>, Vec<Turn>) = migration.turns.into_iter().partition(has_turn);
    migration.turns = turns;
    Prepared {
        migration,
        plan: cluster_plan::part(&cluster.sight.facts, planned.steps),
        findings: problems(&judge::settle(rack, found, Asked::Some)),
        left: left.into_iter().map(|turn| turn.node).collect(),
    }
}

async fn migrate(
    context: &Context,
    cluster: &Cluster,
    heard: Vec<Surveyed>,
    (proxy, chosen): (&Proxy, &[NodeName]),
    yes: bool,
) -> Exit {
    let prepared = prepare(context, cluster, &heard, (proxy, chosen));
    if let Err(exit) = may_begin(context, &prepared, &heard, yes) {
        close(heard).await;
        return exit;
    }
    let seats = Seats { heard, since: Instant::now(), passed: Vec::new() };
    let desk = Desk { context, cluster, proxy, migration: &prepared.migration, seats: Mutex::new(seats) };
    let run = push::run_id();
    let outcome = cluster::carry_out(context, cluster, &run, &prepared.plan, Some(&desk), None).await;
    let Seats { mut heard, passed, .. } = desk.seats.into_inner();
    let mut ended = Ended { outcome, passed, left: prepared.left.clone(), proof: Proof::default() };
    ended.settle(&prepared.migration);
    if ended.outcome.result.is_good() && ended.left.is_empty() {
        ended.proof = prove::all(context, cluster, &mut heard, true).await;
        if ended.proof.errors() > 0 {
            ended.outcome.result = ClusterResult::NotProven { findings: ended.proof.errors() };
        }
    }
    ended.outcome.requests = cluster.api.counts().total();
    close(heard).await;
    let whole = report::Whole {
        run: Some(&run),
        migration: &prepared.migration,
        proven: &ended.passed,
        left: &ended.left,
        cluster: &ended.outcome,
        proof: &ended.proof,
    };
    tell(context, &whole);
    match &ended.outcome.result {
        ClusterResult::Refused { .. } => Exit::Refused,
        result if !result.is_good() => Exit::Failed,
        _ => Exit::Done,
    }
}

fn tell(context: &Context, whole: &report::Whole<'_>) {
    context.console.data(|out| match context.json {
        true => report::json_text(out, whole),
        false => report::text(out, whole, context.view()),
    });
}

/// Shows the plan and asks; how to end where nothing is to begin.
fn may_begin(context: &Context, prepared: &Prepared, heard: &[Surveyed], yes: bool) -> Result<(), Exit> {
    let say = |text: String| context.console.say(text);
    let nothing = prepared.plan.changes().next().is_none();
    let turns = &prepared.migration.turns;
    if !blocked(&prepared.findings) && nothing {
        return Err(nothing_to_do(context, prepared));
    }
    show(context, prepared);
    if blocked(&prepared.findings) {
        return Err(Exit::Refused);
    }
    let silent = |turn: &&Turn| !heard.iter().any(|s| s.session.node.as_str() == turn.node);
    let silent: Vec<&str> = turns.iter().filter(silent).map(|turn| turn.node.as_str()).collect();
    if !silent.is_empty() {
        say(format!(
            "error: {} cannot be proven: not in the rack, not reached, or held by another run; nothing was changed",
            silent.join(", ")
        ));
        return Err(Exit::Refused);
    }
    if yes {
        return Ok(());
    }
    match context.console.ask("Change kube-proxy's mode so, node by node?") {
        Some(true) => Ok(()),
        Some(false) => {
            say("nothing was changed".into());
            Err(Exit::Refused)
        }
        None => {
            say("error: there is no terminal to ask on; nothing was changed; say --yes".into());
            Err(Exit::Invalid)
        }
    }
}

/// The cluster is as the rack says, and so are its nodes, or they need another mending than this.
fn nothing_to_do(context: &Context, prepared: &Prepared) -> Exit {
    let Prepared { migration, left, .. } = prepared;
    let unproven: Vec<String> = migration.turns.iter().map(|t| t.node.clone()).chain(left.clone()).collect();
    let (result, exit) = match unproven.len() {
        0 => (ClusterResult::Unchanged, Exit::Done),
        findings => (ClusterResult::NotProven { findings }, Exit::Failed),
    };
    let (outcome, proof) = (cluster::idle(result), Proof::default());
    let whole = report::Whole {
        run: None,
        migration,
        proven: &[],
        left: &unproven,
        cluster: &outcome,
        proof: &proof,
    };
    tell(context, &whole);
    context.console.say(match exit {
        Exit::Done => "Nothing to do: kubeadm's kube-proxy runs in the rack's mode on all of its nodes, and is proven.".to_owned(),
        _ => {
            let (nodes, check) = (unproven.join(", "), context.command("check"));
            format!("error: kube-proxy was set and started as the rack says, but is not proven on {nodes}; `{check}` tells why")
        }
    });
    exit
}

/// On standard error when standard output is for a machine.
fn show(context: &Context, prepared: &Prepared) {
    let mut text = Vec::new();
    let shown = report::Shown {
        migration: &prepared.migration,
        plan: &prepared.plan,
        left: &prepared.left,
        findings: &prepared.findings,
    };
    // Writing into memory does not fail.
    let _ = report::plan(&mut text, &shown, context.view());
    match context.json {
        true => context.console.say(String::from_utf8_lossy(&text)),
        false => context.console.data(|out| {
            out.extend_from_slice(&text);
            Ok(())
        }),
    }
}

/// What came of it.
struct Ended {
    outcome: ClusterOutcome,
    passed: Vec<String>,
    left: Vec<String>,
    proof: Proof,
}

impl Ended {
    /// That nodes are left is as ordered; how to go on or back is told where it is not.
    fn settle(&mut self, migration: &Migration) {
        let ClusterResult::Failed { fault } = &mut self.outcome.result else { return };
        if !self.left.is_empty() && self.passed.len() == migration.turns.len() {
            self.outcome.result = ClusterResult::Changed { changes: self.passed.len() };
            return;
        }
        let missed = migration.turns.iter().map(|turn| &turn.node).filter(|node| !self.passed.contains(node));
        self.left.splice(..0, missed.cloned().collect::<Vec<_>>());
        let so_far = if fault.next.is_empty() { String::new() } else { format!("{}; then ", fault.next) };
        fault.next = format!(
            "{so_far}`rackwright migrate-proxy` goes on (nodes that are proven are skipped), or `rackwright revert` brings \
             the former mode back and uncordons what is cordoned"
        );
    }
}
