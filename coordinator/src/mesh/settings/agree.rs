//! Whether the operator's file, the rack and the version of Istio go together.
//!
//! What each version makes of a file was seen by `istioctl manifest generate` at 1.17.5, 1.23.2 and 1.29.1.

use serde_json::Value;

use super::helm::HelmValues;
use super::operator::{Component, Components, Gateway, IstioOperator, Spec};
use crate::mesh::profile::{EGRESS, INGRESS, NAMESPACE, left_out_is_on, name, profiles};
use crate::mesh::release::{Minor, Release};
use crate::rack::checks::Found;
use crate::rack::closest;
use crate::rack::model::kubernetes::{Istio, IstioMethod};

/// Reports where an IstioOperator and the rack do not go together.
pub(super) fn operator(istio: &Istio, file: &IstioOperator, found: &mut Found<'_>) {
    let Some(spec) = &file.spec else {
        let help = "leave `file` out of the rack, or write what is wanted under `spec`";
        found.warning("spec", "an IstioOperator without a wish changes nothing", help);
        return;
    };
    let minor = Release::of(&istio.version).minor;
    profile(istio, "spec.profile", spec.profile.as_deref(), found);
    revision(istio, "spec.revision", spec.revision.as_deref(), found);
    revision(istio, "spec.values.revision", file.value("/revision").and_then(Value::as_str), found);
    tag(istio, "spec.tag", spec.tag.as_deref(), found);
    tag(istio, "spec.values.global.tag", file.value("/global/tag").and_then(Value::as_str), found);
    namespaces(istio, file, spec, found);
    known_since(minor, spec, found);
    if spec.install_package_path.is_some() {
        let help = "remove it; to change charts, use `components.*.k8s.overlays`";
        found.error("spec.installPackagePath", "charts come with the release that the rack names", help);
    }
    if let Some(components) = &spec.components {
        self::components(istio, minor, components, found);
    }
    if istio.method == IstioMethod::Operator {
        ignored(file, found);
    }
}

/// Reports where values for helm and the rack do not go together.
pub(super) fn helm(istio: &Istio, file: &HelmValues, found: &mut Found<'_>) {
    let charts = [
        ("base", &file.base),
        ("istiod", &file.istiod),
        ("cni", &file.cni),
        ("ztunnel", &file.ztunnel),
        ("gateway", &file.gateway),
    ];
    for (chart, values) in charts {
        let Some(values) = values else { continue };
        let text = |key: &str| values.get(key).and_then(Value::as_str);
        if let Some(said) = text("profile") {
            let help = "write it into the rack, as `kubernetes.istio.profile`";
            found.error(format!("{chart}.profile"), format!("the profile `{said}` of one chart alone"), help);
        }
        revision(istio, &format!("{chart}.revision"), text("revision"), found);
        let of_global = values.get("global").and_then(|global| global.get("tag")).and_then(Value::as_str);
        tag(istio, &format!("{chart}.global.tag"), of_global, found);
        tag(istio, &format!("{chart}.tag"), text("tag"), found);
    }
    if file.ztunnel.is_some() && Release::of(&istio.version).minor < Minor(1, 18) {
        found.error("ztunnel", format!("Istio {} has no chart `ztunnel`", istio.version), "remove it");
    }
    for (index, gateway) in file.gateways.iter().flatten().enumerate() {
        let before = file.gateways.iter().flatten().take(index);
        if before.clone().any(|other| other.name == gateway.name && other.namespace == gateway.namespace) {
            let message = format!("a second gateway `{}`", gateway.name);
            found.error(format!("gateways[{index}].name"), message, "give every gateway a name of its own");
        }
    }
}

