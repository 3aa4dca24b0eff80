//! The order in which steps run.
//!
//! What could cut the node off comes last, so that all else is done when the timer of rule 7 starts. Within
//! both halves what lasts comes before what is live: a power cut in between leaves a host that boots right.
//! Behind it comes only the undoing of what would take it back at boot.

use rackwright_proto::kernel::{KernelSeen, KernelStep, SysctlSeen, SysctlStep};
use rackwright_proto::name::SysctlKey;
use rackwright_proto::plan::{PlannedStep, Purpose};
use rackwright_proto::step::{Decision, HostStep, Seen};
use rackwright_proto::tool::ToolStep;

use super::kernel::{MODULES_FILE, SYSCTLS_FILE, forwarding_first};
use super::{AGENT_LINK, RESTORE_UNIT};

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
        HostStep::Tool(ToolStep::Tree(_)) => 7,
        HostStep::Tool(ToolStep::Link(_)) => 8,
        HostStep::Kernel(KernelStep::Sysctl(_)) => 6,
    }
}

/// Wants in their order, then undos in the order given (newest first), risky ones of both after all others.
/// Then switches whose writing resets other sysctls, and those sysctls once more. Last of all, undos of what takes
/// unconfirmed changes back at boot: it is needed until these are confirmed.
pub(super) fn arrange(mut wants: Vec<PlannedStep>, undos: Vec<PlannedStep>) -> Vec<PlannedStep> {
    wants.sort_by_cached_key(|s| place(&s.step));
    let (guards, undos): (Vec<_>, Vec<_>) = undos.into_iter().partition(|s| is_guard(&s.step));
    let (risky, calm): (Vec<_>, Vec<_>) = wants.into_iter().chain(undos).partition(|s| s.step.risky());
    let (switches, risky): (Vec<_>, Vec<_>) = risky.into_iter().partition(is_switch);
    let (mut followers, risky): (Vec<_>, Vec<_>) =
        risky.into_iter().partition(|s| sysctl(s).is_some_and(|s| follows(&s.key).is_some()));
    let again: Vec<PlannedStep> = followers.iter().filter_map(|s| set_again(s, &switches)).collect();
    // A wanted one runs before, too, so that its first record tells what was there before the switch.
    followers.retain(|s| s.purpose == Purpose::Want || !again.iter().any(|a| a.step == s.step));
    [calm, risky, followers, switches, again, guards].into_iter().flatten().collect()
}

/// A part of what takes back, at boot, changes that nobody confirmed: the unit, its file, and the agent it starts.
fn is_guard(step: &HostStep) -> bool {
    match step {
        HostStep::File(file) => file.path == AGENT_LINK || file.path == super::unit::path_of(RESTORE_UNIT),
        HostStep::Unit(unit) => unit.name.as_str() == RESTORE_UNIT,
        HostStep::Kernel(_) | HostStep::Memory(_) | HostStep::Tool(_) => false,
    }
}

/// Sysctls whose writing makes the kernel write others (`inet_forward_change`, `addrconf_forward_change` and
/// `addrconf_disable_change` of Linux).
const SWITCHES: [&str; 3] =
    ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv6.conf.all.disable_ipv6"];

fn is_switch(step: &PlannedStep) -> bool {
    sysctl(step).is_some_and(|s| SWITCHES.contains(&s.key.as_str()))
}

fn sysctl(step: &PlannedStep) -> Option<&SysctlStep> {
    match &step.step {
        HostStep::Kernel(KernelStep::Sysctl(sysctl)) => Some(sysctl),
        _ => None,
    }
}

/// The switch that resets a sysctl, and whether to the opposite of its own value.
fn follows(key: &SysctlKey) -> Option<(&'static str, bool)> {
    let parts: Vec<&str> = key.as_str().split('.').collect();
    match parts[..] {
        ["net", "ipv4", "conf", "all", "accept_redirects"] => Some((SWITCHES[0], true)),
        ["net", "ipv4", "conf", _, "forwarding"] => Some((SWITCHES[0], false)),
        ["net", "ipv6", "conf", link, "forwarding"] if link != "all" => Some((SWITCHES[1], false)),
        ["net", "ipv6", "conf", link, "disable_ipv6"] if link != "all" => Some((SWITCHES[2], false)),
        _ => None,
    }
}

/// The same step for after its switch, when that acts and leaves another value; it sees what the switch leaves.
fn set_again(step: &PlannedStep, switches: &[PlannedStep]) -> Option<PlannedStep> {
    let (switch, opposite) = follows(&sysctl(step)?.key)?;
    let acts = |s: &&PlannedStep| matches!(s.decision, Decision::Change { .. });
    let switch = switches.iter().filter(acts).filter_map(sysctl).find(|s| s.key.as_str() == switch)?;
    let left = if (switch.value != "0") != opposite { "1" } else { "0" };
    let seen = Seen::Kernel(KernelSeen::Sysctl(SysctlSeen::Value { value: left.to_owned() }));
    let decision = step.step.decide(&seen);
    let differs = matches!(decision, Decision::Change { .. });
    differs.then(|| PlannedStep {
        seen,
        decision,
        why: format!("{}; {} resets it", step.why, switch.key),
        ..step.clone()
    })
}
