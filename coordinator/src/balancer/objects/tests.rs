use super::*;
use crate::balancer::fixtures::{network, node, rack, scene, set_by};
use crate::balancer::placement::members;
use rackwright_proto::link::Network;

/// What becomes of a rack's advertisements on these hosts; names of nodes, whether or not they were heard.
fn advertised(nodes: &[&str], hosts: &[(&str, Network)], lines: &str, live: &[Value]) -> Vec<Value> {
    let rack = rack(nodes, "0.13.10", lines);
    let metallb = rack.kubernetes().unwrap().metallb.as_ref().unwrap();
    let scene = scene(hosts, "0.13.10");
    let nodes: Vec<_> = nodes.iter().map(|name| node(name, &[])).collect();
    let context = Context { scene: &scene, members: members(&rack, &scene, &nodes), advertisements: live };
    let steps = steps(metallb, &context).into_iter();
    let objects = steps.filter_map(|(step, _)| match step {
        ClusterStep::Object(step) if step.kind == "L2Advertisement" => step.want,
        _ => None,
    });
    objects.map(|o| json!({"name": o["metadata"]["name"], "spec": o["spec"]})).collect()
}

const POOL: &str = "    pools: [{name: first, addresses: [192.0.2.240/28]}]\n";

fn one(name: &str, advertisement: &str) -> String {
    format!("{POOL}    advertisements: [{{{name}{advertisement}}}]\n")
}

fn lan(link: &str) -> Network {
    network(&[(link, "192.0.2.11/24")])
}

#[test]
fn pools_are_as_the_rack_writes_them() {
    let lines = "    pools:\n      - name: first\n        addresses: [192.0.2.240/32, 192.0.2.200-192.0.2.209, \"2001:db8::/120\"]\n        autoAssign: false\n        avoidBuggyIPs: true\n        serviceAllocation: {priority: 5, namespaces: [shop], serviceSelectors: [{matchLabels: {tier: edge}}, {matchExpressions: [{key: a, operator: Exists}]}]}\n";
    let rack = rack(&["w1"], "0.13.10", lines);
    let metallb = rack.kubernetes().unwrap().metallb.as_ref().unwrap();
    assert_eq!(
        pool(metallb, &metallb.pools[0])["spec"],
        json!({
            "addresses": ["192.0.2.240/32", "192.0.2.200-192.0.2.209", "2001:db8::/120"],
            "autoAssign": false,
            "avoidBuggyIPs": true,
            "serviceAllocation": {
                "priority": 5,
                "namespaces": ["shop"],
                "serviceSelectors": [{"matchLabels": {"tier": "edge"}}, {"matchExpressions": [{"key": "a", "operator": "Exists"}]}],
            },
        })
    );
}

#[test]
fn one_name_of_an_interface_on_all_nodes_is_all_there_is_to_say() {
    let hosts = [("w1", lan("eth0")), ("w2", lan("eth0"))];
    let all = advertised(&["w1", "w2"], &hosts, &one("", "pools: [first]"), &[]);
    assert_eq!(
        all,
        [json!({"name": "first", "spec": {"ipAddressPools": ["first"], "interfaces": ["eth0"]}})]
    );
    let all = advertised(&["w1", "w2"], &hosts, &one("", ""), &[]);
    assert_eq!(all, [json!({"name": "all", "spec": {"interfaces": ["eth0"]}})]);
}

fn on(names: &[&str]) -> Value {
    json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": names}]}])
}

#[test]
fn nodes_that_do_not_carry_the_pool_are_left_out() {
    let hosts = [("w1", lan("eth0")), ("w2", network(&[("eth0", "198.51.100.2/24")]))];
    // w3 is a node of the cluster that is not of the rack's segment; it was never heard, nor is it of the rack.
    let all = advertised(&["w1", "w2"], &hosts, &one("name: lan, ", "pools: [first]"), &[]);
    let spec = json!({"ipAddressPools": ["first"], "interfaces": ["eth0"], "nodeSelectors": on(&["w1"])});
    assert_eq!(all, [json!({"name": "lan", "spec": spec})]);
}

#[test]
fn other_names_are_put_together_where_none_of_them_means_another_segment() {
    let hosts = [("w1", lan("eth0")), ("w2", lan("eno1"))];
    let all = advertised(&["w1", "w2"], &hosts, &one("", "pools: [first]"), &[]);
    assert_eq!(
        all,
        [json!({"name": "first", "spec": {"ipAddressPools": ["first"], "interfaces": ["eno1", "eth0"]}})]
    );

    let crossed = network(&[("eth0", "198.51.100.2/24"), ("eth1", "192.0.2.12/24")]);
    let hosts = [("w1", lan("eth0")), ("w2", crossed)];
    let all = advertised(&["w1", "w2"], &hosts, &one("", "pools: [first]"), &[]);
    let part = |link: &str, node: &str| {
        let spec = json!({"ipAddressPools": ["first"], "interfaces": [link], "nodeSelectors": on(&[node])});
        json!({"name": format!("first-{link}"), "spec": spec})
    };
    assert_eq!(all, [part("eth0", "w1"), part("eth1", "w2")]);
}

#[test]
fn what_the_rack_gives_stays() {
    let two = network(&[("eth0", "192.0.2.11/24"), ("eth1", "192.0.2.12/24")]);
    let hosts = [("w1", two), ("w2", lan("eth0"))];
    let all = advertised(&["w1", "w2"], &hosts, &one("", "pools: [first], nodes: [w2]"), &[]);
    let spec = json!({"ipAddressPools": ["first"], "interfaces": ["eth0"], "nodeSelectors": on(&["w2"])});
    assert_eq!(all, [json!({"name": "first", "spec": spec})]);
    let all = advertised(&["w1", "w2"], &hosts, &one("", "pools: [first], interfaces: [eth1]"), &[]);
    let spec = json!({"ipAddressPools": ["first"], "interfaces": ["eth1"], "nodeSelectors": on(&["w1"])});
    assert_eq!(all, [json!({"name": "first", "spec": spec})]);
}

#[test]
fn while_a_node_is_not_heard_nothing_that_was_filled_in_changes() {
    let hosts = [("w1", lan("eth0"))];
    let live = [set_by(
        "rackwright",
        "L2Advertisement",
        "first",
        json!({"interfaces": ["eth0"], "nodeSelectors": on(&["w1", "w2"])}),
    )];
    let all = advertised(&["w1", "w2"], &hosts, &one("", "pools: [first]"), &live);
    assert_eq!(all, [json!({"name": "first", "spec": live[0]["spec"]})]);
    let all = advertised(&["w1", "w2"], &hosts, &one("", "pools: [first]"), &[]);
    let spec = json!({"ipAddressPools": ["first"], "interfaces": ["eth0"], "nodeSelectors": on(&["w1"])});
    assert_eq!(all, [json!({"name": "first", "spec": spec})]);
}

#[test]
fn names_are_valid_and_none_comes_twice() {
    let mut taken = BTreeSet::from(["first".to_owned()]);
    assert_eq!(free(&mut taken, "first"), "first-2");
    assert_eq!(free(&mut taken, "first"), "first-3");
    assert_eq!(free(&mut taken, "first-Eth_0@if7."), "first-eth-0-if7");
    assert_eq!(free(&mut taken, &"x".repeat(400)).len(), 240);
}
