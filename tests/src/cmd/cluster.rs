//! `cargo lab cluster`: a real Kubernetes cluster on hosts of a rack.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use rackwright_lab::talk::say;
use rackwright_lab::{
    ClusterDefect, Istio, Login, Metallb, Order, PodNetwork, RackName, Release, Result, Spec, sweep,
};

use super::become_command;

/// The rack below a cluster has this name, unless another is given.
const NAME: &str = "kube";

/// Make a real cluster on hosts of a rack, or use one
#[derive(Args)]
pub(crate) struct Cluster {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Up(Up),
    Kubectl(Kubectl),
    Down(Down),
}

/// Make a cluster by kubeadm; the first time, this builds Kubernetes
#[derive(Args)]
struct Up {
    /// How many nodes, the control plane included
    #[arg(long, value_name = "N", default_value_t = 3)]
    nodes: usize,
    /// Which Kubernetes
    #[arg(long, value_enum, default_value_t = Release::V1_37)]
    kubernetes: Release,
    /// How many of the nodes are control planes, each with an API server and a member of etcd
    #[arg(long, value_name = "N", default_value_t = 1)]
    control_planes: usize,
    /// How many of the nodes, the last ones, are virtual machines with a kernel of their own
    #[arg(long, value_name = "N", default_value_t = 0)]
    vms: usize,
    /// Which MetalLB the rack's file tells
    #[arg(long, value_enum, default_value_t = Metallb::V0_13)]
    metallb: Metallb,
    /// Which Istio the rack's file tells and the hosts have images of; none when left out
    #[arg(long, value_enum)]
    istio: Option<Istio>,
    /// How packets go between the pods of different hosts
    #[arg(long, value_enum, default_value_t = PodNetwork::Routes)]
    network: PodNetwork,
    /// Give the control planes a kube-proxy of their own, which kubeadm's DaemonSet leaves out
    #[arg(long)]
    proxy_apart: bool,
    /// How many L2 segments every host is on
    #[arg(long, value_name = "N", default_value_t = 1)]
    segments: usize,
    /// What shall be wrong, as docs/lab.md lists it: of the cluster, as dns-loop; of a node, as w1=proxy-stuck; and
    /// what `cargo lab up` knows
    #[arg(long = "defect", value_name = "[NODE=]KIND", value_parser = defect)]
    defects: Vec<Defective>,
    /// As whom the rack's file tells to log in
    #[arg(long, value_enum, default_value_t = Login::Sudo)]
    login: Login,
    #[command(flatten)]
    which: Which,
}

/// Run kubectl on the control plane: `cargo lab cluster kubectl get pods -A`
#[derive(Args)]
struct Kubectl {
    #[command(flatten)]
    which: Which,
    /// What to pass on
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Take a cluster and its rack down
#[derive(Args)]
struct Down {
    #[command(flatten)]
    which: Which,
}

/// Which cluster a command is about.
#[derive(Args)]
struct Which {
    /// The name of the rack below the cluster
    #[arg(long, default_value = NAME)]
    name: RackName,
}

/// A defect of a host or of the cluster.
#[derive(Debug, Clone, PartialEq)]
enum Defective {
    Host(Order),
    Cluster(String, ClusterDefect),
}

fn defect(text: &str) -> std::result::Result<Defective, String> {
    let (host, kind) = text.split_once('=').unwrap_or(("", text));
    let Ok(defect) = ClusterDefect::from_str(kind, false) else {
        let kinds = ClusterDefect::value_variants().iter().filter_map(ClusterDefect::to_possible_value);
        let kinds: Vec<String> = kinds.map(|kind| kind.get_name().to_owned()).collect();
        let order = super::up::order(text).map(Defective::Host);
        return order.map_err(|error| format!("{error}; of clusters there are {}", kinds.join(", ")));
    };
    match (defect.is_of_host(), host) {
        (true, "") => Err(format!("say on which node, as in w1={kind}")),
        (_, "") => Ok(Defective::Cluster("cp1".to_owned(), defect)),
        (_, host) => Ok(Defective::Cluster(host.to_owned(), defect)),
    }
}

impl Cluster {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Up(up) => up.run(),
            Command::Kubectl(kubectl) => kubectl.run(),
            Command::Down(down) => down.run(),
        }
    }
}

impl Up {
    fn run(self) -> Result<ExitCode> {
        let spec = Spec::new(self.which.name, self.nodes).login(self.login).kube(self.kubernetes);
        let mut spec = spec.control_planes(self.control_planes).metallb(self.metallb).segments(self.segments);
        spec.vms = spec.hosts[spec.hosts.len().saturating_sub(self.vms)..].to_vec();
        (spec.cluster.istio, spec.cluster.network) = (self.istio, self.network);
        spec.cluster.proxy_apart = self.proxy_apart;
        for defect in self.defects {
            match defect {
                Defective::Host(order) => spec.defects.push(order),
                Defective::Cluster(host, defect) => spec = spec.cluster_defect(&host, defect),
            }
        }
        let cluster = rackwright_lab::Cluster::up(spec)?;
        super::up::describe(cluster.lab())?;
        let name = &cluster.lab().spec().name;
        let flag = if name.to_string() == NAME { String::new() } else { format!(" --name {name}") };
        say(format_args!(
            "and: `cargo lab cluster kubectl{flag} get pods -A`, `cargo lab exec --name {name} arping -I eth0 …`"
        ));
        cluster.keep();
        Ok(ExitCode::SUCCESS)
    }
}

impl Kubectl {
    fn run(self) -> Result<ExitCode> {
        let mut kubectl = rackwright_lab::Cluster::open(&self.which.name)?.kubectl()?;
        kubectl.args(self.arguments);
        Err(become_command(kubectl))
    }
}

impl Down {
    fn run(self) -> Result<ExitCode> {
        let name = self.which.name;
        let found = sweep::down(&name)?;
        say(format_args!("cluster `{name}` {}", if found { "is down" } else { "was not there" }));
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defects_of_hosts_and_clusters_are_told_apart() {
        let cluster = |host: &str, defect| Ok(Defective::Cluster(host.to_owned(), defect));
        assert_eq!(defect("dns-loop"), cluster("cp1", ClusterDefect::DnsLoop));
        assert_eq!(defect("w1=former-cni0"), cluster("w1", ClusterDefect::FormerCni0));
        assert!(matches!(defect("w1=pool-neighbour"), Ok(Defective::Host(_))));
        assert!(defect("proxy-stuck").unwrap_err().contains("w1=proxy-stuck"));
        assert!(defect("w1=nonsense").unwrap_err().contains("speakers-apart"));
    }
}
