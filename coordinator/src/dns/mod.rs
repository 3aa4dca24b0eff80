//! What can be said of the cluster's DNS before anything is changed: pure, values in, findings out.
//!
//! - [`findings`]: all of it, for the Corefile as it would be with the wanted upstreams.
//! - `loops`: upstreams that lead back to CoreDNS.
//! - [`manager`]: who else writes the Corefile, and where its setting lives then.

mod loops;
pub mod manager;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;

use rackwright_proto::facts::ResolvConf;
use rackwright_proto::finding::Finding;
use rackwright_proto::name::NodeName;

use crate::corefile::{Corefile, EditError, Forward, Server, Target, Transport, set_forward};
use crate::findings::Check;
use crate::rack::words::Upstream;
pub use manager::Manager;

/// The names of findings of this room, stable for ever, with what they are about.
pub const NAMES: &[(&str, &str)] = &[
    ("dns-address-differs", "A kubelet gives its pods a DNS address that is not the DNS Service's."),
    (
        "dns-corefile-invalid",
        "CoreDNS's Corefile does not parse, so CoreDNS will not survive its next start.",
    ),
    ("dns-forward-loops", "An upstream of CoreDNS leads back to CoreDNS."),
    ("dns-forward-not-set", "The wanted upstreams cannot be written into the Corefile as it is."),
    ("dns-loop-plugin-missing", "Nothing would notice that CoreDNS forwards to itself."),
    ("dns-managed-elsewhere", "The Corefile belongs to somebody who would revert an edit."),
    ("dns-no-upstream", "CoreDNS has nobody to ask for names outside of the cluster."),
    ("dns-one-node", "All replicas of CoreDNS run on one node though there are others."),
    ("dns-tls-unnamed", "CoreDNS asks over TLS, but does not check whom."),
];

/// What is known of the cluster's DNS.
#[derive(Debug, Clone)]
pub struct Scene<'a> {
    /// The Corefile as it is.
    pub corefile: &'a str,
    /// The upstreams that the rack wants; empty where it leaves them alone.
    pub wanted: &'a [Upstream],
    /// The rack says `dns.allowLoop: true`.
    pub allow_loop: bool,
    /// The cluster addresses of the DNS Service.
    pub service: &'a [IpAddr],
    /// CoreDNS's pods.
    pub pods: &'a [Pod],
    /// Where CoreDNS's pods have their `/etc/resolv.conf` from.
    pub policy: Policy,
    /// The cluster's nodes.
    pub nodes: &'a [Node],
    /// Who else writes the Corefile, by [`manager::recognise`].
    pub manager: Option<Manager>,
}

/// A pod of CoreDNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// The node that it runs on, once it is scheduled.
    pub node: Option<NodeName>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// A node, as far as DNS needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Whether CoreDNS could be scheduled there.
    pub schedulable: bool,
    /// The resolver configuration that kubelet hands to pods with dnsPolicy Default; `None` if it was not seen.
    pub resolver: Option<ResolvConf>,
    /// `clusterDNS` of its kubelet's configuration; empty if it was not seen.
    pub cluster_dns: Vec<IpAddr>,
}

/// Where a pod has its `/etc/resolv.conf` from (`dnsPolicy`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Policy {
    /// `Default`: from its node, through kubelet; kubeadm's choice for CoreDNS.
    #[default]
    Default,
    /// `ClusterFirst`: the cluster's DNS.
    ClusterFirst,
    /// `None`: from its own `dnsConfig`, with these nameservers.
    Own(Vec<String>),
}

/// Every finding about the cluster's DNS, passes included.
pub fn findings(scene: &Scene<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = placement(scene).into_iter().collect();
    found.extend(addresses(scene));
    found.extend(managed(scene));
    let check = Check::new("dns-corefile-invalid", &[], "Corefile", "the Corefile", "what CoreDNS can read");
    match Corefile::parse(scene.corefile) {
        Ok(corefile) => {
            found.push(check.pass("read"));
            found.extend(wanted(scene, corefile));
        }
        Err(error) => found.push(check.error(
            error.to_string(),
            "mend it with `kubectl -n kube-system edit configmap coredns`: CoreDNS runs on with what it read before, but does not start with this",
        )),
    }
    found
}

