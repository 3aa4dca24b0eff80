//! `rackwright status`: what is in effect by our doing, and what drifted since.

use rackwright_proto::facts::Depth;

use super::Context;
use super::check::close;
use super::cluster::{self, Found};
use super::prove;
use crate::cli::CommonArgs;
use crate::cluster::outcome::{ClusterStatus, Proof};
use crate::console::Console;
use crate::exit::Exit;
use crate::report;
use crate::report::status::{ClusterState, NodeStatus, State};
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
    let found = cluster::find(&context, &mut heard, cluster::About::Receipts).await;
    let state = match &found {
        Found::Unwanted | Found::Aside => None,
        Found::Absent => Some(ClusterState::Absent),
        Found::Lost(fault) => Some(ClusterState::NotReached { fault: fault.clone() }),
        Found::Here(here) => Some(ClusterState::Known(Box::new(ClusterStatus::of(&here.sight.facts)))),
    };
    let proof = match &found {
        Found::Here(here) => prove::services(&context, &here.sight.facts, &mut heard).await,
        _ => Proof::default(),
    };
    let whole = report::status::Whole { nodes: &nodes, cluster: state.as_ref(), proof: &proof };
    console.data(|out| match context.json {
        true => report::status::json_text(out, &whole),
        false => report::status::text(out, &whole, context.view()),
    });
    close(heard).await;
    match () {
        () if nodes.iter().any(|n| matches!(n.state, State::NotReached { .. })) => Exit::Failed,
        () if matches!(found, Found::Lost(_)) => Exit::Failed,
        () if state.is_some_and(|s| s.drifted()) || proof.errors() > 0 => Exit::Differences,
        () if nodes.iter().any(NodeStatus::drifted) => Exit::Differences,
        () => Exit::Done,
    }
}
