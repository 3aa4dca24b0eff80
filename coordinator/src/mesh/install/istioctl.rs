//! `istioctl install`, `uninstall` and `tag`.

use std::collections::BTreeMap;

use super::{Act, BESIDE_WAITS, Install, args};
use crate::mesh::Settings;
use crate::mesh::profile::parts;

const PROGRAM: &str = "bin/istioctl";
/// The operator's file, as the run sees it.
const FILE: &str = "settings.json";

/// `istioctl install`, without questions. Each part is waited for on its own, one after the other at worst.
pub(super) fn install(install: &Install, seconds: u32) -> Act {
    let mut line = args(["install", "--skip-confirmation"]);
    let mut files = BTreeMap::new();
    if let Settings::Operator(file) = &install.settings {
        // JSON is YAML; it is what was understood of the file, so no other reader can understand it differently.
        files.insert(FILE.to_owned(), serde_json::json!(file).to_string());
        line.extend(args(["--filename", "{files}/settings.json"]));
    }
    line.extend(["--set".to_owned(), format!("profile={}", install.profile)]);
    if let Some(revision) = &install.revision {
        line.extend(["--revision".to_owned(), revision.clone()]);
    }
    line.extend(["--readiness-timeout".to_owned(), format!("{seconds}s")]);
    let parts = parts(install);
    let waits = [parts.istiod, parts.cni, parts.ztunnel].into_iter().flatten().count() + parts.gateways.len();
    let waits = u32::try_from(waits.clamp(1, 5)).unwrap_or(5);
    install.run(PROGRAM, line, files, seconds.saturating_mul(waits).saturating_add(BESIDE_WAITS))
}

/// `istioctl uninstall`: one revision, or everything of Istio with `last`.
pub(super) fn uninstall(install: &Install, last: bool, seconds: u32) -> Act {
    let mut line = args(["uninstall", "--skip-confirmation"]);
    match last {
        true => line.push("--purge".to_owned()),
        false => line.extend(["--revision".to_owned(), install.rev().to_owned()]),
    }
    elsewhere(install, &mut line);
    install.run(PROGRAM, line, BTreeMap::new(), seconds.saturating_add(BESIDE_WAITS))
}

/// `istioctl tag set`: what a tag leads to.
pub(super) fn tag(install: &Install, tag: &str, revision: &str, seconds: u32) -> Act {
    let mut line = args(["tag", "set", tag, "--revision", revision, "--overwrite", "--skip-confirmation"]);
    elsewhere(install, &mut line);
    install.run(PROGRAM, line, BTreeMap::new(), seconds.saturating_add(BESIDE_WAITS))
}

/// Names the control plane's namespace where it is not the usual one.
fn elsewhere(install: &Install, line: &mut Vec<String>) {
    if install.namespace != crate::mesh::profile::NAMESPACE {
        line.extend(["--istioNamespace".to_owned(), install.namespace.clone()]);
    }
}
