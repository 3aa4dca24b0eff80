//! kube-proxy: its mode where its settings live, and its pods anew when they changed.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, Pod};
use rackwright_proto::cluster::workload::{STAMP, Stamp};
use rackwright_proto::cluster::{ClusterStep, Family, TextStep, WorkloadKind, WorkloadStep};
use rackwright_proto::finding::Finding;
use rackwright_proto::kernel::{KernelSeen, ModuleSeen};
use rackwright_proto::name::NodeName;
use rackwright_proto::step::Seen;
use rackwright_proto::traces::{self, ClusterTraces};

use super::{Scene, WantedStep, edited, node_name};
use crate::cluster::sight::Sight;
use crate::cluster::{digest, look, spread};
use crate::findings::Check;
use crate::judge::{self, Asked};
use crate::plan::{ProxyMode, ProxyWanted};
use crate::proof::case::{self, ServiceName, Stand};
use crate::proxy::config::{self, Current, Wanted};
use crate::proxy::home::{self, DropIn, Home};
use crate::proxy::others::{self, Other};
use crate::proxy::prove::{self, Live, Told, Traces};
use crate::proxy::{gates, migrate, word};
use crate::rack::model::kubernetes::Proxy;

/// The entry of its ConfigMap.
const ENTRY: &str = "config.conf";
const WHY: &str = "kubernetes.proxy";
const IGNORE: &str = "net.ipv4.conf.all.arp_ignore";
const ANNOUNCE: &str = "net.ipv4.conf.all.arp_announce";

/// Where kube-proxy's settings live in this cluster.
pub fn home(facts: &crate::cluster::facts::ClusterFacts) -> Home {
    let versions = facts
        .nodes
        .iter()
        .filter_map(|n| Some(n.status.as_ref()?.node_info.as_ref()?.kubelet_version.clone()));
    let sets = facts.daemon_sets.iter().map(|set| {
        let containers = set.spec.iter().flat_map(|s| s.template.spec.iter().flat_map(|p| &p.containers));
        let words = containers.flat_map(|c| c.command.iter().chain(&c.args).flatten().cloned());
        home::DaemonSet {
            namespace: set.metadata.namespace.clone().unwrap_or_default(),
            name: set.metadata.name.clone().unwrap_or_default(),
            args: words.collect(),
        }
    });
    home::recognise(&home::Seen {
        kubelet_versions: versions.collect(),
        daemon_sets: sets.collect(),
        config_conf: look::text(facts.proxy.config.as_ref(), ENTRY).text.is_some(),
        cilium_config: facts.cilium.as_ref().and_then(|c| c.data.clone()),
        calico_bpf: false,
    })
}

/// The file on each node's host that sets what the rack wants, where a file does.
pub fn drop_in(proxy: &Proxy, facts: &crate::cluster::facts::ClusterFacts) -> Option<DropIn> {
    home(facts).drop_in(&Wanted::from(proxy))
}

/// Nodes that have to be restarted so that such a file counts.
fn restarts(scene: Scene<'_>) -> Vec<Finding> {
    let Some(proxy) = wanted(scene) else { return Vec::new() };
    let Some(file) = drop_in(proxy, &scene.sight.facts) else { return Vec::new() };
    let found = scene.sight.told.iter().filter_map(|(node, said)| {
        let server = is_control_plane(scene.sight.facts.node(node)?);
        Some(file.restart(&node.parse().ok()?, server, proxy.mode, &said.mode))
    });
    crate::findings::merged(&found.collect::<Vec<_>>())
}

fn is_control_plane(node: &Node) -> bool {
    node.metadata.labels.as_ref().is_some_and(|l| l.contains_key("node-role.kubernetes.io/control-plane"))
}

fn wanted(scene: Scene<'_>) -> Option<&Proxy> {
    scene.rack.kubernetes()?.proxy.as_ref()
}

fn text(scene: Scene<'_>) -> Option<String> {
    look::text(scene.sight.facts.proxy.config.as_ref(), ENTRY).text
}

