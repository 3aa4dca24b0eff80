//! `rackwright attach`: listen to runs that go on, or went on, without us.

use super::Context;
use super::push::{self, Following};
use crate::cli::AttachArgs;
use crate::cluster::outcome::Proof;
use crate::console::Console;
use crate::exit::Exit;
use crate::fleet;
use crate::report;
use crate::report::apply::{NodeOutcome, NodeResult};
use crate::report::progress::Progress;
use crate::survey::{NodeError, Session};

/// Runs the command.
pub async fn run(console: Console, args: AttachArgs) -> Exit {
    let context = match Context::load(console, &args.common.rack, &args.common) {
        Ok(context) => context,
        Err(exit) => return exit,
    };
    let nodes = context.nodes();
    let progress = context.console.progress(nodes.len());
    let sessions = context.surveyor().sessions(&nodes).await;
    let work = fleet::each(context.parallel, sessions, |(node, session)| {
        let (context, progress, args) = (&context, &progress, &args);
        async move {
            let done = match session {
                Ok(session) => one(context, session, args, progress).await,
                Err(error) => Err(error),
            };
            done.unwrap_or_else(|error| NodeOutcome::idle(node, lost(&error)))
        }
    });
    let outcomes = tokio::select! {
        outcomes = work => outcomes,
        _ = tokio::signal::ctrl_c() => return Exit::Detached,
    };
    progress.end();
    let whole = report::apply::Whole {
        run: args.run.as_ref(),
        nodes: &outcomes,
        cluster: None,
        proof: &Proof::default(),
        rack: context.rack_name(),
    };
    console.data(|out| match context.json {
        true => report::apply::json_text(out, &whole),
        false => report::apply::text(out, &whole, context.view()),
    });
    push::exit(&outcomes)
}

async fn one(
    context: &Context,
    mut session: Session,
    args: &AttachArgs,
    progress: &Progress,
) -> Result<NodeOutcome, NodeError> {
    let wanted = args.run.clone();
    let run = session.ask(async |agent| agent.attach(wanted, 0).await).await?;
    let node = session.node.clone();
    let target = session.target.clone();
    progress.say(&node, &format!("run {run}"));
    let mut following = Following { context, target, node, run, plan: None, witness: None, progress };
    Ok(following.to_its_end(Some(session)).await)
}

fn lost(error: &NodeError) -> NodeResult {
    match error {
        NodeError::Agent { .. } => NodeResult::Failed { fault: error.fault() },
        _ => NodeResult::NotReached { fault: error.fault() },
    }
}
