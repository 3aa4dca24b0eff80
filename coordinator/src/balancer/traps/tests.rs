use rackwright_proto::link::Network;
use serde_json::json;

use super::*;
use crate::balancer::fixtures::{facts, network, node, rack, scene, service, set_by, shown};
use crate::balancer::{members, objects};

const LINES: &str =
    "    pools: [{name: first, addresses: [192.0.2.240/28]}]\n    advertisements: [{pools: [first]}]\n";

/// The traps of a rack on a cluster.
fn judged(version: &str, lines: &str, hosts: &[(&str, Network)], facts: &ClusterFacts) -> String {
    let names: Vec<&str> = hosts.iter().map(|(name, _)| *name).collect();
    let rack = rack(&names, version, lines);
    let metallb = rack.kubernetes().unwrap().metallb.as_ref().unwrap();
    let scene = scene(hosts, version);
    let live = facts.balancer.advertisements.clone().unwrap_or_default();
    let context =
        Context { scene: &scene, members: members(&rack, &scene, &facts.nodes), advertisements: &live };
    let steps = objects::steps(metallb, &context);
    shown(&judge(metallb, &steps, &context, facts))
}

fn lan() -> [(&'static str, Network); 2] {
    [("w1", network(&[("eth0", "192.0.2.11/24")])), ("w2", network(&[("eth0", "192.0.2.12/24")]))]
}

fn nodes(labels: &[&str]) -> Vec<k8s_openapi::api::core::v1::Node> {
    vec![node("w1", labels), node("w2", labels)]
}

#[test]
fn a_cluster_without_traps_has_none() {
    let empty = ClusterFacts { nodes: nodes(&[]), ..ClusterFacts::default() };
    assert_eq!(judged("0.13.10", LINES, &lan(), &empty), "");
    let ours = set_by("rackwright", "IPAddressPool", "first", json!({"addresses": ["192.0.2.240/28"]}));
    let mut live = facts("0.13.10", nodes(&[]), vec![ours], Vec::new());
    live.services = vec![service(
        "web",
        json!({"metallb.universe.tf/address-pool": "first"}),
        json!({}),
        &["192.0.2.241"],
    )];
    assert_eq!(judged("0.13.10", LINES, &lan(), &live), "");
    assert_eq!(judged("0.16.1", LINES, &lan(), &facts("0.16.1", nodes(&[]), Vec::new(), Vec::new())), "");
}

#[test]
fn what_others_made_beside_ours() {
    let pool = |name: &str, spec| set_by("kubectl", "IPAddressPool", name, spec);
    let ad = |name: &str, spec| set_by("kubectl", "L2Advertisement", name, spec);
    let live = facts(
        "0.13.10",
        nodes(&[]),
        vec![
            pool("overlapping", json!({"addresses": ["192.0.2.245/29"]})),
            pool("mute", json!({"addresses": ["198.51.100.0/28"]})),
            set_by(
                "kubectl",
                "IPAddressPool",
                "first",
                json!({"addresses": ["192.0.2.240/28"], "serviceAllocation": {"priority": 1}}),
            ),
        ],
        vec![
            ad("wide", json!({"ipAddressPools": ["first", "overlapping", "gone"]})),
            ad(
                "nowhere",
                json!({"ipAddressPools": ["overlapping"], "nodeSelectors": [{"matchLabels": {"rack": "9"}}]}),
            ),
            ad("odd", json!({"ipAddressPools": ["overlapping"], "interfaces": ["wlan7"]})),
        ],
    );
    insta::assert_snapshot!(judged("0.13.10", LINES, &lan(), &live));
}

#[test]
fn a_pool_in_use_is_not_shrunk_silently() {
    let ours =
        |name: &str, range: &str| set_by("rackwright", "IPAddressPool", name, json!({"addresses": [range]}));
    let mut live = facts(
        "0.13.10",
        nodes(&[]),
        vec![ours("first", "192.0.2.192/26"), ours("gone", "198.51.100.0/24")],
        Vec::new(),
    );
    live.services = vec![
        service("stays", json!({}), json!({}), &["192.0.2.241"]),
        service("loses", json!({}), json!({}), &["192.0.2.200"]),
        service("loses-too", json!({}), json!({}), &["198.51.100.7"]),
    ];
    insta::assert_snapshot!(judged("0.13.10", LINES, &lan(), &live));
}

#[test]
fn versions_that_do_not_do_what_is_asked() {
    let mut newer = facts(
        "0.16.1",
        nodes(&[]),
        Vec::new(),
        vec![set_by("kubectl", "L2Advertisement", "few", json!({"serviceSelectors": [{}]}))],
    );
    newer.services = vec![service("web", json!({"metallb.io/address-pool": "first"}), json!({}), &[])];
    newer.balancer.states = Some(vec![
        json!({"metadata": {"name": "speaker-w1"}, "status": {"result": "Invalid", "errorSummary": "pool x"}}),
    ]);
    let older = facts("0.13.10", nodes(&[view::EXCLUDE]), Vec::new(), Vec::new());
    let both = [judged("0.13.10", LINES, &lan(), &newer), judged("0.16.1", LINES, &lan(), &older)];
    insta::assert_snapshot!(both.join("\n"));
}

#[test]
fn whoever_installed_metallb_is_named() {
    let mut all = Vec::new();
    let base = || facts("0.13.10", nodes(&[]), Vec::new(), Vec::new());
    let by = |metadata: serde_json::Value| {
        let mut facts = base();
        facts.balancer.deployments[0].metadata = serde_json::from_value(metadata).unwrap();
        facts.balancer.daemon_sets.clear();
        facts
    };
    let hand = || {
        by(
            json!({"name": "controller", "managedFields": [{"manager": "kubectl-client-side-apply"}, {"manager": "kube-controller-manager", "subresource": "status"}]}),
        )
    };
    all.push(judged("0.13.10", LINES, &lan(), &by(json!({"name": "metallb-controller", "labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": {"meta.helm.sh/release-name": "edge"}}))));
    all.push(judged("0.13.10", LINES, &lan(), &by(json!({"name": "controller", "ownerReferences": [{"apiVersion": "metallb.io/v1beta1", "kind": "MetalLB", "name": "metallb", "uid": "1"}]}))));
    all.push(judged(
        "0.13.10",
        LINES,
        &lan(),
        &by(json!({"name": "controller", "managedFields": [{"manager": "argocd-controller"}]})),
    ));
    all.push(judged("0.14.9", LINES, &lan(), &hand()));
    assert_eq!(judged("0.13.10", LINES, &lan(), &hand()), "");
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn others_that_hand_out_addresses() {
    let set = |name: &str, env: serde_json::Value| {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "c", "env": env}]}}}})).unwrap()
    };
    let mut live = facts("0.13.10", nodes(&[]), Vec::new(), Vec::new());
    let on = json!([{"name": "svc_enable", "value": "true"}]);
    live.daemon_sets =
        vec![set("svclb-traefik-1", json!([])), set("kube-vip-ds", on), set("kube-vip-plain", json!([]))];
    live.cilium = serde_json::from_value(json!({"data": {"enable-l2-announcements": "true"}})).unwrap();
    insta::assert_snapshot!(judged("0.13.10", LINES, &lan(), &live));
}