pub(super) fn steps(scene: Scene<'_>) -> Vec<WantedStep> {
    let (Some(proxy), Home::Kubeadm, Some(now)) = (wanted(scene), home(&scene.sight.facts), text(scene))
    else {
        return Vec::new();
    };
    // What cannot be set is told by the gates.
    let Ok(want) = config::set(&now, &Wanted::from(proxy)) else { return Vec::new() };
    let (namespace, name) = ("kube-system".to_owned(), "kube-proxy".to_owned());
    let stamp = digest::stamp(&want);
    let changes = want != now;
    let text = TextStep { family: Family::Proxy, namespace, name, entry: ENTRY.into(), want };
    let mut steps = vec![WantedStep { step: ClusterStep::Text(text), why: WHY.into() }];
    if changes || edited(scene, &steps[0].step) || is_stamped(scene) || !runs(scene, proxy) {
        steps.push(WantedStep { step: restart(stamp), why: WHY.into() });
    }
    steps
}

fn restart(stamp: String) -> ClusterStep {
    ClusterStep::Workload(WorkloadStep {
        family: Family::Proxy,
        kind: WorkloadKind::DaemonSet,
        namespace: "kube-system".into(),
        name: "kube-proxy".into(),
        stamp: Stamp::Is(stamp),
    })
}

fn is_stamped(scene: Scene<'_>) -> bool {
    look::daemon_set(scene.sight.facts.proxy.daemon_set.as_ref()).stamp.is_some()
}

/// Whether all nodes that told say that they run so. Nodes that told nothing are no reason to restart all.
fn runs(scene: Scene<'_>, proxy: &Proxy) -> bool {
    let sight = scene.sight;
    let mode = word(proxy.mode);
    let needs_strict = mode == "ipvs" && proxy.strict_arp;
    sight.facts.proxied().filter_map(|node| node.metadata.name.as_ref()).all(|node| {
        let told = sight.told.get(node).and_then(|told| told.mode.as_ref().ok());
        let strict =
            |traces: &ClusterTraces| prove::is_strict(number(traces, IGNORE), number(traces, ANNOUNCE));
        told.is_none_or(|told| told == mode) && (!needs_strict || sight.traces.get(node).is_none_or(strict))
    })
}

/// What a node's host is prepared for: the rack's mode where kubeadm's kube-proxy runs. Somebody else's needs what
/// every cluster needs. `before` says whether we prepared it for ipvs: that stays for as long as ipvs runs there, since
/// without strictARP it would answer for every Service from now until it left that mode.
pub fn of_host(wanted: &ProxyWanted, sight: &Sight, node: &str, before: bool) -> ProxyWanted {
    let Some(member) = sight.facts.node(node) else { return wanted.clone() };
    if !sight.facts.is_proxied(member) {
        return ProxyWanted { mode: ProxyMode::Other, strict_arp: false };
    }
    let told = sight.told.get(node).and_then(|told| told.mode.as_deref().ok());
    let leaves = told == Some("ipvs") && !matches!(wanted.mode, ProxyMode::Ipvs { .. });
    let current = look::text(sight.facts.proxy.config.as_ref(), ENTRY).text;
    match current.and_then(|text| config::read(&text).ok()) {
        Some(current) if leaves && before => {
            let scheduler = if current.scheduler.is_empty() { "rr".to_owned() } else { current.scheduler };
            ProxyWanted { mode: ProxyMode::Ipvs { scheduler }, strict_arp: current.strict_arp }
        }
        _ => wanted.clone(),
    }
}

/// Nodes that kubeadm's DaemonSet leaves out.
fn others(scene: Scene<'_>) -> Vec<Other> {
    let facts = &scene.sight.facts;
    let other = |node: &Node| {
        let name = node_name(&node.metadata)?;
        let here = facts.proxy.pods.iter().filter(|pod| spread::is_on(pod, node));
        let owners = here.flat_map(|pod| pod.metadata.owner_references.iter().flatten());
        let mut owners: Vec<String> = owners.map(|owner| format!("{} {}", owner.kind, owner.name)).collect();
        owners.dedup();
        let said = scene.sight.told.get(name.as_str()).map(|told| told.mode.clone());
        Some(Other { node: name, owners, said })
    };
    facts.nodes.iter().filter(|node| !facts.is_proxied(node)).filter_map(other).collect()
}

