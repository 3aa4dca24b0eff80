//! What a diagnosis is made of: what the API said, and what the hosts measured. Values only.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use rackwright_proto::examine::{Examine, Examined};
use rackwright_proto::link::{Mac, Network};

use crate::balancer::Reason;

/// All that was found out.
#[derive(Debug, Clone)]
pub struct Case {
    /// What the API said, or why it was not heard.
    pub cluster: Result<Cluster, String>,
    /// The rack's hosts, in its order.
    pub hosts: Vec<Host>,
    /// What could not be asked, each with why.
    pub not_asked: Vec<String>,
}

/// One host.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its own address.
    pub address: Option<IpAddr>,
    /// Whether it is a control plane.
    pub control_plane: bool,
    /// Its links and routes; empty where it was not heard.
    pub network: Network,
    /// What it was asked.
    pub asked: Examine,
    /// What it said, or why it did not.
    pub examined: Result<Examined, String>,
}

/// A cluster, as its API tells it.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// The address of the API's own Service.
    pub api: Option<IpAddr>,
    /// CoreDNS.
    pub dns: Dns,
    /// kube-proxy's pods; `None` where there is no kube-proxy.
    pub proxy: Option<Vec<Pod>>,
    /// Webhooks that the API server must ask: those whose failure refuses what was wanted.
    pub hooks: Vec<Hook>,
    /// Istio, where it is there.
    pub mesh: Option<Mesh>,
    /// Services of type LoadBalancer that are looked at.
    pub services: Vec<ServiceState>,
    /// The pod that was asked about.
    pub pod: Option<Pod>,
}

/// A node.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Why not, in the cluster's words.
    pub why: String,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// The ranges of its pods.
    pub pods: Vec<IpNet>,
}

/// CoreDNS.
#[derive(Debug, Clone, Default)]
pub struct Dns {
    /// The addresses of its Service; none without a Service.
    pub services: Vec<IpAddr>,
    /// The Service's selector, in words.
    pub selector: String,
    /// The domain of the cluster's names.
    pub domain: String,
    /// How many pods its Deployment wants; `None` without a Deployment.
    pub wanted: Option<i32>,
    /// Its pods.
    pub pods: Vec<Pod>,
    /// The ready endpoints of the Service.
    pub endpoints: usize,
    /// Upstreams that lead back to it, in words; empty where there are none.
    pub loops: Vec<String>,
}

/// A pod.
#[derive(Debug, Clone, Default)]
pub struct Pod {
    /// `NAMESPACE/NAME`
    pub name: String,
    /// The node that it runs on.
    pub node: Option<String>,
    /// Its address.
    pub address: Option<IpAddr>,
    /// Whether it has its node's network.
    pub host_network: bool,
    /// Whether it is ready.
    pub ready: bool,
    /// Why not: `CrashLoopBackOff`, `Unschedulable: 0/3 nodes are available`; empty where nothing says so.
    pub why: String,
    /// How often its containers were restarted.
    pub restarts: i32,
    /// The end of its log, where it was read.
    pub log: String,
}

/// A webhook that must be asked.
#[derive(Debug, Clone, Default)]
pub struct Hook {
    /// The webhook's configuration.
    pub name: String,
    /// `NAMESPACE/NAME` of its Service.
    pub service: String,
    /// Its ready endpoints.
    pub endpoints: Vec<SocketAddr>,
    /// What is wrong with the Service itself: `is not there`, `has no port 8443`; empty otherwise.
    pub lacks: String,
}

/// Istio.
#[derive(Debug, Clone, Default)]
pub struct Mesh {
    /// istiod's pods.
    pub istiod: Vec<Pod>,
    /// Pods of gateways.
    pub gateways: Vec<Pod>,
}

/// A Service of type LoadBalancer.
#[derive(Debug, Clone)]
pub struct ServiceState {
    /// `NAMESPACE/NAME`
    pub name: String,
    /// Whether it is there at all.
    pub exists: bool,
    /// Why it has no address; `None` where it has one.
    pub pending: Option<Reason>,
    /// Its addresses.
    pub addresses: Vec<AddressState>,
}

