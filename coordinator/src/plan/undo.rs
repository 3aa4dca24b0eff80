//! Undoing what the ledger tells.
//!
//! A value that somebody else changed since is theirs: it is reported, left alone, and no longer ours to undo.

use rackwright_proto::facts::Facts;
use rackwright_proto::file::{FileSeen, FileStep, FileWant};
use rackwright_proto::finding::Finding;
use rackwright_proto::kernel::{KernelSeen, KernelStep, ModuleSeen, ModuleStep, SysctlSeen, SysctlStep};
use rackwright_proto::memory::SwapStep;
use rackwright_proto::name::NodeName;
use rackwright_proto::plan::{PlannedStep, Purpose};
use rackwright_proto::receipt::Entry;
use rackwright_proto::step::{Decision, HostStep, Seen};
use rackwright_proto::tool::{LinkSeen, LinkStep, ToolSeen, ToolStep, TreeSeen, TreeStep};
use rackwright_proto::unit::{AtBoot, UnitStep};

use super::memory::fstab_restored;
use super::{look, unseen};
use crate::findings;

/// Undo steps for these entries, newest first, and what stands in the way of others.
pub(super) fn undo<'a>(
    node: &NodeName,
    entries: impl Iterator<Item = &'a Entry>,
    facts: &Facts,
    why: &str,
) -> (Vec<PlannedStep>, Vec<Finding>) {
    let mut entries: Vec<&Entry> = entries.collect();
    entries.sort_by_key(|e| std::cmp::Reverse(e.order));
    let (mut planned, mut found) = (Vec::new(), Vec::new());
    for entry in entries {
        let Some(seen) = look(facts, &entry.step) else {
            found.push(unseen(node, &entry.step));
            continue;
        };
        let step = match undone(entry, &seen) {
            Undone::Step(step) => Some(step),
            Undone::Theirs => {
                found.push(findings::kernel::changed_since(node, entry, &seen));
                as_it_is(&entry.step, &seen)
            }
        };
        let Some(step) = step else { continue };
        let decision = step.decide(&seen);
        if matches!(decision, Decision::Refuse { .. }) {
            found.extend(findings::kernel::decided(node, &step, &seen, &decision, why));
            continue;
        }
        planned.push(PlannedStep { step, purpose: Purpose::Undo, why: why.to_owned(), seen, decision });
    }
    (planned, found)
}

enum Undone {
    /// This brings back what was there before, or finds it already there.
    Step(HostStep),
    /// Somebody else changed it since.
    Theirs,
}

fn undone(entry: &Entry, now: &Seen) -> Undone {
    if let Some(step) = fstab_restored(&entry.step, now) {
        return Undone::Step(step);
    }
    let Some(inverse) = entry.step.inverse(&entry.before).map(without_module) else {
        // We found it as wanted, so there is nothing to bring back: only the record goes.
        return as_it_is(&entry.step, now).map_or(Undone::Theirs, Undone::Step);
    };
    match inverse.decide(now) {
        Decision::Keep | Decision::Unsupported { .. } => Undone::Step(inverse),
        Decision::Change { .. } | Decision::Refuse { .. } if is_ours(entry, now) => Undone::Step(inverse),
        Decision::Change { .. } | Decision::Refuse { .. } => Undone::Theirs,
    }
}

/// What is there now is what we left, or what we were about to leave when a run was cut off.
fn is_ours(entry: &Entry, now: &Seen) -> bool {
    entry.after.as_ref().is_some_and(|after| after.still(now)) || entry.step.decide(now) == Decision::Keep
}

/// An undo loads no module, so a key that is gone stays gone.
fn without_module(step: HostStep) -> HostStep {
    match step {
        HostStep::Kernel(KernelStep::Sysctl(s)) => {
            HostStep::Kernel(KernelStep::Sysctl(SysctlStep { after_module: None, ..s }))
        }
        step => step,
    }
}

/// A step of the same key that wants just what is there: running it changes nothing and settles the record.
/// None for a directory or device, which no step can want.
fn as_it_is(step: &HostStep, now: &Seen) -> Option<HostStep> {
    Some(match (step, now) {
        (HostStep::Kernel(KernelStep::Module(s)), Seen::Kernel(KernelSeen::Module(now))) => {
            let loaded = matches!(now, ModuleSeen::Loaded { .. } | ModuleSeen::BuiltIn);
            HostStep::Kernel(KernelStep::Module(ModuleStep { name: s.name.clone(), loaded }))
        }
        (HostStep::Kernel(KernelStep::Sysctl(s)), Seen::Kernel(KernelSeen::Sysctl(now))) => {
            let value = match now {
                SysctlSeen::Value { value } => value.clone(),
                SysctlSeen::Absent => s.value.clone(),
            };
            HostStep::Kernel(KernelStep::Sysctl(SysctlStep { key: s.key.clone(), value, after_module: None }))
        }
        (HostStep::Memory(s), Seen::Memory(now)) => {
            HostStep::Memory(SwapStep { device: s.device.clone(), active: now.active })
        }
        (HostStep::File(s), Seen::File(now)) => {
            HostStep::File(FileStep { path: s.path.clone(), want: want_as_seen(now)? })
        }
        (HostStep::Unit(s), Seen::Unit(now)) => {
            let at_boot = now.at_boot.unwrap_or(AtBoot::Disabled);
            HostStep::Unit(UnitStep { name: s.name.clone(), at_boot, active: None })
        }
        (HostStep::Tool(s), Seen::Tool(now)) => HostStep::Tool(tool_as_it_is(s, now)?),
        _ => return None,
    })
}

/// None for a damaged tree: nobody can want just that.
fn tool_as_it_is(step: &ToolStep, now: &ToolSeen) -> Option<ToolStep> {
    let tree = |s: &TreeStep, archive| TreeStep { archive, ..s.clone() };
    Some(match (step, now) {
        (ToolStep::Tree(s), ToolSeen::Tree(TreeSeen::Unpacked { sha256 })) => {
            let archive = s.archive.clone().filter(|archive| archive.sha256 == *sha256)?;
            ToolStep::Tree(tree(s, Some(archive)))
        }
        (ToolStep::Tree(s), ToolSeen::Tree(TreeSeen::Absent | TreeSeen::Foreign { .. })) => {
            ToolStep::Tree(tree(s, None))
        }
        (ToolStep::Link(s), ToolSeen::Link(now)) => {
            let target = match now {
                LinkSeen::Ours { target } => Some(target.clone()),
                LinkSeen::Absent | LinkSeen::Foreign { .. } => None,
            };
            ToolStep::Link(LinkStep { name: s.name.clone(), target })
        }
        _ => return None,
    })
}

fn want_as_seen(now: &FileSeen) -> Option<FileWant> {
    match now {
        FileSeen::Absent => Some(FileWant::Absent),
        FileSeen::File { sha256, mode, uid, gid, .. } => {
            Some(FileWant::Kept { sha256: sha256.clone(), mode: *mode, uid: *uid, gid: *gid })
        }
        FileSeen::Link { target } => Some(FileWant::Link { target: target.clone() }),
        FileSeen::Other { .. } => None,
    }
}
