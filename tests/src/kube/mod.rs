//! Clusters: real ones, made by kubeadm on hosts of a rack.

mod apart;
mod archive;
mod build;
mod config;
mod defect;
mod envoy;
mod given;
mod go;
mod image;
mod istio;
mod join;
mod mesh;
mod overlay;
mod parts;
mod release;
mod resolver;
mod shape;
mod spoil;
mod store;
pub mod suite;
mod template;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub use archive::{Archive, helm};
pub(crate) use config::{ENDPOINT, PODS};
pub use defect::ClusterDefect;
pub use istio::Istio;
pub use mesh::mesh_web;
pub(crate) use mesh::{settings_for, values_for};
pub(crate) use parts::{Parts, give};
pub use release::{Metallb, Release};
pub use shape::{ClusterShape, PodNetwork};
pub(crate) use template::place as template_of;
pub use workload::Outside;

use crate::error::{Doing, LabError, Result};
use crate::host::Host;
use crate::names::RackName;
use crate::rack::Lab;
use crate::run::{Output, await_until, each, must_with};
use crate::spec::{Kind, Spec};
use crate::talk::say;
use crate::{slot, sweep, vm};

/// More nodes would run into the addresses of the lab's own devices.
const MOST_NODES: usize = 20;
/// Since Kubernetes 1.29 the rights are those of a group that kubeadm makes.
const ADMIN: &str = "--kubeconfig=/etc/kubernetes/admin.conf";
/// How long one call of kubectl may take, its own waiting included. Generous: the machine may be busy.
const KUBECTL_LIMIT: Duration = Duration::from_secs(300);

/// A cluster that stands: its first hosts are the control planes.
#[derive(Debug)]
pub struct Cluster {
    lab: Lab,
    /// Held by clusters of tests; given back after the rack is down.
    _slot: Option<slot::Slot>,
}

impl Cluster {
    /// Makes a cluster; it goes down when the value is dropped, unless [`Cluster::keep`] is called. One that
    /// stands already with the same spec is taken as it is, its dead hosts booted.
    pub fn up(spec: Spec) -> Result<Self> {
        let Kind::Kube(release) = spec.kind else {
            return Err(LabError::Refused(
                "a cluster needs hosts of its kind: order them by `Spec::kube`".to_owned(),
            ));
        };
        if spec.hosts.len() > MOST_NODES {
            return Err(LabError::Refused(format!("a cluster of the lab has at most {MOST_NODES} nodes")));
        }
        let parts = Parts::ensure(release, &spec.cluster)?;
        let is_test = spec.name.test_process().is_some();
        let slot = if is_test { Some(slot::of_cluster()?) } else { None };
        if spec.name.dir().exists() && !made(&spec.name).exists() && sweep::down(&spec.name)? {
            say(format_args!("cluster `{}` was left half made: making it anew", spec.name));
        }
        let started = Instant::now();
        let template = template::place(&spec, release, &parts, vm::image_for(&spec, Some(&parts))?.as_ref());
        let cluster = Self { lab: Lab::up(spec)?, _slot: slot };
        cluster.ensure_formed(release, &parts, &template)?;
        if cluster.lab.tells() {
            say(format_args!(
                "cluster `{}` is up in {} s",
                cluster.lab.spec().name,
                started.elapsed().as_secs()
            ));
        }
        Ok(cluster)
    }

    fn ensure_formed(&self, release: Release, parts: &Parts, template: &Path) -> Result<()> {
        resolver::ensure(&self.lab, parts)?;
        let defects = &self.lab.spec().cluster.defects;
        if self.made().exists() {
            // What was spoiled on order is not waited for.
            return if defects.is_empty() { self.await_ready() } else { self.await_nodes() };
        }
        if !self.is_formed()? {
            join::form(self, release)?;
            self.await_ready()?;
            template::take(self, template)?;
        }
        self.await_ready()?;
        defects.iter().try_for_each(|(host, defect)| self.spoil(host, *defect))?;
        fs::write(self.made(), "").doing(|| format!("write {}", self.made().display()))
    }

    /// Makes the template of a cluster's shape, unless it is in the cache, so that clusters of this shape are up
    /// in seconds. Builds what was never built here.
    pub fn prepare(spec: Spec) -> Result<()> {
        let Kind::Kube(release) = spec.kind else { return Ok(()) };
        let parts = Parts::ensure(release, &spec.cluster)?;
        let image = vm::image_for(&spec, Some(&parts))?;
        if template::place(&spec, release, &parts, image.as_ref()).is_dir() {
            return Ok(());
        }
        say(format_args!("making a cluster of {} nodes, to copy it for each test", spec.hosts.len()));
        Self::up(spec)?.down()
    }

