use serde_json::{Value, json};

use super::*;
use crate::balancer::fixtures::{event, facts, node, service, set_by, told};

fn pool(name: &str, spec: Value) -> Value {
    set_by("rackwright", "IPAddressPool", name, spec)
}

fn small() -> Value {
    pool("small", json!({"addresses": ["192.0.2.240/32"]}))
}

fn cluster(version: &str, pools: Vec<Value>) -> ClusterFacts {
    let mut facts = facts(version, vec![node("w1", &[])], pools, Vec::new());
    facts.services = vec![service("other", json!({}), json!({}), &["192.0.2.240"])];
    facts
}

fn said(facts: &ClusterFacts, annotations: Value, spec: Value) -> String {
    told(&reason(facts, &service("web", annotations, spec, &[])))
}

#[test]
fn requests_that_cannot_be_met() {
    let two = vec![small(), pool("six", json!({"addresses": ["2001:db8::/120"]}))];
    let facts = cluster("0.13.10", two);
    let ask = |what: &str, value: &str| {
        said(&facts, json!({format!("metallb.universe.tf/{what}"): value}), json!({}))
    };
    let both = said(
        &facts,
        json!({"metallb.universe.tf/loadBalancerIPs": "192.0.2.240"}),
        json!({"loadBalancerIP": "192.0.2.240"}),
    );
    let all = [
        ask("loadBalancerIPs", "198.51.100.1"),
        ask("loadBalancerIPs", "192.0.2.240"),
        ask("loadBalancerIPs", "2001:db8::1"),
        ask("loadBalancerIPs", "zzz"),
        ask("address-pool", "nope"),
        ask("address-pool", "small"),
        ask("address-pool", "six"),
        both,
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn services_that_get_nothing_by_themselves() {
    let none = json!({});
    let manual = || pool("manual", json!({"addresses": ["192.0.2.244/30"], "autoAssign": false}));
    let shop = || {
        pool("shop", json!({"addresses": ["192.0.2.248/30"], "serviceAllocation": {"namespaces": ["shop"]}}))
    };
    let buggy =
        pool("buggy", json!({"addresses": ["192.0.2.0/32", "192.0.2.255/32"], "avoidBuggyIPs": true}));
    let newer = json!({"metallb.io/address-pool": "manual"});
    let all = [
        said(&cluster("0.13.10", vec![small()]), none.clone(), json!({})),
        said(&cluster("0.13.10", vec![buggy]), none.clone(), json!({})),
        said(&cluster("0.13.10", vec![manual(), shop()]), none.clone(), json!({})),
        said(&cluster("0.13.10", vec![manual()]), newer, json!({})),
        said(&cluster("0.13.10", vec![small()]), none.clone(), json!({"ipFamilies": ["IPv6"]})),
        said(
            &cluster("0.13.10", vec![manual(), small()]),
            none.clone(),
            json!({"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"}),
        ),
        said(&cluster("0.13.10", Vec::new()), none.clone(), json!({})),
        said(&cluster("0.13.10", vec![small()]), none.clone(), json!({"type": "NodePort"})),
        said(
            &cluster("0.13.10", vec![small()]),
            none.clone(),
            json!({"loadBalancerClass": "example.com/other"}),
        ),
        said(&cluster("0.13.10", vec![small()]), none, json!({"clusterIP": "None"})),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn metallb_that_cannot_help() {
    let none = || json!({});
    let absent = ClusterFacts::default();
    let mut unready = cluster("0.13.10", vec![small()]);
    unready.balancer.deployments[0].status = None;
    let mut invalid = cluster("0.16.1", vec![small()]);
    invalid.balancer.states = Some(vec![json!({
        "metadata": {"name": "controller"}, "status": {"result": "Invalid", "errorSummary": "pool a overlaps"},
    })]);
    let mut ports = cluster("0.13.10", vec![pool("big", json!({"addresses": ["192.0.2.240/28"]}))]);
    ports.events = vec![event(
        "web",
        "AllocationFailed",
        "Failed to allocate IP for \"default/web\": port tcp/80 is already in use on \"192.0.2.240\"",
    )];
    let quiet = cluster("0.13.10", vec![pool("big", json!({"addresses": ["192.0.2.240/28"]}))]);
    let mut former = cluster("0.13.10", vec![pool("big", json!({"addresses": ["198.51.100.0/28"]}))]);
    former.services = vec![service("other", json!({}), json!({}), &["192.0.2.240"])];
    let all = [absent, unready, invalid, ports, former, quiet].map(|facts| said(&facts, none(), none()));
    insta::assert_snapshot!(all.join("\n"));
}
