//! The rack as the rest of the coordinator sees it: every node with its overrides merged.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use rackwright_proto::name::{ModuleName, NodeName, SysctlKey};

use super::model::hosts::{HostFile, Hosts, NodeHosts, Swap, Waiver, Watch};
use super::model::kubernetes::{Kubernetes, Proxy, ProxyMode};
use super::model::network::{Network, NodeNetwork};
use super::model::ssh::{Become, Jump, OneOrMany, SecretSource, Ssh};
use super::model::{Limits, NodeEntry, RackFile, Role};
use super::words::{
    AbsolutePath, HostAddress, HostKeyPin, InterfaceChoice, LabelKey, LabelValue, LocalPath, SshConfig,
    SysctlValue, UserName,
};

/// The finding by which ipvs without strictARP is waived.
pub const IPVS_WITHOUT_STRICT_ARP: &str = "ipvs-without-strict-arp";

/// A valid rack.
#[derive(Debug, Clone, PartialEq)]
pub struct Rack {
    file: RackFile,
    nodes: Vec<Node>,
}

/// One host, with the rack's settings and its own merged.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Where it answers.
    pub address: HostAddress,
    /// Its SSH port; none leaves it to OpenSSH's configuration, then 22.
    pub port: Option<u16>,
    /// What it does; sorted, no role twice.
    pub roles: Vec<Role>,
    /// Its Kubernetes labels.
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// How to reach it.
    pub ssh: SshSettings,
    /// What it shall be like.
    pub hosts: HostSettings,
    /// Its part of the network.
    pub network: NetworkSettings,
}

/// How to reach a host and become root there.
#[derive(Debug, Clone, PartialEq)]
pub struct SshSettings {
    /// The user; none leaves it to OpenSSH's configuration, then the operator's own name.
    pub user: Option<UserName>,
    /// Private key files in order; empty leaves it to OpenSSH's configuration and defaults.
    pub identity: Vec<LocalPath>,
    /// known_hosts files; empty leaves it to OpenSSH's configuration and defaults.
    pub known_hosts: Vec<LocalPath>,
    /// Pinned keys; when there are any, known_hosts is not asked.
    pub host_keys: Vec<HostKeyPin>,
    /// How to become root.
    pub become_root: Become,
    /// Where sudo's password comes from, if sudo asks.
    pub become_password: Option<SecretSource>,
    /// Which OpenSSH configuration to heed.
    pub config: SshConfig,
    /// The hosts to go through, in order; none leaves it to OpenSSH's configuration, empty goes straight.
    pub jump: Option<Vec<Jump>>,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// Whether to ask the SSH agent.
    pub agent: bool,
    /// Where the passphrase of encrypted identities comes from.
    pub passphrase: Option<SecretSource>,
}

/// What a host shall be like, without what follows from `kubernetes`.
#[derive(Debug, Clone, PartialEq)]
pub struct HostSettings {
    /// Kernel modules, in the rack's order, none twice.
    pub modules: Vec<ModuleName>,
    /// Sysctls.
    pub sysctls: BTreeMap<SysctlKey, SysctlValue>,
    /// Swap.
    pub swap: Swap,
    /// Files, by path.
    pub files: BTreeMap<AbsolutePath, HostFile>,
    /// What stays on the host.
    pub watch: Watch,
}

/// A host's part of the network.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkSettings {
    /// The interface that carries the pools.
    pub interface: InterfaceChoice,
    /// The gateway, where the rack names it.
    pub gateway: Option<IpAddr>,
}

impl Rack {
    /// Merges the rack's settings into its nodes. Whether it makes sense is for the checks to say.
    pub(super) fn new(file: RackFile) -> Self {
        let nodes = file.nodes.iter().map(|entry| Node::new(entry, &file)).collect();
        Self { file, nodes }
    }

