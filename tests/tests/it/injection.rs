//! Sidecars on a real cluster with Istio: namespaces labelled, workloads excluded and restarted, all of it brought
//! back; manifests injected by the real istioctl, and what a proxy says.

use std::fs;
use std::time::Duration;

use rackwright_lab::{Cluster, Istio, Spec, await_until, need_cluster};
use serde_json::Value;

use crate::cluster_desk::Desk;
use crate::operator::says;

const LIMIT: Duration = Duration::from_secs(180);
const SHOP: &str = "--namespace=shop";
/// One line of the rack's file, below `istio:`.
const INJECTION: &str = "    injection: {namespaces: [shop], off: [legacy], exclude: [{name: batch, namespace: shop}], restart: true}\n";

/// Two namespaces that somebody labelled before, and workloads whose pods are there already.
fn before() -> String {
    let namespace = |name: &str, labels: &str| {
        format!("kind: Namespace\napiVersion: v1\nmetadata: {{name: {name}, labels: {labels}}}\n---\n")
    };
    let workload = |kind: &str, name: &str| {
        let more = if kind == "StatefulSet" { "  serviceName: none\n" } else { "" };
        format!(
            "kind: {kind}\napiVersion: apps/v1\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n{more}  replicas: 1\n  \
             selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      \
             terminationGracePeriodSeconds: 1\n      containers:\n      - name: web\n        image: \
             docker.io/library/busybox:lab\n        command: [sh, -c, 'exec httpd -f -p 8080']\n        readinessProbe: \
             {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}\n---\n"
        )
    };
    [
        namespace("shop", "{team: a, istio.io/rev: old}"),
        namespace("legacy", "{istio-injection: enabled}"),
        workload("Deployment", "web"),
        workload("Deployment", "batch"),
        workload("StatefulSet", "db"),
    ]
    .concat()
}

/// A cluster of one node with pods of the operator's, and a rack that wants Istio and proves no Service.
fn desk() -> Desk {
    let desk = Desk::up(Spec::test(1).istio(Istio::V1_29));
    desk.edit("  services: [{name: web}]\n", "");
    desk.kubectl(&["taint", "nodes", "--all", "node-role.kubernetes.io/control-plane-"]);
    desk.apply(&before()).unwrap();
    for workload in ["deployment/web", "deployment/batch", "statefulset/db"] {
        desk.kubectl(&[SHOP, "rollout", "status", workload, "--timeout=120s"]);
    }
    desk
}

fn labels(cluster: &Cluster, namespace: &str) -> String {
    let labels = "--output=jsonpath={.metadata.labels}";
    cluster.kube(&["get", "namespace", namespace, labels], None).unwrap().text().to_owned()
}

