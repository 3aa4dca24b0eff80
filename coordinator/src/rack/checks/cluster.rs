//! The cluster level: kube-proxy, CoreDNS, MetalLB.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::rack::model::kubernetes::{
    Advertisement, Dns, Expression, Kubernetes, Metallb, Operator, Proxy, ProxyMode, Selector,
};
use crate::rack::node::{IPVS_WITHOUT_STRICT_ARP, Node, Rack};
use crate::rack::suggest;
use crate::rack::words::{Upstream, Version};

use super::{Found, mesh};

pub(super) fn check(rack: &Rack, found: &mut Found<'_>) {
    let Some(kubernetes) = rack.kubernetes() else { return };
    if let Some(proxy) = &kubernetes.proxy {
        proxy_mode(rack, kubernetes, proxy, found);
    }
    if let Some(dns) = &kubernetes.dns {
        forward(rack, dns, found);
    }
    if let Some(metallb) = &kubernetes.metallb {
        complete(&metallb.version, "kubernetes.metallb.version", found);
        balancer_version(rack, metallb, found);
        manifest(metallb, found);
        pools(metallb, found);
        advertisements(rack, metallb, found);
    }
    if let Some(istio) = &kubernetes.istio {
        mesh::check(kubernetes, istio, found);
    }
}

/// Downloads and manifests are named by all three numbers.
pub(super) fn complete(version: &Version, path: &str, found: &mut Found<'_>) {
    if version.patch.is_none() {
        found.error(path, format!("{version} is not a whole version"), format!("say which: {version}.N"));
    }
}

fn proxy_mode(rack: &Rack, kubernetes: &Kubernetes, proxy: &Proxy, found: &mut Found<'_>) {
    let ipvs = proxy.mode == ProxyMode::Ipvs;
    if !ipvs && proxy.strict_arp {
        let message = "strictARP has no effect outside ipvs mode";
        found.warning(
            "kubernetes.proxy.strictARP",
            message,
            "remove it; nothing answers ARP for services in this mode",
        );
    }
    if !ipvs && proxy.scheduler.is_some() {
        found.warning(
            "kubernetes.proxy.scheduler",
            "a scheduler has no effect outside ipvs mode",
            "remove it",
        );
    }
    if proxy.migrate.reboot && !proxy.migrate.drain {
        let message = "a node is rebooted only after its pods were evicted";
        found.error(
            "kubernetes.proxy.migrate.reboot",
            message,
            "write `drain: true` beside it, or `reboot: false`",
        );
    }
    without_strict_arp(rack, found);
    let minor = kubernetes.version.as_ref().filter(|v| v.major == 1).map(|v| v.minor);
    if let (ProxyMode::Nftables, Some(minor @ ..31)) = (proxy.mode, minor) {
        let message =
            format!("kube-proxy of Kubernetes 1.{minor} has no nftables mode that is on by default");
        found.error("kubernetes.proxy.mode", message, "write `iptables`, or use Kubernetes 1.31 or later");
    }
    if let (ProxyMode::Ipvs, Some(minor @ 35..)) = (proxy.mode, minor) {
        let message = format!("ipvs mode is deprecated in Kubernetes 1.{minor} and will be removed");
        found.warning(
            "kubernetes.proxy.mode",
            message,
            "prefer `nftables` (kernel 5.13 or later) or `iptables`",
        );
    }
}

/// Where it is waived, `check` and `plan` put the reason on record.
fn without_strict_arp(rack: &Rack, found: &mut Found<'_>) {
    if !rack.ipvs_without_strict_arp() || rack.waived(IPVS_WITHOUT_STRICT_ARP, None).is_some() {
        return;
    }
    let message = "in ipvs mode without strictARP every node answers ARP for every address of the pools";
    let help = format!(
        "write `strictARP: true`; to live with it, waive `{IPVS_WITHOUT_STRICT_ARP}` in `hosts.waive`"
    );
    found.error("kubernetes.proxy", message, help);
}

