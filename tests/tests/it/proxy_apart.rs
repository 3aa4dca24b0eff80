//! A cluster in which kubeadm's kube-proxy is kept off the control plane, which has one of its own: what the rack says
//! of kube-proxy is for the other nodes, and whose it is on which node is said.

use std::time::Duration;

use rackwright_lab::{Cluster, Metallb, Output, Release, Spec, need_cluster, run};
use serde_json::Value;

use crate::cluster_rack::{metallb, system, write_with};
use crate::operator::{coded, rackwright, says};

const LIMIT: Duration = Duration::from_secs(600);
const POOLS: &str =
    "pools: [{name: first, addresses: [192.0.2.200-192.0.2.219]}], advertisements: [{pools: [first]}]";

#[track_caller]
fn ends(cluster: &Cluster, code: i32, arguments: &[&str]) -> Output {
    coded(run(rackwright(cluster.lab(), arguments), None, LIMIT).unwrap(), code)
}

fn want(cluster: &Cluster, proxy: &str) {
    let proxy = format!("proxy: {proxy}");
    write_with(cluster, "1min", &[&proxy, &metallb(Metallb::V0_13, POOLS), "services: [{name: web}]"]);
}

/// What kube-proxy says of itself on each host.
fn modes(cluster: &Cluster) -> Vec<String> {
    let ask = "printf 'GET /proxyMode HTTP/1.0\\r\\n\\r\\n' | socat -t5 - TCP:127.0.0.1:10249 | tail -n1";
    cluster.lab().hosts().iter().map(|host| host.read(ask).unwrap().trim().to_owned()).collect()
}

/// The pods of the control plane's own kube-proxy, its configuration, and the set.
fn theirs(cluster: &Cluster) -> String {
    let on = "--field-selector=spec.nodeName=cp1";
    let of = "--selector=k8s-app=kube-proxy";
    let pods = system(cluster, &["get", "pod", of, on, "--output=jsonpath={.items[*].metadata.uid}"]);
    let name = "kube-proxy-control-plane";
    let config = system(cluster, &["get", "configmap", name, "--output=jsonpath={.data}"]);
    let set =
        system(cluster, &["get", "daemonset", name, "--output=jsonpath={.metadata.generation} {.spec}"]);
    format!("{pods}\n{config}\n{set}")
}

#[test]
fn a_node_with_a_kube_proxy_of_somebody_else_is_told_and_left_alone() {
    need_cluster!();
    let cluster =
        Cluster::up(Spec::test(2).kube(Release::V1_37).metallb(Metallb::V0_13).with_proxy_apart()).unwrap();
    cluster.deploy_web("web", 1).unwrap();
    let before = theirs(&cluster);
    want(&cluster, "{mode: iptables}");
    let applied = ends(&cluster, 0, &["apply", "--yes"]);
    says(&applied, "proven       default/web");
    let checked = ends(&cluster, 0, &["check"]);
    says(&checked, "proxy-of-others on cp1");
    says(&checked, "that of DaemonSet kube-proxy-control-plane runs there, in mode nftables");
    assert_eq!(modes(&cluster), ["nftables", "iptables"]);
    says(&ends(&cluster, 0, &["apply", "--yes"]), "unchanged    the cluster");
    ends(&cluster, 0, &["plan", "--exit-code"]);

    // Node by node, whose pods bear the same labels as those of the other set.
    want(&cluster, "{mode: nftables, migrate: {drain: true}}");
    let output = ends(&cluster, 0, &["migrate-proxy", "--yes", "--json"]);
    let done: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(done["proven"], serde_json::json!(["w1"]), "{}", output.stderr);
    assert_eq!(done["migration"]["turns"].as_array().unwrap().len(), 1, "{done}");
    says(&ends(&cluster, 0, &["migrate-proxy", "--yes"]), "Nothing to do");
    assert_eq!(modes(&cluster), ["nftables", "nftables"]);

    // By us, where the set waits for its pods to be deleted: also then only its own.
    want(&cluster, "{mode: iptables}");
    let patch = r#"--patch={"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null}}}"#;
    system(&cluster, &["patch", "daemonset", "kube-proxy", patch]);
    says(&ends(&cluster, 0, &["apply", "--yes"]), "w1 has its turn (1 of 1)");
    assert_eq!(modes(&cluster), ["nftables", "iptables"]);
    ends(&cluster, 0, &["revert", "--yes"]);
    assert_eq!(modes(&cluster), ["nftables", "nftables"]);
    assert_eq!(theirs(&cluster), before);
}