fn profile(istio: &Istio, path: &str, said: Option<&str>, found: &mut Found<'_>) {
    let Some(said) = said else { return };
    let minor = Release::of(&istio.version).minor;
    let known = profiles(minor);
    if said.contains(['/', '.']) {
        let help = "name one of Istio's profiles, and write what differs into this file";
        found.error(path, format!("`{said}` is a file, and the control plane has no such file"), help);
    } else if !known.contains(&said) {
        let help = match closest(said, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it has {}", known.join(", ")),
        };
        found.error(path, format!("Istio {minor} has no profile `{said}`"), help);
    }
    let rack = istio.profile.map(name);
    if let Some(rack) = rack.filter(|rack| *rack != said) {
        let message = format!("the profile is `{said}` here and `{rack}` in the rack, which would win");
        found.error(path, message, "say it in one of the two places");
    }
}

fn revision(istio: &Istio, path: &str, said: Option<&str>, found: &mut Found<'_>) {
    let rack = istio.revision.as_ref().map_or("", |revision| revision.as_str());
    match said {
        Some(said) if said != rack && rack.is_empty() && said != "default" => {
            let message = format!("the revision is `{said}` here, and the rack names none");
            let help =
                format!("write `revision: {said}` under `kubernetes.istio` in the rack: labels follow it");
            found.error(path, message, help);
        }
        Some(said) if said != rack && !rack.is_empty() => {
            let message = format!("the revision is `{said}` here and `{rack}` in the rack");
            found.error(path, message, "remove it here: the rack's is passed on");
        }
        _ => {}
    }
}

/// Images of one version under an installer of another are two halves that nobody tried together.
fn tag(istio: &Istio, path: &str, said: Option<&str>, found: &mut Found<'_>) {
    let Some(said) = said else { return };
    let rack = Release::of(&istio.version);
    let help = format!("remove it, or write `{rack}` or a variant of it such as `{rack}-distroless`");
    match Release::parse(said) {
        Some(release) if release == rack => {}
        Some(release) => {
            let message = format!("images of {release} here, and the rack installs {rack}");
            found.error(path, message, help);
        }
        None => {
            let message = format!("nobody can tell whether the tag `{said}` is of {rack}");
            found.warning(path, message, help);
        }
    }
}

/// Each version looks for the control plane's namespace in other places; one of them holds in all.
fn namespaces(istio: &Istio, file: &IstioOperator, spec: &Spec, found: &mut Found<'_>) {
    let wanted = file.value("/global/istioNamespace").and_then(Value::as_str).unwrap_or(NAMESPACE);
    let help = |said: &str| {
        format!("write `values: {{global: {{istioNamespace: {said}}}}}`, which every version reads")
    };
    if let Some(said) = spec.namespace.as_deref().filter(|said| *said != wanted) {
        let message =
            format!("the namespace is `{said}` here and `{wanted}` in `values.global.istioNamespace`");
        found.error("spec.namespace", message, help(said));
    }
    let metadata = file.metadata.as_ref().and_then(|metadata| metadata.namespace.as_deref());
    if let Some(said) = metadata.filter(|said| *said != wanted) {
        let message = match istio.method {
            IstioMethod::Operator => format!("the operator watches `{wanted}` only, not `{said}`"),
            _ => format!("istioctl does not look at this: the control plane comes to `{wanted}`"),
        };
        found.error("metadata.namespace", message, help(said));
    }
}

/// Fields that came or went between versions.
fn known_since(minor: Minor, spec: &Spec, found: &mut Found<'_>) {
    let components = spec.components.as_ref();
    let old = minor < Minor(1, 18) && components.is_some_and(|c| c.ztunnel.is_some());
    if old {
        found.error("spec.components.ztunnel", format!("Istio {minor} knows no ztunnel"), "remove it");
    }
    if minor > Minor::LAST_WITH_OPERATOR && components.is_some_and(|c| c.istiod_remote.is_some()) {
        let help = "write `profile: remote`";
        found.error("spec.components.istiodRemote", format!("Istio {minor} ignores this component"), help);
    }
    if minor < Minor(1, 18) && spec.compatibility_version.is_some() {
        let message = format!("Istio {minor} knows no compatibilityVersion");
        found.error("spec.compatibilityVersion", message, "remove it");
    }
}

