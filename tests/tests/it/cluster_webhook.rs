//! MetalLB's webhook: late, never there, or with a no of its own.

use rackwright_lab::{ClusterDefect, Spec, need_cluster};
use serde_json::Value;

use crate::cluster_desk::Desk;
use crate::operator::{coded, says};

const HERE: &str = "--namespace=metallb-system";
const FIRST: &str = "{name: first, addresses: [192.0.2.200-192.0.2.219]}";
const FOREIGN: &str = "{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: theirs, namespace: \
                       metallb-system}, spec: {addresses: [192.0.2.240-192.0.2.249]}}";

fn pool(desk: &Desk, name: &str) -> Value {
    desk.object(&["ipaddresspools.metallb.io", name, HERE])
}

/// One more pool in the rack, beside the first.
fn want(desk: &Desk, name: &str, addresses: &str) {
    desk.edit(FIRST, &format!("{FIRST}, {{name: {name}, addresses: [{addresses}]}}"));
    desk.edit("pools: [first", &format!("pools: [first, {name}"));
}

fn forget(desk: &Desk, name: &str, addresses: &str) {
    desk.edit(&format!(", {{name: {name}, addresses: [{addresses}]}}"), "");
    desk.edit(&format!("pools: [first, {name}"), "pools: [first");
}

#[test]
fn a_webhook_is_waited_for_told_of_and_believed() {
    need_cluster!();
    let desk = Desk::up(Spec::test(2));
    desk.edit("  services: [{name: web}]\n", "");
    desk.ends(0, &["apply", "--yes"]);
    late(&desk);
    edited(&desk);
    never(&desk);
    denies(&desk);
    what_others_keep_in_it_stays(&desk);
}

/// Nobody is behind it until its pod is started.
fn late(desk: &Desk) {
    desk.kubectl(&["scale", "deployment/controller", HERE, "--replicas=0"]);
    desk.kubectl(&["wait", "--for=delete", "pod", "--selector=component=controller", HERE, "--timeout=120s"]);
    want(desk, "second", "192.0.2.220-192.0.2.221");
    let mut run = desk.applying();
    run.until_it_says("waiting: the API server cannot ask the webhook");
    run.assert_works();
    assert_eq!(pool(desk, "second"), Value::Null);
    desk.kubectl(&["scale", "deployment/controller", HERE, "--replicas=1"]);
    coded(run.end(), 0);
    assert_eq!(pool(desk, "second")["metadata"]["generation"], 1);
}

/// Somebody makes its Service select nobody: they are named, and nothing of theirs is overwritten.
fn edited(desk: &Desk) {
    let select = |who: &str| {
        let patch = format!("--patch={{\"spec\": {{\"selector\": {{\"component\": \"{who}\"}}}}}}");
        desk.kubectl(&["patch", "service", "webhook-service", HERE, &patch]);
    };
    select("nobody");
    let status = desk.ends(4, &["status"]);
    says(&status, "balancer/Service/metallb-system/webhook-service");
    forget(desk, "second", "192.0.2.220-192.0.2.221");
    let refused = desk.ends(1, &["apply", "--yes"]);
    for word in [".spec.selector belongs to kubectl-patch", "balancer-owned-by-others"] {
        says(&refused, word);
    }
    select("controller");
    desk.ends(0, &["apply", "--yes"]);
    assert_eq!(pool(desk, "second"), Value::Null);
    desk.ends(0, &["status"]);
}

/// Packets to it are dropped, for longer than the rack's limit.
fn never(desk: &Desk) {
    desk.add("limits: {rollout: 15s}");
    desk.spoil("cp1", ClusterDefect::WebhookUnreachable).unwrap();
    want(desk, "third", "192.0.2.222/32");
    let failed = desk.ends(1, &["apply", "--yes"]);
    for word in ["webhook", "still after 15 s", "pod network", "Do not delete the webhook"] {
        says(&failed, word);
    }
    assert_eq!(pool(desk, "third"), Value::Null);
    assert_eq!(
        desk.object(&["lease/rackwright", "--namespace=kube-system"])["spec"]["holderIdentity"],
        Value::Null
    );
    desk.heal("cp1", ClusterDefect::WebhookUnreachable).unwrap();
    desk.ends(0, &["apply", "--yes"]);
    assert_eq!(pool(desk, "third")["metadata"]["generation"], 1);
}

/// Others have addresses that the rack asks for.
fn denies(desk: &Desk) {
    desk.apply(FOREIGN).unwrap();
    want(desk, "fourth", "192.0.2.245-192.0.2.246");
    let refused = desk.ends(3, &["apply", "--yes"]);
    for word in ["pool-overlaps-foreign", "fourth", "theirs", "192.0.2.245-192.0.2.246"] {
        says(&refused, word);
    }
    // An operator who insists hears it from MetalLB itself.
    desk.waive("pool-overlaps-foreign");
    let denied = desk.ends(1, &["apply", "--yes"]);
    for word in ["denied it", "overlaps with already defined"] {
        says(&denied, word);
    }
    assert_eq!(pool(desk, "fourth"), Value::Null);
    forget(desk, "fourth", "192.0.2.245-192.0.2.246");
    let status = desk.json(0, &["status"]);
    assert!(!status["cluster"]["in_effect"].to_string().contains("fourth"), "{status:#}");
}

/// Their pool would go with MetalLB's namespace and definitions.
fn what_others_keep_in_it_stays(desk: &Desk) {
    let said = desk.ends(0, &["revert", "--yes"]);
    for word in ["holds-others", "IPAddressPool theirs", "Namespace"] {
        says(&said, word);
    }
    assert_eq!(pool(desk, "theirs")["spec"]["addresses"][0], "192.0.2.240-192.0.2.249");
    assert_eq!(pool(desk, "first"), Value::Null);
    assert_eq!(desk.object(&["namespace", "metallb-system"])["status"]["phase"], "Active");

    desk.kubectl(&["delete", "ipaddresspools.metallb.io", "theirs", HERE]);
    desk.ends(0, &["revert", "--yes"]);
    assert_eq!(desk.object(&["namespace", "metallb-system"]), Value::Null);
    let kinds = desk.kubectl(&["get", "customresourcedefinitions", "--output=name"]);
    assert!(!kinds.contains("metallb"), "{kinds}");
    assert_eq!(desk.object(&["configmap/rackwright-receipts", "--namespace=kube-system"]), Value::Null);
}
