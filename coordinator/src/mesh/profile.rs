//! Which profiles there are, and which objects an installation consists of.
//!
//! Source: Istio's `manifests/profiles/*.yaml` and `manifests/charts` at 1.17.5, 1.23.2, 1.29.1.

use std::fmt;
use std::ops::RangeInclusive;

use super::Settings;
use super::install::Install;
use super::release::Minor;
use super::settings::HelmValues;
use super::settings::operator::{Component, Components, Gateway};
use crate::rack::model::kubernetes::IstioProfile;

#[cfg(test)]
mod tests;

/// Where the control plane lives unless the file says another namespace.
pub const NAMESPACE: &str = "istio-system";
/// The gateway for traffic that comes in, as profiles name it.
pub const INGRESS: &str = "istio-ingressgateway";
/// The gateway for traffic that goes out, as profiles name it.
pub const EGRESS: &str = "istio-egressgateway";
/// The DaemonSet of the CNI plugin.
pub const CNI: &str = "istio-cni-node";
/// The DaemonSet of ambient mode's proxies.
pub const ZTUNNEL: &str = "ztunnel";

/// Kinds of the objects that tell whether an installation is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` DaemonSet.
    DaemonSet,
    /// `v1` Service.
    Service,
    /// `admissionregistration.k8s.io/v1` MutatingWebhookConfiguration.
    Mutating,
    /// `admissionregistration.k8s.io/v1` ValidatingWebhookConfiguration.
    Validating,
}

impl Kind {
    /// The API's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::DaemonSet => "DaemonSet",
            Self::Service => "Service",
            Self::Mutating => "MutatingWebhookConfiguration",
            Self::Validating => "ValidatingWebhookConfiguration",
        }
    }
}

/// An object that an installation consists of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Expected {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; `None` for webhooks.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Expected {
    /// `Deployment istio-system/istiod`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind.as_str())?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// Istio's name of a profile.
pub fn name(profile: IstioProfile) -> &'static str {
    match profile {
        IstioProfile::Default => "default",
        IstioProfile::Demo => "demo",
        IstioProfile::Minimal => "minimal",
        IstioProfile::Empty => "empty",
        IstioProfile::Preview => "preview",
        IstioProfile::Ambient => "ambient",
        IstioProfile::Remote => "remote",
        IstioProfile::External => "external",
        IstioProfile::Stable => "stable",
        IstioProfile::Openshift => "openshift",
        IstioProfile::OpenshiftAmbient => "openshift-ambient",
    }
}

/// Every profile with the minor versions of Istio 1 that have it. Looked at were 1.17, 1.23 and 1.29; between those,
/// what one of them has and the other has not is taken for known.
const PROFILES: [(&str, RangeInclusive<u32>); 11] = [
    ("ambient", 15..=u32::MAX),
    ("default", 0..=u32::MAX),
    ("demo", 0..=u32::MAX),
    ("empty", 0..=u32::MAX),
    ("external", 0..=22),
    ("minimal", 0..=u32::MAX),
    ("openshift", 0..=u32::MAX),
    ("openshift-ambient", 18..=u32::MAX),
    ("preview", 0..=u32::MAX),
    ("remote", 0..=u32::MAX),
    ("stable", 18..=u32::MAX),
];

/// The profiles of a minor version.
pub fn profiles(istio: Minor) -> Vec<&'static str> {
    PROFILES.into_iter().filter(|(_, minors)| minors.contains(&istio.1)).map(|(name, _)| name).collect()
}

/// A profile's own choice of parts; namespaces that are `None` are the control plane's.
struct Choice {
    istiod: bool,
    /// Only what injects, for a control plane elsewhere.
    injects: bool,
    ingress: bool,
    egress: bool,
    cni: Option<Option<&'static str>>,
    ztunnel: Option<Option<&'static str>>,
}

