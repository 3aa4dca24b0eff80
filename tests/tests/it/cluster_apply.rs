//! The whole way: from a cluster as kubeadm leaves it to a Service that is reached from outside, in one `apply`, and
//! back.

use std::collections::BTreeSet;
use std::time::Duration;

use rackwright_lab::{Spec, await_until, need_cluster};
use serde_json::Value;

use crate::cluster_desk::{Desk, touched};
use crate::operator::says;

const LIMIT: Duration = Duration::from_secs(120);
/// Somebody else's things, which stay whatever we do.
const THEIRS: &str = "\
{apiVersion: v1, kind: ConfigMap, metadata: {name: theirs, namespace: kube-system}, data: {a: b}}
---
{apiVersion: v1, kind: Service, metadata: {name: theirs}, spec: {ports: [{port: 1}]}}
";
/// What of ours there may be in a cluster.
const OURS: &str =
    "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,validatingwebhookconfigurations";

#[test]
fn a_cluster_of_kubeadm_gets_a_reachable_address_and_is_given_back() {
    need_cluster!();
    let desk = Desk::up(Spec::test(3));
    desk.edit("proxy: {mode: nftables}", "proxy: {mode: iptables}");
    desk.deploy_web("web", 2).unwrap();
    desk.apply(THEIRS).unwrap();
    // An entry of others beside ours.
    desk.set_entry("coredns", "theirs", "kept");
    // Kubeadm writes its hash where the operator gave no settings of kube-proxy's.
    let hash = "kubeadm.kubernetes.io/component-config.hash=sha256:0123";
    desk.kubectl(&["annotate", "configmap", "kube-proxy", "--namespace=kube-system", hash]);
    let before = [desk.config_map("kube-proxy"), desk.config_map("coredns")];
    assert_eq!(desk.proxy_modes(), ["nftables"; 3]);

    let applied = desk.json(0, &["apply", "--yes"]);
    assert_reached(&desk, &applied);
    assert_configured(&desk, &before);
    nothing_is_left_to_do(&desk);
    a_pool_in_use_is_not_shrunk(&desk);

    desk.set_entry("kube-proxy", "theirs", "kept");
    let said = desk.ends(0, &["revert", "--yes"]);
    says(&said, "the cluster: ");
    assert_given_back(&desk, before);
    let again = desk.json(0, &["revert", "--yes"]);
    assert_eq!(again["cluster"]["result"], "unchanged", "{again:#}");
}

/// The address that the run reports is answered for by the NIC that it names, and serves.
fn assert_reached(desk: &Desk, applied: &Value) {
    assert_eq!(applied["cluster"]["result"], "changed", "{applied:#}");
    let proven = &applied["proof"]["services"][0];
    assert_eq!((&proven["service"], &proven["proven"]), (&"default/web".into(), &true.into()), "{applied:#}");
    let address = desk.address_of("web").unwrap();
    assert_eq!(proven["address"], address.as_str());
    let layout = desk.lab().layout();
    let station = layout.host(proven["node"].as_str().unwrap()).unwrap();
    assert_eq!(proven["link"], "eth0");
    assert_eq!(proven["mac"].as_str().unwrap(), station.nics[0].mac);
    let answering = desk.outside().answering(&address).unwrap();
    assert_eq!(answering, BTreeSet::from([station.nics[0].mac.clone()]));
    let page = desk.outside().get(&format!("http://{address}/")).unwrap();
    assert!(desk.lab().hosts().iter().any(|host| host.name() == page.trim()), "{page}");
}

/// As kubectl and the hosts tell it.
fn assert_configured(desk: &Desk, before: &[Value]) {
    assert_eq!(desk.proxy_modes(), ["iptables"; 3]);
    for host in desk.lab().hosts() {
        let tables = host.read("nft list tables").unwrap();
        assert!(!tables.contains("kube-proxy"), "{tables}");
        let chains = host.read("iptables-save -t nat | grep -c KUBE-SVC || true").unwrap();
        assert_ne!(chains, "0", "on {}", host.name());
        assert_eq!(host.read("sysctl -n net.ipv4.ip_forward").unwrap(), "1");
    }
    let proxy = desk.config_map("kube-proxy");
    assert_eq!(proxy["annotations"], before[0]["annotations"], "kubeadm's hash is kubeadm's");
    let mut data = proxy["data"].clone();
    let text = data["config.conf"].as_str().unwrap().replace("mode: iptables", "mode: nftables");
    data["config.conf"] = text.into();
    assert_eq!(data, before[0]["data"], "nothing else is changed");
    let dns = desk.config_map("coredns");
    let corefile = dns["data"]["Corefile"].as_str().unwrap();
    assert!(corefile.contains("forward . 192.0.2.53"), "{corefile}");
    assert_eq!(dns["data"]["theirs"], "kept");
    let pool = desk.object(&["ipaddresspools.metallb.io", "first", "--namespace=metallb-system"]);
    assert_eq!(pool["spec"]["addresses"], serde_json::json!(["192.0.2.200-192.0.2.219"]));
    for workload in ["daemonset/kube-proxy", "deployment/coredns"] {
        desk.kubectl(&["--namespace=kube-system", "rollout", "status", workload, "--timeout=1s"]);
    }
    for workload in ["deployment/controller", "daemonset/speaker"] {
        desk.kubectl(&["--namespace=metallb-system", "rollout", "status", workload, "--timeout=1s"]);
    }
    for host in ["cp1", "w1"] {
        let ask = "busybox nslookup -type=a operator.lab.test 10.96.0.10";
        let answer = desk.lab().host(host).read(ask).unwrap();
        assert!(answer.contains("192.0.2.1"), "{answer}");
    }
}

