//! Kernel modules and sysctls.

use serde::{Deserialize, Serialize};

use crate::name::{ModuleName, SysctlKey};
use crate::step::Decision;

/// A step of the kernel family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum KernelStep {
    /// A module in or out of the running kernel.
    Module(ModuleStep),
    /// A live sysctl.
    Sysctl(SysctlStep),
}

/// What a host has, in the kernel family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelSeen {
    /// Of a module.
    Module(ModuleSeen),
    /// Of a sysctl.
    Sysctl(SysctlSeen),
}

/// A module that shall be loaded now, or (as the inverse) not. Persistence is a file step of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleStep {
    /// The module.
    pub name: ModuleName,
    /// Loaded, or unloaded.
    pub loaded: bool,
}

/// What the kernel and its tree say of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum ModuleSeen {
    /// In `/proc/modules`, used by `users` others.
    Loaded {
        /// The use count of `/proc/modules`.
        #[serde(default)]
        users: u32,
    },
    /// Part of the kernel image.
    BuiltIn,
    /// In `modules.dep`, not loaded.
    Loadable,
    /// Not in the tree of the running kernel.
    Missing {
        /// The running kernel's release.
        release: String,
    },
    /// In the tree, but held back by modprobe.d(5).
    Blacklisted {
        /// The file that holds it back.
        file: String,
        /// The line there, from 1.
        line: u32,
    },
    /// The kernel cannot load modules, and this one is not built in.
    NoModules,
}

/// A live sysctl. Persistence is a file step of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SysctlStep {
    /// The key.
    pub key: SysctlKey,
    /// The value, as `/proc/sys` would take it.
    pub value: String,
    /// The module that makes the key appear; its step comes earlier in the plan.
    #[serde(default)]
    pub after_module: Option<ModuleName>,
}

/// What `/proc/sys` says of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum SysctlSeen {
    /// Its value, without the final newline.
    Value {
        /// The value.
        value: String,
    },
    /// No such key.
    Absent,
}

impl KernelStep {
    pub(crate) fn title(&self) -> String {
        match self {
            Self::Module(s) if s.loaded => format!("load kernel module {}", s.name),
            Self::Module(s) => format!("unload kernel module {}", s.name),
            Self::Sysctl(s) => format!("set {} = {}", s.key, s.value),
        }
    }

    pub(crate) fn risky(&self) -> bool {
        match self {
            Self::Module(_) => false,
            Self::Sysctl(s) => sysctl_is_risky(&s.key),
        }
    }

    pub(crate) fn decide(&self, seen: &KernelSeen) -> Decision {
        match (self, seen) {
            (Self::Module(step), KernelSeen::Module(seen)) => step.decide(seen),
            (Self::Sysctl(step), KernelSeen::Sysctl(seen)) => step.decide(seen),
            _ => Decision::Refuse { why: "what was seen is of another kind".into() },
        }
    }

    pub(crate) fn inverse(&self, before: &KernelSeen) -> Option<KernelStep> {
        match (self, before) {
            (Self::Module(s), KernelSeen::Module(ModuleSeen::Loadable)) if s.loaded => {
                Some(Self::Module(ModuleStep { name: s.name.clone(), loaded: false }))
            }
            (Self::Sysctl(s), KernelSeen::Sysctl(SysctlSeen::Value { value }))
                if normalised(value) != normalised(&s.value) =>
            {
                Some(Self::Sysctl(SysctlStep {
                    key: s.key.clone(),
                    value: value.clone(),
                    after_module: s.after_module.clone(),
                }))
            }
            _ => None,
        }
    }
}

impl KernelSeen {
    pub(crate) fn still(&self, now: &KernelSeen) -> bool {
        match (self, now) {
            (Self::Sysctl(SysctlSeen::Absent), Self::Sysctl(_)) => true,
            (
                Self::Sysctl(SysctlSeen::Value { value: then }),
                Self::Sysctl(SysctlSeen::Value { value: now }),
            ) => normalised(then) == normalised(now),
            // A dependency of an earlier module may have loaded this one; the use count moves by itself.
            (Self::Module(ModuleSeen::Loadable), Self::Module(ModuleSeen::Loaded { .. })) => true,
            (Self::Module(ModuleSeen::Loaded { .. }), Self::Module(ModuleSeen::Loaded { .. })) => true,
            (then, now) => then == now,
        }
    }
}

impl ModuleStep {
    fn decide(&self, seen: &ModuleSeen) -> Decision {
        match (self.loaded, seen) {
            (true, ModuleSeen::Loaded { .. } | ModuleSeen::BuiltIn) => Decision::Keep,
            (true, ModuleSeen::Loadable) => Decision::change("not loaded", "loaded"),
            (true, ModuleSeen::Missing { release }) => Decision::Refuse {
                why: format!(
                    "kernel {release} has no module {}; install the package that carries it (often linux-modules-extra-{release}) or boot a kernel that has it",
                    self.name
                ),
            },
            (true, ModuleSeen::Blacklisted { file, line }) => Decision::Refuse {
                why: format!(
                    "{file}:{line} holds module {} back, so it would be missing after a reboot; remove that line",
                    self.name
                ),
            },
            (true, ModuleSeen::NoModules) => Decision::Unsupported {
                why: format!("this kernel loads no modules, and {} is not built in", self.name),
            },
            (false, ModuleSeen::Loaded { users: 0 }) => Decision::change("loaded", "not loaded"),
            (false, ModuleSeen::Loaded { users }) => Decision::Unsupported {
                why: format!("module {} is in use ({users} users); it goes at the next reboot", self.name),
            },
            (false, _) => Decision::Keep,
        }
    }
}

impl SysctlStep {
    fn decide(&self, seen: &SysctlSeen) -> Decision {
        match seen {
            SysctlSeen::Value { value } if normalised(value) == normalised(&self.value) => Decision::Keep,
            SysctlSeen::Value { value } => Decision::change(normalised(value), normalised(&self.value)),
            SysctlSeen::Absent => match &self.after_module {
                Some(module) => {
                    Decision::change(format!("absent until {module} is loaded"), normalised(&self.value))
                }
                None => Decision::Unsupported { why: format!("this kernel has no sysctl {}", self.key) },
            },
        }
    }
}

/// A sysctl's value as the kernel would print it: fields separated by one blank.
pub fn normalised(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a wrong value could make the host unreachable: forwarding, reverse path filter and ARP answers.
pub fn sysctl_is_risky(key: &SysctlKey) -> bool {
    const LAST: [&str; 10] = [
        "ip_forward",
        "forwarding",
        "rp_filter",
        "arp_ignore",
        "arp_announce",
        "arp_filter",
        "disable_ipv6",
        "accept_ra",
        "accept_local",
        // Harmless by itself, but writing ip_forward resets it, so it must not come before the risky ones.
        "accept_redirects",
    ];
    let key = key.as_str();
    key.starts_with("net.") && key.rsplit('.').next().is_some_and(|last| LAST.contains(&last))
}
