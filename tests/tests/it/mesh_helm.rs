//! Istio by Helm's charts on a real cluster: installed, cut off, changed, reached through its gateway, and gone again.

use std::fs;
use std::time::Duration;

use rackwright_lab::{Istio, Spec, await_until, helm, need_cluster};
use serde_json::Value;

use crate::cluster_desk::Desk;
use crate::cluster_rack::unlock;
use crate::mesh_apply::{is_gone, is_ready};
use crate::operator::says;

const LIMIT: Duration = Duration::from_secs(120);
const SYSTEM: &str = "--namespace=istio-system";
const HOST: &str = "shop.lab.test";
/// What a small rack needs of the gateway's chart, which takes none of the others' values.
const GATEWAY: &str = "gateway:\n  imagePullPolicy: IfNotPresent\n  autoscaling: {enabled: false}\n  \
                       resources: {requests: {cpu: 10m, memory: 40Mi}}\n";

/// Values by chart, and a rack that installs by helm and proves its gateway.
fn by_helm(desk: &Desk) {
    let dir = desk.lab().dir();
    let values = fs::read_to_string(dir.join("istio-values.yaml")).unwrap();
    let values: String = values.lines().map(|line| format!("  {line}\n")).collect();
    fs::write(dir.join("charts.yaml"), format!("istiod:\n{values}{GATEWAY}")).unwrap();
    let helm = helm().unwrap();
    let archive = format!("{{path: {}, sha256: {}}}", helm.path.display(), helm.sha256);
    desk.edit(
        "    profile: default\n",
        &format!("    method: helm\n    helm: {archive}\n    profile: default\n"),
    );
    let shop =
        format!("    injection: {{namespaces: [shop], restart: true}}\n    gateways: [{{host: {HOST}}}]\n");
    desk.edit("    file: istio.yaml\n", &format!("    file: charts.yaml\n{shop}"));
}

#[test]
#[ignore = "long: chart by chart, twice, and a shop behind it"]
fn charts_are_installed_changed_and_uninstalled() {
    need_cluster!();
    let desk = Desk::up(Spec::test(2).istio(Istio::V1_29));
    desk.edit("  services: [{name: web}]\n", "");
    desk.deploy_shop().unwrap();
    by_helm(&desk);
    says(&desk.ends(0, &["plan"]), "1.29.1 by helm, profile default");
    cut_off(&desk);

    says(&desk.ends(0, &["apply", "--yes"]), "pending: it is removed");
    for workload in ["deployment/istiod", "deployment/istio-ingressgateway"] {
        is_ready(&desk, workload);
    }
    the_gateway_serves(&desk);
    nothing_is_left_to_do(&desk);
    proxies_are_told_from_their_control_plane(&desk);
    a_setting_is_an_upgrade(&desk);
    the_gateway_serves(&desk);

    desk.ends(0, &["revert", "--yes"]);
    is_gone(&desk);
    let secrets = desk.kubectl(&["get", "secrets", "--all-namespaces", "--output=name"]);
    assert!(!secrets.contains("helm"), "{secrets}");
    assert!(!desk.lab().host("cp1").sh("test -e /usr/local/bin/helm").unwrap().success());
}

/// A coordinator that dies while helm waits for istiod: helm's release is pending, which no other helm would touch.
fn cut_off(desk: &Desk) {
    let run = desk.applying();
    await_until("istiod is on its way", LIMIT, || {
        let there = desk.object(&["deployment/istiod", SYSTEM]) != Value::Null;
        if there { Ok(()) } else { Err("no istiod yet".to_owned()) }
    })
    .unwrap();
    run.kill();
    unlock(desk);
    says(&desk.ends(4, &["status"]), "mesh/default");
}

#[track_caller]
fn the_gateway_serves(desk: &Desk) {
    let address = desk.gateway_address().unwrap();
    let answer = desk.outside().get_as(HOST, &format!("http://{address}/")).unwrap();
    assert!(answer.contains("server: istio-envoy"), "{answer}");
}

#[track_caller]
fn nothing_is_left_to_do(desk: &Desk) {
    let again = desk.json(0, &["apply", "--yes"]);
    assert_eq!(again["cluster"]["result"], "unchanged", "{again:#}");
    says(&desk.ends(0, &["plan", "--exit-code"]), "nothing to do");
}

/// Sidecars and gateways tell their version by their image.
fn proxies_are_told_from_their_control_plane(desk: &Desk) {
    for (version, finding) in [("1.28.5", "mesh-behind-its-proxies"), ("1.31.0", "mesh-proxies-too-old")] {
        let (from, to) = ("    version: 1.29.1\n", format!("    version: {version}\n"));
        desk.edit(from, &to);
        let plan = desk.ends(3, &["plan"]);
        says(&plan, finding);
        says(&plan, "2 proxies of 1.29.1");
        desk.edit(&to, from);
    }
}

fn a_setting_is_an_upgrade(desk: &Desk) {
    let path = desk.lab().dir().join("charts.yaml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("istiod:\n", "istiod:\n  meshConfig: {accessLogFile: /dev/stdout}\n", 1))
        .unwrap();
    let plan = desk.ends(4, &["plan", "--exit-code"]);
    for word in ["install Istio 1.29.1", "the rack's settings", "/dev/stdout"] {
        says(&plan, word);
    }
    desk.ends(0, &["apply", "--yes"]);
    let config = desk.object(&["configmap/istio", SYSTEM]);
    assert!(config["data"]["mesh"].as_str().unwrap().contains("/dev/stdout"), "{config:#}");
    nothing_is_left_to_do(desk);
}
