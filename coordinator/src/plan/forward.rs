//! Links that forward although the host as such does not.
//!
//! Switching `net.ipv4.ip_forward` sets every link's own `forwarding` with it (`inet_forward_change` of Linux). Such
//! a link is put on record as a step that finds what it wants, so that an undo sets it again after the switch.

use rackwright_proto::facts::Facts;
use rackwright_proto::kernel::{KernelStep, SysctlStep};
use rackwright_proto::name::SysctlKey;
use rackwright_proto::receipt::Entry;
use rackwright_proto::step::HostStep;

use super::wanted::Because;

const SWITCH: &str = "net.ipv4.ip_forward";

/// A step for each such link that none of `steps` names, where they are about to switch forwarding on.
pub(super) fn steps(steps: &[Because<HostStep>], facts: &Facts) -> Vec<Because<HostStep>> {
    if !switched_on(steps) || facts.network.arp_all.forwarding != 0 {
        return Vec::new();
    }
    let links = facts.network.links.iter().filter(|link| link.arp.forwarding != 0);
    let named = |key: &SysctlKey| steps.iter().any(|s| sysctl(&s.what).is_some_and(|s| s.key == *key));
    let keys = links.filter_map(|link| format!("net/ipv4/conf/{}/forwarding", link.name).parse().ok());
    let step = |key| {
        let step = SysctlStep { key, value: "1".to_owned(), after_module: None };
        Because::new(HostStep::Kernel(KernelStep::Sysctl(step)), format!("{SWITCH} sets it, too"))
    };
    keys.filter(|key| !named(key)).map(step).collect()
}

/// Whether a ledger entry is such a link's: once the host forwards, the facts no longer lead to it.
pub(super) fn holds(steps: &[Because<HostStep>], entry: &Entry) -> bool {
    let of_link = sysctl(&entry.step).is_some_and(|s| {
        let key = s.key.as_str();
        key.starts_with("net.ipv4.conf.") && key.ends_with(".forwarding")
    });
    of_link && entry.step.inverse(&entry.before).is_none() && switched_on(steps)
}

fn switched_on(steps: &[Because<HostStep>]) -> bool {
    steps.iter().filter_map(|s| sysctl(&s.what)).any(|s| s.key.as_str() == SWITCH && s.value == "1")
}

fn sysctl(step: &HostStep) -> Option<&SysctlStep> {
    match step {
        HostStep::Kernel(KernelStep::Sysctl(sysctl)) => Some(sysctl),
        _ => None,
    }
}
