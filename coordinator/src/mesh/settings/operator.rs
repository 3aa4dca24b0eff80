//! The IstioOperator (`install.istio.io/v1alpha1`), with every field that istioctl knows down to `components` and `k8s`.

/// An IstioOperator.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct IstioOperator {
    /// `spec.profile`.
    pub profile: Option<String>,
}
