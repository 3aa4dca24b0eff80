//! Units that keep watch on a host after we left.

use rackwright_proto::facts::Basics;
use rackwright_proto::file::{FileStep, FileWant};
use rackwright_proto::step::HostStep;
use rackwright_proto::unit::{AtBoot, UnitStep};

use super::AGENT_LINK;
use super::file::root_file;
use super::wanted::{Because, UnitFile, Wanted};

/// The link to the agent, the unit files, and the units enabled. Nothing on a host without systemd, where the
/// files would lie about what happens at boot.
pub(super) fn steps(wanted: &Wanted, basics: &Basics) -> Vec<Because<HostStep>> {
    if !basics.systemd || wanted.watch.units.is_empty() {
        return Vec::new();
    }
    let want = FileWant::Link { target: wanted.agent_path.clone() };
    let link = HostStep::File(FileStep { path: AGENT_LINK.to_owned(), want });
    let mut steps = vec![Because::new(link, "units start the agent by this link")];
    for unit in &wanted.watch.units {
        let path = path_of(unit.name.as_str());
        steps.push(Because::new(root_file(&path, unit.text.clone()), &unit.why));
        steps.extend(enabled(unit));
    }
    steps
}

/// Where the file of one of our units lies.
pub(super) fn path_of(unit: &str) -> String {
    format!("/etc/systemd/system/{unit}")
}

fn enabled(unit: &UnitFile) -> Option<Because<HostStep>> {
    let step = UnitStep { name: unit.name.clone(), at_boot: AtBoot::Enabled, active: unit.active };
    unit.enable.then(|| Because::new(HostStep::Unit(step), &unit.why))
}
