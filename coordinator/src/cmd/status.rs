//! `rackwright status`: what is in effect by our doing, and what drifted since.

use rackwright_proto::facts::Depth;

use super::Context;
use super::check::close;
use crate::cli::CommonArgs;
use crate::console::Console;
use crate::exit::Exit;
use crate::report;
use crate::report::status::{NodeStatus, State};
use crate::survey::About;

/// Runs the command.
pub async fn run(console: Console, args: CommonArgs) -> Exit {
    let context = match Context::load(console, &args.rack, &args) {
        Ok(context) => context,
        Err(exit) => return exit,
    };
    let mut heard = Vec::new();
    let mut nodes = Vec::new();
    for (node, result) in context.surveyor().survey(&context.nodes(), About::Receipts, Depth::Quick).await {
        match result {
            Ok(surveyed) => {
                nodes.push(NodeStatus::of(node, &surveyed.facts));
                heard.push(surveyed);
            }
            Err(error) => nodes.push(NodeStatus { node, state: State::NotReached { fault: error.fault() } }),
        }
    }
    console.data(|out| match context.json {
        true => report::status::json_text(out, &nodes),
        false => report::status::text(out, &nodes, context.view()),
    });
    close(heard).await;
    match () {
        () if nodes.iter().any(|n| matches!(n.state, State::NotReached { .. })) => Exit::Failed,
        () if nodes.iter().any(NodeStatus::drifted) => Exit::Differences,
        () => Exit::Done,
    }
}