/// Why a resolver is CoreDNS itself, or would ask it.
fn loops(rack: &Rack, address: IpAddr) -> Option<String> {
    if address.is_loopback() {
        return Some("inside the CoreDNS pod this is CoreDNS itself".into());
    }
    if address.is_unspecified() {
        return Some("this is no address to ask".into());
    }
    if matches!(address, IpAddr::V4(v4) if v4.is_link_local()) {
        return Some("a link-local resolver on a node is usually NodeLocal DNS, which asks CoreDNS".into());
    }
    let (services, _) = rack.network().services();
    if let Some(net) = services.iter().find(|c| c.net().contains(&address)) {
        return Some(format!("it is a service address ({net}), most likely that of CoreDNS itself"));
    }
    let net = rack.network().pod_cidrs.iter().find(|c| c.net().contains(&address))?;
    Some(format!("it is a pod's address ({net}), perhaps that of CoreDNS itself"))
}

fn forward(rack: &Rack, dns: &Dns, found: &mut Found<'_>) {
    for (index, upstream) in dns.forward.iter().enumerate() {
        let path = format!("kubernetes.dns.forward[{index}]");
        if dns.forward[..index].contains(upstream) {
            found.error(&path, format!("{upstream} is given twice"), "remove one");
        }
        let Upstream::Server { address, .. } = upstream else { continue };
        if let Some(why) = loops(rack, *address).filter(|_| !dns.allow_loop) {
            let message = format!("forwarding to {upstream} makes a loop: {why}");
            let help = "name a resolver outside the cluster; if you know better, write `allowLoop: true` under `dns`";
            found.error(&path, message, help);
        }
    }
}

/// What the wanted version does not know, or does behind one's back.
fn balancer_version(rack: &Rack, metallb: &Metallb, found: &mut Found<'_>) {
    let Version { major, minor, .. } = metallb.version;
    let path = "kubernetes.metallb.version";
    if (major, minor) < (0, 13) {
        let message = format!("MetalLB {} knows no IPAddressPool", metallb.version);
        found.error(path, message, "use 0.13.10 or later");
    }
    // kubeadm puts node.kubernetes.io/exclude-from-external-load-balancers on every control plane.
    if (major, minor) >= (0, 14) && !metallb.pools.is_empty() && rack.nodes().all(Node::is_control_plane) {
        let message = format!(
            "MetalLB {} announces nothing from control planes, and there is no other node",
            metallb.version
        );
        let help = "remove kubeadm's label node.kubernetes.io/exclude-from-external-load-balancers from a node, or add a worker";
        found.warning(path, message, help);
    }
}

fn manifest(metallb: &Metallb, found: &mut Found<'_>) {
    let Some(manifest) = &metallb.manifest else { return };
    if manifest.path.is_some() && manifest.url.is_some() {
        let path = "kubernetes.metallb.manifest.url";
        found.error(path, "a manifest comes from one place: `path` or `url`", "remove one of the two");
    }
}

fn pools(metallb: &Metallb, found: &mut Found<'_>) {
    let mut names = HashMap::new();
    for (index, pool) in metallb.pools.iter().enumerate() {
        let path = format!("kubernetes.metallb.pools[{index}]");
        if names.insert(&pool.name, index).is_some() {
            found.error(
                format!("{path}.name"),
                format!("a second pool `{}`", pool.name),
                "give every pool a name of its own",
            );
        }
        let allocation = pool.service_allocation.iter();
        for (what, selectors) in allocation.flat_map(|a| {
            [("namespaceSelectors", &a.namespace_selectors), ("serviceSelectors", &a.service_selectors)]
        }) {
            self::selectors(selectors, &format!("{path}.serviceAllocation.{what}"), found);
        }
    }
}

fn selectors(selectors: &[Selector], path: &str, found: &mut Found<'_>) {
    for (index, selector) in selectors.iter().enumerate() {
        for (at, Expression { operator, values, .. }) in selector.match_expressions.iter().enumerate() {
            let compares = matches!(operator, Operator::In | Operator::NotIn);
            let path = format!("{path}[{index}].matchExpressions[{at}]");
            if compares && values.is_empty() {
                found.error(
                    path,
                    format!("{operator:?} compares with `values`, and there are none"),
                    "add `values: [...]`",
                );
            } else if !compares && !values.is_empty() {
                found.error(
                    path,
                    format!("{operator:?} takes no `values`"),
                    "remove them, or write `operator: In`",
                );
            }
        }
    }
}