/// The Corefile judged as it would be.
fn wanted(scene: &Scene<'_>, now: Corefile) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut judged = now;
    if !scene.wanted.is_empty() {
        let check = Check::new(
            "dns-forward-not-set",
            &[],
            "Corefile",
            "whether the wanted upstreams can be set",
            "one `forward` to set",
        );
        match set_forward(scene.corefile, ".", scene.wanted) {
            Ok(text) => {
                found.push(check.pass("yes"));
                judged = Corefile::parse(&text).unwrap_or(judged);
            }
            Err(error) => found.push(not_set(check, &error)),
        }
    }
    found.extend(loops::findings(scene, &judged));
    found.extend(root_servers(&judged).flat_map(|(at, server)| root(scene, &judged, at, server)));
    found.extend(judged.forwards().iter().filter_map(unnamed));
    found
}

fn not_set(check: Check, error: &EditError) -> Finding {
    let fix = "change the Corefile by hand as said, or leave `kubernetes.dns.forward` out of the rack";
    check.error(error.to_string(), fix)
}

/// The server blocks that answer for all names, those on port 53 if there are any.
fn root_servers(corefile: &Corefile) -> impl Iterator<Item = (usize, &Server)> {
    let on_53 = corefile.servers.iter().any(|s| s.answers(".", Transport::Dns, 53));
    let is = move |s: &Server| if on_53 { s.answers(".", Transport::Dns, 53) } else { s.serves(".") };
    corefile.servers.iter().enumerate().filter(move |(_, server)| is(server))
}

fn root(scene: &Scene<'_>, corefile: &Corefile, at: usize, server: &Server) -> Vec<Finding> {
    let title = format!("server block `{}`", server.title());
    let forwards: Vec<_> =
        corefile.forwards().into_iter().filter(|f| f.server == at && f.from == ".").collect();
    let upstream = Check::new(
        "dns-no-upstream",
        &[],
        &title,
        "who is asked for names outside of the cluster",
        "at least one resolver",
    );
    let fix = "name the resolvers of your network in `kubernetes.dns.forward`";
    let mut found = match &forwards[..] {
        [] if server.imported.is_empty() => vec![upstream.warning("there is no `forward`", fix)],
        [] => vec![upstream.pass("no `forward` but an import, which may hold one")],
        _ => {
            let mut found = nameless(scene, &forwards);
            if found.is_empty() {
                found.push(upstream.pass("`forward` is there"));
            }
            found
        }
    };
    if !forwards.is_empty() {
        found.push(loop_plugin(server, title));
    }
    found
}

fn loop_plugin(server: &Server, title: String) -> Finding {
    let check = Check::new(
        "dns-loop-plugin-missing",
        &[],
        title,
        "whether CoreDNS would notice that it forwards to itself",
        "the plugin `loop`",
    );
    if server.has("loop") {
        return check.pass("`loop` is there");
    }
    check.warning(
        "`loop` is missing: a loop would eat CPU and memory until the pod is killed, and say nothing",
        "add a line `loop` to the server block",
    )
}

/// Nodes whose resolv.conf names nobody: CoreDNS does not start there.
fn nameless(scene: &Scene<'_>, forwards: &[Forward<'_>]) -> Vec<Finding> {
    let file = |f: &Forward<'_>| f.to.iter().all(|to| *to == Target::File("/etc/resolv.conf".into()));
    if scene.policy != Policy::Default || !forwards.iter().any(file) {
        return Vec::new();
    }
    let empty = |node: &&Node| node.resolver.as_ref().is_some_and(|r| r.nameservers.is_empty());
    let say = |node: &Node| {
        let path = node.resolver.as_ref().map_or("/etc/resolv.conf", |r| r.path.as_str());
        Check::new(
            "dns-no-upstream",
            &[&node.name],
            path,
            "who is asked for names outside of the cluster",
            "at least one resolver",
        )
        .warning(
            format!("{path} has no nameserver; CoreDNS does not start on this node"),
            "name a resolver there, or in `kubernetes.dns.forward`",
        )
    };
    scene.nodes.iter().filter(empty).map(say).collect()
}

