//! The doctor on a cluster with Istio: what keeps gateways and sidecars from getting ready.

use std::time::Duration;

use rackwright_lab::{Cluster, ClusterDefect, Istio, Metallb, Release, Spec, await_until, need_cluster};

use crate::cluster_rack::{kube, write};
use crate::diagnose::{cause, cause_of, dropping, until_said, well};

const LIMIT: Duration = Duration::from_secs(150);
const SYSTEM: &str = "--namespace=istio-system";
const GATEWAY: &str = "deployment/istio-ingressgateway";

#[test]
#[ignore = "long: a mesh of its own"]
fn troubles_of_a_mesh_are_told() {
    need_cluster!();
    let cluster = Cluster::up(Spec::test(2).kube(Release::V1_37).istio(Istio::V1_29)).unwrap();
    cluster.install_metallb(Metallb::V0_13).unwrap();
    cluster.install_istio(Istio::V1_29).unwrap();
    write(&cluster, &["dns: {}"]);
    // The gateway is ready, and its Service waits for an address.
    let said = cause(&cluster, "service-no-pool");
    assert!(said.contains("Service istio-system/istio-ingressgateway has no address"), "{said}");
    cluster.give_pool().unwrap();
    well(&cluster);
    cluster.spoil("cp1", ClusterDefect::GatewayRejects).unwrap();
    until_said(&cluster, 1, &["cause        gateway-rejects", "rejected"]);
    cluster.heal("cp1", ClusterDefect::GatewayRejects).unwrap();
    well(&cluster);

    told_another_address(&cluster);
    without_its_image(&cluster);

    let istiod = |replicas: &str| {
        let replicas = format!("--replicas={replicas}");
        kube(&cluster, &["scale", "deployment/istiod", "--namespace=istio-system", &replicas]);
    };
    istiod("0");
    cause(&cluster, "istiod-not-ready");
    istiod("1");
    well(&cluster);

    let hooks = ["forward", "output"]
        .map(|hook| format!("chain {hook} {{ type filter hook {hook} priority 0; tcp dport 15012 drop; }};"));
    dropping(&cluster, &hooks.join(" "), "istiod-unreachable");

    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: slow}\nspec: {containers: [{name: web, image: \
               'docker.io/library/busybox:lab', command: [sleep, '600'], readinessProbe: {tcpSocket: {port: 80}}}]}\n";
    cluster.apply(pod).unwrap();
    cause_of(&cluster, &["--pod", "default/slow"], "pod-not-ready");
}

/// Its pod was made while kubelets told a wrong address; that was mended, and the pod keeps it.
fn told_another_address(cluster: &Cluster) {
    let hosts = ["cp1", "w1"];
    hosts.iter().for_each(|host| cluster.spoil(host, ClusterDefect::KubeletDns).unwrap());
    let anew = || kube(cluster, &["delete", "pod", SYSTEM, "--selector=app=istio-ingressgateway"]);
    anew();
    await_until("the gateway does not find istiod", LIMIT, || {
        let log = cluster.kube(&["logs", SYSTEM, GATEWAY, "--container=istio-proxy"], None);
        let log = log.map_err(|error| error.to_string())?.stdout;
        if log.contains("10.96.0.99") { Ok(()) } else { Err(log) }
    })
    .unwrap();
    hosts.iter().for_each(|host| cluster.heal(host, ClusterDefect::KubeletDns).unwrap());
    let anew_is_the_way = "make it anew: `kubectl -n istio-system delete pod";
    until_said(cluster, 1, &["cause        gateway-no-names", "10.96.0.99", anew_is_the_way]);
    anew();
    well(cluster);
}

/// A rollout of an image that no node has: the gateway of before still serves.
fn without_its_image(cluster: &Cluster) {
    let container = r#"{"name": "istio-proxy", "image": "none:lab", "imagePullPolicy": "Never"}"#;
    let patch = format!(r#"--patch={{"spec": {{"template": {{"spec": {{"containers": [{container}]}}}}}}}}"#);
    kube(cluster, &["patch", GATEWAY, SYSTEM, &patch]);
    until_said(cluster, 1, &["cause        gateway-not-ready", "ErrImageNeverPull"]);
    kube(cluster, &["rollout", "undo", GATEWAY, SYSTEM]);
    well(cluster);
}