    /// The nodes, in the order of the file.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Node> {
        self.nodes.iter()
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name.as_str() == name)
    }

    /// The cluster, if there shall be one.
    pub fn kubernetes(&self) -> Option<&Kubernetes> {
        self.file.kubernetes.as_ref()
    }

    /// The network that the nodes share.
    pub fn network(&self) -> &Network {
        &self.file.network
    }

    /// How much at once.
    pub fn limits(&self) -> &Limits {
        &self.file.limits
    }

    /// The findings to live with.
    pub fn waivers(&self) -> &[Waiver] {
        &self.file.hosts.waive
    }

    /// Whether every node would answer ARP for every address of the pools.
    pub fn ipvs_without_strict_arp(&self) -> bool {
        let Some(kubernetes) = self.kubernetes() else { return false };
        let ipvs = |p: &Proxy| p.mode == ProxyMode::Ipvs && !p.strict_arp;
        let pools = kubernetes.metallb.as_ref().is_some_and(|m| !m.pools.is_empty());
        pools && kubernetes.proxy.as_ref().is_some_and(ipvs)
    }

    /// Why a finding is waived: on that node, or (without a node) for the whole rack.
    pub fn waived(&self, finding: &str, node: Option<&NodeName>) -> Option<&str> {
        let covers = |waiver: &&Waiver| {
            waiver.finding.as_str() == finding
                && waiver.nodes.as_ref().is_none_or(|nodes| node.is_some_and(|n| nodes.contains(n)))
        };
        self.waivers().iter().find(covers).map(|waiver| waiver.reason.as_str())
    }

    /// The rack as written.
    pub fn file(&self) -> &RackFile {
        &self.file
    }
}

impl Node {
    fn new(entry: &NodeEntry, file: &RackFile) -> Self {
        let mut roles = entry.roles.clone();
        roles.sort_unstable();
        roles.dedup();
        Self {
            name: entry.name.clone(),
            address: entry.address.clone(),
            port: entry.port.or(entry.ssh.port).or(file.ssh.port),
            roles,
            labels: entry.labels.clone(),
            ssh: SshSettings::new(entry, &file.ssh),
            hosts: HostSettings::new(&file.hosts, &entry.hosts),
            network: NetworkSettings::new(&file.network, &entry.network),
        }
    }

    /// Whether it runs the API server.
    pub fn is_control_plane(&self) -> bool {
        self.roles.contains(&Role::ControlPlane)
    }
}

impl SshSettings {
    fn new(entry: &NodeEntry, rack: &Ssh) -> Self {
        let own = &entry.ssh;
        let list = |own: &Option<OneOrMany<LocalPath>>, rack: &Option<OneOrMany<LocalPath>>| {
            own.as_ref().or(rack.as_ref()).map(|list| list.0.clone()).unwrap_or_default()
        };
        Self {
            user: own.user.clone().or_else(|| rack.user.clone()),
            identity: list(&own.identity, &rack.identity),
            known_hosts: list(&own.known_hosts, &rack.known_hosts),
            host_keys: entry.host_key.0.clone(),
            become_root: own.become_root.or(rack.become_root).unwrap_or_default(),
            become_password: own.become_password.clone().or_else(|| rack.become_password.clone()),
            config: own.config.clone().or_else(|| rack.config.clone()).unwrap_or_default(),
            jump: own.jump.clone().or_else(|| rack.jump.clone()),
            connect_timeout: own
                .connect_timeout
                .or(rack.connect_timeout)
                .map_or(Duration::from_secs(10), |period| period.duration()),
            agent: own.agent.or(rack.agent).unwrap_or(true),
            passphrase: own.passphrase.clone().or_else(|| rack.passphrase.clone()),
        }
    }
}

impl HostSettings {
    fn new(rack: &Hosts, own: &NodeHosts) -> Self {
        let mut modules: Vec<ModuleName> = Vec::new();
        for module in rack.modules.iter().chain(&own.modules) {
            if !modules.contains(module) {
                modules.push(module.clone());
            }
        }
        let both = rack.sysctls.iter().chain(&own.sysctls);
        Self {
            modules,
            sysctls: both.map(|(key, value)| (key.clone(), value.clone())).collect(),
            swap: own.swap.unwrap_or(rack.swap),
            files: rack.files.iter().chain(&own.files).map(|f| (f.path.clone(), f.clone())).collect(),
            watch: rack.watch.clone(),
        }
    }
}

impl NetworkSettings {
    fn new(rack: &Network, own: &NodeNetwork) -> Self {
        Self {
            interface: own.interface.clone().unwrap_or_else(|| rack.interface.clone()),
            gateway: own.gateway.or(rack.gateway),
        }
    }
}
