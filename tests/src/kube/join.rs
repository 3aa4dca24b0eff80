//! Makes booted hosts a cluster: `kubeadm init`, `kubeadm join`, and the way between their pods.

use std::time::Duration;

use super::config::{self, PodRange};
use super::{Cluster, Release};
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

/// Forms the cluster. The first host becomes the control plane.
pub(super) fn form(cluster: &Cluster, release: Release) -> Result<()> {
    let hosts = cluster.lab.hosts();
    let (control_plane, workers) = hosts.split_first().expect("a spec with no host was refused");
    let tell = |what: &str| {
        if cluster.lab.tells() {
            say(what);
        }
    };
    tell("kubeadm init on cp1");
    let file = config::kubeadm(release, control_plane.address());
    put(control_plane, "/root/kubeadm.yaml", &file)?;
    kubeadm(control_plane, &format!("kubeadm init --config=/root/kubeadm.yaml {IGNORE} --skip-token-print"))?;
    if !workers.is_empty() {
        tell("kubeadm join on the others");
        let join = control_plane.read("kubeadm token create --print-join-command")?;
        each(workers, JOINS, |host| kubeadm(host, &format!("{join} {IGNORE}")))
            .into_iter()
            .collect::<Result<()>>()?;
    }
    let ranges = hosts.iter().map(|host| pod_range(cluster, host)).collect::<Result<Vec<_>>>()?;
    each(&hosts, JOINS, |host| connect(host, &ranges)).into_iter().collect()
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
fn connect(host: &Host, ranges: &[PodRange]) -> Result<()> {
    let own = ranges.iter().find(|range| range.node == host.name()).expect("every host has its range");
    host.read("mkdir -p /etc/pod-network")?;
    put(host, "/etc/pod-network/routes", &config::routes(&own.node, ranges))?;
    put(host, "/etc/pod-network/masquerade.nft", &config::masquerade())?;
    put(host, "/etc/cni/net.d/10-lab.conflist", &config::conflist(&own.range))?;
    host.read("systemctl start pod-network.service").map(drop)
}

/// By rename: containerd reads its directory whenever a name in it changes.
fn put(host: &Host, path: &str, text: &str) -> Result<()> {
    let script = format!("umask 077 && cat > {path}.new && mv {path}.new {path}");
    let output = host.sh_with(&script, Some(text.as_bytes()), RANGE_LIMIT)?;
    let refused = || LabError::Refused(format!("cannot write {path} on {}: {}", host.name(), output.stderr));
    if output.success() { Ok(()) } else { Err(refused()) }
}
