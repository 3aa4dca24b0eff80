//! The order in which steps run.
//!
//! What could cut the node off comes last, so that all else is done when the timer of rule 7 starts. Within
//! both halves what lasts comes before what is live: a power cut in between leaves a host that boots right.

use rackwright_proto::kernel::KernelStep;
use rackwright_proto::plan::PlannedStep;
use rackwright_proto::step::HostStep;

use super::kernel::{MODULES_FILE, SYSCTLS_FILE, forwarding_first};

/// Where a step stands among those that the rack wants; the last part makes the order total.
pub(super) fn place(step: &HostStep) -> (bool, u8, u8, String) {
    let first = match step {
        HostStep::Kernel(KernelStep::Sysctl(s)) => forwarding_first(&s.key),
        _ => 0,
    };
    (step.risky(), rank(step), first, step.key())
}

fn rank(step: &HostStep) -> u8 {
    match step {
        HostStep::File(f) if f.path == MODULES_FILE => 0,
        HostStep::Kernel(KernelStep::Module(_)) => 1,
        HostStep::File(f) if f.path == SYSCTLS_FILE => 5,
        HostStep::File(_) => 2,
        HostStep::Unit(_) => 3,
        HostStep::Memory(_) => 4,
        HostStep::Kernel(KernelStep::Sysctl(_)) => 6,
    }
}

/// Wants in their order, then undos in the order given (newest first), risky ones of both after all others.
pub(super) fn arrange(mut wants: Vec<PlannedStep>, undos: Vec<PlannedStep>) -> Vec<PlannedStep> {
    wants.sort_by_cached_key(|s| place(&s.step));
    let (risky, calm): (Vec<_>, Vec<_>) = wants.into_iter().chain(undos).partition(|s| s.step.risky());
    calm.into_iter().chain(risky).collect()
}
