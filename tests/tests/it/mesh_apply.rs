//! Istio on a real cluster: from none to a gateway that is ready in one `apply`, drift and its mending, and back.

use std::fs;
use std::time::Duration;

use rackwright_lab::{Istio, Output, Spec, await_until, need_cluster};
use serde_json::Value;

use crate::cluster_desk::Desk;
use crate::cluster_rack::unlock;
use crate::operator::says;

const LIMIT: Duration = Duration::from_secs(120);
const SYSTEM: &str = "--namespace=istio-system";
const RECEIPTS: [&str; 2] = ["configmap/rackwright-receipts", "--namespace=kube-system"];

/// A cluster of one node without a mesh, and a rack that wants Istio and a balancer, and proves nothing else.
pub(crate) fn desk(spec: Spec) -> Desk {
    let desk = Desk::up(spec);
    desk.edit("  services: [{name: web}]\n", "");
    desk.kubectl(&["taint", "nodes", "--all", "node-role.kubernetes.io/control-plane-"]);
    desk
}

fn one_node() -> Desk {
    desk(Spec::test(1).istio(Istio::V1_29))
}

/// Changes the operator's own file of settings.
#[track_caller]
pub(crate) fn settings(desk: &Desk, from: &str, to: &str) {
    let path = desk.lab().rack_yaml().with_file_name("istio.yaml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "no {from:?} in\n{text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// A rack that wants Istio alone of the cluster.
fn without_balancer(desk: &Desk) {
    let path = desk.lab().rack_yaml();
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("  metallb:\n").unwrap();
    let (_, after) = rest.split_once("  istio:\n").unwrap();
    fs::write(path, format!("{before}  istio:\n{after}")).unwrap();
}

#[track_caller]
pub(crate) fn is_ready(desk: &Desk, workload: &str) {
    desk.kubectl(&[SYSTEM, "rollout", "status", workload, "--timeout=1s"]);
}

fn drift(status: &Value) -> String {
    status["cluster"]["drift"].to_string()
}

/// All that is left of Istio in a cluster: nothing.
#[track_caller]
pub(crate) fn is_gone(desk: &Desk) {
    let everywhere = "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,\
                      validatingwebhookconfigurations,mutatingwebhookconfigurations";
    let all = desk.kubectl(&["get", everywhere, "--output=name"]);
    assert!(!all.contains("istio"), "{all}");
    let configs = desk.kubectl(&["get", "configmaps", "--all-namespaces", "--output=name"]);
    assert!(!configs.contains("istio"), "{configs}");
}

#[test]
fn a_gateway_is_ready_after_one_apply_and_gone_after_one_revert() {
    need_cluster!();
    let desk = one_node();
    let plan = desk.ends(0, &["plan"]);
    says(&plan, "install Istio 1.29.1");
    says(&plan, "1.29.1 by istioctl, profile default");

    let applied = desk.json(0, &["apply", "--yes"]);
    assert_eq!(applied["cluster"]["result"], "changed", "{applied:#}");
    for workload in ["deployment/istiod", "deployment/istio-ingressgateway"] {
        is_ready(&desk, workload);
    }
    let address = desk.gateway_address().unwrap();
    assert!(address.starts_with("192.0.2.2"), "{address}");
    nothing_is_left_to_do(&desk);
    what_others_change_is_told_and_mended(&desk);
    settings_change_in_place(&desk);

    desk.ends(0, &["revert", "--yes"]);
    is_gone(&desk);
    assert_eq!(desk.object(&RECEIPTS), Value::Null);
    let host = desk.lab().host("cp1");
    assert!(!host.sh("test -e /usr/local/bin/istioctl").unwrap().success());
    let again = desk.json(0, &["revert", "--yes"]);
    assert_eq!(again["cluster"]["result"], "unchanged", "{again:#}");
}

/// As the API server counts it: questions only, and not many.
fn nothing_is_left_to_do(desk: &Desk) {
    let again = desk.json(0, &["apply", "--yes"]);
    assert_eq!(again["cluster"]["result"], "unchanged", "{again:#}");
    assert_eq!(again["run"], Value::Null);
    let asked = again["cluster"]["asked"].as_object().unwrap();
    let writes: Vec<_> = asked.keys().filter(|a| !a.starts_with("get ") && !a.starts_with("list ")).collect();
    assert!(writes.is_empty(), "{asked:?}");
    rackwright_lab::talk::say(format_args!("asked of a cluster with a mesh: {asked:?}"));
    says(&desk.ends(0, &["plan", "--exit-code"]), "nothing to do");
    let status = desk.json(0, &["status"]);
    assert_eq!(drift(&status), "[]", "{status:#}");
}

fn what_others_change_is_told_and_mended(desk: &Desk) {
    let mesh = "accessLogFile: /dev/null\n";
    let patch = serde_json::json!({"data": {"mesh": mesh}}).to_string();
    desk.kubectl(&[SYSTEM, "patch", "configmap", "istio", "--type=merge", &format!("--patch={patch}")]);
    desk.kubectl(&[SYSTEM, "delete", "service", "istio-ingressgateway"]);
    let status = desk.json(4, &["status"]);
    for word in ["ConfigMap istio-system/istio", "Service istio-system/istio-ingressgateway: not there"] {
        assert!(drift(&status).contains(word), "{status:#}");
    }
    // What is no longer as we left it is not removed, but told.
    // There is no terminal to ask on.
    let asks = desk.ends(2, &["revert"]);
    says(&asks, "cluster-changed-by-others");
    let plan = desk.ends(4, &["plan", "--exit-code"]);
    says(&plan, "changed by others");
    desk.ends(0, &["apply", "--yes"]);
    let config = desk.object(&["configmap/istio", SYSTEM]);
    assert_ne!(config["data"]["mesh"], mesh);
    await_until("the gateway has an address again", LIMIT, || {
        desk.gateway_address().map_err(|error| error.to_string())
    })
    .unwrap();
    let status = desk.json(0, &["status"]);
    assert_eq!(drift(&status), "[]", "{status:#}");
}

fn settings_change_in_place(desk: &Desk) {
    settings(desk, "spec:\n", "spec:\n  meshConfig: {accessLogFile: /dev/stdout}\n");
    let plan = desk.ends(4, &["plan", "--exit-code"]);
    for word in ["install Istio 1.29.1", "the rack's settings", "/dev/stdout"] {
        says(&plan, word);
    }
    desk.ends(0, &["apply", "--yes"]);
    let config = desk.object(&["configmap/istio", SYSTEM]);
    assert!(config["data"]["mesh"].as_str().unwrap().contains("/dev/stdout"), "{config:#}");
    says(&desk.ends(0, &["plan", "--exit-code"]), "nothing to do");
}

fn refused(desk: &Desk, code: i32) -> Output {
    let output = desk.ends(code, &["apply", "--yes"]);
    let workloads = desk.kubectl(&["get", "deployments", "--all-namespaces", "--output=name"]);
    assert!(!workloads.contains("istiod"), "{workloads}");
    output
}

#[test]
fn no_mesh_without_dns_and_none_beside_somebody_elses() {
    need_cluster!();
    let desk = one_node();
    let dns = |replicas: &str| {
        desk.kubectl(&["--namespace=kube-system", "scale", "deployment/coredns", replicas]);
        desk.kubectl(&[
            "--namespace=kube-system",
            "rollout",
            "status",
            "deployment/coredns",
            "--timeout=60s",
        ]);
    };
    dns("--replicas=0");
    // What comes before the mesh may mend it, so the gate is where it stands; it does not.
    let shut = refused(&desk, 1);
    for word in ["whose DNS answers", "dns-no-pods", "mesh-dns"] {
        says(&shut, word);
    }
    // Now nothing comes before it.
    let shut = refused(&desk, 3);
    says(&shut, "mesh-dns");
    says(&desk.ends(3, &["check"]), "mesh-dns");

    dns("--replicas=1");
    what_only_pods_miss(&desk);
    cut_off(&desk);

    desk.ends(0, &["revert", "--yes"]);
    is_gone(&desk);
    desk.install_istio(Istio::V1_29).unwrap();
    let theirs = desk.ends(3, &["apply", "--yes"]);
    says(&theirs, "not by us");
    says(&desk.ends(0, &["status"]), "cluster v");
    is_ready(&desk, "deployment/istiod");
}

/// A firewall's rules for what is forwarded: the host's own questions are answered all the same.
fn what_only_pods_miss(desk: &Desk) {
    desk.deploy_web("asks", 1).unwrap();
    let host = desk.lab().host("cp1");
    let drop = |what: &str| {
        let pods = "ip saddr 10.244.0.0/16 ip daddr 10.244.0.0/16";
        let chain = format!("chain forward {{ type filter hook forward priority 0; {pods} {what} drop; }};");
        host.read(&format!(
            "nft 'table inet theirs {{}}; delete table inet theirs; table inet theirs {{ {chain} }}'"
        ))
        .unwrap();
    };
    says(&desk.ends(0, &["check", "--all"]), "it answers the pods 10.244.");
    drop("");
    let shut = refused(desk, 3);
    for word in ["mesh-dns", "dns-from-pods", "asked by the pod 10.244.", "over UDP and TCP"] {
        says(&shut, word);
    }
    says(&desk.ends(3, &["check"]), "dns-from-pods");
    // A mesh can live without long answers.
    drop("tcp dport 53");
    says(&refused(desk, 3), "over TCP");
    desk.waive("mesh-dns");
    desk.ends(0, &["plan"]);
}

/// A coordinator that dies while istioctl works: the next one does all of it.
fn cut_off(desk: &Desk) {
    let run = desk.applying();
    await_until("istiod is on its way", LIMIT, || {
        let there = desk.object(&["deployment/istiod", SYSTEM]) != Value::Null;
        if there { Ok(()) } else { Err("no istiod yet".to_owned()) }
    })
    .unwrap();
    run.kill();
    unlock(desk);
    let status = desk.ends(4, &["status"]);
    says(&status, "mesh/default");
    // By the waiver alone.
    desk.ends(0, &["apply", "--yes"]);
    is_ready(desk, "deployment/istio-ingressgateway");
    says(&desk.ends(0, &["plan", "--exit-code"]), "nothing to do");
}

/// A gateway that never gets ready: its words, not istioctl's.
#[test]
fn a_gateway_at_zero_of_one_tells_why() {
    need_cluster!();
    let spec = Spec::test(1).istio(Istio::V1_29);
    let desk = desk(spec.cluster_defect("cp1", rackwright_lab::ClusterDefect::GatewayRejects));
    without_balancer(&desk);
    desk.add("limits: {rollout: 20s}");
    let failed = desk.ends(1, &["apply", "--yes"]);
    for word in ["istio-ingressgateway", "istio-proxy runs but is not ready"] {
        says(&failed, word);
    }
    let status = desk.ends(4, &["status"]);
    says(&status, "mesh/default");
    desk.ends(0, &["revert", "--yes"]);
    is_gone(&desk);
}
