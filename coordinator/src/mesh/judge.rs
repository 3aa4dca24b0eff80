//! Findings about the Istio that is wanted and what is there.
//!
//! - `owners`: who else looks after it.
//! - `steps`: whether the change is one that Istio bears.

mod owners;
mod steps;
#[cfg(test)]
mod tests;

use jiff::civil::Date;
use rackwright_proto::finding::Finding;

use super::install::Install;
use super::profile::profiles;
use super::release::{Minor, Release};
use super::view::{Proxies, Tag, View};
use super::{matrix, names};
use crate::findings::Check;
use crate::network::list;
use crate::rack::closest;

/// What a change from one release to another is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// None.
    None,
    /// Another patch of the same minor version.
    Patch,
    /// To the next minor version.
    Next,
    /// Past a minor version: go to `via` first.
    TooLarge {
        /// The minor version to go to first.
        via: Minor,
    },
    /// Back.
    Back,
}

/// What a change from one release to another is.
pub fn change(from: Release, to: Release) -> Change {
    match (from.minor, to.minor) {
        _ if from == to => Change::None,
        _ if to < from => Change::Back,
        (from, to) if from == to => Change::Patch,
        (from, to) if from.next() == to => Change::Next,
        (from, _) => Change::TooLarge { via: from.next() },
    }
}

/// Everything that can be said of an installation before it is made: `kubernetes` is the API server's minor version
/// where it is known, `today` decides what is past its life.
pub fn findings(install: &Install, view: &View, kubernetes: Option<Minor>, today: Date) -> Vec<Finding> {
    let mut found = matrix::findings(install.release.minor, kubernetes, today);
    found.extend(profile(install));
    found.extend(owners::findings(install, view));
    found.extend(steps::findings(install, view));
    found.extend(proxies(install, view));
    found.extend(tags(install, view));
    found
}

fn check(name: &str, subject: &str, checked: impl Into<String>, expected: impl Into<String>) -> Check {
    Check::new(name, &[], subject, checked, expected)
}

fn profile(install: &Install) -> Option<Finding> {
    let known = profiles(install.release.minor);
    let (profile, minor) = (&install.profile, install.release.minor);
    let checked = format!("whether Istio {minor} has the profile");
    let check = check(names::MESH_PROFILE_UNKNOWN, profile, checked, known.join(", "));
    let near = closest(profile, &known);
    let fix = match (profile.as_str(), near) {
        ("external", _) => "write `profile: remote`, as it is called now".to_owned(),
        (_, Some(near)) => format!("did you mean `{near}`?"),
        (_, None) => "choose one of those".to_owned(),
    };
    // Charts know no profiles before 1.22, so there it only chooses charts.
    (!known.contains(&profile.as_str())).then(|| check.error(format!("it has no `{profile}`"), fix))
}

/// Proxies that will be of this control plane.
fn proxies(install: &Install, view: &View) -> Vec<Finding> {
    let wanted = install.release;
    let ours = view.proxies.iter().filter(|proxies| proxies.revision == install.rev());
    let judge = |proxies: &Proxies| {
        let release = proxies.release?;
        let seen = format!("{} of {release} ({})", count(proxies), list(&proxies.some));
        if release.minor > wanted.minor {
            let checked = "whether the control plane is as new as its proxies";
            let check = check(
                names::MESH_BEHIND_ITS_PROXIES,
                install.rev(),
                checked,
                format!("none newer than {wanted}"),
            );
            let fix = format!(
                "install Istio {} or later: a proxy may not be newer than its control plane",
                release.minor
            );
            return Some(check.error(seen, fix));
        }
        let behind = wanted.minor.1.saturating_sub(release.minor.1);
        if wanted.minor.0 == release.minor.0 && behind <= 1 {
            return None;
        }
        let checked = "whether proxies are at most one minor version behind their control plane";
        let expected = format!("{} or {wanted}", Minor(wanted.minor.0, wanted.minor.1.saturating_sub(1)));
        let fix = "restart their workloads first (`injection.restart: true`), so that they get the proxy of the control plane that is there";
        Some(check(names::MESH_PROXIES_TOO_OLD, install.rev(), checked, expected).warning(seen, fix))
    };
    ours.filter_map(judge).collect()
}

fn count(proxies: &Proxies) -> String {
    match proxies.count {
        1 => "1 proxy".into(),
        count => format!("{count} proxies"),
    }
}

/// Tags that lead nowhere: pods of namespaces that follow them cannot be made.
fn tags(install: &Install, view: &View) -> Vec<Finding> {
    let there = |tag: &&Tag| view.plane(&tag.revision).is_some() || tag.revision == install.rev();
    let say = |tag: &Tag| {
        let checked = format!("where the webhook {} leads", tag.webhook);
        let expected = "a revision that is there";
        let meaning = match tag.name.as_str() {
            "default" => "`istio-injection: enabled`".to_owned(),
            name => format!("`istio.io/rev: {name}`"),
        };
        let observed = format!(
            "{meaning} means revision {}, which is not there: such pods cannot be made",
            tag.revision
        );
        let fix = format!(
            "`istioctl tag set {} --revision {} --overwrite`, or `istioctl tag remove {}`",
            tag.name,
            install.rev(),
            tag.name
        );
        check(names::MESH_DEFAULT_TAG_DANGLES, &tag.name, checked, expected).warning(observed, fix)
    };
    view.tags.iter().filter(|tag| !there(tag)).map(say).collect()
}