pub(super) fn gates(scene: Scene<'_>) -> Vec<Finding> {
    let facts = &scene.sight.facts;
    let proxy = wanted(scene);
    let want = proxy.map(Wanted::from);
    let home = home(facts);
    let mut found = vec![home.finding(want.as_ref())];
    found.extend(restarts(scene));
    let Some(now) = text(scene) else { return found };
    let current = match config::read(&now) {
        Ok(current) => current,
        Err(error) => {
            found.push(unreadable(&error.to_string()));
            return found;
        }
    };
    if let Some(want) = &want
        && let Err(error) = config::set(&now, want)
    {
        found.push(unreadable(&error.to_string()));
    }
    found.extend(others::findings(&others(scene), proxy.is_some()));
    found.extend(proxy.and_then(|proxy| from_ipvs(proxy, &current)));
    found.extend(of_versions(scene, proxy, &current));
    found
}

/// A rolling update changes the mode, too, but what ipvs made in the kernels is in use until the very moment.
fn from_ipvs(proxy: &Proxy, current: &Current) -> Option<Finding> {
    let leaves = current.mode == "ipvs" && word(proxy.mode) != "ipvs";
    let checked = "how kube-proxy's mode changes";
    leaves.then(|| {
        Check::new("proxy-mode-from-ipvs", &[], word(proxy.mode), checked, "node by node, each proven").warning(
            "ipvs is configured, and `apply` replaces kube-proxy on one node after the other without draining any; what hosts \
             have for ipvs goes by the next `apply` only",
            "`rackwright migrate-proxy` drains, reboots (as `kubernetes.proxy.migrate` allows) and proves each node first",
        )
    })
}

fn unreadable(error: &str) -> Finding {
    let expected = "a KubeProxyConfiguration that can be edited safely";
    Check::new("proxy-config-invalid", &[], ENTRY, "ConfigMap kube-system/kube-proxy", expected)
        .error(error, "mend it with `kubectl -n kube-system edit configmap kube-proxy`")
}

fn of_versions(scene: Scene<'_>, proxy: Option<&Proxy>, current: &Current) -> Vec<Finding> {
    let Ok(control_plane) = scene.sight.facts.version.parse() else { return Vec::new() };
    let nodes: Vec<gates::Node> = scene.sight.facts.proxied().filter_map(|n| node(scene, n)).collect();
    gates::findings(&gates::Scene {
        wanted: proxy.map(|p| p.mode),
        current,
        control_plane: &control_plane,
        nodes: &nodes,
    })
}

fn node(scene: Scene<'_>, node: &Node) -> Option<gates::Node> {
    let name = node_name(&node.metadata)?;
    let info = node.status.as_ref()?.node_info.as_ref()?;
    let host = scene.hosts.iter().find(|s| s.session.node == name);
    let addresses = host.into_iter().flat_map(|h| &h.facts.network.links).flat_map(|l| &l.addresses);
    Some(gates::Node {
        proxy: image_version(scene).unwrap_or_else(|| info.kubelet_version.clone()).parse().ok()?,
        kernel: info.kernel_version.clone(),
        ipvs: host.and_then(has_ipvs),
        networks: addresses.map(|a| a.net).collect(),
        name,
    })
}

/// The tag of kube-proxy's image: `v1.37.2`.
fn image_version(scene: Scene<'_>) -> Option<String> {
    let spec = scene.sight.facts.proxy.daemon_set.as_ref()?.spec.as_ref()?.template.spec.as_ref()?;
    let image = spec.containers.first()?.image.as_ref()?;
    let tag = image.split('@').next()?.rsplit(':').next()?;
    tag.starts_with('v').then(|| tag.to_owned())
}

/// Whether a host's kernel has IP_VS, from what it has and what it told of the module.
fn has_ipvs(host: &crate::survey::Surveyed) -> Option<bool> {
    match host.facts.seen.get("kernel/module/ip_vs")? {
        Seen::Kernel(KernelSeen::Module(seen)) => {
            Some(matches!(seen, ModuleSeen::Loaded { .. } | ModuleSeen::BuiltIn | ModuleSeen::Loadable))
        }
        _ => None,
    }
}

