//! `rackwright check`: observe everything, report, change nothing.

use rackwright_proto::facts::Depth;
use rackwright_proto::finding::{Finding, Severity};

use super::{Context, blocked, split};
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
    let mut found = judge::facts(&context.loaded.rack, &heard, &scene::of(&context.loaded.rack, &heard));
    found.extend(planning(&heard));
    found.extend(probed(&context.loaded.rack, &mut heard, context.parallel).await);
    let found = judge::settle(&context.loaded.rack, found, context.asked(&heard));
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
    } else if lost.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    }
}

/// What planning finds on each host: modules that are missing, steps that cannot be.
pub fn planning(heard: &[Surveyed]) -> Vec<Finding> {
    let plans = heard.iter().filter_map(|s| plan::node_plan(&s.session.node, &s.wanted, &s.facts).ok());
    plans.flat_map(|planned| planned.findings).collect()
}

/// Asks the segments, unless the rack says not to, and judges the answers.
pub async fn probed(rack: &Rack, heard: &mut [Surveyed], parallel: usize) -> Vec<Finding> {
    if scene::patience(rack).is_none() {
        return Vec::new();
    }
    let probes = Probes::of(&scene::of(rack, heard));
    let asked = probes.together();
    if asked.is_empty() {
        return Vec::new();
    }
    let answers = survey::probe(heard, parallel, &asked).await;
    probes.judge(&scene::of(rack, heard), answers)
}

/// Ends all sessions.
pub async fn close(heard: Vec<Surveyed>) {
    crate::fleet::each(heard.len(), heard, |s| s.session.close()).await;
}

/// Errors and warnings only: what a plan keeps of the findings.
pub fn problems(found: &[Finding]) -> Vec<Finding> {
    found.iter().filter(|f| f.severity != Severity::Pass).cloned().collect()
}
