//! What is wrong on a node: its readiness, its rules and its sysctls.

use std::net::SocketAddr;

use rackwright_proto::examine::{Examined, Rules, ServicePort};

use super::names::told;
use super::{NO_API, kubectl, pod_in_words};
use crate::diagnose::answers::From;
use crate::diagnose::ask::API;
use crate::diagnose::case::{Case, Host};
use crate::diagnose::cause::Cause;
use crate::diagnose::verdict::{Found, Tested};
use crate::network::list;

pub(super) fn api(case: &Case) -> Tested {
    let why = match &case.cluster {
        Ok(_) => return Tested::RuledOut("it answered".into()),
        Err(why) => why,
    };
    let own = |host: &&Host| host.control_plane && host.examined.is_ok();
    let asked: Vec<&Host> = case.hosts.iter().filter(own).collect();
    if asked.is_empty() {
        return Tested::CannotTell("no control plane was heard".into());
    }
    let door = |host: &Host| {
        let at = SocketAddr::new(host.address?, API);
        case.doors().find(|door| door.host.name == host.name && door.to == at && door.from == From::Host)
    };
    let mut found = Found::new(
        Cause::ApiUnreachable,
        "nobody answers for the cluster's API, so that nothing in the cluster changes any more",
    )
    .seen(why.clone());
    let mut open = false;
    for host in &asked {
        match door(host).map(|door| (door.to, door.answer)) {
            Some((to, Ok(()))) => {
                open = true;
                found = found.seen(format!("{}: {to} takes connections", host.name));
            }
            Some((to, Err(why))) => found = found.seen(format!("{}: {to}: {why}", host.name)),
            None => {}
        }
    }
    let names: Vec<&str> = asked.iter().map(|host| host.name.as_str()).collect();
    let found = match open {
        true => found.mend("it listens and does not serve us: see what it says, `crictl logs $(crictl ps -q --name kube-apiserver)` on a control plane"),
        false => found
            .mend(format!("on {}: `crictl ps -a --name 'kube-apiserver|etcd'`, and `crictl logs ID` of what ended", list(&names)))
            .mend("what keeps them from starting: `journalctl -u kubelet --since -10min`, and the files of /etc/kubernetes/manifests"),
    };
    Tested::Confirmed(found.on(names))
}

pub(super) fn ready(case: &Case) -> Tested {
    let Ok(cluster) = &case.cluster else { return Tested::CannotTell(NO_API.into()) };
    let bad: Vec<_> = cluster.nodes.iter().filter(|node| !node.ready).collect();
    let Some(first) = bad.first() else {
        return Tested::RuledOut(format!("{} are ready", list(cluster.nodes.iter().map(|node| &node.name))));
    };
    let mut found =
        Found::new(Cause::NodeNotReady, "the cluster does not hear from a node, or it is not ready for pods")
            .on(bad.iter().map(|node| node.name.as_str()));
    for node in &bad {
        found = found.seen(format!("{}: {}", node.name, node.why));
        let host = case.hosts.iter().find(|host| host.name == node.name);
        if let Some(Err(why)) = host.map(|host| &host.examined) {
            found = found.seen(format!("{}: {why}", node.name));
        }
    }
    Tested::Confirmed(
        found
            .mend(format!(
                "on {}: `systemctl status kubelet containerd`, and `journalctl -u kubelet --since -10min`",
                first.name
            ))
            .mend(format!("`kubectl describe node {}`", first.name)),
    )
}

/// `10.96.0.10:53/UDP`
fn port(service: &ServicePort) -> String {
    format!("{}/{}", SocketAddr::new(service.address, service.port), service.transport)
}

/// The ports of a host that should be translated and are not.
fn missing<'a>(case: &Case, host: &'a Host, said: &'a Examined) -> Vec<(&'a ServicePort, &'a Rules)> {
    // Without endpoints there is nothing to translate to, and of mode iptables no rule.
    let empty = case.cluster.as_ref().is_ok_and(|cluster| cluster.dns.endpoints == 0);
    let names = case.dns();
    let rules = host.asked.services.iter().zip(&said.translation.rules);
    rules
        .filter(|(service, _)| !(empty && names.contains(&service.address)))
        .filter(|(_, rules)| matches!(rules, Rules::Absent | Rules::NoEndpoints))
        .collect()
}

