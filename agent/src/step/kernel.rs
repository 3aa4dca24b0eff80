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

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a made-up tree needs its files")]
mod tests {
    use rackwright_proto::kernel::{ModuleSeen, ModuleStep, SysctlSeen, SysctlStep};

    use super::*;

    #[tokio::test]
    async fn modules_and_sysctls_are_observed_alike_alone_and_together() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("proc/sys/net/ipv4")).unwrap();
        std::fs::write(tree.path().join("proc/modules"), "ip_vs 200704 3 ip_vs_rr, Live 0x0\n").unwrap();
        std::fs::write(tree.path().join("proc/sys/net/ipv4/ip_forward"), "1\n").unwrap();
        let host = Host::at(tree.path());
        let modules = Modules::read(&host).unwrap();
        let module = ModuleStep { name: "ip_vs".parse().unwrap(), loaded: true };
        let key = "net.ipv4.ip_forward".parse().unwrap();
        let sysctl = SysctlStep { key, value: "1".into(), after_module: None };
        for (step, wanted) in [
            (KernelStep::Module(module), KernelSeen::Module(ModuleSeen::Loaded { users: 3 })),
            (KernelStep::Sysctl(sysctl), KernelSeen::Sysctl(SysctlSeen::Value { value: "1".into() })),
        ] {
            assert_eq!(observe(&step, &host).await.unwrap(), wanted);
            assert_eq!(observe_with(&step, &host, &modules).unwrap(), wanted);
        }
    }
}