    /// A cluster that stands, made by somebody else; dropping the value leaves it.
    pub fn open(name: &RackName) -> Result<Self> {
        if made(name).exists() {
            return Ok(Self { lab: Lab::open(name)?, _slot: None });
        }
        let hint = "`cargo lab cluster up` makes one";
        Err(LabError::Refused(format!("no cluster `{name}` stands: {hint}")))
    }

    /// The rack below the cluster: hosts, network, the operator outside of the cluster on the same segment.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Leaves the cluster standing when the value is dropped.
    pub fn keep(self) {
        self.lab.keep();
    }

    /// Takes the cluster down and says so when that fails.
    pub fn down(self) -> Result<()> {
        self.lab.down()
    }

    /// The hosts of the control planes.
    pub fn control_planes(&self) -> Vec<Host> {
        let mut hosts = self.lab.hosts();
        hosts.truncate(self.lab.spec().cluster.control_planes);
        hosts
    }

    /// `kubectl` in the host of a control plane that runs, with the rights of its administrator.
    pub fn kubectl(&self) -> Result<Command> {
        let control_planes = self.control_planes();
        let running = control_planes.iter().find(|host| host.pid().is_some());
        let mut kubectl = running.unwrap_or(&control_planes[0]).command("kubectl")?;
        kubectl.arg(ADMIN);
        Ok(kubectl)
    }

    /// Runs `kubectl` to its end and insists on success; `input` is for `-f -`.
    pub fn kube(&self, arguments: &[&str], input: Option<&str>) -> Result<Output> {
        let mut kubectl = self.kubectl()?;
        kubectl.args(arguments);
        let doing = format!("run `kubectl {}`", arguments.join(" "));
        must_with(kubectl, input.map(str::as_bytes), &doing, KUBECTL_LIMIT)
    }

    /// Returns when all nodes are ready. What the API says of the time before a boot does not count: a node must
    /// know its new boot.
    fn await_nodes(&self) -> Result<()> {
        self.control_planes().iter().try_for_each(await_api)?;
        for host in self.lab.hosts() {
            let boot = host.read("cat /proc/sys/kernel/random/boot_id")?;
            let known = format!("--for=jsonpath={{.status.nodeInfo.bootID}}={boot}");
            self.kube(&["wait", &known, "node", host.name(), "--timeout=240s"], None)?;
        }
        self.kube(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=240s"], None).map(drop)
    }

    /// The same, and kubeadm's own workloads run and serve.
    fn await_ready(&self) -> Result<()> {
        self.await_nodes()?;
        let hosts = self.lab.hosts();
        let system = ["--namespace=kube-system", "rollout", "status", "--timeout=240s"];
        let apart = format!("daemonset/{}", apart::APART);
        let apart = self.lab.spec().proxy_apart().then_some(apart.as_str());
        for workload in ["daemonset/kube-proxy", "deployment/coredns"].into_iter().chain(apart) {
            self.kube(&[&system[..], &[workload]].concat(), None)?;
        }
        let ask = |host: &Host| {
            insist(host, "busybox nslookup -type=a kubernetes.default.svc.cluster.local 10.96.0.10")
        };
        each(&hosts, hosts.len(), ask).into_iter().collect()
    }

    /// Hosts that were copied from a template are.
    fn is_formed(&self) -> Result<bool> {
        Ok(self.lab.hosts()[0].sh("test -e /etc/kubernetes/admin.conf")?.success())
    }

    fn made(&self) -> PathBuf {
        made(&self.lab.spec().name)
    }
}

/// Waits until a control plane's own API server is ready.
fn await_api(host: &Host) -> Result<()> {
    insist(host, &format!("kubectl {ADMIN} --server=https://{}:6443 get --raw=/readyz", host.address()))
}

/// Runs a command on a host until it succeeds.
fn insist(host: &Host, command: &str) -> Result<()> {
    let script = format!("{command} 2>&1 || {{ sleep 0.3; false; }}");
    await_until(&format!("`{command}` succeeds on {}", host.name()), KUBECTL_LIMIT, || {
        match host.sh(&script) {
            Ok(output) if output.success() => Ok(()),
            Ok(output) => Err(output.stdout),
            Err(error) => Err(error.to_string()),
        }
    })
}

/// The file that says that the cluster was made to its end.
fn made(name: &RackName) -> PathBuf {
    name.dir().join("cluster-made")
}
