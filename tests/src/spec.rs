//! What somebody wants a rack to be.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::defect::Defect;
use crate::error::{LabError, Result};
use crate::kube::{ClusterDefect, ClusterShape, Istio, Metallb, PodNetwork, Release};
use crate::layout::MOST_IN_24;
use crate::names::RackName;

/// The name of the host between the operator and the others.
pub const BASTION: &str = "bastion";

/// How real a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// systemd as PID 1, logind, journal, sshd.
    Systemd,
    /// Only sshd, in namespaces of its own: for fleets.
    Light,
    /// As [`Kind::Systemd`], and carries containers: for clusters.
    Kube(Release),
    /// A virtual machine with a kernel of its own. Which hosts of a rack are such is told by [`Spec::vms`].
    Vm,
}

/// As whom the rack's file tells to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Login {
    /// User `ops`, who may use sudo without a password.
    Sudo,
    /// User `ops`, whom sudo asks for the password that lies in the rack's folder.
    SudoPassword,
    /// User `root`.
    Root,
}

/// A defect and the host that has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The host's name.
    pub host: String,
    /// What is wrong with it.
    pub defect: Defect,
}

/// A rack to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The rack's name.
    pub name: RackName,
    /// The nodes' names; the control planes come first.
    pub hosts: Vec<String>,
    /// How real they are.
    pub kind: Kind,
    /// Those of them that are virtual machines instead, with a kernel and a disk of their own.
    #[serde(default)]
    pub vms: Vec<String>,
    /// As whom to log in.
    pub login: Login,
    /// Number of L2 segments; every host has an interface on each.
    pub segments: usize,
    /// Whether the operator reaches the hosts only through a bastion.
    pub bastion: bool,
    /// What is wrong, and where.
    pub defects: Vec<Order>,
    /// What else is ordered of a cluster.
    #[serde(default)]
    pub cluster: ClusterShape,
}

impl Spec {
    /// A rack of `count` healthy hosts: `cp1`, `w1`, `w2`, …
    pub fn new(name: RackName, count: usize) -> Self {
        let (kind, login, cluster) = (Kind::Systemd, Login::Sudo, ClusterShape::default());
        let hosts = names(count, cluster.control_planes);
        let (vms, defects) = (Vec::new(), Vec::new());
        Self { name, hosts, kind, vms, login, segments: 1, bastion: false, defects, cluster }
    }

    /// The same under a name of its own, for a test: several may stand at a time.
    pub fn test(count: usize) -> Self {
        Self::new(RackName::of_test(), count)
    }

    /// Light hosts instead of whole ones.
    pub fn light(mut self) -> Self {
        self.kind = Kind::Light;
        self
    }

    /// Hosts that carry containers, for a cluster of this version.
    pub fn kube(mut self, release: Release) -> Self {
        self.kind = Kind::Kube(release);
        self
    }