/// Not one write, by the account of the API server.
fn nothing_is_left_to_do(desk: &Desk) {
    // MetalLB writes its own certificate into its definitions for a moment after its start.
    let versions = quiet(desk);
    let again = desk.json(0, &["apply", "--yes"]);
    assert_eq!(again["cluster"]["result"], "unchanged", "{again:#}");
    assert_eq!(again["counts"]["unchanged"], 3, "{again:#}");
    assert_eq!(again["run"], Value::Null);
    let asked = again["cluster"]["asked"].as_object().unwrap();
    let writes: Vec<_> = asked.keys().filter(|a| !a.starts_with("get ") && !a.starts_with("list ")).collect();
    assert!(!asked.is_empty() && writes.is_empty(), "{asked:?}");
    let plan = desk.ends(0, &["plan", "--exit-code"]);
    says(&plan, "nothing to do");
    let status = desk.ends(0, &["status"]);
    assert!(!status.stdout.contains("drift:"), "{}", status.stdout);
    says(&status, "proven");
    let written = touched(&versions, &desk.versions());
    assert!(written.is_empty(), "{written:?}");
}

/// The objects' versions, once nobody writes any more.
fn quiet(desk: &Desk) -> std::collections::BTreeMap<String, String> {
    await_until("the cluster is quiet", LIMIT, || {
        let before = desk.versions();
        std::thread::sleep(Duration::from_secs(2));
        let after = desk.versions();
        let moved = touched(&before, &after);
        if moved.is_empty() { Ok(after) } else { Err(format!("{moved:?}")) }
    })
    .unwrap()
}

/// The Service has the first address of the pool.
fn a_pool_in_use_is_not_shrunk(desk: &Desk) {
    let address = desk.address_of("web").unwrap();
    assert_eq!(address, "192.0.2.200");
    let (whole, rest) = ("192.0.2.200-192.0.2.219", "192.0.2.210-192.0.2.219");
    desk.edit(whole, rest);
    let versions = desk.versions();
    let refused = desk.ends(3, &["apply", "--yes"]);
    for word in ["pool-shrinks-in-use", "192.0.2.200", "default/web", "first"] {
        says(&refused, word);
    }
    let written = touched(&versions, &desk.versions());
    assert!(written.is_empty(), "{written:?}");

    desk.waive("pool-shrinks-in-use");
    desk.ends(0, &["apply", "--yes"]);
    let pool = desk.object(&["ipaddresspools.metallb.io", "first", "--namespace=metallb-system"]);
    assert_eq!(pool["spec"]["addresses"], serde_json::json!([rest]));
    desk.edit(rest, whole);
    desk.ends(0, &["apply", "--yes"]);
}

/// Ours is gone, theirs is there, and texts are as before, byte for byte.
fn assert_given_back(desk: &Desk, before: [Value; 2]) {
    let mut proxy = before[0].clone();
    proxy["data"]["theirs"] = "kept".into();
    assert_eq!(desk.config_map("kube-proxy"), proxy);
    assert_eq!(desk.config_map("coredns"), before[1]);
    assert_eq!(desk.proxy_modes(), ["nftables"; 3]);
    for host in desk.lab().hosts() {
        let left = host.read("iptables-save -t nat | grep -c KUBE-SVC || true").unwrap();
        assert_eq!(left, "0", "of the mode that is gone, on {}", host.name());
    }
    let all = desk.kubectl(&["get", OURS, "--output=name"]);
    assert!(!all.contains("metallb"), "{all}");
    for ours in ["configmap/rackwright-receipts", "lease/rackwright"] {
        assert_eq!(desk.object(&[ours, "--namespace=kube-system"]), Value::Null);
    }
    assert_eq!(desk.object(&["configmap/theirs", "--namespace=kube-system"])["data"]["a"], "b");
    assert_eq!(desk.object(&["service/theirs"])["spec"]["ports"][0]["port"], 1);
    assert_eq!(desk.object(&["service/web"])["spec"]["type"], "LoadBalancer");
    desk.kubectl(&["rollout", "status", "deployment/web", "--timeout=1s"]);
}