pub(super) fn translation(case: &Case) -> Tested {
    let nodes: Vec<_> = case.nodes().collect();
    let bad: Vec<_> = nodes.iter().filter(|(host, said)| !missing(case, host, said).is_empty()).collect();
    let good: Vec<&str> = nodes
        .iter()
        .filter(|(_, said)| said.translation.rules.contains(&Rules::Present))
        .map(|(host, _)| host.name.as_str())
        .collect();
    let Some((first, _)) = bad.first() else { return all_translate(&nodes) };
    let known = case.cluster.as_ref().ok();
    if known.is_some_and(|cluster| cluster.proxy.is_none()) || (known.is_none() && good.is_empty()) {
        return Tested::CannotTell(
            "nothing of kube-proxy is there; what takes its place was not asked".into(),
        );
    }
    let mut found = Found::new(
        Cause::ServiceNotTranslated,
        "a Service's address leads nowhere there, for the host and for its pods",
    )
    .on(bad.iter().map(|(host, _)| host.name.as_str()));
    for (host, said) in &bad {
        let by = if said.translation.by.is_empty() {
            "nothing of kube-proxy is in its kernel".to_owned()
        } else {
            list(&said.translation.by)
        };
        let ports = list(missing(case, host, said).into_iter().map(|(service, rules)| match rules {
            Rules::NoEndpoints => format!("{} (said to have no endpoints)", port(service)),
            _ => port(service),
        }));
        found = found.seen(format!("{}: no rule for {ports} ({by})", host.name));
        let failed = case
            .names()
            .find(|name| name.host.name == host.name && case.dns().contains(&name.server) && !name.good());
        if let Some(name) = failed {
            found = found.seen(told(case, &name));
        }
    }
    if !good.is_empty() {
        let others: Vec<_> =
            good.iter().filter(|name| !bad.iter().any(|(host, _)| host.name == **name)).collect();
        found = if others.is_empty() {
            found
        } else {
            found.seen(format!("such rules are there on {}", list(others)))
        };
    }
    Tested::Confirmed(proxy_anew(case, first, found))
}

fn proxy_anew(case: &Case, host: &Host, found: Found) -> Found {
    let pods = case.cluster.iter().flat_map(|cluster| cluster.proxy.iter().flatten());
    match pods.into_iter().find(|pod| pod.node.as_deref() == Some(&host.name)) {
        Some(pod) => found
            .seen(pod_in_words(pod))
            .mend(format!("what kube-proxy there says: {}", kubectl(pod, "logs")))
            .mend(format!("make it anew: {}", kubectl(pod, "delete pod")))
            .mend(format!("where that does not help, of mode nftables: `nft delete table ip kube-proxy` on {}, then delete its pod again", host.name)),
        None => found
            .mend("`kubectl -n kube-system get pods -l k8s-app=kube-proxy -o wide`: one must run on that node")
            .mend("`rackwright apply` rolls it out anew where the rack sets `kubernetes.proxy`"),
    }
}

fn all_translate(nodes: &[(&Host, &Examined)]) -> Tested {
    let rules = || nodes.iter().flat_map(|(_, said)| &said.translation.rules);
    let unknown = rules().find_map(|rules| match rules {
        Rules::Unknown { why } => Some(why.clone()),
        _ => None,
    });
    match unknown {
        Some(why) => Tested::CannotTell(why),
        None if rules().next().is_none() => {
            Tested::CannotTell("no node was asked, or no Service's address is known".into())
        }
        None => {
            let by = super::once(nodes.iter().flat_map(|(_, said)| &said.translation.by));
            Tested::RuledOut(format!(
                "{} have rules for it ({})",
                list(nodes.iter().map(|(host, _)| &host.name)),
                list(by)
            ))
        }
    }
}

pub(super) fn forwarding(case: &Case) -> Tested {
    let value = |said: &Examined| said.sysctls.get("net.ipv4.ip_forward").cloned();
    let off: Vec<&str> = case
        .nodes()
        .filter(|(_, said)| value(said).as_deref() == Some("0"))
        .map(|(host, _)| host.name.as_str())
        .collect();
    let heard: Vec<&str> =
        case.nodes().filter(|(_, said)| value(said).is_some()).map(|(host, _)| host.name.as_str()).collect();
    let Some(first) = off.first() else {
        return match heard.is_empty() {
            true => Tested::CannotTell("no node told net.ipv4.ip_forward".into()),
            false => Tested::RuledOut(format!("net.ipv4.ip_forward is 1 on {}", list(heard))),
        };
    };
    let mut found = Found::new(
        Cause::ForwardingOff,
        "its kernel forwards no packets: its pods reach nobody but their own node, and nobody reaches them",
    )
    .on(off.iter().copied());
    for node in &off {
        found = found.seen(format!("{node}: net.ipv4.ip_forward is 0"));
        let failed =
            case.names().find(|name| name.host.name == **node && name.from == From::Pod && !name.good());
        found = failed.into_iter().fold(found, |found, name| found.seen(told(case, &name)));
    }
    Tested::Confirmed(
        found
            .mend("`rackwright apply` sets it, now and for every boot")
            .mend(format!("by hand, on {first}: `sysctl -w net.ipv4.ip_forward=1`, and see who turns it off: `grep -r ip_forward /etc/sysctl.d /usr/lib/sysctl.d`")),
    )
}

