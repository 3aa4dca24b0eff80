//! Values of Istio's charts, for `method: helm`: one mapping per chart, passed on as it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operator::Free;

/// Values of Istio's charts, by chart.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HelmValues {
    /// Values of the chart `base`: kinds of objects and what all revisions share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Free>,
    /// Values of the chart `istiod`: the control plane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub istiod: Option<Free>,
    /// Values of the chart `cni`; it is installed when this stands here, whatever the profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cni: Option<Free>,
    /// Values of the chart `ztunnel`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ztunnel: Option<Free>,
    /// Values of the chart `gateway`, for every gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Free>,
    /// The gateways, instead of those of the profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateways: Option<Vec<HelmGateway>>,
}

/// A gateway: one release of the chart `gateway`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HelmGateway {
    /// Its name: that of the release, the Deployment and the Service.
    #[schemars(with = "crate::rack::format::Of<crate::rack::words::Label>")]
    pub name: String,
    /// Its namespace; that of the control plane when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::rack::format::Of<crate::rack::words::Label>>")]
    pub namespace: Option<String>,
    /// Values for it alone, over those of `gateway`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Free>,
}
