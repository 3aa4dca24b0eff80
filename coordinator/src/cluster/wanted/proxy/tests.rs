//! Nodes that kubeadm's DaemonSet leaves out, and hosts that leave ipvs.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::*;
use crate::cluster::facts::ClusterFacts;
use crate::proof::proxy::Told as Said;

const CONFIG: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n\
                      mode: nftables\nipvs:\n  scheduler: wrr\n  strictARP: true\n";

/// `cp1` has a kube-proxy of its own, `w1` that of kubeadm.
fn sight(modes: [&str; 2]) -> Sight {
    let node = |name: &str| {
        let role =
            format!("node-role.kubernetes.io/{}", if name == "cp1" { "control-plane" } else { "worker" });
        serde_json::from_value(json!({"metadata": {"name": name, "labels": {role: ""}}})).unwrap()
    };
    let pod = |owner: &str, node: &str| {
        let owner = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": owner, "uid": owner});
        let spec = json!({"nodeName": node, "containers": []});
        serde_json::from_value(json!({"metadata": {"ownerReferences": [owner]}, "spec": spec})).unwrap()
    };
    let expression = json!({"key": "node-role.kubernetes.io/control-plane", "operator": "DoesNotExist"});
    let required = json!({"nodeSelectorTerms": [{"matchExpressions": [expression]}]});
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}});
    let set = json!({
        "metadata": {"name": "kube-proxy", "namespace": "kube-system", "uid": "kube-proxy"},
        "spec": {"selector": {}, "template": {"spec": {"containers": [], "affinity": affinity}}},
    });
    let config: ConfigMap = serde_json::from_value(json!({"data": {"config.conf": CONFIG}})).unwrap();
    let mut facts = ClusterFacts { version: "v1.37.2".into(), ..ClusterFacts::default() };
    facts.nodes = ["cp1", "w1"].map(node).into();
    facts.proxy.config = Some(config);
    facts.proxy.daemon_set = serde_json::from_value(set).unwrap();
    facts.proxy.pods = vec![pod("kube-proxy-cp", "cp1"), pod("kube-proxy", "w1")];
    facts.daemon_sets = facts.proxy.daemon_set.iter().cloned().collect();
    let mut sight = Sight { facts, ..Sight::default() };
    for (node, mode) in ["cp1", "w1"].into_iter().zip(modes) {
        sight.told.insert(node.into(), Said { mode: Ok(mode.into()), healthy: Ok(()) });
        sight.traces.insert(node.into(), ClusterTraces::default());
    }
    sight
}

fn rack(proxy: &str) -> crate::rack::Rack {
    let nodes =
        "nodes: [{name: cp1, address: 192.0.2.11, roles: [control-plane]}, {name: w1, address: 192.0.2.12}]";
    let text = format!("apiVersion: rackwright.dev/v1\nkind: Rack\n{nodes}\nkubernetes: {{{proxy}}}\n");
    crate::rack::parse("rack.yaml", &text).unwrap().0
}

#[test]
fn a_kube_proxy_of_others_is_told_and_not_judged() {
    let (sight, rack) = (sight(["nftables", "iptables"]), rack("proxy: {mode: iptables}"));
    let scene = Scene { rack: &rack, hosts: &[], sight: &sight };
    let others: Vec<Finding> = gates(scene).into_iter().filter(|f| f.name == "proxy-of-others").collect();
    assert_eq!(others.len(), 1);
    assert_eq!(others[0].nodes, ["cp1"]);
    assert!(!others[0].blocks());
    let said = "that of DaemonSet kube-proxy-cp runs there, in mode nftables";
    assert!(others[0].observed.ends_with(said), "{}", others[0].observed);
    assert!(live(scene).iter().all(|f| f.nodes == ["w1"] && !f.blocks()), "{:?}", live(scene));
    let turns = turns(scene, &steps(scene));
    assert_eq!(turns.iter().map(|turn| turn.name.as_str()).collect::<Vec<_>>(), ["w1"]);
    // One that is in the wrong mode is no reason to restart those that are in the right one.
    assert!(runs(scene, rack.kubernetes().unwrap().proxy.as_ref().unwrap()));
}

#[test]
fn a_node_without_any_kube_proxy_is_told_whatever_the_rack_wants() {
    let mut sight = sight(["nftables", "nftables"]);
    let rack = rack("services: [{name: web}]");
    let told = |sight: &Sight| {
        let scene = Scene { rack: &rack, hosts: &[], sight };
        gates(scene).into_iter().filter(|f| f.name == "proxy-of-others").collect::<Vec<_>>()
    };
    assert!(told(&sight).is_empty());
    sight.facts.proxy.pods.remove(0);
    sight.told.get_mut("cp1").unwrap().mode = Err("connection refused".into());
    assert!(told(&sight)[0].observed.ends_with("none answers there: connection refused"));
}

#[test]
fn hosts_are_prepared_for_the_kube_proxy_that_runs_on_them() {
    let ipvs = |scheduler: &str| ProxyMode::Ipvs { scheduler: scheduler.into() };
    let wanted = |mode: ProxyMode| ProxyWanted { strict_arp: matches!(mode, ProxyMode::Ipvs { .. }), mode };
    let of = |mode: ProxyMode, node: &str, live: &str, before: bool| {
        let of = of_host(&wanted(mode), &sight(["nftables", live]), node, before);
        (of.mode, of.strict_arp)
    };
    assert_eq!(of(ipvs("rr"), "cp1", "nftables", false), (ProxyMode::Other, false));
    assert_eq!(of(ipvs("rr"), "w1", "nftables", false), (ipvs("rr"), true));
    // It is to join the cluster yet.
    assert_eq!(of(ipvs("rr"), "w2", "nftables", false), (ipvs("rr"), true));
    // What ipvs needs stays until it runs no more.
    assert_eq!(of(ProxyMode::Nftables, "w1", "ipvs", true), (ipvs("wrr"), true));
    assert_eq!(of(ProxyMode::Nftables, "w1", "nftables", true), (ProxyMode::Nftables, false));
    assert_eq!(of(ProxyMode::Nftables, "w1", "ipvs", false), (ProxyMode::Nftables, false));
}
