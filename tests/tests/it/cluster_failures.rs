//! What fails while the coordinator works on a real cluster: pods that never come, API servers that go, rights that
//! lack. Each is told in words that lead on, and nothing that was done is forgotten.

use std::fs;

use rackwright_lab::{Cluster, ClusterDefect, Release, Spec, await_until, need_cluster};

use crate::cluster_rack::{kube, receipts, state, steady, system, unlock, write, write_with};
use crate::operator::{LIMIT, Working, coded, ends, expect, rackwright, says};

const NFTABLES: &str = "proxy: {mode: nftables}";
const IPTABLES: &str = "proxy: {mode: iptables}";
const DNS: &str = "dns: {forward: [192.0.2.53]}";

/// kube-proxy's pods: node and whether ready, in the order of nodes.
fn proxies(cluster: &Cluster) -> String {
    let what =
        "--output=jsonpath={range .items[*]}{.spec.nodeName}={.status.containerStatuses[0].ready} {end}";
    let said = system(cluster, &["get", "pods", "--selector=k8s-app=kube-proxy", what]);
    let mut pods: Vec<&str> = said.split_whitespace().collect();
    pods.sort_unstable();
    pods.join(" ")
}

/// Replaces a node's kube-proxy, and waits until the new one serves: Kubernetes takes it for ready at once.
fn anew(cluster: &Cluster, node: &str) {
    let on = format!("--field-selector=spec.nodeName={node}");
    system(cluster, &["delete", "pod", "--selector=k8s-app=kube-proxy", &on]);
    await_until(&format!("kube-proxy serves on {node}"), LIMIT, || {
        let asked = cluster.lab().host(node).sh("busybox wget -qO- http://127.0.0.1:10249/proxyMode");
        let asked = asked.map_err(|error| error.to_string())?;
        if asked.success() { Ok(()) } else { Err(asked.stderr) }
    })
    .unwrap();
}

/// What an apply says of the cluster at its end.
fn outcome(output: &rackwright_lab::Output) -> String {
    let at = output.stdout.rfind("the cluster").unwrap();
    let start = output.stdout[..at].rfind('\n').map_or(0, |at| at + 1);
    steady(&output.stdout[start..])
}

#[test]
fn a_node_whose_kube_proxy_never_comes_is_named_and_the_others_are_spared() {
    need_cluster!();
    let cluster = Cluster::up(Spec::test(3).kube(Release::V1_37)).unwrap();
    let lab = cluster.lab();
    let before = state(&cluster);
    write(&cluster, &[IPTABLES]);
    expect(lab, &["apply", "--yes"], 0);
    assert_eq!(proxies(&cluster), "cp1=true w1=true w2=true");

    cluster.spoil("w1", ClusterDefect::ProxyNeverReady).unwrap();
    write(&cluster, &[NFTABLES]);
    let output = expect(lab, &["apply", "--yes"], 1);
    let said = outcome(&output);
    for words in ["w1: pod kube-proxy-", "no further pod became ready for 15 s", "Operation not permitted"] {
        assert!(said.contains(words), "{said}");
    }
    for other in ["cp1: pod", "w2: pod"] {
        assert!(!said.contains(other), "{said}");
    }
    // Still so: the same is told, nothing is undone and nothing is done twice.
    says(&expect(lab, &["apply", "--yes"], 1), "w1: pod kube-proxy-");
    assert!(receipts(&cluster).contains("\"proxy/rollout\""));

    cluster.heal("w1", ClusterDefect::ProxyNeverReady).unwrap();
    anew(&cluster, "w1");
    expect(lab, &["apply", "--yes"], 0);
    assert_eq!(proxies(&cluster), "cp1=true w1=true w2=true");
    says(&expect(lab, &["apply", "--yes"], 0), "unchanged");

    // A pod that is never even started has no log, but its events tell.
    cluster.spoil("w2", ClusterDefect::ProxyStuck).unwrap();
    write(&cluster, &[IPTABLES]);
    let said = outcome(&expect(lab, &["apply", "--yes"], 1));
    // Node by node: nobody else was touched while it was waited for.
    assert_eq!(proxies(&cluster), "cp1=true w1=true w2=false");
    assert!(said.contains("w2: pod kube-proxy-") && said.contains("/run/xtables.lock"), "{said}");
    cluster.heal("w2", ClusterDefect::ProxyStuck).unwrap();
    anew(&cluster, "w2");
    expect(lab, &["apply", "--yes"], 0);
    expect(lab, &["revert", "--yes"], 0);
    assert_eq!(state(&cluster), before);
}

