use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{expected, profiles, unexpected};
use crate::mesh::settings::{HelmValues, IstioOperator};
use crate::mesh::{Install, Minor, Release, Settings};
use crate::rack::model::kubernetes::Istio;

/// What real istioctls render.
const RENDERED: &str = include_str!("rendered.txt");

fn istio(rack: Value) -> Istio {
    serde_json::from_value(rack).unwrap()
}

fn install(version: &str, spec: &Value) -> Install {
    let file: IstioOperator = serde_json::from_value(
        json!({"apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator", "spec": spec}),
    )
    .unwrap();
    let rack = istio(json!({"version": version, "revision": spec.get("revision")}));
    Install::of(&rack, Settings::Operator(Box::new(file)))
}

fn names(objects: &[super::Expected]) -> BTreeSet<String> {
    objects.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_expected_is_what_istioctl_renders() {
    let mut seen = 0;
    for line in RENDERED.lines().filter(|line| !line.starts_with('#')) {
        let (version, rest) = line.split_once(' ').unwrap();
        let (spec, objects) = rest.split_once(" =>").unwrap();
        let spec: Value = serde_json::from_str(spec).unwrap();
        let profile = spec["profile"].as_str().unwrap_or("default");
        let minor = Release::parse(version).unwrap().minor;
        let known = profiles(minor).contains(&profile);
        if objects.ends_with("refused") {
            assert!(!known, "{line}");
            continue;
        }
        let rendered = objects.trim().split("; ").filter(|o| !o.is_empty()).map(str::to_owned).collect();
        assert_eq!(names(&expected(&install(version, &spec))), rendered, "{line}");
        assert!(known, "{line}");
        seen += 1;
    }
    assert!(seen > 70, "{seen}");
}

#[test]
fn profiles_are_known_by_version() {
    assert!(profiles(Minor(1, 17)).contains(&"external"));
    assert!(!profiles(Minor(1, 23)).contains(&"external"));
    assert!(!profiles(Minor(1, 17)).contains(&"stable"));
    assert!(profiles(Minor(1, 30)).contains(&"stable"));
}

#[test]
fn egress_is_there_with_demo_only_unless_asked_for() {
    let egress = |version: &str, spec: Value| {
        let install = install(version, &spec);
        let of = |objects: Vec<super::Expected>| {
            names(&objects).contains("Deployment istio-system/istio-egressgateway")
        };
        (of(expected(&install)), of(unexpected(&install)))
    };
    for version in ["1.17.2", "1.23.2", "1.29.1", "1.30.3"] {
        assert_eq!(egress(version, json!({"profile": "demo"})), (true, false));
        assert_eq!(egress(version, json!({"profile": "default"})), (false, true));
        let asked =
            json!({"components": {"egressGateways": [{"name": "istio-egressgateway", "enabled": true}]}});
        assert_eq!(egress(version, asked), (true, false));
    }
}

#[test]
fn helm_brings_what_the_profile_brings() {
    let of = |rack: Value, values: Value| {
        let values: HelmValues = serde_json::from_value(values).unwrap();
        names(&expected(&Install::of(&istio(rack), Settings::Helm(Box::new(values)))))
    };
    let plain = of(json!({"version": "1.29.1", "method": "helm"}), json!({}));
    assert_eq!(plain, names(&expected(&install("1.29.1", &json!({})))));
    let own = of(
        json!({"version": "1.29.1", "method": "helm", "profile": "demo"}),
        json!({"gateways": [{"name": "edge", "namespace": "edge"}], "cni": {}}),
    );
    assert!(own.contains("Deployment edge/edge") && own.contains("DaemonSet istio-system/istio-cni-node"));
    assert!(!own.iter().any(|o| o.contains("gateway")), "{own:?}");
}