/// The nodes, for a change of their mode one by one.
pub(super) fn turns(scene: Scene<'_>, steps: &[WantedStep]) -> Vec<migrate::Node> {
    let stamp = steps.iter().find_map(|wanted| match &wanted.step {
        ClusterStep::Workload(WorkloadStep { stamp: Stamp::Is(stamp), .. }) => Some(stamp.as_str()),
        _ => None,
    });
    let pods = &scene.sight.facts.proxy.pods;
    let with_stamp = |pod: &&Pod| {
        let annotations = pod.metadata.annotations.as_ref();
        // Without a step, all run what is wanted, whoever told them.
        stamp.is_none() || annotations.and_then(|all| all.get(STAMP)).map(String::as_str) == stamp
    };
    let started: BTreeSet<&str> =
        pods.iter().filter(with_stamp).filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref()).collect();
    let announcers = announcers(scene);
    let found = judge::settle(scene.rack, live(scene), Asked::Some);
    let unproven: BTreeSet<String> = found.into_iter().filter(migrate::stops).flat_map(|f| f.nodes).collect();
    let node = |node: &Node| {
        let name = node.metadata.name.clone()?;
        let told = scene.sight.told.get(&name).and_then(|told| told.mode.clone().ok());
        let annotations = node.metadata.annotations.as_ref();
        Some(migrate::Node {
            control_plane: is_control_plane(node),
            announces: announcers.get(&name).cloned().unwrap_or_default(),
            started: started.contains(name.as_str()),
            proven: told.is_some() && !unproven.contains(&name),
            cordoned: annotations.is_some_and(|a| a.contains_key(migrate::CORDONED)),
            mode: told,
            name,
        })
    };
    scene.sight.facts.proxied().filter_map(node).collect()
}

/// Addresses of the Services that the rack names, by the node that answers for them.
fn announcers(scene: Scene<'_>) -> BTreeMap<String, Vec<String>> {
    let mut by_node: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for service in scene.rack.kubernetes().iter().flat_map(|k| &k.services) {
        let name = ServiceName { namespace: service.namespace.to_string(), name: service.name.to_string() };
        let Stand::Assigned(cases) = case::addresses(&scene.sight.facts, &name) else { continue };
        for case in cases {
            for announcer in &case.announcers {
                by_node.entry(announcer.node.clone()).or_default().push(case.address.to_string());
            }
        }
    }
    by_node
}

/// What one node said, judged by what the rack wants.
pub fn of_one(
    proxy: &Proxy,
    node: &NodeName,
    said: Result<String, String>,
    traces: &ClusterTraces,
) -> Vec<Finding> {
    let told = Told { mode: proxy.mode, strict_arp: proxy.strict_arp };
    prove::findings(told, &[of_node(node.clone(), said, traces)])
}

/// Whether every node runs what is configured, by its own word and by its kernel.
pub(super) fn live(scene: Scene<'_>) -> Vec<Finding> {
    if home(&scene.sight.facts) != Home::Kubeadm {
        return restarts(scene);
    }
    let told = match (wanted(scene), text(scene).and_then(|text| config::read(&text).ok())) {
        (Some(proxy), _) => Told { mode: proxy.mode, strict_arp: proxy.strict_arp },
        (None, Some(current)) => Told { mode: current.mode(), strict_arp: current.strict_arp },
        (None, None) => return Vec::new(),
    };
    let nodes = scene.sight.told.iter().filter_map(|(node, said)| {
        let node: NodeName = node.parse().ok()?;
        // A host that is no node of the cluster has no kube-proxy, and that of others is told of by a gate.
        let member = scene.sight.facts.node(node.as_str())?;
        scene.sight.facts.is_proxied(member).then_some(())?;
        let traces = scene.sight.traces.get(node.as_str())?;
        Some(of_node(node, said.mode.clone(), traces))
    });
    prove::findings(told, &nodes.collect::<Vec<_>>())
}

fn number(traces: &ClusterTraces, key: &str) -> Option<u8> {
    traces.sysctls.get(key)?.parse().ok()
}

fn of_node(node: NodeName, mode: Result<String, String>, traces: &ClusterTraces) -> Live {
    let table = |family: &traces::Family| match family {
        traces::Family::Ip => "ip kube-proxy".to_owned(),
        traces::Family::Ip6 => "ip6 kube-proxy".to_owned(),
    };
    Live {
        node,
        mode,
        arp_ignore: number(traces, IGNORE),
        arp_announce: number(traces, ANNOUNCE),
        traces: Traces {
            ipvs_addresses: traces.ipvs_link.as_ref().map(Vec::len),
            ipvs_servers: traces.ipvs_services.unwrap_or(0) as usize,
            nft_tables: traces.nftables.iter().map(table).collect(),
            chains: traces.chains.iter().map(|c| c.name.clone()).collect(),
        },
    }
}

#[cfg(test)]
mod tests;
