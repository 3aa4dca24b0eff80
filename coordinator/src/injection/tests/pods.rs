//! Pods as clusters have them, and which of them would be made otherwise today.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::injection::facts::{InjectionFacts, places};
use crate::injection::hooks::Injectors;
use crate::injection::pods::{Today, proxy, sidecar, stale};
use crate::injection::wins::{INJECT, INJECTION, Labels, Namespace};

fn pod(name: &str, owner: Option<(&str, &str)>, labels: Value, proxy: Option<(&str, &str)>) -> Pod {
    let owners: Vec<Value> = owner
        .map(|(kind, name)| json!({"kind": kind, "name": name, "controller": true, "apiVersion": "", "uid": ""}))
        .into_iter()
        .collect();
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("u-{name}"), "labels": labels, "ownerReferences": owners},
        "spec": {"containers": [{"name": "web", "image": "nginx"}]},
    });
    if let Some((revision, image)) = proxy {
        let status = json!({"initContainers": ["istio-init"], "revision": revision}).to_string();
        pod["metadata"]["annotations"] = json!({"sidecar.istio.io/status": status});
        pod["spec"]["initContainers"] = json!([{"name": "istio-proxy", "image": image}]);
    }
    serde_json::from_value(pod).unwrap()
}

fn facts(pods: Vec<Pod>) -> InjectionFacts {
    let template = |labels: Value| json!({"selector": {}, "serviceName": "", "template": {"metadata": {"labels": labels}, "spec": {"containers": []}}});
    let meta = |name: &str| json!({"name": name, "namespace": "shop"});
    InjectionFacts {
        deployments: vec![
            serde_json::from_value(json!({"metadata": meta("web"), "spec": template(json!({}))})).unwrap(),
            serde_json::from_value(
                json!({"metadata": meta("batch"), "spec": template(json!({INJECT: "false"}))}),
            )
            .unwrap(),
        ],
        stateful_sets: vec![
            serde_json::from_value(json!({"metadata": meta("db"), "spec": template(json!({}))})).unwrap(),
        ],
        pods,
        ..InjectionFacts::default()
    }
}

fn told(facts: &InjectionFacts, of_namespace: &[(&str, &str)]) -> Vec<String> {
    let labels: Labels = of_namespace.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let version = "1.29.1".parse().unwrap();
    let injectors = Injectors::of(vec![]).with("default");
    let today = Today {
        namespace: Namespace { name: "shop", labels: &labels },
        injectors: &injectors,
        version: Some(("default", &version)),
        labels: &|workload| workload.pod_labels(),
    };
    let one = |s: crate::injection::pods::Stale| {
        let of = s.workload.map(|(kind, name)| format!("{}/{name}", kind.as_str())).unwrap_or_default();
        format!("{} ({of}) {}", s.pod, s.words)
    };
    stale(facts, &today).into_iter().map(one).collect()
}

#[test]
fn pods_are_compared_with_what_they_would_be_today() {
    let hash = json!({"pod-template-hash": "7d9"});
    let good = Some(("default", "example.com:5000/istio/proxyv2:1.29.1"));
    let mut gone = pod("web-7d9-ended", Some(("ReplicaSet", "web-7d9")), hash.clone(), None);
    gone.status = Some(serde_json::from_value(json!({"phase": "Succeeded"})).unwrap());
    let facts = facts(vec![
        pod("web-7d9-none", Some(("ReplicaSet", "web-7d9")), hash.clone(), None),
        pod("web-7d9-good", Some(("ReplicaSet", "web-7d9")), hash.clone(), good),
        pod(
            "web-7d9-newer",
            Some(("ReplicaSet", "web-7d9")),
            hash.clone(),
            Some(("default", "proxyv2:1.30.0@sha256:00")),
        ),
        pod(
            "web-7d9-other",
            Some(("ReplicaSet", "web-7d9")),
            hash.clone(),
            Some(("canary", "proxyv2:1.29.1")),
        ),
        pod(
            "web-7d9-tag",
            Some(("ReplicaSet", "web-7d9")),
            hash.clone(),
            Some(("default", "proxyv2:latest")),
        ),
        pod("batch-7d9-with", Some(("ReplicaSet", "batch-7d9")), hash.clone(), good),
        pod("batch-7d9-none", Some(("ReplicaSet", "batch-7d9")), hash, None),
        pod("db-0", Some(("StatefulSet", "db")), json!({}), Some(("default", "proxyv2:1.28.3-distroless"))),
        pod("bare", None, json!({}), None),
        gone,
    ]);
    insta::assert_snapshot!("stale", told(&facts, &[(INJECTION, "enabled")]).join("\n"));
    insta::assert_snapshot!("stale_off", told(&facts, &[(INJECTION, "disabled")]).join("\n"));
}

#[test]
fn a_gateway_is_no_sidecar() {
    let mut gateway = pod("gw", None, json!({}), None);
    let spec = gateway.spec.as_mut().unwrap();
    spec.containers[0].name = "istio-proxy".into();
    assert!(sidecar(&gateway).is_none());
    assert!(proxy(&gateway).is_some());
}

#[test]
fn namespaces_of_receipts_are_asked_for() {
    let mut ledger = rackwright_proto::cluster::ClusterLedger::default();
    for key in [
        "mesh/labels/Namespace/-/shop",
        "mesh/labels/Deployment/bank/web",
        "mesh/rollout/StatefulSet/data/db",
        "proxy/rollout",
        "mesh/Namespace/-/istio-system",
    ] {
        let run: rackwright_proto::name::RunId = "20261123t142233-7k3f9x".parse().unwrap();
        let entry = serde_json::from_value(json!({"undo": null, "run": run})).unwrap();
        ledger.entries.insert(key.into(), entry);
    }
    let found: Vec<String> = places(None, &ledger).into_iter().collect();
    assert_eq!(found, ["bank", "data", "shop"]);
}
