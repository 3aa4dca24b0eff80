//! What is to be done about each step that the rack wants, given what was seen.

use std::collections::BTreeMap;

use rackwright_proto::facts::Facts;
use rackwright_proto::finding::Finding;
use rackwright_proto::kernel::{KernelSeen, KernelStep, ModuleStep, SysctlSeen};
use rackwright_proto::name::{ModuleName, NodeName};
use rackwright_proto::plan::{PlannedStep, Purpose};
use rackwright_proto::step::{Decision, HostStep, Seen};

use super::kernel::Kernel;
use super::wanted::Because;
use super::{look, unseen};
use crate::findings;

/// Steps that are kept or act, and findings for the rest.
pub(super) fn wants(
    node: &NodeName,
    steps: Vec<Because<HostStep>>,
    facts: &Facts,
) -> (Vec<PlannedStep>, Vec<Finding>) {
    let modules = steps.iter().filter_map(|s| match &s.what {
        HostStep::Kernel(KernelStep::Module(module)) => Some(module),
        _ => None,
    });
    let missing = unloadable(modules, facts);
    let (mut planned, mut found) = (Vec::new(), Vec::new());
    for Because { what: step, why } in steps {
        let Some(seen) = look(facts, &step) else {
            found.push(unseen(node, &step));
            continue;
        };
        let decision = decide(&step, &seen, &missing);
        found.extend(findings::kernel::decided(node, &step, &seen, &decision, &why));
        if matches!(decision, Decision::Keep | Decision::Change { .. }) {
            planned.push(PlannedStep { step, purpose: Purpose::Want, why, seen, decision });
        }
    }
    (planned, found)
}

/// Modules that this host cannot have, with the reason.
pub(super) fn impossible(kernel: &Kernel, facts: &Facts) -> BTreeMap<ModuleName, String> {
    let steps: Vec<_> =
        kernel.modules.iter().map(|m| ModuleStep { name: m.what.clone(), loaded: true }).collect();
    unloadable(steps.iter(), facts)
}

fn unloadable<'a>(
    modules: impl Iterator<Item = &'a ModuleStep>,
    facts: &Facts,
) -> BTreeMap<ModuleName, String> {
    let why = |module: &ModuleStep| {
        let step = HostStep::Kernel(KernelStep::Module(module.clone()));
        match step.decide(&look(facts, &step)?) {
            Decision::Unsupported { why } | Decision::Refuse { why } => Some((module.name.clone(), why)),
            Decision::Keep | Decision::Change { .. } => None,
        }
    };
    modules.filter_map(why).collect()
}

/// A sysctl that a module would bring is as impossible as the module.
fn decide(step: &HostStep, seen: &Seen, missing: &BTreeMap<ModuleName, String>) -> Decision {
    if let (
        HostStep::Kernel(KernelStep::Sysctl(sysctl)),
        Seen::Kernel(KernelSeen::Sysctl(SysctlSeen::Absent)),
    ) = (step, seen)
        && let Some((module, why)) = sysctl.after_module.as_ref().and_then(|m| missing.get_key_value(m))
    {
        return Decision::Unsupported { why: format!("it comes with module {module}: {why}") };
    }
    step.decide(seen)
}

/// What is as wanted and known to the ledger as just this step needs no run.
pub(super) fn needs_run(planned: &PlannedStep, facts: &Facts) -> bool {
    let entry = facts.ledger.entries.get(&planned.step.key());
    let known = entry.is_some_and(|e| e.step == planned.step && e.after.is_some());
    !(planned.purpose == Purpose::Want && planned.decision == Decision::Keep && known)
}