/// Starts an apply that waits for a pod of w1 that does not come.
fn waiting_for_w1(cluster: &Cluster) -> Working {
    cluster.spoil("w1", ClusterDefect::ProxyStuck).unwrap();
    write_with(cluster, "90s", &[IPTABLES]);
    let apply = Working::start(cluster.lab(), rackwright(cluster.lab(), &["apply", "--yes"]));
    apply.until_it_says("cluster: [2/2]");
    apply
}

fn heal_w1(cluster: &Cluster) {
    cluster.heal("w1", ClusterDefect::ProxyStuck).unwrap();
    anew(cluster, "w1");
}

#[test]
#[ignore = "long: three nodes, two of them control planes"]
fn an_api_server_that_ends_in_mid_run_is_replaced_by_the_other() {
    need_cluster!();
    let cluster = Cluster::up(Spec::test(3).kube(Release::V1_37).control_planes(2)).unwrap();
    let before = state(&cluster);
    let mut apply = waiting_for_w1(&cluster);
    // Where the kubeconfig's name leads to all of them, sshd on cp1 finds the other by itself: nobody need be told.
    cluster.stop_api_server("cp1").unwrap();
    heal_w1(&cluster);
    await_until("w1's kube-proxy is ready", LIMIT, || {
        let said = proxies(&cluster);
        if said.contains("w1=true") { Ok(()) } else { Err(said) }
    })
    .unwrap();
    // A control plane's kubelet asks no API server but its own (kubeadm from 1.36 on): cp1's pod comes when that is back.
    if !proxies(&cluster).contains("cp1=true") {
        apply.assert_works();
    }
    cluster.start_api_server("cp1").unwrap();
    coded(apply.end(), 0);
    says(&expect(cluster.lab(), &["apply", "--yes"], 0), "unchanged");

    // From the beginning on it is the same.
    cluster.stop_api_server("cp1").unwrap();
    says(&expect(cluster.lab(), &["apply", "--yes"], 0), "unchanged");
    expect(cluster.lab(), &["status"], 0);
    cluster.start_api_server("cp1").unwrap();
    expect(cluster.lab(), &["revert", "--yes"], 0);
    assert_eq!(state(&cluster), before);
}

#[test]
#[ignore = "long: four nodes"]
fn a_control_plane_that_dies_in_mid_run_is_replaced_by_another() {
    need_cluster!();
    let cluster = Cluster::up(Spec::test(4).kube(Release::V1_37).control_planes(3)).unwrap();
    let apply = waiting_for_w1(&cluster);
    cluster.lab().host("cp1").kill().unwrap();
    apply.until_it_says("going on through cp");
    heal_w1(&cluster);
    // Its own kube-proxy does not come while it is dead: the run says so, and the next one is done when it is back.
    let output = coded(apply.end(), 1);
    says(&output, "cp1: pod kube-proxy-");
    cluster.lab().host("cp1").boot().unwrap();
    kube(&cluster, &["wait", "--for=condition=Ready", "node/cp1", "--timeout=120s"]);
    expect(cluster.lab(), &["apply", "--yes"], 0);
    expect(cluster.lab(), &["revert", "--yes"], 0);
}

#[test]
#[ignore = "long: waits twice for an API server in vain"]
fn without_any_api_server_the_run_ends_in_time_and_the_next_goes_on() {
    need_cluster!();
    let cluster = Cluster::up(Spec::test(2).kube(Release::V1_37)).unwrap();
    let before = state(&cluster);
    let apply = waiting_for_w1(&cluster);
    cluster.stop_api_server("cp1").unwrap();
    apply.until_it_says("cp1 does not answer");
    let output = coded(apply.end(), 1);
    says(&output, "no API server answered");
    says(&expect(cluster.lab(), &["apply", "--yes"], 1), "no API server answered");
    cluster.start_api_server("cp1").unwrap();
    heal_w1(&cluster);
    // So long without its API server, the control plane's own kube-proxy has ended and comes back in its own time.
    anew(&cluster, "cp1");
    expect(cluster.lab(), &["apply", "--yes"], 0);
    expect(cluster.lab(), &["revert", "--yes"], 0);
    assert_eq!(state(&cluster), before);
}

