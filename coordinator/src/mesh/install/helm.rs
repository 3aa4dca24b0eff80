//! Helm, chart by chart: `base`, `istiod`, then `cni` and `ztunnel`, then gateways; removed in reverse.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Act, BESIDE_WAITS, Install, args};
use crate::mesh::Settings;
use crate::mesh::profile::{EGRESS, GatewayPart, expected, parts};
use crate::mesh::release::Minor;
use crate::mesh::settings::HelmValues;

/// One release of a chart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chart {
    /// The release's name.
    pub(super) release: String,
    /// Its namespace.
    pub(super) namespace: String,
    /// The chart's folder inside of the release archive.
    pub(super) folder: &'static str,
    /// Its values.
    pub(super) values: Map<String, Value>,
}

/// The releases, in the order in which they are installed.
pub(super) fn charts(install: &Install) -> Vec<Chart> {
    let nothing = HelmValues::default();
    let values = match &install.settings {
        Settings::Helm(values) => values,
        _ => &nothing,
    };
    let parts = parts(install);
    let own = |given: &Option<Map<String, Value>>| given.clone().unwrap_or_default();
    let mut charts = Vec::new();
    let mut add = |release: String, namespace: &str, folder, values| {
        charts.push(Chart { release, namespace: namespace.to_owned(), folder, values });
    };
    if let Some(namespace) = &parts.injects {
        let mut shared = vec![("/defaultRevision", json!(install.rev()))];
        if install.release.minor <= Minor::LAST_WITH_OPERATOR {
            shared.push(("/base/enableCRDTemplates", json!(true)));
        }
        let base = with(own(&values.base), &shared);
        add("istio-base".into(), &install.namespace, "base", base);
        let istiod = with(own(&values.istiod), &common(install, "istiod"));
        add(install.istiod(), namespace, "istio-control/istio-discovery", istiod);
    }
    if let Some(namespace) = &parts.cni {
        add("istio-cni".into(), namespace, "istio-cni", with(own(&values.cni), &common(install, "cni")));
    }
    if let Some(namespace) = &parts.ztunnel {
        let ztunnel = with(own(&values.ztunnel), &common(install, "ztunnel"));
        add("ztunnel".into(), namespace, "ztunnel", ztunnel);
    }
    for gateway in &parts.gateways {
        let own = gateway_values(install, values, gateway);
        add(gateway.name.clone(), &gateway.namespace, "gateway", own);
    }
    charts
}

/// What every chart is told beside the operator's own values, which win.
fn common(install: &Install, chart: &str) -> Vec<(&'static str, Value)> {
    let mut common = Vec::new();
    if let Some(revision) = &install.revision {
        common.push(("/revision", json!(revision)));
    }
    common.extend(profile(install));
    if install.namespace != crate::mesh::profile::NAMESPACE {
        common.push(("/global/istioNamespace", json!(install.namespace)));
    }
    // istiod's chart must know that pods need no init container.
    if chart == "istiod" && parts(install).cni.is_some() {
        let at =
            if install.release.minor >= Minor(1, 22) { "/pilot/cni/enabled" } else { "/istio_cni/enabled" };
        common.push((at, json!(true)));
    }
    if chart == "istiod" {
        // As all profiles of istioctl have it; old charts leave it off.
        common.push(("/global/configValidation", json!(true)));
    }
    common
}

/// What charts are told of the profile. They know neither `default`, `minimal` nor `empty`, and none before 1.22; from
/// 1.24 on OpenShift is a platform.
fn profile(install: &Install) -> Vec<(&'static str, Value)> {
    let platforms = install.release.minor > Minor::LAST_WITH_OPERATOR;
    let name = match install.profile.as_str() {
        "openshift" if platforms => return vec![("/global/platform", json!("openshift"))],
        "openshift-ambient" if platforms => {
            return vec![("/global/platform", json!("openshift")), ("/profile", json!("ambient"))];
        }
        name @ ("ambient" | "demo" | "preview" | "stable" | "remote" | "openshift" | "openshift-ambient") => {
            name
        }
        _ => return Vec::new(),
    };
    match install.release.minor >= Minor(1, 22) {
        true => vec![("/profile", json!(name))],
        false => Vec::new(),
    }
}

