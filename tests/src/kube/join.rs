//! Makes booted hosts a cluster: `kubeadm init`, `kubeadm join`, and the way between their pods.

use std::time::Duration;

use super::config::{self, PodRange};
use super::{Cluster, PodNetwork, Release, overlay};
use crate::error::{LabError, Result};
use crate::host::Host;
use crate::run::{await_until, each};
use crate::talk::say;

const KUBEADM_LIMIT: Duration = Duration::from_secs(400);
const RANGE_LIMIT: Duration = Duration::from_secs(60);
/// Joins at a time: kubelets and the API server share the machine.
const JOINS: usize = 4;
/// The hosts lack what kubeadm wants of real iron, as the lab knows: kernel configuration, modules, memory.
const IGNORE: &str = "--ignore-preflight-errors=all";

/// Forms the cluster.
pub(super) fn form(cluster: &Cluster, release: Release) -> Result<()> {
    let hosts = cluster.lab.hosts();
    let control_planes = cluster.control_planes();
    let (first, others) = control_planes.split_first().expect("a spec with no host was refused");
    let tell = |what: &str| {
        if cluster.lab.tells() {
            say(what);
        }
    };
    tell("kubeadm init on cp1");
    let addresses: Vec<_> = control_planes.iter().map(Host::address).collect();
    put(first, "/root/kubeadm.yaml", &config::kubeadm(release, &addresses))?;
    let init = format!("kubeadm init --config=/root/kubeadm.yaml {IGNORE} --skip-token-print");
    if others.is_empty() {
        kubeadm(first, &init)?;
    } else {
        tell("kubeadm join on the other control planes");
        join_control_planes(first, others, &init)?;
    }
    if cluster.lab.spec().proxy_apart() {
        cluster.set_proxy_apart(release)?;
    }
    let workers = &hosts[control_planes.len()..];
    if !workers.is_empty() {
        tell("kubeadm join on the workers");
        let join = join_command(first)?;
        each(workers, JOINS, |host| kubeadm(host, &format!("{join} {IGNORE}")))
            .into_iter()
            .collect::<Result<()>>()?;
    }
    let ranges = hosts.iter().map(|host| pod_range(cluster, host)).collect::<Result<Vec<_>>>()?;
    let network = cluster.lab.spec().cluster.network;
    each(&hosts, JOINS, |host| connect(host, network, &ranges)).into_iter().collect()
}

/// One after the other: each becomes a member of etcd. The certificates come by way of the cluster, under a key
/// that is of no use two hours later.
fn join_control_planes(first: &Host, others: &[Host], init: &str) -> Result<()> {
    kubeadm(first, init)?;
    let upload = "kubeadm init phase upload-certs --upload-certs --config=/root/kubeadm.yaml";
    let key = first.read(&format!("{upload} | tail -n1"))?;
    let join = join_command(first)?;
    for host in others {
        let own = format!("--control-plane --apiserver-advertise-address={}", host.address());
        kubeadm(host, &format!("{join} {own} --certificate-key={key} {IGNORE}"))?;
    }
    Ok(())
}

fn join_command(first: &Host) -> Result<String> {
    first.read("kubeadm token create --print-join-command")
}

fn kubeadm(host: &Host, script: &str) -> Result<()> {
    let output = host.sh_with(script, None, KUBEADM_LIMIT)?;
    if output.success() {
        return Ok(());
    }
    let said = crate::run::last_lines(&format!("{}\n{}", output.stdout, output.stderr));
    let doing = format!("make {} part of the cluster", host.name());
    Err(LabError::Program { doing, program: "kubeadm".to_owned(), code: output.code, said })
}

/// The range that the controller manager gave to a node; it does so a moment after the node has joined.
fn pod_range(cluster: &Cluster, host: &Host) -> Result<PodRange> {
    let node = host.name().to_owned();
    let range = await_until(&format!("{node} has a pod range"), RANGE_LIMIT, || {
        let asked = cluster.kube(&["get", "node", &node, "--output=jsonpath={.spec.podCIDR}"], None);
        match asked {
            Ok(output) if output.text().is_empty() => Err("none yet".to_owned()),
            Ok(output) => Ok(output.text().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })?;
    Ok(PodRange { node, address: host.address(), range })
}

/// Gives a node the network of its pods, and the way to the pods of the others.
fn connect(host: &Host, network: PodNetwork, ranges: &[PodRange]) -> Result<()> {
    let own = ranges.iter().find(|range| range.node == host.name()).expect("every host has its range");
    host.read("mkdir -p /etc/pod-network")?;
    let (routes, mtu) = match network {
        PodNetwork::Routes => (config::routes(&own.node, ranges), None),
        PodNetwork::Vxlan => {
            let drop_in = "/etc/systemd/system/pod-network.service.d/overlay.conf";
            host.read("mkdir -p /etc/systemd/system/pod-network.service.d")?;
            put(host, drop_in, overlay::DROP_IN)?;
            put(host, "/etc/pod-network/forwarding", &overlay::forwarding(own, ranges))?;
            (overlay::routes(own, ranges), Some(overlay::MTU))
        }
    };
    put(host, "/etc/pod-network/routes", &routes)?;
    put(host, "/etc/pod-network/masquerade.nft", &config::masquerade())?;
    put(host, "/etc/cni/net.d/10-lab.conflist", &config::conflist(&own.range, mtu))?;
    host.read("systemctl daemon-reload && systemctl start pod-network.service").map(drop)
}

/// By rename: containerd reads its directory whenever a name in it changes.
fn put(host: &Host, path: &str, text: &str) -> Result<()> {
    host.put(&format!("umask 077 && cat > {path}.new && mv {path}.new {path}"), text)
}
