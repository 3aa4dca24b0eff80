//! Swap off: areas in use now, entries of fstab, and units that would bring swap back at boot.

use rackwright_proto::facts::Facts;
use rackwright_proto::file::{Content, FileSeen, FileStep, FileWant};
use rackwright_proto::finding::Finding;
use rackwright_proto::memory::{SwapSeen, SwapStep};
use rackwright_proto::name::{NodeName, UnitName};
use rackwright_proto::step::{HostStep, Seen};
use rackwright_proto::unit::{AtBoot, UnitStep};

use super::wanted::{Because, Wanted};
use crate::findings;

pub(super) const FSTAB: &str = "/etc/fstab";

/// What stands before an entry of fstab that we commented out. Undo looks for it, so that lines which others
/// added since survive.
pub const FSTAB_MARK: &str = "# rackwright: ";

const WHY: &str = "swap: off";

/// Steps that only the facts tell.
pub(super) fn steps(wanted: &Wanted, facts: &Facts) -> Vec<Because<HostStep>> {
    if !wanted.swap_off {
        return Vec::new();
    }
    let areas = facts.swap.active.iter().map(|area| {
        let why = if area.zram { "swap: off (compressed memory is swap, too)" } else { WHY };
        Because::new(HostStep::Memory(SwapStep { device: area.device.clone(), active: false }), why)
    });
    let units = facts.swap.units.iter().filter_map(|unit| {
        let step = UnitStep { name: unit.parse().ok()?, at_boot: AtBoot::Masked, active: None };
        Some(Because::new(HostStep::Unit(step), WHY))
    });
    areas.chain(units).chain(fstab(facts)).collect()
}

/// Whether a ledger entry is still wanted although the facts no longer lead to it: swap that is off is not
/// listed any more, nor is a unit that is masked.
pub(super) fn holds(wanted: &Wanted, step: &HostStep) -> bool {
    let ours = match step {
        HostStep::Memory(_) => true,
        HostStep::Unit(unit) => unit.at_boot == AtBoot::Masked,
        HostStep::File(file) => file.path == FSTAB,
        HostStep::Kernel(_) | HostStep::Tool(_) => false,
    };
    wanted.swap_off && ours
}

/// What may bring swap back at boot and cannot be turned off by a step.
pub(super) fn unclear(node: &NodeName, wanted: &Wanted, facts: &Facts) -> Vec<Finding> {
    if !wanted.swap_off {
        return Vec::new();
    }
    let unreadable = matches!(&facts.swap.fstab, Some(FileSeen::File { text: None, .. }));
    let fstab = unreadable.then(|| findings::kernel::swap_unclear(node, FSTAB, "too long, or not UTF-8"));
    let strange = facts.swap.units.iter().filter(|unit| unit.parse::<UnitName>().is_err());
    fstab
        .into_iter()
        .chain(
            strange.map(|unit| findings::kernel::swap_unclear(node, unit, "not a unit that can be masked")),
        )
        .collect()
}

/// What the facts say of swap and fstab, which agents report without being asked.
pub(super) fn seen(facts: &Facts, step: &HostStep) -> Option<Seen> {
    match step {
        HostStep::Memory(swap) => {
            let area = facts.swap.active.iter().find(|a| a.device == swap.device);
            Some(Seen::Memory(SwapSeen {
                active: area.is_some(),
                used_bytes: area.map_or(0, |a| a.used_bytes),
            }))
        }
        HostStep::File(file) if file.path == FSTAB => facts.swap.fstab.clone().map(Seen::File),
        _ => None,
    }
}

/// The entry of fstab as it was before we commented swap out, from what it is now.
pub(super) fn fstab_restored(step: &HostStep, now: &Seen) -> Option<HostStep> {
    match (step, now) {
        (HostStep::File(file), Seen::File(seen)) if file.path == FSTAB => {
            rewritten(seen, |line| line.strip_prefix(FSTAB_MARK).unwrap_or(line).to_owned())
        }
        _ => None,
    }
}

fn fstab(facts: &Facts) -> Option<Because<HostStep>> {
    let comment = |line: &str| match is_swap_entry(line) {
        true => format!("{FSTAB_MARK}{line}"),
        false => line.to_owned(),
    };
    rewritten(facts.swap.fstab.as_ref()?, comment).map(|step| Because::new(step, WHY))
}

/// fstab with each line put through `line`, mode and owner kept; none when nothing would change.
fn rewritten(seen: &FileSeen, line: impl Fn(&str) -> String) -> Option<HostStep> {
    let FileSeen::File { text: Some(text), mode, uid, gid, .. } = seen else { return None };
    let new: String = text.split_inclusive('\n').map(line).collect();
    let (owner, group) = (uid.to_string(), gid.to_string());
    let want = FileWant::Content { content: Content::Text(new.clone()), mode: *mode, owner, group };
    (new != *text).then(|| HostStep::File(FileStep { path: FSTAB.to_owned(), want }))
}

/// Whether a line of fstab(5) brings swap: the third field is the type.
pub fn is_swap_entry(line: &str) -> bool {
    let line = line.trim_start();
    !line.starts_with('#') && line.split_whitespace().nth(2) == Some("swap")
}
