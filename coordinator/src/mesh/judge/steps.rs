//! Whether the change is one that Istio bears: from one minor version to the next, by a revision of its own.

use rackwright_proto::finding::Finding;

use super::{Change, change, check};
use crate::mesh::install::Install;
use crate::mesh::names;
use crate::mesh::release::{Minor, Release};
use crate::mesh::view::{Plane, View};

pub(super) fn findings(install: &Install, view: &View) -> Vec<Finding> {
    let of = |plane: &Plane| {
        let release = plane.release?;
        match plane.revision == install.rev() {
            true => in_place(install, release),
            false => beside(install, plane, release),
        }
    };
    view.planes.iter().filter_map(of).collect()
}

/// A name for a revision of a release: `1-29-1`.
fn revision(release: Release) -> String {
    release.to_string().replace('.', "-")
}

/// The way of the next step, by a revision beside the one that is there.
fn way(via: Minor, then: Release) -> String {
    let stop = match via == then.minor {
        true => format!("install {then} as a revision of its own (`revision: {}`)", revision(then)),
        false => {
            format!("install a {via} first, as a revision of its own (`revision: {}-{}-N`)", via.0, via.1)
        }
    };
    format!("{stop}, move namespaces to it, restart their workloads, remove the old revision, then go on")
}

fn in_place(install: &Install, there: Release) -> Option<Finding> {
    let wanted = install.release;
    let checked = format!("the step from Istio {there} to {wanted}");
    match change(there, wanted) {
        Change::None | Change::Patch => None,
        Change::Back => Some(
            check(names::MESH_DOWNGRADE, install.rev(), checked, format!("{there} or newer")).error(
                format!("{there} is newer"),
                format!("write `version: {there}` into the rack; to go back, install {wanted} as a revision beside it"),
            ),
        ),
        Change::TooLarge { via } => Some(
            check(names::MESH_STEP_TOO_LARGE, install.rev(), checked, format!("at most to {}", there.minor.next()))
                .error(format!("{} minor versions at once", wanted.minor.1.abs_diff(there.minor.1)), way(via, wanted)),
        ),
        Change::Next => Some(
            check(names::MESH_UPGRADE_IN_PLACE, install.rev(), checked, "a revision of its own beside the old one")
                .warning(
                    format!("revision {} itself is replaced: all its proxies change over at once", install.rev()),
                    way(wanted.minor, wanted),
                ),
        ),
    }
}

/// Another revision that stays: kinds of objects are shared, so the two may not be far apart.
fn beside(install: &Install, plane: &Plane, there: Release) -> Option<Finding> {
    let wanted = install.release;
    let checked = format!("Istio {wanted} beside revision {} of {there}", plane.revision);
    match change(there, wanted) {
        Change::None | Change::Patch | Change::Next => None,
        Change::TooLarge { via } => Some(
            check(
                names::MESH_STEP_TOO_LARGE,
                install.rev(),
                checked,
                format!("at most {}", there.minor.next()),
            )
            .error(
                format!("{} minor versions apart", wanted.minor.1.abs_diff(there.minor.1)),
                way(via, wanted),
            ),
        ),
        Change::Back if there.minor == wanted.minor => None,
        Change::Back => Some(
            check(names::MESH_DOWNGRADE, install.rev(), checked, format!("{} or newer", there.minor))
                .warning(
                    format!(
                        "{there} is newer, and both share the kinds of Istio's objects, which would go back"
                    ),
                    format!("install {} or newer, unless this is the way back", there.minor),
                ),
        ),
    }
}
