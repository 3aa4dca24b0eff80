use serde_json::json;

use super::*;
use crate::balancer::fixtures::{endpoints, facts, node, service, set_by, told};
use k8s_openapi::api::core::v1::Pod;

const ADDRESS: &str = "192.0.2.240";

fn given(spec: serde_json::Value) -> Service {
    service("web", json!({}), spec, &[ADDRESS])
}

/// Two nodes, one pool, one advertisement, an endpoint on w2.
fn cluster(version: &str, labels: &[&str], advertisement: serde_json::Value) -> ClusterFacts {
    let pool = set_by("rackwright", "IPAddressPool", "first", json!({"addresses": ["192.0.2.240/28"]}));
    let advertisement = set_by("rackwright", "L2Advertisement", "first", advertisement);
    let mut facts =
        facts(version, vec![node("w1", labels), node("w2", labels)], vec![pool], vec![advertisement]);
    facts.endpoints = vec![endpoints("web", &[("w2", true)])];
    facts
}

fn said(facts: &ClusterFacts, service: &Service) -> String {
    reasons(facts, service, ADDRESS.parse().unwrap()).iter().map(told).collect()
}

fn on_w1() -> serde_json::Value {
    json!({"nodeSelectors": [{"matchLabels": {"kubernetes.io/hostname": "w1"}}]})
}

#[test]
fn every_reason_is_told_apart() {
    let web = given(json!({"selector": {"app": "web"}}));
    let mut all = Vec::new();

    let mut unready = cluster("0.13.10", &[], json!({}));
    unready.endpoints = vec![endpoints("web", &[("w1", false), ("w2", false)])];
    all.push(said(&unready, &web));
    unready.endpoints = Vec::new();
    all.push(said(&unready, &web));

    all.push(said(&cluster("0.13.10", &[], json!({"ipAddressPools": ["second"]})), &web));
    all.push(said(&cluster("0.16.1", &[], json!({"serviceSelectors": [{"matchLabels": {"a": "b"}}]})), &web));
    let mut gone = cluster("0.13.10", &[], json!({}));
    gone.balancer.pools = Some(Vec::new());
    all.push(said(&gone, &web));
    let nowhere = json!({"nodeSelectors": [{"matchLabels": {"rack": "9"}}]});
    all.push(said(&cluster("0.13.10", &[], nowhere), &web));
    all.push(said(&cluster("0.16.1", &[EXCLUDE], json!({})), &web));
    all.push(said(&cluster("0.13.10", &[], on_w1()), &given(json!({"externalTrafficPolicy": "Local"}))));

    let mut mute = cluster("0.13.10", &[], on_w1());
    mute.balancer.pods[0] = serde_json::from_value::<Pod>(json!({
        "metadata": {"name": "speaker-w1", "labels": {"component": "speaker"}},
        "spec": {"nodeName": "w1", "containers": []},
        "status": {"phase": "Pending", "containerStatuses": [{"name": "speaker", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ContainerCreating"}}}]},
    }))
    .unwrap();
    all.push(said(&mute, &web));

    let mut cut_off = cluster("0.13.10", &[], on_w1());
    cut_off.nodes[0].status =
        serde_json::from_value(json!({"conditions": [{"type": "NetworkUnavailable", "status": "True"}]}))
            .unwrap();
    all.push(said(&cut_off, &web));

    all.push(said(&cluster("0.13.10", &[EXCLUDE], json!({})), &web));
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn the_node_with_the_lowest_hash_announces() {
    let web = given(json!({}));
    let address: IpAddr = ADDRESS.parse().unwrap();
    let facts = cluster("0.13.10", &[], json!({}));
    let rank = |name: &str| digest(&SHA256, format!("{name}#{ADDRESS}").as_bytes()).as_ref().to_vec();
    let first = if rank("w1") < rank("w2") { "w1" } else { "w2" };
    assert_eq!(announcer(&facts, &web, address).as_deref(), Some(first));
    assert_eq!(announcer(&cluster("0.13.10", &[], on_w1()), &web, address).as_deref(), Some("w1"));
    let local = given(json!({"externalTrafficPolicy": "Local"}));
    assert_eq!(announcer(&facts, &local, address).as_deref(), Some("w2"));
    assert_eq!(announcer(&cluster("0.16.1", &[EXCLUDE], json!({})), &web, address), None);
}
