//! Clusters as kubeadm left them, kept in the cache: the next one of the same shape boots from a copy, in seconds.
//!
//! A template is taken of hosts that were killed, not shut down: what a copy boots through is what a node goes
//! through after its power came back. Racks have networks of their own, so that addresses, and with them
//! certificates, are the same in all of them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Cluster, Parts, PodNetwork, Release, config, store};
use crate::base::{CACHE, lock_cache, short_hash};
use crate::defect::Defect;
use crate::error::{Doing, Result};
use crate::host::Host;
use crate::run::{command, each, must};
use crate::spec::Spec;
use crate::vm;

const COPY_LIMIT: Duration = Duration::from_secs(300);
const COPIES: usize = 4;
/// Otherwise their successors wait until the leases of the dead expire.
const STOP_LEADERS: &str = "
systemctl stop kubelet
for name in kube-controller-manager kube-scheduler; do
    pkill --signal KILL --exact \"$(echo $name | cut -c1-15)\" || true
done";
const DROP_LEASES: &str = "kubectl --kubeconfig=/etc/kubernetes/admin.conf --namespace=kube-system \
    delete lease kube-controller-manager kube-scheduler --ignore-not-found";

/// The template of a shape, whether it is there or not; `image` is what its virtual machines boot from. Defects of the
/// cluster come after it.
pub(crate) fn place(spec: &Spec, release: Release, parts: &Parts, image: Option<&vm::Image>) -> PathBuf {
    // Somebody else on the segment leaves no trace in the hosts.
    let defects: Vec<_> = spec.defects.iter().filter(|order| order.defect != Defect::PoolNeighbour).collect();
    let control_planes = spec.control_plane_hosts();
    let shape = (&spec.hosts, control_planes, spec.login, spec.segments, spec.bastion, defects);
    let addresses = vec![Ipv4Addr::UNSPECIFIED.into(); control_planes.len()];
    let kubeadm = config::kubeadm(release, &addresses);
    let network = [config::conflist("", None), config::masquerade()].concat();
    let overlay = match spec.cluster.network {
        PodNetwork::Routes => "",
        PodNetwork::Vxlan => include_str!("overlay.rs"),
    };
    let stop = [STOP_LEADERS, DROP_LEASES].concat();
    let apart = if spec.proxy_apart() { include_str!("apart.rs") } else { "" };
    let machines = image.map(|image| format!("{:?} of {}", spec.vms, image.dir.display()));
    let mut recipe = vec![format!("{shape:?}{parts:?}"), kubeadm, network + overlay, stop + apart];
    recipe.extend(machines);
    let hash = short_hash(recipe.iter().map(String::as_bytes));
    Path::new(CACHE).join(format!("kube-cluster-{}-{hash}", spec.hosts.len()))
}

/// Takes a template of a cluster, which is down for as long as that takes.
pub(super) fn take(cluster: &Cluster, place: &Path) -> Result<()> {
    let lock = lock_cache()?;
    if place.is_dir() {
        return Ok(());
    }
    let partial = Path::new(CACHE).join("partial-kube-cluster");
    if partial.exists() {
        fs::remove_dir_all(&partial).doing(|| format!("remove {}", partial.display()))?;
    }
    let hosts = cluster.lab.hosts();
    cluster.control_planes().iter().try_for_each(|host| host.read(STOP_LEADERS).map(drop))?;
    hosts[0].read(DROP_LEASES)?;
    for host in &hosts {
        if host.is_vm() {
            host.read("systemctl stop kubelet; sync")?;
        }
        host.kill()?;
    }
    let copies = each(&hosts, COPIES, |host| keep(host, &partial.join(host.name())));
    copies.into_iter().collect::<Result<()>>()?;
    fs::rename(&partial, place).doing(|| format!("move the template to {}", place.display()))?;
    drop(lock);
    each(&hosts, COPIES, Host::boot).into_iter().collect()
}

/// Gives a host that was never booted the files of its like in a template.
pub(crate) fn give(template: &Path, host: &Host) -> Result<()> {
    copy(&template.join(host.name()), host.dir())
}

fn keep(host: &Host, to: &Path) -> Result<()> {
    if !host.is_vm() {
        return copy(host.dir(), to);
    }
    fs::create_dir_all(to).doing(|| format!("create {}", to.display()))?;
    let disk = to.join("disk.raw");
    vm::copy_disk(&host.dir().join("disk.raw"), &disk)?;
    vm::settle(&disk)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).doing(|| format!("create {}", to.display()))?;
    let mut copy = command("cp");
    copy.arg("--archive").arg(from.join("upper")).arg(to);
    must(copy, &format!("copy {}", from.display()), COPY_LIMIT)?;
    store::give(&from.join("containerd"), &to.join("containerd"))
}
