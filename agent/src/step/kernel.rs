//! Kernel modules and sysctls.

use rackwright_proto::fault::Fault;
use rackwright_proto::kernel::{KernelSeen, KernelStep};

use crate::host::Host;
use crate::host::modules::Modules;

/// What the host has where `step` would put something. Changes nothing.
pub async fn observe(step: &KernelStep, host: &Host) -> Result<KernelSeen, Fault> {
    match step {
        KernelStep::Module(_) => observe_with(step, host, &Modules::read(host)?),
        KernelStep::Sysctl(step) => host.sysctl(&step.key).map(KernelSeen::Sysctl),
    }
}

/// The same for one of many steps that are observed at one time: the kernel's tables are read once for all.
pub fn observe_with(step: &KernelStep, host: &Host, modules: &Modules<'_>) -> Result<KernelSeen, Fault> {
    match step {
        KernelStep::Module(step) => Ok(KernelSeen::Module(modules.seen(&step.name))),
        KernelStep::Sysctl(step) => host.sysctl(&step.key).map(KernelSeen::Sysctl),
    }
}

/// Does what `step` says.
pub async fn act(step: &KernelStep, host: &Host) -> Result<(), Fault> {
    match step {
        KernelStep::Module(step) if step.loaded => host.load_module(&step.name).await,
        KernelStep::Module(step) => host.unload_module(&step.name).await,
        KernelStep::Sysctl(step) => host.set_sysctl(&step.key, &step.value),
    }
}
