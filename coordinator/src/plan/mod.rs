//! Planning: a pure function of what the rack wants and what an agent saw. The same inputs give the same bytes.
//!
//! 1. [`steps`] says what follows from the rack and the kernel's version alone: these are sent to the agent to
//!    be observed.
//! 2. [`node_plan`] adds what only the facts tell (swap areas, lines of fstab, what the ledger still holds that
//!    the rack no longer wants), decides each step and brings all of them into order.
//! 3. [`revert_plan`] undoes all that the ledger tells. [`stale`] says what changed since a plan was saved.

mod decide;
mod file;
mod forward;
mod kernel;
mod memory;
mod order;
mod stale;
#[cfg(test)]
mod tests;
mod tool;
mod undo;
mod unit;
mod wanted;

use std::collections::BTreeSet;

use rackwright_proto::facts::{Basics, Facts};
use rackwright_proto::finding::Finding;
use rackwright_proto::name::NodeName;
use rackwright_proto::plan::{Confirm, NodePlan, PlannedStep};
use rackwright_proto::receipt::Entry;
use rackwright_proto::step::{Decision, HostStep, Seen};

use crate::findings;

pub use kernel::{MODULES_FILE, SYSCTLS_FILE, after_module, same_switch};
pub use memory::{FSTAB_MARK, is_swap_entry};
pub use stale::{Difference, stale};
pub use tool::pushed;
pub use wanted::{
    Because, Conflict, Conflicts, NoArchive, ProxyMode, ProxyWanted, ToolWanted, UnitFile, Wanted, WatchUnits,
};

/// Where the link to the agent in use lies; units start the agent by it.
pub const AGENT_LINK: &str = "/usr/local/lib/rackwright/agent";

/// The unit that takes back, at boot, what nobody confirmed before.
pub const RESTORE_UNIT: &str = "rackwright-restore.service";

/// Seconds from the first risky act until the agent undoes all of them, unless confirmed.
pub const CONFIRM_WITHIN_S: u32 = 60;

/// A node's plan and what was found while making it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Steps that act, and steps that only have to be recorded. What a host cannot have is in `findings`.
    pub plan: NodePlan,
    /// One finding per module, and one for each step that cannot be done or undone.
    pub findings: Vec<Finding>,
}

/// All that follows from the rack and the kernel's version, in the order in which it would run.
pub fn steps(wanted: &Wanted, basics: &Basics) -> Result<Vec<Because<HostStep>>, Conflicts> {
    let kernel = kernel::Kernel::of(wanted, basics)?;
    let mut steps = kernel.steps(&BTreeSet::new());
    steps.extend(unit::steps(wanted, basics));
    steps.extend(tool::steps(wanted));
    steps.extend(file::steps(wanted, &steps)?);
    steps.sort_by_cached_key(|s| order::place(&s.what));
    Ok(steps)
}

/// Steps whose present state the planner needs and the facts lack: ask the agent for them before planning.
/// With [`Wanted::default`]: all that the ledger tells, for `revert` and `status`.
pub fn unobserved(wanted: &Wanted, facts: &Facts) -> Result<Vec<HostStep>, Conflicts> {
    let wants = wanted_steps(wanted, facts)?;
    // Whether a tool is held is known only once the cluster was asked.
    let tool = |entry: &Entry| matches!(entry.step, HostStep::Tool(_));
    let known = facts.ledger.entries.values().filter(|e| tool(e) || !held(wanted, &wants, e));
    let known = known.map(|e| e.step.clone());
    let known: Vec<HostStep> = known.collect();
    let mut keys = BTreeSet::new();
    let wants = wants.into_iter().map(|s| s.what);
    Ok(wants.chain(known).filter(|s| look(facts, s).is_none() && keys.insert(s.key())).collect())
}

/// What is to happen on a node so that it becomes what the rack wants. Only steps that act, or that the ledger
/// does not know yet, are in it: a plan for a host that is as wanted is empty.
pub fn node_plan(node: &NodeName, wanted: &Wanted, facts: &Facts) -> Result<Planned, Conflicts> {
    let steps = wanted_steps(wanted, facts)?;
    let keys: BTreeSet<String> = steps.iter().map(|s| s.what.key()).collect();
    let leftover: Vec<&Entry> = facts
        .ledger
        .entries
        .iter()
        .filter(|(key, entry)| !keys.contains(*key) && !held(wanted, &steps, entry))
        .map(|(_, entry)| entry)
        .collect();
    let (wants, mut found) = decide::wants(node, steps, facts);
    found.extend(memory::unclear(node, wanted, facts));
    found.extend(tool::missing(node, wanted, facts));
    let (undos, more) = undo::undo(node, leftover.into_iter(), facts, "no longer wanted by the rack");
    found.extend(more);
    Ok(finish(node, facts, wants, undos, found))
}

/// Undoes all that the ledger tells, newest first. What somebody else changed since is reported and left alone.
pub fn revert_plan(node: &NodeName, facts: &Facts) -> Planned {
    let (undos, found) = undo::undo(node, facts.ledger.entries.values(), facts, "revert");
    finish(node, facts, Vec::new(), undos, found)
}

fn finish(
    node: &NodeName,
    facts: &Facts,
    wants: Vec<PlannedStep>,
    undos: Vec<PlannedStep>,
    findings: Vec<Finding>,
) -> Planned {
    let mut steps = order::arrange(wants, undos);
    steps.retain(|s| decide::needs_run(s, facts));
    let acts_risky = steps.iter().any(|s| s.step.risky() && matches!(s.decision, Decision::Change { .. }));
    let confirm = acts_risky.then(|| Confirm { within_s: CONFIRM_WITHIN_S, probes: Vec::new() });
    let machine_id = facts.basics.machine_id.clone();
    Planned { plan: NodePlan { node: node.clone(), machine_id, steps, confirm }, findings }
}

/// [`steps`] and what only the facts tell, less what this host's kernel cannot load.
fn wanted_steps(wanted: &Wanted, facts: &Facts) -> Result<Vec<Because<HostStep>>, Conflicts> {
    let kernel = kernel::Kernel::of(wanted, &facts.basics)?;
    let impossible: BTreeSet<_> = decide::impossible(&kernel, facts).into_keys().collect();
    let modules_file = format!("file/{MODULES_FILE}");
    let mut steps = steps(wanted, &facts.basics)?;
    steps.retain(|s| s.what.key() != modules_file);
    steps.extend(kernel.modules_file(&impossible));
    steps.extend(memory::steps(wanted, facts));
    steps.extend(tool::from_receipts(wanted, facts));
    steps.extend(forward::steps(&steps, facts));
    Ok(steps)
}

/// Whether a ledger entry is still wanted although the facts no longer lead to it.
fn held(wanted: &Wanted, steps: &[Because<HostStep>], entry: &Entry) -> bool {
    memory::holds(wanted, &entry.step) || forward::holds(steps, entry) || tool::holds(wanted, &entry.step)
}

/// What was seen where a step would put something. Swap is a fact of its own.
pub(crate) fn look(facts: &Facts, step: &HostStep) -> Option<Seen> {
    memory::seen(facts, step).or_else(|| facts.seen.get(&step.key()).cloned())
}

/// The finding for a step that nobody looked at, which is no fault of the host.
fn unseen(node: &NodeName, step: &HostStep) -> Finding {
    findings::kernel::not_observed(node, step)
}