/// An address of a Service.
#[derive(Debug, Clone)]
pub struct AddressState {
    /// The address.
    pub address: IpAddr,
    /// The MAC addresses that answered for it; `None` where nobody could ask.
    pub heard: Option<BTreeSet<Mac>>,
    /// Why nobody may answer, as the API tells; the most certain first.
    pub silent: Vec<Reason>,
}

impl Case {
    /// The addresses that pods should ask for names: the DNS Service's; while the API is not heard, what most kubelets
    /// say.
    pub fn dns(&self) -> Vec<IpAddr> {
        match &self.cluster {
            Ok(cluster) => cluster.dns.services.clone(),
            Err(_) => most_said(self.hosts.iter().filter_map(|host| host.kubelet_dns())),
        }
    }

    /// The hosts that answered, with what they said.
    pub fn heard(&self) -> impl Iterator<Item = (&Host, &Examined)> {
        self.hosts.iter().filter_map(|host| Some((host, host.examined.as_ref().ok()?)))
    }

    /// The hosts that answered and are nodes of the cluster; by their kubelets' settings while the API is not heard.
    pub fn nodes(&self) -> impl Iterator<Item = (&Host, &Examined)> {
        self.heard().filter(|(host, examined)| match &self.cluster {
            Ok(_) => self.node(&host.name).is_some(),
            Err(_) => examined.kubelet.is_some(),
        })
    }

    /// The cluster's word for a host.
    pub fn node(&self, host: &str) -> Option<&Node> {
        self.cluster.as_ref().ok()?.nodes.iter().find(|node| node.name == host)
    }

    /// Who has an address among nodes and hosts.
    pub fn owner(&self, address: IpAddr) -> Option<&str> {
        let host =
            self.hosts.iter().find(|host| host.address == Some(address)).map(|host| host.name.as_str());
        let nodes = || self.cluster.iter().flat_map(|c| &c.nodes);
        host.or_else(|| Some(nodes().find(|n| n.addresses.contains(&address))?.name.as_str()))
    }
}

impl Host {
    /// `clusterDNS` of its kubelet.
    pub fn kubelet_dns(&self) -> Option<Vec<IpAddr>> {
        let kubelet = self.examined.as_ref().ok()?.kubelet.as_ref()?;
        Some(kubelet.dns.cluster_dns.iter().filter_map(|ip| ip.parse().ok()).collect())
    }

    /// An address that it has inside of the range of its pods, on a link of their own: a bridge or a tunnel.
    pub fn pod_side(&self, node: Option<&Node>) -> Option<IpAddr> {
        const LINKS: [&str; 6] = ["cni", "cbr", "flannel", "kube-bridge", "cilium_host", "weave"];
        let links = self.network.links.iter().filter(|link| link.up);
        let on = links.flat_map(|link| link.addresses.iter().map(move |address| (link, address.net.addr())));
        let fits = |(link, ip): &(&rackwright_proto::link::Link, IpAddr)| {
            let in_range = node.map(|node| node.pods.iter().any(|net| net.contains(ip)));
            let named = LINKS.iter().any(|name| link.name.starts_with(name));
            ip.is_ipv4() && Some(*ip) != self.address && in_range.unwrap_or(named)
        };
        on.filter(fits).map(|(_, ip)| ip).next()
    }

    /// The link by which its own address is reached.
    pub fn own_link(&self) -> Option<&rackwright_proto::link::Link> {
        let has = |link: &&rackwright_proto::link::Link| {
            link.addresses.iter().any(|a| Some(a.net.addr()) == self.address)
        };
        self.network.links.iter().find(has)
    }

    /// The route that the main table has for an address: the longest prefix, then the lowest metric.
    pub fn route(&self, to: IpAddr) -> Option<&rackwright_proto::link::Route> {
        let fits = self.network.routes.iter().filter(|route| route.to.contains(&to));
        fits.max_by_key(|route| (route.to.prefix_len(), std::cmp::Reverse(route.metric)))
    }
}

/// What is said most often; of two, the one that was said first.
pub fn most_said(said: impl Iterator<Item = Vec<IpAddr>>) -> Vec<IpAddr> {
    let all: Vec<Vec<IpAddr>> = said.filter(|addresses| !addresses.is_empty()).collect();
    let count = |one: &Vec<IpAddr>| all.iter().filter(|other| *other == one).count();
    all.iter().rev().max_by_key(|one| count(one)).cloned().unwrap_or_default()
}
