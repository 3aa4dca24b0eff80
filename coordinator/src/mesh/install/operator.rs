//! The in-cluster operator: `istioctl operator init`, and the IstioOperator object that it acts on.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Act, BESIDE_WAITS, Install, args};
use crate::mesh::Settings;
use crate::mesh::profile::{Expected, Kind, expected};
use crate::mesh::settings::operator::IstioOperator;

const PROGRAM: &str = "bin/istioctl";
/// Where the operator itself lives. `operator init` makes it, and `operator remove` leaves it.
pub const NAMESPACE: &str = "istio-operator";
/// Its Deployment.
pub(super) const NAME: &str = "istio-operator";
/// The object's API version and kind.
const API_VERSION: &str = "install.istio.io/v1alpha1";
const KIND: &str = "IstioOperator";

/// The operator, its object, and what comes of it. `operator init` makes the control plane's namespace itself.
pub(super) fn install(install: &Install, seconds: u32) -> Vec<Act> {
    let itself = Expected { kind: Kind::Deployment, namespace: Some(NAMESPACE.into()), name: NAME.into() };
    let init = install.run(PROGRAM, init(install), BTreeMap::new(), seconds.saturating_add(BESIDE_WAITS));
    vec![init, Act::Await(vec![itself]), Act::Apply(object(install)), Act::Await(expected(install))]
}

fn init(install: &Install) -> Vec<String> {
    let mut line = args(["operator", "init", "--watchedNamespaces"]);
    line.push(install.namespace.clone());
    let spec = match &install.settings {
        Settings::Operator(file) => file.wishes().into_owned(),
        _ => Default::default(),
    };
    // Its own image comes from where all others do.
    for (flag, value) in [("--hub", spec.hub), ("--tag", spec.tag)] {
        line.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
    }
    line
}

/// The name of the object: the file's, else one of ours. The operator ignores names that begin with `installed-state`.
pub(in crate::mesh) fn name(install: &Install) -> String {
    let file = match &install.settings {
        Settings::Operator(file) => file.metadata.as_ref().and_then(|metadata| metadata.name.clone()),
        _ => None,
    };
    let ours = || match &install.revision {
        Some(revision) => format!("rackwright-{revision}"),
        None => "rackwright".to_owned(),
    };
    file.unwrap_or_else(ours)
}

/// The object, whole: nothing of it depends on what `istioctl` adds by flags.
pub(super) fn object(install: &Install) -> Value {
    let mut file = match &install.settings {
        Settings::Operator(file) => (**file).clone(),
        _ => IstioOperator::bare(),
    };
    let metadata = file.metadata.get_or_insert_with(Default::default);
    metadata.name = Some(name(install));
    metadata.namespace = Some(install.namespace.clone());
    let spec = file.spec.get_or_insert_with(Default::default);
    spec.profile = Some(install.profile.clone());
    spec.revision.clone_from(&install.revision);
    json!(file)
}

/// The object first, while the operator still runs: it holds the object until all that came of it is gone. Kinds of
/// objects that all revisions share stay, until the last one's removal takes them.
pub(super) fn uninstall(install: &Install, last: bool, seconds: u32) -> Vec<Act> {
    let object = Act::Delete {
        api_version: API_VERSION.into(),
        kind: KIND.into(),
        namespace: Some(install.namespace.clone()),
        name: name(install),
    };
    let mut acts = vec![object];
    if last {
        // Later versions want a revision named; `--force` bears that there is none any more.
        let remove = args(["operator", "remove", "--revision", "default", "--force", "--skip-confirmation"]);
        let seconds = seconds.saturating_add(BESIDE_WAITS);
        acts.push(install.run(PROGRAM, remove, BTreeMap::new(), seconds));
        acts.push(super::istioctl::uninstall(install, true, seconds));
    }
    acts
}
