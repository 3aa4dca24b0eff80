//! A cluster as an operator's rack wants it: the rack's file, and what the cluster has, read behind the coordinator's
//! back.

use std::fs;
use std::time::Duration;

use rackwright_lab::{Cluster, Metallb, await_until};
use sha2::{Digest as _, Sha256};

use crate::operator::Rack;

const LIMIT: Duration = Duration::from_secs(120);
const SYSTEM: &str = "--namespace=kube-system";

/// Writes the rack's file: these lines below `kubernetes`, and waits of 15 seconds at most.
pub(crate) fn write(cluster: &Cluster, kubernetes: &[&str]) {
    write_with(cluster, "15s", kubernetes);
}

/// The same with another `limits.rollout`.
pub(crate) fn write_with(cluster: &Cluster, rollout: &str, kubernetes: &[&str]) {
    let network = "network: {podCIDRs: [10.244.0.0/16], serviceCIDRs: [10.96.0.0/12], probe: quick}";
    let rack = Rack::new(cluster.lab()).line(network).line(&format!("limits: {{rollout: {rollout}}}"));
    let rack = kubernetes.iter().fold(rack.line("kubernetes:"), |rack, line| rack.line(&format!("  {line}")));
    let planes = cluster.control_planes();
    rack.write_with(|node| match planes.iter().any(|plane| plane.name() == node) {
        true => ", roles: [control-plane]".to_owned(),
        false => String::new(),
    });
}

/// `metallb` with the manifest that lies in the cache, and these further fields.
pub(crate) fn metallb(version: Metallb, fields: &str) -> String {
    let path = Cluster::metallb_manifest(version).unwrap();
    let sha256 = Sha256::digest(fs::read(&path).unwrap());
    let sha256: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let number = match version {
        Metallb::V0_13 => "0.13.10",
        Metallb::V0_16 => "0.16.1",
    };
    let path = path.display();
    format!("metallb: {{version: {number}, manifest: {{path: {path}, sha256: {sha256}}}, {fields}}}")
}

/// What kubectl says, without white space at its ends.
pub(crate) fn kube(cluster: &Cluster, arguments: &[&str]) -> String {
    cluster.kube(arguments, None).unwrap().text().to_owned()
}

/// The same of namespace kube-system.
pub(crate) fn system(cluster: &Cluster, arguments: &[&str]) -> String {
    kube(cluster, &[arguments, &[SYSTEM]].concat())
}

/// Everything that our runs may touch, as kubectl tells it: texts byte for byte, the templates of pods, what there is.
pub(crate) fn state(cluster: &Cluster) -> String {
    let texts =
        system(cluster, &["get", "configmap", "kube-proxy", "coredns", "--output=jsonpath={.items[*].data}"]);
    let specs = ["get", "daemonset/kube-proxy", "deployment/coredns", "--output=jsonpath={.items[*].spec}"];
    let ours = system(cluster, &["get", "configmap,lease", "--output=name"]);
    let ours: Vec<&str> = ours.lines().filter(|name| name.contains("rackwright")).collect();
    let kinds =
        "namespace,customresourcedefinition,clusterrole,clusterrolebinding,validatingwebhookconfiguration";
    let objects = kube(cluster, &["get", kinds, "--output=name"]);
    format!("{texts}\n{}\n{ours:?}\n{objects}", system(cluster, &specs))
}

/// Our receipts as they are stored; empty where there are none.
pub(crate) fn receipts(cluster: &Cluster) -> String {
    let ledger = "--output=jsonpath={.data.ledger\\.json}";
    let get = ["get", "configmap", "rackwright-receipts", "--ignore-not-found", ledger];
    system(cluster, &get)
}

/// Removes the lock that a dead coordinator holds, so that nobody has to wait until it has expired.
pub(crate) fn unlock(cluster: &Cluster) {
    system(cluster, &["delete", "lease", "rackwright", "--ignore-not-found"]);
}

/// Waits until so many machines answer for an address.
#[track_caller]
pub(crate) fn until_answering(cluster: &Cluster, address: &str, count: usize) {
    await_until(&format!("{count} answer for {address}"), LIMIT, || {
        let macs = cluster.outside().answering(address).map_err(|error| error.to_string())?;
        if macs.len() == count { Ok(()) } else { Err(format!("{macs:?}")) }
    })
    .unwrap();
}

/// What a run said, without what differs from run to run: ids, times, names of pods.
pub(crate) fn steady(said: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in said.lines() {
        let words: Vec<String> = line.split(' ').map(steady_word).collect();
        lines.push(words.join(" ").trim_end().to_owned());
    }
    lines.join("\n")
}

fn steady_word(word: &str) -> String {
    let (core, tail) = word.split_at(word.trim_end_matches([',', ';', ':', ')']).len());
    if core.starts_with("(10.244.") {
        return format!("(ADDRESS{tail}");
    }
    let of_pods = ["kube-proxy-", "coredns-", "web-", "speaker-", "controller-"];
    let Some(prefix) = of_pods.iter().find(|prefix| core.starts_with(**prefix)) else {
        return word.to_owned();
    };
    format!("{prefix}POD{tail}")
}