/// The pods of an app that run, with their containers: `web-7d9-x: istio-init istio-proxy web`.
fn pods(desk: &Desk, app: &str) -> Vec<(String, Vec<String>)> {
    let pods = desk.object(&["pods", SHOP, &format!("--selector=app={app}")]);
    let alive = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    let containers = |pod: &Value| {
        let of = |field: &str| pod["spec"][field].as_array().cloned().unwrap_or_default();
        [of("initContainers"), of("containers")].concat().iter().map(|c| text(&c["name"])).collect()
    };
    let items = pods["items"].as_array().cloned().unwrap_or_default();
    items.iter().filter(alive).map(|pod| (text(&pod["metadata"]["name"]), containers(pod))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Whether the pods of an app have a sidecar, all of them; pods that go are no longer counted.
#[track_caller]
fn has_sidecar(desk: &Desk, app: &str, wanted: bool) {
    await_until(&format!("the sidecars of {app}: {wanted}"), LIMIT, || {
        let pods = pods(desk, app);
        let good = pods.iter().all(|(_, all)| all.iter().any(|name| name == "istio-proxy") == wanted);
        if good && pods.len() == 1 { Ok(()) } else { Err(format!("{pods:?}")) }
    })
    .unwrap();
}

#[test]
fn pods_get_a_sidecar_as_the_rack_says_and_lose_it_again() {
    need_cluster!();
    let desk = desk();
    let found = ["shop", "legacy"].map(|namespace| labels(&desk, namespace));
    a_namespace_that_is_not_there_stops_it(&desk);
    desk.edit("  istio:\n", &format!("  istio:\n{INJECTION}"));
    let plan = desk.ends(0, &["plan"]);
    for words in [
        "label Namespace shop",
        "no istio-injection, istio.io/rev=old \u{2192} istio-injection=enabled, no istio.io/rev",
        "istio-injection=enabled \u{2192} istio-injection=disabled",
        "label the pods of Deployment shop/batch",
        "sidecar.istio.io/inject=false; its pods restart",
        "restart Deployment shop/web",
        "restart StatefulSet shop/db",
    ] {
        says(&plan, words);
    }
    assert!(!plan.stdout.contains("restart Deployment shop/batch"), "{}", plan.stdout);

    desk.ends(0, &["apply", "--yes"]);
    for (app, sidecar) in [("web", true), ("db", true), ("batch", false)] {
        has_sidecar(&desk, app, sidecar);
    }
    assert!(labels(&desk, "shop").contains(r#""istio-injection":"enabled""#));
    assert!(
        labels(&desk, "shop").contains(r#""team":"a""#) && !labels(&desk, "shop").contains("istio.io/rev")
    );
    assert!(labels(&desk, "legacy").contains(r#""istio-injection":"disabled""#));
    let again = desk.json(0, &["apply", "--yes"]);
    assert_eq!(again["cluster"]["result"], "unchanged", "{again:#}");
    desk.ends(0, &["status"]);

    a_proxys_log_is_read(&desk);
    a_manifest_is_injected(&desk);
    what_others_change_is_told(&desk);
    pods_of_before_are_named_where_none_is_restarted(&desk);

    desk.ends(0, &["revert", "--yes"]);
    assert_eq!(["shop", "legacy"].map(|namespace| labels(&desk, namespace)), found);
    for app in ["web", "db", "batch"] {
        has_sidecar(&desk, app, false);
    }
    let again = desk.json(0, &["revert", "--yes"]);
    assert_eq!(again["cluster"]["result"], "unchanged", "{again:#}");
}

fn a_namespace_that_is_not_there_stops_it(desk: &Desk) {
    desk.edit("  istio:\n", "  istio:\n    injection: {namespaces: [shopp], exclude: [{name: web}]}\n");
    let refused = desk.ends(3, &["plan"]);
    says(&refused, "there is no namespace shopp (did you mean `shop`?)");
    says(&refused, "there is no Deployment default/web");
    desk.edit("    injection: {namespaces: [shopp], exclude: [{name: web}]}\n", "");
}

fn a_proxys_log_is_read(desk: &Desk) {
    let (web, _) = pods(desk, "web").remove(0);
    let log = desk.ends(0, &["logs", &web, "--namespace", "shop", "--tail", "2000"]);
    says(&log, "Envoy proxy is ready");
    assert!(!log.stderr.contains("cause:"), "{}", log.stderr);
    let tail = desk.json(0, &["logs", &web, "-n", "shop", "--tail", "1", "--since", "2h"]);
    assert!(text(&tail["log"]).lines().count() <= 1, "{tail:#}");
    let (batch, _) = pods(desk, "batch").remove(0);
    let none = desk.ends(1, &["logs", &batch, "-n", "shop"]);
    says(&none, "it has no sidecar: the pod's label says sidecar.istio.io/inject=false");
    says(&desk.ends(1, &["logs", "web", "-n", "shop"]), &format!("did you mean `{web}`?"));
}

fn a_manifest_is_injected(desk: &Desk) {
    let manifest = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: new, namespace: shop}\nspec:\n  selector: \
                    {matchLabels: {app: new}}\n  template:\n    metadata:\n      labels: {app: new}\n      annotations: \
                    {note: \u{201c}new\u{201d}}\n    spec:\n      containers: [{name: web, image: docker.io/library/busybox:lab}]\n";
    fs::write(desk.lab().dir().join("new.yaml"), manifest).unwrap();
    says(&desk.ends(3, &["lint", "new.yaml"]), "typographic quote");
    let injected = desk.ends(0, &["inject", "new.yaml"]);
    assert!(injected.stdout.contains("name: istio-proxy"), "{}", injected.stdout);
    says(&injected, "new.yaml:9:27: error: typographic quote");
    desk.kube(&["apply", "--dry-run=server", "--filename=-"], Some(&injected.stdout)).unwrap();
}

/// What somebody else labels is drift, and `apply` sets it again.
fn what_others_change_is_told(desk: &Desk) {
    desk.kubectl(&["label", "namespace", "shop", "istio-injection=disabled", "--overwrite"]);
    says(&desk.ends(4, &["status"]), "mesh/labels/Namespace/-/shop  now other labels");
    says(&desk.ends(0, &["apply", "--yes"]), "changed");
    desk.ends(0, &["status"]);
}

fn pods_of_before_are_named_where_none_is_restarted(desk: &Desk) {
    desk.edit("], restart: true}", "], restart: false}");
    desk.kubectl(&["label", "namespace", "shop", "istio-injection-"]);
    desk.kubectl(&[SHOP, "delete", "pod", "--selector=app=web"]);
    has_sidecar(desk, "web", false);
    let (web, _) = pods(desk, "web").remove(0);
    let plan = desk.ends(0, &["plan"]);
    says(&plan, &format!("{web} without a sidecar"));
    says(&plan, "kubectl -n shop rollout restart deployment/web");
    desk.ends(0, &["apply", "--yes"]);
    has_sidecar(desk, "web", false);
    desk.edit("], restart: false}", "], restart: true}");
    desk.ends(0, &["apply", "--yes"]);
    has_sidecar(desk, "web", true);
}