/// A gateway's values: those of all gateways, then its own. That for traffic that goes out has no address outside.
fn gateway_values(install: &Install, values: &HelmValues, gateway: &GatewayPart) -> Map<String, Value> {
    let mut own = values.gateway.clone().unwrap_or_default();
    let named = values.gateways.iter().flatten().find(|g| g.name == gateway.name);
    merge(&mut own, named.and_then(|g| g.values.clone()).unwrap_or_default());
    let mut common = Vec::new();
    if let Some(revision) = &install.revision {
        common.push(("/revision", json!(revision)));
    }
    if gateway.name == EGRESS {
        common.push(("/service/type", json!("ClusterIP")));
    }
    with(own, &common)
}

/// Values with more of them where the operator said nothing.
fn with(values: Map<String, Value>, more: &[(&str, Value)]) -> Map<String, Value> {
    let mut all = Map::new();
    for (pointer, value) in more {
        let mut names = pointer.split('/').skip(1).collect::<Vec<_>>();
        let Some(last) = names.pop() else { continue };
        let mut leaf = Map::from_iter([(last.to_owned(), value.clone())]);
        for name in names.into_iter().rev() {
            leaf = Map::from_iter([(name.to_owned(), Value::Object(leaf))]);
        }
        merge(&mut all, leaf);
    }
    merge(&mut all, values);
    all
}

/// What helm does with values over values: mappings are merged, all else is replaced.
fn merge(below: &mut Map<String, Value>, above: Map<String, Value>) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

/// `helm upgrade --install`, chart by chart; each waits for what it made, but for gateways: helm would wait for their
/// Services' addresses, too, which is another matter.
pub(super) fn install(install: &Install, seconds: u32) -> Vec<Act> {
    let runs = charts(install);
    let runs = runs.iter().map(|chart| upgrade(install, chart, seconds));
    runs.chain([Act::Await(expected(install))]).collect()
}

fn upgrade(install: &Install, chart: &Chart, seconds: u32) -> Act {
    let mut line = args(["upgrade", "--install"]);
    line.push(chart.release.clone());
    line.push(format!("{{tool}}/manifests/charts/{}", chart.folder));
    line.extend(["--namespace".to_owned(), chart.namespace.clone()]);
    line.extend(args(["--create-namespace", "--values", "{files}/values.json", "--history-max", "3"]));
    line.extend(["--timeout".to_owned(), format!("{seconds}s")]);
    match chart.folder {
        // Helm from 3.18 on reads the schema of these charts so that it refuses the charts' own defaults.
        "gateway" if (Minor(1, 18)..Minor(1, 28)).contains(&install.release.minor) => {
            line.push("--skip-schema-validation".to_owned());
        }
        "gateway" => {}
        _ => line.push("--wait".to_owned()),
    }
    if chart.folder == "base" && install.release.minor <= Minor::LAST_WITH_OPERATOR {
        // Kinds as templates are upgraded with the release, unlike those of a chart's folder `crds`.
        line.push("--skip-crds".to_owned());
    }
    let values =
        BTreeMap::from([("values.json".to_owned(), Value::Object(chart.values.clone()).to_string())]);
    run(install, line, values, seconds)
}

/// Helm is found on the control plane's PATH, the charts in Istio's release archive.
fn run(install: &Install, line: Vec<String>, files: BTreeMap<String, String>, seconds: u32) -> Act {
    install.run("helm", line, files, seconds.saturating_add(BESIDE_WAITS))
}

/// `helm uninstall` in reverse. What all revisions share stays until the last one goes.
pub(super) fn uninstall(install: &Install, last: bool, seconds: u32) -> Vec<Act> {
    let ours = |chart: &&Chart| last || chart.folder == "istio-control/istio-discovery";
    let remove = |chart: &Chart| {
        let mut line = args(["uninstall", "--ignore-not-found", "--wait"]);
        line.push(chart.release.clone());
        line.extend(["--namespace".to_owned(), chart.namespace.clone()]);
        line.extend(["--timeout".to_owned(), format!("{seconds}s")]);
        run(install, line, BTreeMap::new(), seconds)
    };
    charts(install).iter().rev().filter(ours).map(remove).collect()
}