/// Whether pods of a node hang on a bridge.
fn has_bridge(said: &Examined, host: &Host) -> bool {
    let plugged = said
        .cni
        .first()
        .is_some_and(|file| file.plugins.iter().any(|plugin| plugin == "bridge" || plugin == "flannel"));
    plugged || host.network.links.iter().any(|link| link.name == "cni0" || link.name == "cbr0")
}

pub(super) fn bridge(case: &Case) -> Tested {
    const KEY: &str = "net.bridge.bridge-nf-call-iptables";
    let bridged: Vec<_> = case.nodes().filter(|(host, said)| has_bridge(said, host)).collect();
    let off: Vec<_> =
        bridged.iter().filter(|(_, said)| said.sysctls.get(KEY).is_none_or(|value| value == "0")).collect();
    let Some((first, _)) = off.first() else {
        return match bridged.is_empty() {
            true => Tested::RuledOut("no node has a bridge of pods".into()),
            false => Tested::RuledOut(format!(
                "{KEY} is 1 on {}",
                list(bridged.iter().map(|(host, _)| &host.name))
            )),
        };
    };
    let words = "packets between pods of one bridge pass kube-proxy's rules by: a pod that asks a Service is answered by another address than it asked, and drops that";
    let mut found =
        Found::new(Cause::BridgeRulesOff, words).on(off.iter().map(|(host, _)| host.name.as_str()));
    for (host, said) in &off {
        found = found.seen(match said.sysctls.get(KEY) {
            Some(value) => format!("{}: {KEY} is {value}", host.name),
            None => format!("{}: there is no {KEY}: module br_netfilter is not loaded", host.name),
        });
        let failed =
            case.names().find(|name| name.host.name == host.name && name.from == From::Pod && !name.good());
        found = failed.into_iter().fold(found, |found, name| found.seen(told(case, &name)));
    }
    Tested::Confirmed(
        found
            .mend("`rackwright apply` loads br_netfilter and sets it, now and for every boot")
            .mend(format!("by hand, on {}: `modprobe br_netfilter && sysctl -w {KEY}=1`", first.name)),
    )
}

/// Whether a pod on a host fails where the host itself does not.
fn pods_fail(case: &Case, host: &Host) -> Option<String> {
    let own = |from: From| case.names().filter(move |name| name.from == from && name.host.name == host.name);
    let failed = own(From::Pod).filter(|name| !name.good());
    let mut only = failed
        .filter(|n| own(From::Host).any(|o| o.server == n.server && o.transport == n.transport && o.good()));
    only.next().map(|name| told(case, &name))
}

pub(super) fn forward_dropped(case: &Case) -> Tested {
    let drops = |said: &Examined| {
        let chains = said
            .closed_forward
            .iter()
            .map(|c| format!("chain {} of table {} drops by default", c.name, c.table));
        let rules = said
            .drops
            .iter()
            .filter(|rule| rule.hook == "forward")
            .map(|rule| format!("{}: `{}`", rule.place, rule.rule));
        chains.chain(rules).collect::<Vec<_>>()
    };
    let mut harmless = Vec::new();
    for (host, said) in case.nodes() {
        let found = drops(said);
        if found.is_empty() {
            continue;
        }
        let off = said.sysctls.get("net.ipv4.ip_forward").is_some_and(|value| value == "0");
        let Some(symptom) = pods_fail(case, host).filter(|_| !off) else {
            harmless.push(host.name.as_str());
            continue;
        };
        let found = found.into_iter().fold(
            Found::new(
                Cause::ForwardDropped,
                "a firewall there drops what the node should forward for its pods",
            )
            .on([host.name.as_str()]),
            |all, one| all.seen(format!("{}: {one}", host.name)),
        );
        return Tested::Confirmed(
            found
                .seen(format!("{symptom}; the host itself is answered"))
                .mend(format!("on {}: let packets from and to the pods' range pass: `iptables -I FORWARD -s PODS -j ACCEPT; iptables -I FORWARD -d PODS -j ACCEPT`", host.name))
                .mend("for good in what keeps these rules (docker: `\"ip-forward-no-drop\": true`; firewalld: the pods' range in zone trusted)"),
        );
    }
    Tested::RuledOut(match harmless.is_empty() {
        true => "no rule that was read drops forwarded packets".into(),
        false => format!(
            "{} may drop forwarded packets, but its pods are answered, or none was asked",
            list(harmless)
        ),
    })
}