#[test]
fn allocation_that_matches_nothing_and_nodes_that_did_not_answer() {
    let lines = "    pools: [{name: first, addresses: [192.0.2.240/28], serviceAllocation: {namespaces: [shop]}}]\n    advertisements: [{pools: [first]}]\n";
    let mut live = facts("0.13.10", nodes(&[]), Vec::new(), Vec::new());
    live.services = vec![service("web", json!({}), json!({}), &[])];
    let rack = rack(&["w1", "w2"], "0.13.10", lines);
    let metallb = rack.kubernetes().unwrap().metallb.as_ref().unwrap();
    let hosts = [lan()[0].clone()];
    let scene = scene(&hosts, "0.13.10");
    let context =
        Context { scene: &scene, members: members(&rack, &scene, &live.nodes), advertisements: &[] };
    let steps = objects::steps(metallb, &context);
    insta::assert_snapshot!(shown(&judge(metallb, &steps, &context, &live)));
}

#[test]
fn a_manifest_whose_exclusion_list_matches_the_interface_is_named() {
    let list = "announcedInterfacesToExclude: [\"^docker.*\", \"^eth\"]\n";
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "metallb-excludel2", "namespace": "metallb-system"},
        "data": {"excludel2.yaml": list},
    });
    let live = facts("0.13.10", nodes(&[]), Vec::new(), Vec::new());
    let rack = rack(&["w1", "w2"], "0.13.10", LINES);
    let metallb = rack.kubernetes().unwrap().metallb.as_ref().unwrap();
    let hosts = lan();
    let scene = scene(&hosts, "0.13.10");
    let context =
        Context { scene: &scene, members: members(&rack, &scene, &live.nodes), advertisements: &[] };
    let mut steps = objects::steps(metallb, &context);
    steps.insert(0, (crate::balancer::manifest::step(map), String::new()));
    let found = judge(metallb, &steps, &context, &live);
    let names: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.subject.as_str())).collect();
    assert_eq!(names, [("balancer-excludes-interface", "eth0")]);
}