fn restricts(advertisement: &Advertisement) -> bool {
    !(advertisement.nodes.is_empty()
        && advertisement.node_selectors.is_empty()
        && advertisement.interfaces.is_empty())
}

fn advertisements(rack: &Rack, metallb: &Metallb, found: &mut Found<'_>) {
    for (index, advertisement) in metallb.advertisements.iter().enumerate() {
        let path = format!("kubernetes.metallb.advertisements[{index}]");
        references(rack, metallb, advertisement, &path, found);
        selectors(&advertisement.node_selectors, &format!("{path}.nodeSelectors"), found);
        if advertisement.name.is_some()
            && metallb.advertisements[..index].iter().any(|a| a.name == advertisement.name)
        {
            found.error(format!("{path}.name"), "a second advertisement of this name", "names must differ");
        }
        if !advertisement.interfaces.is_empty()
            && advertisement.nodes.is_empty()
            && advertisement.node_selectors.is_empty()
        {
            let message = "MetalLB elects an announcing node without looking at interfaces";
            let help = "name the `nodes` that have these interfaces, or an elected node without them announces nothing";
            found.warning(format!("{path}.interfaces"), message, help);
        }
    }
    carried(metallb, found);
    defeated(metallb, found);
}

fn references(
    rack: &Rack,
    metallb: &Metallb,
    advertisement: &Advertisement,
    path: &str,
    found: &mut Found<'_>,
) {
    let known: Vec<&str> = metallb.pools.iter().map(|p| p.name.as_str()).collect();
    for (at, name) in advertisement.pools.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            let help = match suggest::closest(name.as_str(), &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("pools: {}; MetalLB would ignore this silently", known.join(", ")),
            };
            found.error(format!("{path}.pools[{at}]"), format!("no pool is called `{name}`"), help);
        }
        if advertisement.pools[..at].contains(name) {
            found.error(format!("{path}.pools[{at}]"), format!("`{name}` is given twice"), "remove one");
        }
    }
    for (at, name) in advertisement.nodes.iter().enumerate() {
        if rack.node(name.as_str()).is_none() {
            found.error(
                format!("{path}.nodes[{at}]"),
                format!("no node is called `{name}`"),
                super::nodes_of(rack),
            );
        }
    }
}

fn covers(advertisement: &Advertisement, pool: &str) -> bool {
    advertisement.pools.is_empty() || advertisement.pools.iter().any(|p| p.as_str() == pool)
}

/// A pool that no advertisement carries gives out addresses that nobody answers for.
fn carried(metallb: &Metallb, found: &mut Found<'_>) {
    for (index, pool) in metallb.pools.iter().enumerate() {
        if !metallb.advertisements.iter().any(|a| covers(a, pool.name.as_str())) {
            let message = format!(
                "no advertisement carries pool `{}`: its addresses are given out, but nobody answers for them",
                pool.name
            );
            let help = format!("add `- {{pools: [{}]}}` to `advertisements`", pool.name);
            found.warning(format!("kubernetes.metallb.pools[{index}].name"), message, help);
        }
    }
}

/// MetalLB takes the union of all advertisements of a pool.
fn defeated(metallb: &Metallb, found: &mut Found<'_>) {
    for (index, narrow) in metallb.advertisements.iter().enumerate().filter(|(_, a)| restricts(a)) {
        let shared =
            |pool: &str| metallb.advertisements.iter().position(|a| !restricts(a) && covers(a, pool));
        let pool = metallb
            .pools
            .iter()
            .find(|p| covers(narrow, p.name.as_str()) && shared(p.name.as_str()).is_some());
        if let Some((pool, wide)) = pool.and_then(|p| Some((p, shared(p.name.as_str())?))) {
            let message = format!(
                "this restriction has no effect on pool `{}`: advertisements[{wide}] announces it everywhere",
                pool.name
            );
            let help = "name the pools of the other advertisement so that it leaves this one out";
            found.warning(format!("kubernetes.metallb.advertisements[{index}]"), message, help);
        }
    }
}
