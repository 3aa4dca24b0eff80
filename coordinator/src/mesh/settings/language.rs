//! How settings are read, and what is said about fields that they do not know.

use std::sync::LazyLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::helm::HelmValues;
use super::operator::IstioOperator;
use crate::rack::language::{Language, catalogue};
use crate::rack::suggest::{Guess, known_elsewhere, without_indices};

static OPERATOR_SCHEMA: LazyLock<Value> = LazyLock::new(schema::<IstioOperator>);
static HELM_SCHEMA: LazyLock<Value> = LazyLock::new(schema::<HelmValues>);
static OPERATOR_FIELDS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| catalogue(&OPERATOR_SCHEMA));
static HELM_FIELDS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| catalogue(&HELM_SCHEMA));

/// IstioOperator files.
pub(super) static OPERATOR: Language = Language {
    noun: "IstioOperator file",
    when_empty: "leave `file` out of the rack, or write an IstioOperator into it",
    when_second: "istioctl reads one IstioOperator from each file; remove the `---` and what is not of it",
    when_tagged: "write the plain value",
    schema: || &OPERATOR_SCHEMA,
    unknown: unknown_to_operator,
};

/// Values for helm.
pub(super) static HELM: Language = Language {
    noun: "values file",
    when_empty: "leave `file` out of the rack, or write values under `base`, `istiod`, `cni`, `ztunnel` or `gateway`",
    when_second: "remove the `---`",
    when_tagged: "write the plain value",
    schema: || &HELM_SCHEMA,
    unknown: unknown_to_helm,
};

fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

fn only(help: impl Into<String>) -> Guess {
    Guess { help: help.into(), sibling: None }
}

/// Fields that once were, and what became of them.
const GONE: [(&str, &str, &str); 3] = [
    ("spec", "addonComponents", "addons are no part of Istio since 1.8: apply their own manifests"),
    (
        "spec",
        "defaultRevision",
        "Istio ignores it; the rack's `istio-injection` follows `istioctl tag set default`",
    ),
    ("", "status", "it is what the cluster says, not what is wanted; remove it"),
];

fn unknown_to_operator(field: &str, path: &str, names: &[&str], siblings: &[&str]) -> Guess {
    let section = without_indices(path);
    if let Some((.., advice)) = GONE.iter().find(|(at, name, _)| *at == section && *name == field) {
        return only(*advice);
    }
    if let Some(method) = of_helm(field, &section) {
        return only(method);
    }
    // A key of `k8s` is known below every component, so the catalogue has too many homes for it.
    let below = format!("{section}.k8s");
    if OPERATOR_FIELDS.iter().any(|(at, name)| *at == below && name == field) {
        return only(format!("did you mean `{field}` under `k8s`?"));
    }
    let under_spec =
        section.is_empty() && OPERATOR_FIELDS.iter().any(|(at, name)| at == "spec" && name == field);
    if under_spec {
        let beside =
            if siblings.contains(&"spec") { "indent it below `spec:`" } else { "write `spec:` above it" };
        return only(format!("it belongs under `spec`: {beside}"));
    }
    known_elsewhere(field, &section, names, &OPERATOR_FIELDS)
}

/// A values file of helm, given to istioctl.
fn of_helm(field: &str, section: &str) -> Option<String> {
    let chart = ["base", "istiod", "cni", "ztunnel", "gateway"].contains(&field);
    (section.is_empty() && chart).then(|| {
        format!("this looks like values for helm: write `method: helm`, or an IstioOperator with `spec.values.{field}`")
    })
}

fn unknown_to_helm(field: &str, path: &str, names: &[&str], _: &[&str]) -> Guess {
    let section = without_indices(path);
    match (section.as_str(), field) {
        ("", "apiVersion" | "kind" | "metadata" | "spec") => only(
            "an IstioOperator is for `method: istioctl` and `method: operator`; helm takes values by chart",
        ),
        (
            "",
            "global"
            | "pilot"
            | "meshConfig"
            | "sidecarInjectorWebhook"
            | "profile"
            | "revision"
            | "telemetry",
        ) => only(format!(
            "did you mean `{field}` under `istiod`? Values stand under the chart that they are for"
        )),
        _ => known_elsewhere(field, &section, names, &HELM_FIELDS),
    }
}