/// A kubeconfig of a ServiceAccount's, with rights to all but what `but` takes away.
fn own_kubeconfig(cluster: &Cluster, rules: &str) {
    let objects = format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: ops, namespace: default}}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: ops}}\nrules:\n{rules}---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: ops}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: ops}}\n\
         subjects: [{{kind: ServiceAccount, name: ops, namespace: default}}]\n"
    );
    cluster.apply(&objects).unwrap();
    let token = kube(cluster, &["create", "token", "ops", "--namespace=default", "--duration=1h"]);
    let authority =
        ["config", "view", "--raw", "--output=jsonpath={.clusters[0].cluster.certificate-authority-data}"];
    let authority = kube(cluster, &authority);
    let server = format!("https://{}:6443", cluster.lab().host("cp1").address());
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: ops\n\
         clusters: [{{name: lab, cluster: {{server: '{server}', certificate-authority-data: {authority}}}}}]\n\
         users: [{{name: ops, user: {{token: {token}}}}}]\n\
         contexts: [{{name: ops, context: {{cluster: lab, user: ops}}}}]\n"
    );
    fs::write(cluster.lab().dir().join("own.kubeconfig"), text).unwrap();
}

const READ: &str = "- {apiGroups: ['*'], resources: ['*'], verbs: [get, list, watch]}\n\
                    - {nonResourceURLs: [/version, /readyz], verbs: [get]}\n";
const WRITE: &str = "- {apiGroups: [''], resources: [configmaps], verbs: [create, update, delete]}\n\
                     - {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create, update, delete]}\n";
const PATCH: &str = "- {apiGroups: [apps], resources: [daemonsets, deployments], verbs: [patch]}\n";
const OWN: &str = "kubeconfig: {path: own.kubeconfig}";

#[test]
fn a_right_that_lacks_is_named_and_with_all_of_them_an_own_kubeconfig_does() {
    need_cluster!();
    let cluster = Cluster::up(Spec::test(2).kube(Release::V1_37)).unwrap();
    let lab = cluster.lab();
    own_kubeconfig(&cluster, READ);
    let before = state(&cluster);
    write(&cluster, &[OWN, IPTABLES, DNS]);
    says(&expect(lab, &["check"], 3), "proxy-mode-differs");
    let output = expect(lab, &["apply", "--yes"], 1);
    says(&output, "system:serviceaccount:default:ops may not create leases in namespace kube-system");
    assert_eq!(state(&cluster), before);

    own_kubeconfig(&cluster, &format!("{READ}{WRITE}"));
    let output = expect(lab, &["apply", "--yes"], 1);
    says(&output, "system:serviceaccount:default:ops may not patch daemonsets in namespace kube-system");
    says(&output, "apiGroups: [\"apps\"], resources: [\"daemonsets\"], verbs: [\"patch\"]");
    // What was done is on record, and what is not done is told apart by the next plan.
    assert!(receipts(&cluster).contains("\"proxy/config\""), "{}", receipts(&cluster));
    let plan = expect(lab, &["plan", "--exit-code"], 4);
    assert!(!plan.stdout.contains("config.conf") && plan.stdout.contains("kube-proxy"), "{}", plan.stdout);

    own_kubeconfig(&cluster, &format!("{READ}{WRITE}{PATCH}"));
    // Straight to the API server: the kubeconfigs on the control plane are not even there.
    lab.host("cp1").read("mv /etc/kubernetes/admin.conf /etc/kubernetes/aside.conf").unwrap();
    let applied = ends(rackwright(lab, &["apply", "--yes"]));
    let reverted = ends(rackwright(lab, &["revert", "--yes"]));
    lab.host("cp1").read("mv /etc/kubernetes/aside.conf /etc/kubernetes/admin.conf").unwrap();
    coded(applied, 0);
    coded(reverted, 0);
    assert_eq!(state(&cluster), before);

    // Nobody on the operator's machine may learn the token from us.
    let token = fs::read_to_string(lab.dir().join("own.kubeconfig")).unwrap();
    let token = token.split("token: ").nth(1).unwrap().split('}').next().unwrap();
    assert!(!output.stdout.contains(token) && !output.stderr.contains(token));
    unlock(&cluster);
}