/// Source: `manifests/profiles/*.yaml`; all others overlay `default`.
fn choice(profile: &str, istio: Minor) -> Choice {
    let default =
        Choice { istiod: true, injects: true, ingress: true, egress: false, cni: None, ztunnel: None };
    match profile {
        "demo" => Choice { egress: true, ..default },
        "minimal" => Choice { ingress: false, ..default },
        "empty" => Choice { istiod: false, injects: false, ingress: false, ..default },
        "remote" | "external" => Choice { istiod: false, ingress: false, ..default },
        // At 1.17 it was `default` with HBONE in its environment.
        "ambient" if istio > Minor(1, 17) => {
            Choice { ingress: false, cni: Some(None), ztunnel: Some(None), ..default }
        }
        "openshift" => Choice { cni: Some(Some("kube-system")), ..default },
        "openshift-ambient" => {
            let there = Some(Some("kube-system"));
            Choice { ingress: false, cni: there, ztunnel: there, ..default }
        }
        _ => default,
    }
}

/// A gateway of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GatewayPart {
    pub(super) name: String,
    pub(super) namespace: String,
}

/// The parts of an installation, with their namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Parts {
    pub(super) istiod: Option<String>,
    /// Where what injects is released.
    pub(super) injects: Option<String>,
    pub(super) cni: Option<String>,
    pub(super) ztunnel: Option<String>,
    pub(super) gateways: Vec<GatewayPart>,
}

/// What a profile and a file's overrides come to.
pub(super) fn parts(install: &Install) -> Parts {
    let chosen = choice(&install.profile, install.release.minor);
    let own = |place: Option<&str>| place.unwrap_or(&install.namespace).to_owned();
    let gateways = |names: &[(bool, &str)]| -> Vec<(String, Option<String>)> {
        names.iter().filter(|(on, _)| *on).map(|(_, name)| ((*name).to_owned(), None)).collect()
    };
    let mut parts = Parts {
        istiod: chosen.istiod.then(|| own(None)),
        injects: chosen.injects.then(|| own(None)),
        cni: chosen.cni.map(own),
        ztunnel: chosen.ztunnel.map(own),
        gateways: Vec::new(),
    };
    let mut ingress = gateways(&[(chosen.ingress, INGRESS)]);
    let mut egress = gateways(&[(chosen.egress, EGRESS)]);
    match &install.settings {
        Settings::None => {}
        Settings::Helm(values) => helm(values, &mut parts, &mut ingress, &mut egress, &install.namespace),
        Settings::Operator(file) => {
            let spec = file.wishes();
            let components = spec.components.as_ref();
            overridden(components, install, &mut parts);
            for (kind, list, named) in
                [("ingressGateways", &mut ingress, INGRESS), ("egressGateways", &mut egress, EGRESS)]
            {
                let wanted = components.and_then(|c| match kind {
                    "ingressGateways" => c.ingress_gateways.as_ref(),
                    _ => c.egress_gateways.as_ref(),
                });
                let on =
                    file.value(&format!("/gateways/{named}/enabled")).and_then(serde_json::Value::as_bool);
                *list = listed(std::mem::take(list), wanted, named, on, install.release.minor);
            }
        }
    }
    let part =
        |(name, place): (String, Option<String>)| GatewayPart { name, namespace: own(place.as_deref()) };
    parts.gateways = ingress.into_iter().chain(egress).map(part).collect();
    parts
}

/// What a file says of parts that are no gateways.
fn overridden(components: Option<&Components>, install: &Install, parts: &mut Parts) {
    let Some(components) = components else { return };
    let apply = |part: &mut Option<String>, wanted: Option<&Component>, left_out: bool| {
        let Some(wanted) = wanted else { return };
        let place = wanted.namespace.clone().or_else(|| part.clone());
        let on = wanted.enabled.unwrap_or(part.is_some() || left_out);
        *part = on.then(|| place.unwrap_or_else(|| install.namespace.clone()));
    };
    let remote = parts.istiod.is_none() && parts.injects.is_some();
    if !remote {
        // Every profile says whether there is a control plane, so leaving it out changes nothing.
        apply(&mut parts.istiod, components.pilot.as_ref(), false);
        parts.injects.clone_from(&parts.istiod);
    }
    let left_out = left_out_is_on(install.release.minor);
    apply(&mut parts.cni, components.cni.as_ref(), left_out);
    apply(&mut parts.ztunnel, components.ztunnel.as_ref(), left_out);
}

/// From 1.24 on a part that a file speaks of without `enabled` is installed.
pub(super) fn left_out_is_on(istio: Minor) -> bool {
    istio > Minor::LAST_WITH_OPERATOR
}

type Named = (String, Option<String>);

