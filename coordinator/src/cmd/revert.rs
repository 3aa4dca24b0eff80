//! `rackwright revert`: another plan, computed from the receipts on the nodes.

use super::apply::{Work, carry_out, observe};
use super::check::problems;
use super::{Context, cluster, plan};
use crate::cli::RevertArgs;
use crate::cluster::plan as cluster_plan;
use crate::console::Console;
use crate::exit::Exit;
use crate::judge::{self, Asked};
use crate::report::apply::{NodeOutcome, NodeResult};
use crate::survey::About;

/// Runs the command.
pub async fn run(console: Console, args: RevertArgs) -> Exit {
    let context = match Context::load(console, &args.common.rack, &args.common) {
        Ok(context) => context,
        Err(exit) => return exit,
    };
    let (mut heard, lost, mut outcomes) = observe(&context, About::Receipts).await;
    context.say_lost(&lost);
    outcomes.extend(lost.iter().map(|(node, error)| {
        NodeOutcome::idle(node.clone(), NodeResult::NotReached { fault: error.fault() })
    }));
    let mut found = Vec::new();
    let mut nodes = Vec::new();
    for one in &heard {
        let planned = crate::plan::revert_plan(&one.session.node, &one.facts);
        nodes.push(plan::confirmable(planned.plan, one, context.loaded.rack.limits()));
        found.extend(planned.findings);
    }
    let cluster = cluster::find(&context, &mut heard, cluster::About::Receipts).await;
    let part = cluster.sight().map(|sight| {
        let planned = cluster_plan::revert(&sight.facts);
        found.extend(planned.findings);
        cluster_plan::part(&sight.facts, planned.steps)
    });
    let found = problems(&judge::settle(&context.loaded.rack, found, Asked::Some));
    let mut plan = plan::make(&context, nodes, found, true);
    plan.cluster = part;
    carry_out(&context, Work { plan, heard, outcomes, cluster }, args.yes, "revert").await
}
