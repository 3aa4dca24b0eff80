//! Clusters: real ones, made by kubeadm on hosts of a rack.

mod build;
mod config;
mod image;
mod join;
mod parts;
mod release;
mod resolver;
mod store;
mod template;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) use parts::{Parts, give};
pub use release::Release;
pub(crate) use template::place as template_of;

use crate::error::{Doing, LabError, Result};
use crate::host::Host;
use crate::names::RackName;
use crate::rack::Lab;
use crate::run::{Output, await_until, each, must_with};
use crate::spec::{Kind, Spec};
use crate::sweep;
use crate::talk::say;

/// More nodes would run into the addresses of the lab's own devices.
const MOST_NODES: usize = 20;
/// How long one call of kubectl may take, its own waiting included. Generous: the machine may be busy.
const KUBECTL_LIMIT: Duration = Duration::from_secs(300);

/// A cluster that stands: its first host is the control plane.
#[derive(Debug)]
pub struct Cluster {
    lab: Lab,
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
        let parts = Parts::ensure(release)?;
        if spec.name.dir().exists() && !made(&spec.name).exists() && sweep::down(&spec.name)? {
            say(format_args!("cluster `{}` was left half made: making it anew", spec.name));
        }
        let started = Instant::now();
        let template = template::place(&spec, release, &parts);
        let cluster = Self { lab: Lab::up(spec)? };
        resolver::ensure(&cluster.lab, &parts)?;
        if !cluster.is_formed()? {
            join::form(&cluster, release)?;
            cluster.await_ready()?;
            template::take(&cluster, &template)?;
        }
        cluster.await_ready()?;
        fs::write(cluster.made(), "").doing(|| format!("write {}", cluster.made().display()))?;
        if cluster.lab.tells() {
            say(format_args!(
                "cluster `{}` is up in {} s",
                cluster.lab.spec().name,
                started.elapsed().as_secs()
            ));
        }
        Ok(cluster)
    }

    /// A cluster that stands, made by somebody else; dropping the value leaves it.
    pub fn open(name: &RackName) -> Result<Self> {
        if made(name).exists() {
            return Ok(Self { lab: Lab::open(name)? });
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

    /// `kubectl` in the control plane's host, with the rights of its administrator.
    pub fn kubectl(&self) -> Result<Command> {
        let mut kubectl = self.lab.hosts()[0].command("kubectl")?;
        kubectl.arg("--kubeconfig=/etc/kubernetes/admin.conf");
        Ok(kubectl)
    }

    /// MetalLB's own manifest, whose images every host has.
    pub fn metallb_manifest() -> Result<PathBuf> {
        Ok(build::ensure(&release::METALLB_0_13)?.join("files/metallb-native.yaml"))
    }

    /// Runs `kubectl` to its end and insists on success; `input` is for `-f -`.
    pub fn kube(&self, arguments: &[&str], input: Option<&str>) -> Result<Output> {
        let mut kubectl = self.kubectl()?;
        kubectl.args(arguments);
        let doing = format!("run `kubectl {}`", arguments.join(" "));
        must_with(kubectl, input.map(str::as_bytes), &doing, KUBECTL_LIMIT)
    }

    /// Returns when all nodes are ready and kubeadm's own workloads run. What the API says of the time before a
    /// boot does not count: a node must know its new boot, and its pods must be served.
    fn await_ready(&self) -> Result<()> {
        let hosts = self.lab.hosts();
        insist(&hosts[0], "kubectl --kubeconfig=/etc/kubernetes/admin.conf get --raw=/readyz")?;
        for host in &hosts {
            let boot = host.read("cat /proc/sys/kernel/random/boot_id")?;
            let known = format!("--for=jsonpath={{.status.nodeInfo.bootID}}={boot}");
            self.kube(&["wait", &known, "node", host.name(), "--timeout=240s"], None)?;
        }
        self.kube(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=240s"], None)?;
        let system = ["--namespace=kube-system", "rollout", "status", "--timeout=240s"];
        for workload in ["daemonset/kube-proxy", "deployment/coredns"] {
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
