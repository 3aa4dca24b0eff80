//! `rackwright revert`: another plan, computed from the receipts on the nodes.

use super::apply::{carry_out, observe};
use super::check::problems;
use super::{Context, plan};
use crate::cli::RevertArgs;
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
    let (heard, lost, mut outcomes) = observe(&context, About::Receipts).await;
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
    let plan =
        plan::make(&context, nodes, problems(&judge::settle(&context.loaded.rack, found, Asked::Some)), true);
    carry_out(&context, plan, heard, outcomes, args.yes, "revert").await
}