fn components(istio: &Istio, minor: Minor, components: &Components, found: &mut Found<'_>) {
    let parts = [("cni", &components.cni), ("ztunnel", &components.ztunnel)];
    for (key, part) in parts {
        if let Some(part) = part {
            switched(minor, &format!("spec.components.{key}"), part.enabled, found);
        }
    }
    let all = [
        ("pilot", &components.pilot),
        ("cni", &components.cni),
        ("ztunnel", &components.ztunnel),
        ("istiodRemote", &components.istiod_remote),
    ];
    for (key, part) in all {
        let said = part.as_ref().and_then(|part: &Component| part.tag.as_deref());
        tag(istio, &format!("spec.components.{key}.tag"), said, found);
    }
    gateways(istio, minor, "spec.components.ingressGateways", components.ingress_gateways.as_deref(), found);
    gateways(istio, minor, "spec.components.egressGateways", components.egress_gateways.as_deref(), found);
    replaced(istio, minor, components, found);
}

/// What is spoken of without `enabled` is off until 1.23, and on since.
fn switched(minor: Minor, path: &str, enabled: Option<bool>, found: &mut Found<'_>) {
    if enabled.is_none() {
        let reads = if left_out_is_on(minor) { "on" } else { "as the profile has it, mostly off" };
        let message =
            format!("without `enabled`, Istio {minor} takes this for {reads}; other versions differ");
        found.warning(path, message, "write `enabled: true` or `enabled: false`");
    }
}

fn gateways(istio: &Istio, minor: Minor, path: &str, list: Option<&[Gateway]>, found: &mut Found<'_>) {
    let list = list.unwrap_or_default();
    for (index, gateway) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let usual = if path.contains("egress") { EGRESS } else { INGRESS };
        if gateway.name.is_none() {
            let help = format!("write its name; that of profiles is `{usual}`");
            found.error(&path, "a gateway without a name", help);
        }
        let same = |other: &Gateway| other.name == gateway.name && gateway.name.is_some();
        let twice = list[..index]
            .iter()
            .any(|o| same(o) && (o.namespace == gateway.namespace || !left_out_is_on(minor)));
        if twice {
            let message = "a second gateway of this name; only the last of them is installed";
            found.error(format!("{path}.name"), message, "give every gateway a name of its own");
        }
        switched(minor, &path, gateway.enabled, found);
        tag(istio, &format!("{path}.tag"), gateway.tag.as_deref(), found);
    }
}

/// From 1.24 on a list of gateways replaces the profile's.
fn replaced(istio: &Istio, minor: Minor, components: &Components, found: &mut Found<'_>) {
    let Some(list) = components.ingress_gateways.as_deref().filter(|_| left_out_is_on(minor)) else { return };
    let named = |gateway: &Gateway| gateway.name.as_deref() == Some(INGRESS);
    // A list that is empty, or turns something off, says what it means.
    if list.is_empty() || list.iter().any(|g| named(g) || g.enabled == Some(false)) {
        return;
    }
    let without = Some(crate::rack::model::kubernetes::IstioProfile::Minimal);
    if istio.profile != without {
        let message =
            format!("since Istio 1.24 this list replaces the profile's: there will be no `{INGRESS}`");
        let help = format!(
            "add `- {{name: {INGRESS}, enabled: true}}`, or `enabled: false` to say that it is meant"
        );
        found.warning("spec.components.ingressGateways", message, help);
    }
}

/// Objects that the in-cluster operator does not act on.
fn ignored(file: &IstioOperator, found: &mut Found<'_>) {
    let Some(metadata) = &file.metadata else { return };
    if metadata.name.as_deref().is_some_and(|name| name.starts_with("installed-state")) {
        let message = "the operator ignores objects whose name begins with `installed-state`: istioctl keeps records so";
        found.error("metadata.name", message, "give it another name");
    }
    if metadata.annotations.get("install.istio.io/ignoreReconcile").is_some_and(|value| value == "true") {
        let message = "this annotation tells the operator to ignore the object";
        found.error("metadata.annotations", message, "remove install.istio.io/ignoreReconcile");
    }
}
