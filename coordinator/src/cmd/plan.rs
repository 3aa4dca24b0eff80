//! `rackwright plan`: what apply would change, and why.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rackwright_proto::facts::Depth;
use rackwright_proto::file::sha256_hex;
use rackwright_proto::finding::Finding;
use rackwright_proto::l2::{Patience, Probe, Span};
use rackwright_proto::plan::{NodePlan, Plan};
use rackwright_proto::wire;

use super::check::{close, probed, problems};
use super::cluster::{self, Found};
use super::mesh;
use super::{Context, blocked, split};
use crate::cli::PlanArgs;
use crate::cluster::{plan as cluster_plan, wanted};
use crate::console::Console;
use crate::exit::Exit;
use crate::judge::{self, Asked};
use crate::rack::model::Limits;
use crate::survey::{About, Surveyed};
use crate::{report, scene, tools};

/// Runs the command.
pub async fn run(console: Console, args: PlanArgs) -> Exit {
    let context = match Context::load(console, &args.common.rack, &args.common) {
        Ok(context) => context,
        Err(exit) => return exit,
    };
    let (mut heard, lost) =
        split(context.surveyor().survey(&context.nodes(), About::Rack, Depth::Full).await);
    let cluster = cluster::find(&context, &mut heard, cluster::About::Rack).await;
    let plan = whole(&context, &mut heard, &cluster, true).await;
    context.say_lost(&lost);
    let next = match &args.output {
        Some(file) => format!("rackwright apply {}", file.display()),
        None => context.command("apply"),
    };
    show(&context, &plan, &next);
    close(heard).await;
    if let Some(file) = &args.output
        && let Err(error) = save(file, &plan)
    {
        console.say(format_args!("error: save the plan to {}: {error}", file.display()));
        return Exit::Failed;
    }
    let changes = changes(&plan);
    match () {
        () if blocked(&plan.findings) => Exit::Refused,
        () if !lost.is_empty() || matches!(cluster, Found::Lost(_)) => Exit::Failed,
        () if changes && args.exit_code => Exit::Differences,
        () => Exit::Done,
    }
}

/// Whether a plan changes anything.
pub fn changes(plan: &Plan) -> bool {
    let on_cluster = plan.cluster.iter().any(|c| c.changes().next().is_some());
    on_cluster || plan.nodes.iter().any(|n| n.changes().next().is_some())
}

/// The plan for all nodes that were heard from, and for their cluster. With `always`, segments are probed even if
/// nothing changes, and waivers that meet nothing are told: nodes were observed in full depth.
pub async fn whole(context: &Context, heard: &mut [Surveyed], cluster: &Found, always: bool) -> Plan {
    let rack = &context.loaded.rack;
    let mut found = Vec::new();
    let mut nodes = Vec::new();
    let in_use = cluster.tools_in_use();
    for one in heard.iter_mut() {
        one.wanted.tools_in_use.clone_from(&in_use);
        // Conflicts were told when the node was surveyed.
        if let Ok(planned) = crate::plan::node_plan(&one.session.node, &one.wanted, &one.facts) {
            nodes.push(confirmable(planned.plan, one, rack.limits()));
            found.extend(planned.findings);
        }
    }
    let home = std::env::var_os("HOME").map(PathBuf::from);
    found.extend(tools::unusable(&context.loaded, home.as_deref(), &nodes));
    let part = cluster.sight().map(|sight| {
        let planned = cluster_plan::plan(&sight.facts, &wanted::steps(rack, heard, sight));
        found.extend(planned.findings);
        cluster_plan::part(&sight.facts, planned.steps)
    });
    found.extend(judge::facts(rack, heard, &scene::of(rack, heard, cluster.served())));
    found.extend(cluster.findings(rack, heard));
    let mut plan = make(context, nodes, Vec::new(), false);
    plan.cluster = part;
    if always || changes(&plan) {
        found.extend(probed(rack, heard, context.parallel, cluster.served()).await);
    }
    found.extend(mesh::gate(context, cluster, heard, &plan).await);
    let asked = if always { context.asked(heard) } else { Asked::Some };
    plan.findings = problems(&judge::settle(rack, found, asked));
    plan
}

/// A plan of these parts.
pub fn make(context: &Context, nodes: Vec<NodePlan>, findings: Vec<Finding>, revert: bool) -> Plan {
    Plan {
        format: Plan::FORMAT,
        build: wire::BUILD.to_owned(),
        rack_sha256: sha256_hex(context.loaded.text.as_bytes()),
        rack: absolute(context.rack_name()),
        revert,
        nodes,
        cluster: None,
        findings,
    }
}

/// A saved plan must find its rack from any folder.
fn absolute(rack: &str) -> String {
    std::path::absolute(rack).map_or_else(|_| rack.to_owned(), |path| path.display().to_string())
}

/// A risky plan is confirmed within the rack's limit, and by the gateways that answer before it, too.
pub fn confirmable(mut plan: NodePlan, surveyed: &Surveyed, limits: &Limits) -> NodePlan {
    if let Some(confirm) = &mut plan.confirm {
        // At most an hour in a valid rack.
        confirm.within_s = limits.confirm.duration().as_secs() as u32;
        confirm.probes = gateways(surveyed);
    }
    plan
}

fn gateways(surveyed: &Surveyed) -> Vec<Probe> {
    let mut seen = BTreeSet::new();
    let defaults = surveyed.facts.network.routes.iter().filter(|r| r.to.prefix_len() == 0);
    let hops = defaults.filter_map(|r| Some((r.via?, r.link.as_ref()?.parse().ok()?)));
    hops.filter(|(ip, _)| seen.insert(*ip))
        .map(|(ip, link)| Probe {
            link,
            spans: vec![Span { first: ip, last: ip }],
            patience: Patience::Quick,
            as_ourselves: true,
        })
        .collect()
}

/// Shows a plan on standard output: for people, or as the very bytes that `-o` saves.
pub fn show(context: &Context, plan: &Plan, next: &str) {
    context.console.data(|out| match context.json {
        true => out.write_all(&bytes(plan)),
        false => report::plan::text(out, plan, Some(next), context.view()),
    });
}

/// A plan's bytes: equal plans have equal bytes.
pub fn bytes(plan: &Plan) -> Vec<u8> {
    // Values of these types always serialise.
    let mut bytes = serde_json::to_vec_pretty(plan).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// Writes a plan whole or not at all, readable by its owner only: it may hold the content of files.
fn save(path: &Path, plan: &Plan) -> std::io::Result<()> {
    crate::atomic::write(path, &bytes(plan), 0o600)
}
