use jiff::civil::{Date, date};
use rackwright_proto::finding::Severity;
use serde_json::{Value, json};

use super::{Change, change, findings};
use crate::mesh::view::{Objects, View};
use crate::mesh::{Install, Minor, Release, Settings};
use crate::rack::model::kubernetes::Istio;

const TODAY: Date = date(2026, 5, 20);

fn install(rack: Value) -> Install {
    let istio: Istio = serde_json::from_value(rack).unwrap();
    Install::of(&istio, Settings::None)
}

fn istiod(version: &str, revision: &str, labels: Value, annotations: Value) -> Value {
    let name = if revision == "default" { "istiod".to_owned() } else { format!("istiod-{revision}") };
    let mut all = json!({"app": "istiod", "istio.io/rev": revision});
    all.as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
    json!({
        "metadata": {"name": name, "namespace": "istio-system", "labels": all, "annotations": annotations},
        "spec": {"selector": {}, "template": {"spec": {"containers": [
            {"name": "discovery", "image": format!("docker.io/istio/pilot:{version}")},
        ]}}},
    })
}

fn by_istioctl(version: &str, revision: &str) -> Value {
    istiod(version, revision, json!({"operator.istio.io/managed": "Reconcile"}), json!({}))
}

fn operator() -> Value {
    json!({
        "metadata": {"name": "istio-operator", "namespace": "istio-operator"},
        "spec": {"selector": {}, "template": {"metadata": {"labels": {"name": "istio-operator"}}}},
    })
}

fn object(name: &str, rest: Value) -> Value {
    let mut object = json!({
        "apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator",
        "metadata": {"name": name, "namespace": "istio-system"},
    });
    object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    object
}

fn pods(version: &str, revision: &str, count: usize) -> Vec<Value> {
    let pod = |at: usize| {
        json!({
            "metadata": {"name": format!("shop-{at}"), "namespace": "shop", "annotations": {
                "sidecar.istio.io/status": json!({"revision": revision}).to_string(),
            }},
            "spec": {"containers": [
                {"name": "app", "image": "app:1"},
                {"name": "istio-proxy", "image": format!("docker.io/istio/proxyv2:{version}")},
            ]},
        })
    };
    (0..count).map(pod).collect()
}

fn view(deployments: Vec<Value>, operators: Vec<Value>, pods: Vec<Value>, tags: &[(&str, &str)]) -> View {
    let tag = |(name, revision): &(&str, &str)| {
        json!({"metadata": {"name": format!("istio-revision-tag-{name}"),
                            "labels": {"istio.io/tag": name, "istio.io/rev": revision}}})
    };
    let list = |values: Vec<Value>| Value::Array(values);
    View::of(&Objects {
        deployments: serde_json::from_value(list(deployments)).unwrap(),
        operators: Some(operators),
        pods: serde_json::from_value(list(pods)).unwrap(),
        mutating: serde_json::from_value(list(tags.iter().map(tag).collect())).unwrap(),
        ..Objects::default()
    })
}

