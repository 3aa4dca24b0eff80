//! A control plane that dies while a tool of the mesh is to run there: the next one takes over.

use std::fs;
use std::time::Duration;

use rackwright_lab::{Istio, Spec, await_until, need_cluster};

use crate::cluster_desk::Desk;
use crate::mesh_apply::{is_gone, is_ready, settings};
use crate::operator::{Working, coded, says};

/// Three control planes, all that Istio stands on already there, and DNS where nobody dies.
fn desk() -> Desk {
    let desk = Desk::up(Spec::test(4).control_planes(3).istio(Istio::V1_29));
    desk.edit("  services: [{name: web}]\n", "");
    let dns = r#"--patch={"spec":{"template":{"spec":{"nodeSelector":{"kubernetes.io/hostname":"w1"}}}}}"#;
    let system = "--namespace=kube-system";
    desk.kubectl(&["patch", system, "deployment/coredns", dns]);
    desk.kubectl(&["rollout", "status", system, "deployment/coredns", "--timeout=120s"]);
    let path = desk.lab().rack_yaml();
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.split_once("  istio:\n").unwrap().0).unwrap();
    desk.ends(0, &["apply", "--yes"]);
    fs::write(&path, whole).unwrap();
    desk
}

/// cp1 dies now; the run goes on without it, and then it comes back.
fn without_cp1(desk: &Desk, run: Working) {
    desk.lab().host("cp1").kill().unwrap();
    let output = coded(run.end(), 0);
    says(&output, "cluster: cp1:");
    for workload in ["deployment/istiod", "deployment/istio-ingressgateway"] {
        is_ready(desk, workload);
    }
    desk.lab().host("cp1").boot().unwrap();
    desk.kubectl(&["wait", "--for=condition=Ready", "node/cp1", "--timeout=120s"]);
    // A kube-proxy that does not find its API server ends, and is started again after longer and longer pauses.
    await_until("kube-proxy serves on cp1", Duration::from_secs(240), || {
        let asked = desk.lab().host("cp1").sh("busybox wget -qO- http://127.0.0.1:10249/proxyMode");
        let asked = asked.map_err(|error| error.to_string())?;
        if asked.success() { Ok(()) } else { Err(asked.stderr) }
    })
    .unwrap();
    // What else runs on every node is awaited.
    desk.ends(0, &["apply", "--yes"]);
    says(&desk.ends(0, &["plan", "--exit-code"]), "nothing to do");
}

#[test]
#[ignore = "long: four nodes, and twice a connection that must be given up"]
fn a_control_plane_that_dies_before_its_tool_runs_or_meanwhile_is_replaced_by_another() {
    need_cluster!();
    let desk = desk();
    let run = desk.applying();
    run.until_it_says("apply Namespace istio-system");
    without_cp1(&desk, run);

    settings(&desk, "spec:\n", "spec:\n  meshConfig: {accessLogFile: /dev/stdout}\n");
    let run = desk.applying();
    run.until_it_says("istioctl install");
    without_cp1(&desk, run);
    let config = desk.object(&["configmap/istio", "--namespace=istio-system"]);
    assert!(config["data"]["mesh"].as_str().unwrap().contains("/dev/stdout"), "{config:#}");

    desk.ends(0, &["revert", "--yes"]);
    is_gone(&desk);
}