/// A list of gateways: until 1.23 a file's entries are merged into the profile's by name, from 1.24 on they replace
/// them.
fn listed(
    chosen: Vec<Named>,
    wanted: Option<&Vec<Gateway>>,
    usual: &str,
    values: Option<bool>,
    istio: Minor,
) -> Vec<Named> {
    let replaced = left_out_is_on(istio);
    let mut list = if wanted.is_some() && replaced { Vec::new() } else { chosen.clone() };
    for gateway in wanted.into_iter().flatten() {
        let name = gateway.name.clone().unwrap_or_else(|| usual.to_owned());
        let before = list
            .iter()
            .position(|(known, place)| *known == name && (!replaced || *place == gateway.namespace));
        let was = before.map(|at| list.remove(at));
        let on = gateway.enabled.unwrap_or(was.is_some() || replaced) || values == Some(true);
        if on {
            let place = gateway.namespace.clone().or_else(|| was.and_then(|(_, place)| place));
            list.push((name, place));
        }
    }
    // `values.gateways.NAME.enabled` turns on a gateway that the profile has and leaves off.
    if values == Some(true) && wanted.is_none() && list.is_empty() {
        list.push((usual.to_owned(), None));
    }
    list
}

fn helm(
    values: &HelmValues,
    parts: &mut Parts,
    ingress: &mut Vec<Named>,
    egress: &mut Vec<Named>,
    namespace: &str,
) {
    let own = || Some(namespace.to_owned());
    parts.cni = parts.cni.take().or_else(|| values.cni.as_ref().and_then(|_| own()));
    parts.ztunnel = parts.ztunnel.take().or_else(|| values.ztunnel.as_ref().and_then(|_| own()));
    if let Some(gateways) = &values.gateways {
        *ingress = gateways.iter().map(|g| (g.name.clone(), g.namespace.clone())).collect();
        egress.clear();
    }
}

/// What an installation consists of, once it is whole; sorted.
pub fn expected(install: &Install) -> Vec<Expected> {
    let parts = parts(install);
    let mut list = Vec::new();
    let mut add = |kind, namespace: Option<&str>, name: String| {
        list.push(Expected { kind, namespace: namespace.map(str::to_owned), name });
    };
    if let Some(namespace) = &parts.istiod {
        add(Kind::Deployment, Some(namespace), install.istiod());
        add(Kind::Service, Some(namespace), install.istiod());
        let revision = suffix(install.revision.as_deref());
        add(Kind::Validating, None, format!("istio-validator{revision}-{}", install.namespace));
    }
    if let Some(namespace) = &parts.injects {
        add(Kind::Mutating, None, injector(install.revision.as_deref(), namespace));
    }
    if let Some(namespace) = &parts.cni {
        add(Kind::DaemonSet, Some(namespace), CNI.into());
    }
    if let Some(namespace) = &parts.ztunnel {
        add(Kind::DaemonSet, Some(namespace), ZTUNNEL.into());
    }
    for gateway in &parts.gateways {
        add(Kind::Deployment, Some(&gateway.namespace), gateway.name.clone());
        add(Kind::Service, Some(&gateway.namespace), gateway.name.clone());
    }
    list.sort();
    list
}

fn suffix(part: Option<&str>) -> String {
    part.map(|part| format!("-{part}")).unwrap_or_default()
}

/// The name of the webhook that injects: the namespace is part of it where it is not the usual one.
fn injector(revision: Option<&str>, namespace: &str) -> String {
    let elsewhere = (namespace != NAMESPACE).then_some(namespace);
    format!("istio-sidecar-injector{}{}", suffix(revision), suffix(elsewhere))
}

/// What comes with other profiles, and would not be there by this installation's doing: the gateways and DaemonSets by
/// their usual names that [`expected`] does not hold; sorted.
pub fn unexpected(install: &Install) -> Vec<Expected> {
    let expected = expected(install);
    let own = Some(install.namespace.clone());
    let usual = [
        (Kind::Deployment, INGRESS),
        (Kind::Deployment, EGRESS),
        (Kind::DaemonSet, CNI),
        (Kind::DaemonSet, ZTUNNEL),
    ];
    let object =
        |(kind, name): (Kind, &str)| Expected { kind, namespace: own.clone(), name: name.to_owned() };
    usual.into_iter().map(object).filter(|object| !expected.contains(object)).collect()
}