fn judged(rack: Value, view: &View, kubernetes: u32) -> String {
    let mut found = findings(&install(rack), view, Some(Minor(1, kubernetes)), TODAY);
    found.retain(|finding| finding.severity != Severity::Pass);
    crate::findings::sort(&mut found);
    let mut text = Vec::new();
    let looked = crate::report::check::Looked::default();
    crate::report::check::text(&mut text, &found, &looked, crate::report::plan::View::default()).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_supported_version_on_an_empty_cluster_is_fine() {
    let found = findings(&install(json!({"version": "1.29.1"})), &View::default(), Some(Minor(1, 35)), TODAY);
    assert!(found.iter().all(|finding| finding.severity == Severity::Pass), "{found:?}");
    assert_eq!(found.len(), 3);
}

#[test]
fn the_blogs_version_on_a_cluster_of_today() {
    insta::assert_snapshot!(judged(json!({"version": "1.17.2", "profile": "stable"}), &View::default(), 35));
}

#[test]
fn a_second_owner_is_told_apart_from_a_left_over() {
    let demo = object("demo-istio-install", json!({"profile": "demo", "spec": null}));
    let record = object("installed-state", json!({"spec": {"profile": "default"}}));
    let owned = json!({"operator.istio.io/managed": "Reconcile",
                       "install.operator.istio.io/owning-resource": "demo-istio-install"});
    let plane = istiod("1.23.2", "default", owned, json!({}));
    let rack = || json!({"version": "1.23.2"});
    let mut all = Vec::new();
    for (what, view) in [
        ("acts", view(vec![operator(), plane.clone()], vec![demo.clone()], vec![], &[])),
        (
            "acts on another revision",
            view(vec![operator()], vec![object("c", json!({"spec": {"revision": "c"}}))], vec![], &[]),
        ),
        ("idle", view(vec![operator(), by_istioctl("1.23.2", "default")], vec![record.clone()], vec![], &[])),
        ("objects only", view(vec![], vec![demo], vec![], &[])),
        ("a record only", view(vec![by_istioctl("1.23.2", "default")], vec![record], vec![], &[])),
    ] {
        all.push(format!("== {what}\n{}", judged(rack(), &view, 30)));
    }
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn another_way_of_installing_is_told() {
    let helm =
        json!({"meta.helm.sh/release-name": "istiod", "meta.helm.sh/release-namespace": "istio-system"});
    let by_helm = || view(vec![istiod("1.29.1", "default", json!({}), helm.clone())], vec![], vec![], &[]);
    let istioctl = || view(vec![by_istioctl("1.29.1", "default")], vec![], vec![], &[]);
    let sail = json!({"app.kubernetes.io/managed-by": "sail-operator"});
    let other = view(vec![istiod("1.29.1", "default", sail, json!({}))], vec![], vec![], &[]);
    let all = [
        judged(json!({"version": "1.29.1"}), &by_helm(), 35),
        judged(json!({"version": "1.29.1", "method": "helm"}), &istioctl(), 35),
        judged(json!({"version": "1.29.1"}), &other, 35),
        judged(json!({"version": "1.29.1", "method": "helm"}), &by_helm(), 35),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn steps_are_one_minor_version_long() {
    let of = |version: &str, revision: &str| view(vec![by_istioctl(version, revision)], vec![], vec![], &[]);
    let mut all = Vec::new();
    for (there, there_as, wanted, wanted_as) in [
        ("1.28.3", "default", "1.29.1", Value::Null),
        ("1.28.3", "default", "1.29.1", json!("1-29-1")),
        ("1.27.9", "default", "1.29.1", Value::Null),
        ("1.17.5", "default", "1.29.1", json!("1-29-1")),
        ("1.29.1", "default", "1.28.3", Value::Null),
        ("1.29.1", "canary", "1.28.3", Value::Null),
        ("1.29.0", "default", "1.29.1", Value::Null),
    ] {
        let said = judged(json!({"version": wanted, "revision": wanted_as}), &of(there, there_as), 32);
        all.push(format!("== {there} as {there_as} -> {wanted} as {wanted_as}\n{said}"));
    }
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn proxies_and_their_control_plane_are_close() {
    let with = |version: &str| view(vec![], vec![], pods(version, "default", 5), &[]);
    let all = [
        judged(json!({"version": "1.29.1"}), &with("1.30.3"), 33),
        judged(json!({"version": "1.29.1"}), &with("1.28.3"), 33),
        judged(json!({"version": "1.29.1"}), &with("1.27.9"), 33),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn tags_that_lead_nowhere_are_told() {
    let view = view(
        vec![by_istioctl("1.29.1", "1-29-1")],
        vec![],
        vec![],
        &[("default", "1-28-3"), ("prod", "1-29-1")],
    );
    insta::assert_snapshot!(judged(json!({"version": "1.29.1", "revision": "1-29-1"}), &view, 33));
}

#[test]
fn changes_are_told_apart() {
    let of = |from: &str, to: &str| change(Release::parse(from).unwrap(), Release::parse(to).unwrap());
    assert_eq!(of("1.29.1", "1.29.1"), Change::None);
    assert_eq!(of("1.29.1", "1.29.3"), Change::Patch);
    assert_eq!(of("1.28.9", "1.29.0"), Change::Next);
    assert_eq!(of("1.17.5", "1.29.0"), Change::TooLarge { via: Minor(1, 18) });
    assert_eq!(of("1.29.1", "1.29.0"), Change::Back);
}
