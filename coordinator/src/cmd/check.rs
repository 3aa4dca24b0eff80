//! `rackwright check`: observe everything, report, change nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rackwright_proto::facts::Depth;
use rackwright_proto::finding::{Finding, Severity};

use super::cluster::{self, Found};
use super::{Context, blocked, mesh, prove, split};
use crate::cli::CheckArgs;
use crate::console::Console;
use crate::exit::Exit;
use crate::judge::{self, Probes};
use crate::rack::Rack;
use crate::report;
use crate::report::check::{Looked, NotReached};
use crate::survey::{self, About, Surveyed};
use crate::{plan, scene};

/// Runs the command.
pub async fn run(console: Console, args: CheckArgs) -> Exit {
    let context = match Context::load(console, &args.common.rack, &args.common) {
        Ok(context) => context,
        Err(exit) => return exit,
    };
    let (mut heard, lost) =
        split(context.surveyor().survey(&context.nodes(), About::Rack, Depth::Full).await);
    let cluster = cluster::find(&context, &mut heard, cluster::About::Rack).await;
    let found = everything(&context, &cluster, &mut heard).await;
    context.say_lost(&lost);
    let facts = heard.iter().map(|s| (s.session.node.to_string(), &s.facts)).collect();
    let not_reached = lost.iter().map(|(node, e)| NotReached { node: node.clone(), fault: e.fault() });
    let looked = Looked { nodes: heard.len(), not_reached: not_reached.collect() };
    let view = report::plan::View { verbose: context.view().verbose || args.all, ..context.view() };
    console.data(|out| match context.json {
        true => report::check::json_text(out, &found, &looked, &facts),
        false => report::check::text(out, &found, &looked, view),
    });
    close(heard).await;
    if blocked(&found) {
        Exit::Refused
    } else if lost.is_empty() && !matches!(cluster, Found::Lost(_)) {
        Exit::Done
    } else {
        Exit::Failed
    }
}

/// All findings: of hosts, of segments, of the cluster as it is and of what is wanted there, and the proof.
async fn everything(context: &Context, cluster: &Found, heard: &mut [Surveyed]) -> Vec<Finding> {
    let rack = &context.loaded.rack;
    let scene = scene::of(rack, heard, cluster.served());
    let mut found = judge::facts(rack, heard, &scene);
    found.extend(planning(heard));
    found.extend(cluster.findings(rack, heard));
    found.extend(probed(rack, heard, context.parallel, cluster.served()).await);
    if let Found::Here(cluster) = cluster {
        let live = judge::live(rack, heard, &cluster.sight);
        // Some of it stands against the rack, too, and was found already.
        let new: Vec<Finding> = live.into_iter().filter(|f| !found.contains(f)).collect();
        found.extend(new);
        let names = prove::names(context, &cluster.sight.facts, heard).await;
        found.extend(mesh::gate_of(context, &cluster.sight.facts, heard, &names).await);
        found.extend(names);
        found.extend(prove::services(context, &cluster.sight.facts, heard).await.findings);
    }
    judge::settle(rack, found, context.asked(heard))
}

/// What planning finds on each host: modules that are missing, steps that cannot be.
pub fn planning(heard: &[Surveyed]) -> Vec<Finding> {
    let plans = heard.iter().filter_map(|s| plan::node_plan(&s.session.node, &s.wanted, &s.facts).ok());
    plans.flat_map(|planned| planned.findings).collect()
}

/// Asks the segments, unless the rack says not to, and judges the answers. `served` are addresses that the cluster's
/// own Services have: somebody answers for those.
pub async fn probed(
    rack: &Rack,
    heard: &mut [Surveyed],
    parallel: usize,
    served: Option<BTreeSet<IpAddr>>,
) -> Vec<Finding> {
    if scene::patience(rack).is_none() {
        return Vec::new();
    }
    let probes = Probes::of(&scene::of(rack, heard, served.clone()));
    let asked = probes.together();
    if asked.is_empty() {
        return Vec::new();
    }
    let answers = survey::probe(heard, parallel, &asked).await;
    probes.judge(&scene::of(rack, heard, served), answers)
}

/// Ends all sessions.
pub async fn close(heard: Vec<Surveyed>) {
    crate::fleet::each(heard.len(), heard, |s| s.session.close()).await;
}

/// Errors and warnings only: what a plan keeps of the findings.
pub fn problems(found: &[Finding]) -> Vec<Finding> {
    found.iter().filter(|f| f.severity != Severity::Pass).cloned().collect()
}