    /// These hosts are virtual machines; the others stay what they are, on the same segments.
    pub fn vms<'a>(mut self, hosts: impl IntoIterator<Item = &'a str>) -> Self {
        self.vms = hosts.into_iter().map(str::to_owned).collect();
        self
    }

    /// All hosts are virtual machines.
    pub fn vms_all(mut self) -> Self {
        self.vms = self.hosts.clone();
        self
    }

    /// Several control planes: `cp1`, `cp2`, …; the other hosts are workers.
    pub fn control_planes(mut self, count: usize) -> Self {
        self.hosts = names(self.hosts.len(), count);
        self.cluster.control_planes = count;
        self
    }

    /// Which MetalLB the rack's file tells and the hosts have images of; not installed by that.
    pub fn metallb(mut self, version: Metallb) -> Self {
        self.cluster.metallb = version;
        self
    }

    /// Which Istio the rack's file tells and the hosts have images of; not installed by that.
    pub fn istio(mut self, version: Istio) -> Self {
        self.cluster.istio = Some(version);
        self
    }

    /// Packets go between the pods of different hosts inside of VXLAN, not as they are.
    pub fn overlay(mut self) -> Self {
        self.cluster.network = PodNetwork::Vxlan;
        self
    }

    /// The control planes have a kube-proxy of their own, which kubeadm's DaemonSet leaves out.
    pub fn with_proxy_apart(mut self) -> Self {
        self.cluster.proxy_apart = true;
        self
    }

    /// Whether they have: also where workers are virtual machines, whose kernel can have modes that this machine's
    /// cannot.
    pub(crate) fn proxy_apart(&self) -> bool {
        self.cluster.proxy_apart || !self.vms.is_empty()
    }

    /// Orders a defect of a cluster. The host matters only to those that are of one node.
    pub fn cluster_defect(mut self, host: &str, defect: ClusterDefect) -> Self {
        self.cluster.defects.push((host.to_owned(), defect));
        self
    }

    /// As whom to log in.
    pub fn login(mut self, login: Login) -> Self {
        self.login = login;
        self
    }

    /// Number of L2 segments.
    pub fn segments(mut self, count: usize) -> Self {
        self.segments = count;
        self
    }

    /// Puts the hosts behind a bastion.
    pub fn bastion(mut self) -> Self {
        self.bastion = true;
        self
    }

    /// Orders a defect.
    pub fn defect(mut self, host: &str, defect: Defect) -> Self {
        self.defects.push(Order { host: host.to_owned(), defect });
        self
    }

    /// Every host to boot: the bastion first, then the nodes.
    pub fn all_hosts(&self) -> Vec<&str> {
        let bastion = self.bastion.then_some(BASTION);
        bastion.into_iter().chain(self.hosts.iter().map(String::as_str)).collect()
    }

    /// What is wrong with a host.
    pub fn defects_of(&self, host: &str) -> impl Iterator<Item = Defect> {
        self.defects.iter().filter(move |order| order.host == host).map(|order| order.defect)
    }

    /// What a host is.
    pub fn kind_of(&self, host: &str) -> Kind {
        if self.vms.iter().any(|vm| vm == host) { Kind::Vm } else { self.kind }
    }

    /// Whether some host has this defect.
    pub fn has(&self, defect: Defect) -> bool {
        self.defects.iter().any(|order| order.defect == defect)
    }

    /// The names of the control planes.
    pub fn control_plane_hosts(&self) -> &[String] {
        &self.hosts[..self.cluster.control_planes.min(self.hosts.len())]
    }

    /// Refuses what cannot be built.
    pub fn validate(&self) -> Result<()> {
        let most = if self.bastion { 2 } else { 3 };
        let refuse = |text: String| Err(LabError::Refused(text));
        if self.hosts.is_empty() || self.hosts.len() > 2000 {
            return refuse(format!("a rack has 1 to 2000 hosts, not {}", self.hosts.len()));
        }
        if !(1..=most).contains(&self.segments) {
            return refuse(format!("this rack can have 1 to {most} segments, not {}", self.segments));
        }
        if self.segments > 1 && self.hosts.len() > MOST_IN_24 {
            return refuse(format!("more than {MOST_IN_24} hosts have room on one segment only"));
        }
        let defective = self.defects.iter().map(|order| &order.host);
        let mut defective = defective.chain(self.cluster.defects.iter().map(|(host, _)| host));
        if let Some(host) = defective.find(|host| !self.all_hosts().contains(&host.as_str())) {
            let all = self.hosts.join(", ");
            return refuse(format!("no host `{host}` to be defective: there are {all}"));
        }
        self.validate_vms()?;
        if self.has(Defect::DuplicateMachineId) && self.hosts.len() < 2 {
            return refuse(
                "one host alone cannot have another's machine-id: order at least two hosts".to_owned(),
            );
        }
        if self.cluster.istio == Some(Istio::V1_17) {
            return refuse("of Istio 1.17 the lab has the archive only, and no images".to_owned());
        }
        self.cluster.defects.iter().try_for_each(|(_, defect)| defect.fits(self))
    }

    fn validate_vms(&self) -> Result<()> {
        let refuse = |text: String| Err(LabError::Refused(text));
        if self.kind == Kind::Vm {
            return refuse(
                "say which hosts are virtual machines by `Spec::vms`, not by their kind".to_owned(),
            );
        }
        if let Some(vm) = self.vms.iter().find(|vm| !self.hosts.contains(vm)) {
            return refuse(format!(
                "no host `{vm}` to be a virtual machine: there are {}",
                self.hosts.join(", ")
            ));
        }
        let is_cluster = matches!(self.kind, Kind::Kube(_));
        match self.control_plane_hosts().iter().find(|host| is_cluster && self.vms.contains(host)) {
            Some(host) => refuse(format!(
                "{host} runs etcd, which does not wait for its disk in the lab: only workers can be virtual machines"
            )),
            None => Ok(()),
        }
    }
}

/// `cp1`, `cp2`, …, then `w1`, `w2`, …
fn names(count: usize, control_planes: usize) -> Vec<String> {
    let first = (1..=control_planes.min(count)).map(|number| format!("cp{number}"));
    first.chain((1..=count.saturating_sub(control_planes)).map(|number| format!("w{number}"))).collect()
}
