//! Golden diagnostics of `bad/*.yaml`, whose first line is what the rack says of Istio; and that nothing panics.

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{LARGEST, Settings, parse};
use crate::mesh::Install;
use crate::rack::diagnostic::render;
use crate::rack::fixtures::{self, lie_inside};
use crate::rack::model::kubernetes::Istio;

const GOOD: &str = "\
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
metadata: {name: mesh, namespace: istio-system}
spec:
  profile: demo
  tag: 1.30.0
  meshConfig:
    accessLogFile: /dev/stdout
    defaultConfig: {proxyMetadata: {ISTIO_META_DNS_CAPTURE: \"true\"}}
  components:
    pilot:
      k8s:
        replicaCount: 2
        env: [{name: PILOT_TRACE_SAMPLING, value: 100}]
        resources: {requests: {cpu: 10m, memory: 100Mi}}
        overlays:
          - {kind: Deployment, name: istiod, patches: [{path: spec.replicas, value: 3}]}
    ingressGateways:
      - name: istio-ingressgateway
        enabled: true
        label: {istio: ingressgateway}
        k8s:
          service:
            type: LoadBalancer
            loadBalancerIP: 192.0.2.200
            ports: [{name: http2, port: 80, targetPort: 8080}, {name: https, port: 443, targetPort: https}]
  values: {global: {proxy: {resources: {requests: {cpu: 10m}}}}}
";

fn istio(rack: Value) -> Istio {
    serde_json::from_value(rack).unwrap()
}

fn said(rack: &Istio, text: &str) -> String {
    match parse(rack, "istio.yaml", text.as_bytes()) {
        Ok((_, warnings)) => format!("accepted\n{}", render("istio.yaml", text, &warnings)),
        Err(invalid) => invalid.to_string(),
    }
}

#[test]
fn bad_settings_say_why() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mesh/settings/bad");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let rack = text.lines().next().unwrap().strip_prefix("# ").unwrap();
        let rack = istio(serde_json::from_str(rack).unwrap());
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        insta::assert_snapshot!(stem, said(&rack, &text));
    }
}

#[test]
fn a_good_file_is_understood_as_it_is_written() {
    let rack = istio(json!({"version": "1.30.0"}));
    let (settings, warnings) = parse(&rack, "istio.yaml", GOOD.as_bytes()).unwrap();
    assert_eq!(warnings, []);
    let install = Install::of(&rack, settings);
    assert_eq!((install.profile.as_str(), install.namespace.as_str()), ("demo", "istio-system"));
    let Settings::Operator(file) = &install.settings else { panic!("an IstioOperator") };
    let spec = json!(file)["spec"].clone();
    // Text stays text: a plain 1.30.0, 100 or true is not rounded on the way.
    assert_eq!(spec["tag"], json!("1.30.0"));
    assert_eq!(spec["components"]["pilot"]["k8s"]["env"][0]["value"], json!("100"));
    let ports = &spec["components"]["ingressGateways"][0]["k8s"]["service"]["ports"];
    assert_eq!((&ports[0]["targetPort"], &ports[1]["targetPort"]), (&json!(8080), &json!("https")));
    assert_eq!(spec["components"]["pilot"]["k8s"]["overlays"][0]["patches"][0]["value"], json!(3));
}

#[test]
fn the_rack_says_the_profile_or_the_file_does() {
    let profile = |rack: Value, text: &str| {
        let rack = istio(rack);
        parse(&rack, "", text.as_bytes()).map(|(settings, _)| Install::of(&rack, settings).profile).ok()
    };
    let file =
        |spec: &str| format!("apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec: {spec}\n");
    let of = |profile: Option<&str>| json!({"version": "1.29.1", "profile": profile});
    assert_eq!(profile(of(None), &file("{tag: 1.29.1}")).as_deref(), Some("default"));
    assert_eq!(profile(of(None), &file("{profile: minimal}")).as_deref(), Some("minimal"));
    assert_eq!(profile(of(Some("minimal")), &file("{profile: minimal}")).as_deref(), Some("minimal"));
    assert_eq!(profile(of(Some("demo")), &file("{tag: 1.29.1}")).as_deref(), Some("demo"));
    assert_eq!(profile(of(Some("demo")), &file("{profile: minimal}")), None);
}

#[test]
fn the_namespace_is_where_every_version_reads_it() {
    let rack = istio(json!({"version": "1.29.1"}));
    let text = "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {namespace: mesh}\nspec: {namespace: mesh, values: {global: {istioNamespace: mesh}}}\n";
    let (settings, warnings) = parse(&rack, "", text.as_bytes()).unwrap();
    assert_eq!((Install::of(&rack, settings).namespace.as_str(), warnings), ("mesh", vec![]));
}

#[test]
fn too_large_and_not_utf8_are_told() {
    let rack = istio(json!({"version": "1.29.1"}));
    let told = |bytes: &[u8]| parse(&rack, "istio.yaml", bytes).unwrap_err().to_string();
    assert!(told(&vec![b' '; LARGEST + 1]).contains("larger than 1 MiB"));
    assert!(told(&[0xff, 0xfe, 0]).contains("not UTF-8"));
}

fn racks() -> impl Strategy<Value = Istio> {
    let methods = prop::sample::select(vec!["istioctl", "operator", "helm"]);
    let versions = prop::sample::select(vec!["1.17.2", "1.23.2", "1.29.1", "1.30.3"]);
    let profiles = prop::sample::select(vec![None, Some("demo"), Some("ambient"), Some("remote")]);
    (methods, versions, profiles).prop_map(|(method, version, profile)| {
        istio(json!({"method": method, "version": version, "profile": profile}))
    })
}

/// Nothing panics, every diagnostic lies inside of the text, and what is accepted can be installed and removed.
fn sound(rack: &Istio, text: &str) -> Result<(), TestCaseError> {
    let diagnostics = match parse(rack, "istio.yaml", text.as_bytes()) {
        Ok((settings, warnings)) => {
            let install = Install::of(rack, settings);
            crate::mesh::profile::expected(&install);
            prop_assert!(!install.acts(60).is_empty() || install.profile == "empty");
            install.removal(true, 60);
            warnings
        }
        Err(invalid) => {
            prop_assert!(!invalid.diagnostics.is_empty());
            invalid.diagnostics
        }
    };
    lie_inside("istio.yaml", text, &diagnostics)
}

fn mutated() -> impl Strategy<Value = String> {
    let words = "(~|null|off|010|1\\.30|<<|---|\u{201c}|\u{a0}|\u{feff}|spec|profile: demo\n)";
    fixtures::mutated(&[GOOD], words)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text(rack in racks(), text in any::<String>()) {
        sound(&rack, &text)?;
    }

    #[test]
    fn text_of_yaml_characters(rack in racks(), text in "[a-c:{}\\[\\],&*!|>'\"%@`#\t\n -]{0,200}") {
        sound(&rack, &text)?;
    }

    #[test]
    fn mutated_files(rack in racks(), text in mutated()) {
        sound(&rack, &text)?;
    }

    #[test]
    fn arbitrary_bytes(rack in racks(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&rack, "", &bytes);
    }
}