/// Upstreams over TLS whose name nobody checks.
fn unnamed(forward: &Forward<'_>) -> Option<Finding> {
    let bare = |to: &&Target| matches!(to, Target::Server { transport: Transport::Tls, name: None, .. });
    let first = forward.to.iter().find(bare)?;
    let Target::Server { address, .. } = first else { return None };
    let check = Check::new(
        "dns-tls-unnamed",
        &[],
        format!("forward {}", forward.from),
        "whether upstreams over TLS are checked by name",
        "`tls_servername`",
    );
    Some(match forward.tls_servername() {
        Some(name) => check.pass(name),
        None => check.warning(
            format!("any server with any certificate may answer for {address}"),
            "add `tls_servername NAME` to the block of this `forward`; all its upstreams must have that name",
        ),
    })
}

/// Several replicas, all on one node.
fn placement(scene: &Scene<'_>) -> Option<Finding> {
    let on: BTreeSet<&NodeName> = scene.pods.iter().filter_map(|pod| pod.node.as_ref()).collect();
    let others = scene.nodes.iter().filter(|node| node.schedulable && !on.contains(&node.name)).count();
    if scene.pods.len() < 2 || on.is_empty() {
        return None;
    }
    let nodes: Vec<&NodeName> = on.iter().copied().collect();
    let check = Check::new(
        "dns-one-node",
        &nodes,
        "",
        "where CoreDNS's replicas run",
        "on more than one node, if there is more than one",
    );
    let count = scene.pods.len();
    Some(match (&nodes[..], others) {
        ([node], 1..) => check.warning(
            format!("all {count} on {node}: with it, or the way to it, all names are gone"),
            "when the other nodes are ready: `kubectl -n kube-system rollout restart deployment coredns`; nothing moves them by itself",
        ),
        (nodes, _) => check.pass(format!("{count} on {} of {} nodes", nodes.len(), scene.nodes.len())),
    })
}

/// Kubelets whose pods ask somebody else than the Service.
fn addresses(scene: &Scene<'_>) -> Vec<Finding> {
    let known = |node: &&Node| !node.cluster_dns.is_empty() && !scene.service.is_empty();
    let say = |node: &Node| {
        let (service, own) = (list(scene.service), list(&node.cluster_dns));
        let check = Check::new(
            "dns-address-differs",
            &[&node.name],
            "clusterDNS",
            "the DNS address of pods",
            &service,
        );
        let good = |ip: &IpAddr| scene.service.contains(ip) || loops::is_node_local(*ip);
        if node.cluster_dns.iter().all(good) {
            return check.pass(own);
        }
        check.warning(
            format!("kubelet tells pods to ask {own}"),
            format!(
                "set `clusterDNS: [{service}]` in /var/lib/kubelet/config.yaml (k3s, RKE2: `cluster-dns`), restart kubelet, and restart the pods of this node"
            ),
        )
    };
    scene.nodes.iter().filter(known).map(say).collect()
}

fn managed(scene: &Scene<'_>) -> Option<Finding> {
    let manager = scene.manager.as_ref()?;
    let check = Check::new(
        "dns-managed-elsewhere",
        &[],
        "Corefile",
        "who else writes the Corefile",
        "nobody who reverts edits",
    );
    Some(if scene.wanted.is_empty() {
        check.pass(format!("{manager}; the rack does not set upstreams"))
    } else {
        check.error(
            format!("{manager}: an edit of the Corefile would be reverted"),
            format!("{}; and leave `kubernetes.dns.forward` out of the rack", manager.home()),
        )
    })
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}
