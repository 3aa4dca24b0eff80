//! What the planner meets: modules, sysctls and other steps that a host cannot have, and foreign changes.

use rackwright_proto::finding::Finding;
use rackwright_proto::kernel::{KernelSeen, KernelStep, ModuleSeen};
use rackwright_proto::name::NodeName;
use rackwright_proto::receipt::Entry;
use rackwright_proto::step::{Decision, HostStep, Seen};

use super::Check;
use crate::report::words;

/// The finding that goes with a decision: one for each module, and one for each step that cannot be done.
pub(crate) fn decided(
    node: &NodeName,
    step: &HostStep,
    seen: &Seen,
    decision: &Decision,
    why: &str,
) -> Option<Finding> {
    if let (HostStep::Kernel(KernelStep::Module(_)), Seen::Kernel(KernelSeen::Module(seen))) = (step, seen) {
        return Some(module(node, step, seen, decision, why));
    }
    let check =
        |name| Check::new(name, &[node], step.title(), format!("{} ({why})", step.title()), "possible");
    match decision {
        Decision::Unsupported { why } => {
            Some(check("step-unsupported").warning(why, "change the rack for this node, or waive it"))
        }
        Decision::Refuse { why } => {
            Some(check("step-refused").error(why, "mend that on the host, then check again"))
        }
        Decision::Keep | Decision::Change { .. } => None,
    }
}

fn module(node: &NodeName, step: &HostStep, seen: &ModuleSeen, decision: &Decision, why: &str) -> Finding {
    let subject = step.key().rsplit('/').next().unwrap_or_default().to_owned();
    let check = |name| {
        let checked = format!("kernel module {subject} ({why})");
        Check::new(name, &[node], subject.clone(), checked, "loaded, built in or loadable")
    };
    match (decision, seen) {
        (Decision::Unsupported { why }, _) => check("module-unsupported").warning(
            why,
            "boot a kernel that has it; in a container, load it on the machine below",
        ),
        (Decision::Refuse { .. }, ModuleSeen::Blacklisted { file, line }) => check("module-blacklisted").error(
            format!("held back by {file}:{line}"),
            format!("remove {file}:{line}; the module would be missing after a reboot"),
        ),
        (Decision::Refuse { .. }, ModuleSeen::Missing { release }) => check("module-missing").error(
            format!("not in the tree of kernel {release}"),
            format!("install the package that carries it (often linux-modules-extra-{release}), or boot a kernel that has it"),
        ),
        (Decision::Refuse { why }, _) => check("module-missing").error(why, "boot a kernel that has it"),
        (Decision::Keep | Decision::Change { .. }, seen) => check("module").pass(words::module(seen)),
    }
}

/// Something of ours that somebody else changed since.
pub(crate) fn changed_since(node: &NodeName, entry: &Entry, now: &Seen) -> Finding {
    let left = entry.after.as_ref().map_or_else(|| entry.step.title(), words::seen);
    let checked = format!("still as run {} left it", entry.run);
    Check::new("changed-by-others", &[node], words::subject(&entry.step), checked, left).warning(
        format!("{}; before us it was {}", words::seen(now), words::seen(&entry.before)),
        "left alone; set it by hand if it shall go back",
    )
}

/// A step whose present state nobody could tell.
pub(crate) fn not_observed(node: &NodeName, step: &HostStep) -> Finding {
    Check::new("not-observed", &[node], words::subject(step), "what is there now", "observed").error(
        "the agent did not say",
        "run `rackwright check` again; if it stays, the agent's log tells why",
    )
}

/// Something that may bring swap back at boot although the rack says off.
pub(crate) fn swap_unclear(node: &NodeName, what: &str, observed: &str) -> Finding {
    Check::new(
        "swap-unclear",
        &[node],
        what,
        "swap at the next boot",
        "something that rackwright can turn off",
    )
    .warning(observed, format!("see to it by hand that {what} brings no swap, then waive this"))
}
