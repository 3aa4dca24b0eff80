//! The lab's real cluster: what the tests of the cluster's side stand on.

use std::time::Duration;

use rackwright_lab::{Cluster, Metallb, Release, Spec, await_until, need_cluster};

use crate::lab::killed_when;
use crate::traces;

/// A web server on every node that says the node's name, and a Service in front of it.
const WEB: &str = include_str!("cluster/web.yaml");
const LIMIT: Duration = Duration::from_secs(60);

fn up(nodes: usize) -> Cluster {
    Cluster::up(Spec::test(nodes).kube(Release::V1_37)).unwrap()
}

fn kube(cluster: &Cluster, arguments: &[&str]) -> String {
    cluster.kube(arguments, None).unwrap().text().to_owned()
}

/// Asks the Service from a host until every node's endpoint has answered.
fn assert_all_answer(cluster: &Cluster, from: &str) {
    let address = kube(cluster, &["get", "service", "web", "--output=jsonpath={.spec.clusterIP}"]);
    let host = cluster.lab().host(from);
    for node in cluster.lab().hosts() {
        await_until(&format!("the Service answers from {}", node.name()), LIMIT, || {
            let ask = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | socat -t5 - TCP:{address}:80,connect-timeout=5 | tail -n1");
            let answer = host.sh(&ask).unwrap();
            if answer.text() == node.name() { Ok(()) } else { Err(answer.stdout + &answer.stderr) }
        })
        .unwrap();
    }
}

#[test]
fn a_cluster_is_real_and_leaves_nothing() {
    need_cluster!();
    let cluster = up(2);
    let rack = cluster.lab().spec().name.clone();
    let ready = "--output=jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}";
    assert_eq!(kube(&cluster, &["get", "nodes", ready]), "True True");
    assert!(kube(&cluster, &["version"]).contains("Server Version: v1.37.2"));

    for (name, address) in
        [("kubernetes.default.svc.cluster.local", "10.96.0.1"), ("operator.lab.test", "192.0.2.1")]
    {
        let answer =
            cluster.lab().host("w1").read(&format!("busybox nslookup -type=a {name} 10.96.0.10")).unwrap();
        assert!(answer.contains(address), "{answer}");
    }

    cluster.kube(&["apply", "-f", "-"], Some(WEB)).unwrap();
    kube(&cluster, &["rollout", "status", "daemonset/web", "--timeout=120s"]);
    for host in ["cp1", "w1"] {
        assert_all_answer(&cluster, host);
    }

    // Dead in mid-life and booted again, the node is ready with all its pods.
    cluster.lab().host("w1").kill().unwrap();
    cluster.lab().host("w1").boot().unwrap();
    assert_all_answer(&cluster, "cp1");

    cluster.down().unwrap();
    traces::assert_none(&rack);
}

#[test]
fn metallb_gives_a_service_one_mac_and_an_answer() {
    need_cluster!();
    serves(Release::V1_37, Metallb::V0_13);
}

#[test]
#[ignore = "long: builds MetalLB 0.16.1"]
fn the_newer_metallb_serves_too() {
    need_cluster!();
    serves(Release::V1_37, Metallb::V0_16);
}

#[test]
#[ignore = "long: builds Kubernetes 1.30.14"]
fn kubernetes_1_30_serves_with_both() {
    need_cluster!();
    for metallb in [Metallb::V0_13, Metallb::V0_16] {
        serves(Release::V1_30, metallb);
    }
}

fn serves(release: Release, metallb: Metallb) {
    let cluster = Cluster::up(Spec::test(3).kube(release).metallb(metallb)).unwrap();
    let version = kube(&cluster, &["version"]);
    assert!(version.contains(&format!("Server Version: v{}", release.version())), "{version}");
    cluster.install_metallb(metallb).unwrap();
    cluster.give_pool().unwrap();
    cluster.deploy_web("web", 3).unwrap();
    assert_reached(&cluster, "web");
}

#[test]
fn the_other_api_server_answers_when_one_ends() {
    need_cluster!();
    let cluster = Cluster::up(Spec::test(3).kube(Release::V1_37).control_planes(2)).unwrap();
    for (ended, other) in [("cp1", "cp2"), ("cp2", "cp1")] {
        cluster.stop_api_server(ended).unwrap();
        kube(&cluster, &["get", "nodes"]);
        // At its own address too: its certificate has all of them.
        let server = format!("--server=https://{}:6443", cluster.lab().host(other).address());
        kube(&cluster, &[&server, "create", "configmap", &format!("while-{ended}-was-away")]);
        cluster.start_api_server(ended).unwrap();
    }
    assert_eq!(kube(&cluster, &["get", "configmaps", "--output=name"]).matches("-was-away").count(), 2);
}

#[test]
#[ignore = "long: four nodes"]
fn two_control_planes_go_on_when_the_third_dies() {
    need_cluster!();
    let cluster = Cluster::up(Spec::test(4).kube(Release::V1_37).control_planes(3)).unwrap();
    cluster.lab().host("cp1").kill().unwrap();
    await_until("etcd has a leader again", LIMIT, || {
        cluster.kube(&["create", "configmap", "later"], None).map_err(|error| error.to_string())
    })
    .unwrap();
    cluster.lab().host("cp1").boot().unwrap();
    kube(&cluster, &["wait", "--for=condition=Ready", "node/cp1", "--timeout=120s"]);
}

/// One node's MAC answers for the Service's address, and a node's name is served there.
fn assert_reached(cluster: &Cluster, service: &str) {
    let address = cluster.address_of(service).unwrap();
    let owners = await_until("somebody answers ARP", LIMIT, || {
        let macs = cluster.outside().answering(&address).map_err(|error| error.to_string())?;
        if macs.is_empty() { Err("nobody".to_owned()) } else { Ok(macs) }
    });
    let owners = owners.unwrap();
    assert_eq!(owners.len(), 1, "{owners:?}");
    let nodes = cluster.lab().layout().hosts.iter().map(|(_, station)| &station.nics[0].mac);
    assert!(nodes.into_iter().any(|mac| owners.contains(mac)), "{owners:?} is no node");
    let answer = cluster.outside().get(&format!("http://{address}/")).unwrap();
    assert!(cluster.lab().hosts().iter().any(|host| host.name() == answer.trim()), "{answer}");
}

#[test]
fn a_lab_killed_while_the_control_plane_starts_leaves_nothing() {
    need_cluster!();
    let manifest = "hosts/cp1/upper/etc/kubernetes/manifests/kube-scheduler.yaml";
    killed_when(&["cluster", "up", "--nodes", "1"], "the control plane starts", |rack| {
        rack.dir().join(manifest).exists()
    });
}
