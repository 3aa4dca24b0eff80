//! Istio: what can be said before anybody looks at a cluster.

use std::collections::BTreeSet;

use super::Found;
use super::cluster::complete;
use crate::mesh::matrix::{Support, judge};
use crate::mesh::profile::{INGRESS, Kind, NAMESPACE, expected, name, profiles};
use crate::mesh::{Install, Minor, Release, Settings};
use crate::rack::model::kubernetes::{Artifact, Injection, Istio, IstioMethod, Kubernetes};
use crate::rack::suggest;

/// Namespaces whose pods never get a proxy, whatever their labels (Istio's `pkg/kube/inject/initializer.go`).
const NEVER: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

pub(super) fn check(kubernetes: &Kubernetes, istio: &Istio, found: &mut Found<'_>) {
    complete(&istio.version, "kubernetes.istio.version", found);
    supported(kubernetes, istio, found);
    method(istio, found);
    profile(istio, found);
    if istio.revision.as_ref().is_some_and(|revision| revision.as_str() == "default") {
        let message = "`default` is the revision that has no name";
        found.error(
            "kubernetes.istio.revision",
            message,
            "leave `revision` out, or give it a name such as 1-29-1",
        );
    }
    one_place(istio.archive.as_ref(), "kubernetes.istio.archive", found);
    one_place(istio.helm.as_ref(), "kubernetes.istio.helm", found);
    if istio.helm.is_some() && istio.method != IstioMethod::Helm {
        let help = "remove it, or write `method: helm`";
        found.warning("kubernetes.istio.helm", "nobody needs helm for this method", help);
    }
    injection(&istio.injection, found);
    gateways(istio, found);
}

fn minor(istio: &Istio) -> Minor {
    Release::of(&istio.version).minor
}

/// Where the rack names a Kubernetes; what the cluster has is looked at with it.
fn supported(kubernetes: &Kubernetes, istio: &Istio, found: &mut Found<'_>) {
    let Some(version) = &kubernetes.version else { return };
    let kubernetes = Minor(version.major, version.minor);
    if let Support::Outside { instead } = judge(minor(istio), kubernetes) {
        let message = format!("Istio {} was not made for Kubernetes {kubernetes}", minor(istio));
        let help = match instead {
            Some(instead) => format!("use Istio {instead}, the newest that supports it"),
            None => "no Istio that this build knows supports it: try it where it may break".to_owned(),
        };
        found.warning("kubernetes.istio.version", message, help);
    }
}

fn method(istio: &Istio, found: &mut Found<'_>) {
    let version = &istio.version;
    if istio.method == IstioMethod::Operator && minor(istio) > Minor::LAST_WITH_OPERATOR {
        let message = format!("Istio {version} has no operator; 1.23 was the last with one");
        let help = "write `method: istioctl`, which takes the same IstioOperator file, or `method: helm`";
        found.error("kubernetes.istio.method", message, help);
    }
}

fn profile(istio: &Istio, found: &mut Found<'_>) {
    let Some(profile) = istio.profile.map(name) else { return };
    let known = profiles(minor(istio));
    if !known.contains(&profile) {
        let message = format!("Istio {} has no profile `{profile}`", minor(istio));
        let help = match (profile, suggest::closest(profile, &known)) {
            ("external", _) => "write `remote`, as it is called now".to_owned(),
            (_, Some(near)) => format!("did you mean `{near}`?"),
            (_, None) => format!("it has {}", known.join(", ")),
        };
        found.error("kubernetes.istio.profile", message, help);
    } else if istio.method == IstioMethod::Helm
        && profile == "remote"
        && minor(istio) <= Minor::LAST_WITH_OPERATOR
    {
        let message = format!("the charts of Istio {} know no profile `remote`", minor(istio));
        found.error(
            "kubernetes.istio.profile",
            message,
            "write `method: istioctl`, or use Istio 1.24 or later",
        );
    }
}

fn one_place(artifact: Option<&Artifact>, path: &str, found: &mut Found<'_>) {
    let Some(artifact) = artifact else { return };
    if artifact.path.is_some() && artifact.url.is_some() {
        let message = "an archive comes from one place: `path` or `url`";
        found.error(format!("{path}.url"), message, "remove one of the two");
    }
}

fn injection(injection: &Injection, found: &mut Found<'_>) {
    let mut seen = BTreeSet::new();
    for (list, namespaces) in [("namespaces", &injection.namespaces), ("off", &injection.off)] {
        for (index, namespace) in namespaces.iter().enumerate() {
            let path = format!("kubernetes.istio.injection.{list}[{index}]");
            if !seen.insert(namespace) {
                let message = format!("`{namespace}` is given twice");
                found.error(&path, message, "a namespace's pods get a proxy or none: keep one");
            }
            if list == "namespaces" && NEVER.contains(&namespace.as_str()) {
                let message = format!("pods of `{namespace}` never get a proxy, whatever its labels");
                found.error(&path, message, "remove it; Istio leaves this namespace out");
            }
            if list == "namespaces" && namespace.as_str() == NAMESPACE {
                let message = "Istio's own pods need no proxy beside them";
                found.error(&path, message, "remove it");
            }
        }
    }
    for (index, workload) in injection.exclude.iter().enumerate() {
        if !injection.namespaces.contains(&workload.namespace) {
            let path = format!("kubernetes.istio.injection.exclude[{index}]");
            let message = format!("no pod of `{}` gets a proxy by this rack", workload.namespace);
            let help = "add its namespace to `injection.namespaces`, or remove it";
            found.warning(path, message, help);
        }
    }
}

fn gateways(istio: &Istio, found: &mut Found<'_>) {
    for (index, gateway) in istio.gateways.iter().enumerate() {
        let path = format!("kubernetes.istio.gateways[{index}]");
        if gateway.port == 0 {
            found.error(format!("{path}.port"), "0 is no port", "write the port of the Service, such as 80");
        }
        if !gateway.path.starts_with('/') || gateway.path.contains([' ', '\r', '\n']) {
            let message = format!("`{}` is no path of HTTP", gateway.path);
            found.error(format!("{path}.path"), message, "write it like /healthz");
        }
        if !(100..=599).contains(&gateway.status) {
            let message = format!("{} is no status of HTTP", gateway.status);
            found.error(format!("{path}.status"), message, "write one from 100 to 599, such as 200");
        }
        installed(istio, gateway.service.name.as_str(), gateway.service.namespace.as_str(), &path, found);
    }
}

/// The gateway of profiles, where this one has none. A file may bring others, so what it says is not looked at here.
fn installed(istio: &Istio, name: &str, namespace: &str, path: &str, found: &mut Found<'_>) {
    if istio.file.is_some() || (name, namespace) != (INGRESS, NAMESPACE) {
        return;
    }
    let install = Install::of(istio, Settings::None);
    let service = |object: &crate::mesh::Expected| object.kind == Kind::Service && object.name == INGRESS;
    if !expected(&install).iter().any(service) {
        let message =
            format!("the profile `{}` of Istio {} has no `{INGRESS}`", install.profile, install.release);
        let help = "choose another profile, add the gateway in `file`, or name the Service that there is";
        found.warning(path, message, help);
    }
}
