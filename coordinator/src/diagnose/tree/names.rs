//! CoreDNS: whether it is there, and whether it answers.

use std::net::IpAddr;

use rackwright_proto::reach::{Rcode, Transport};

use super::{NO_API, kubectl, last_line, line_with, once, pods_in_words, shortened};
use crate::diagnose::answers::{From, Name};
use crate::diagnose::case::{Case, Dns, Pod};
use crate::diagnose::cause::Cause;
use crate::diagnose::verdict::{Found, Tested};
use crate::network::list;

/// NodeLocal DNSCache, upstream's and kubespray's own: an address of each node.
const NODE_LOCAL: [&str; 2] = ["169.254.20.10", "169.254.25.10"];
/// What CoreDNS says where it does not reach the API: the network's fault, not its own.
const API_TROUBLE: [&str; 4] =
    ["plugin/kubernetes", "Failed to watch", "dial tcp", "waiting on: \"kubernetes\""];

fn dns(case: &Case) -> Result<&Dns, Tested> {
    match &case.cluster {
        Ok(cluster) => Ok(&cluster.dns),
        Err(_) => Err(Tested::CannotTell(NO_API.into())),
    }
}

fn ready(dns: &Dns) -> impl Iterator<Item = &Pod> {
    dns.pods.iter().filter(|pod| pod.ready)
}

/// `cp1 asks 10.96.0.10 over UDP: no answer within 2500 ms`
pub(super) fn told(case: &Case, name: &Name) -> String {
    let who = match name.from {
        From::Host => name.host.name.clone(),
        From::Pod => format!("a pod on {}", name.host.name),
    };
    let said = match name.answer {
        Ok((rcode, records)) if records.is_empty() && rcode == Rcode::NOERROR => "no address".to_owned(),
        Ok((rcode, _)) => rcode.to_string(),
        Err(why) => why.to_owned(),
    };
    format!("{who} asks {} over {}: {said}", server(case, name.server), name.transport)
}

/// `10.244.1.2 (coredns-x on w1)`
fn server(case: &Case, address: IpAddr) -> String {
    let pods = case.cluster.iter().flat_map(|cluster| &cluster.dns.pods);
    match pods.into_iter().find(|pod| pod.address == Some(address)) {
        Some(pod) => {
            let short = pod.name.rsplit('/').next().unwrap_or_default();
            format!("{address} ({short} on {})", pod.node.as_deref().unwrap_or("no node"))
        }
        None => address.to_string(),
    }
}

pub(super) fn down(case: &Case) -> Tested {
    let dns = match dns(case) {
        Ok(dns) => dns,
        Err(tested) => return tested,
    };
    let found = match (dns.wanted, dns.pods.is_empty()) {
        (Some(0), _) => {
            Found::new(Cause::DnsDown, "CoreDNS is scaled to nothing, so that nobody knows any name")
                .seen("Deployment kube-system/coredns wants 0 pods")
                .mend("`kubectl -n kube-system scale deployment coredns --replicas=2`")
        }
        (None, true) => Found::new(Cause::DnsDown, "there is no CoreDNS, so that nobody knows any name")
            .seen("no Deployment kube-system/coredns, and no pod with the label k8s-app=kube-dns")
            .mend("`kubeadm init phase addon coredns` on a control plane makes it anew"),
        (Some(wanted), true) => {
            Found::new(Cause::DnsDown, "CoreDNS has no pods, so that nobody knows any name")
                .seen(format!("Deployment kube-system/coredns wants {wanted} pods and has none"))
                .mend(
                    "see why none is made: `kubectl -n kube-system describe replicaset -l k8s-app=kube-dns`",
                )
        }
        (_, false) => {
            return Tested::RuledOut(format!(
                "{} of its {} pods are ready",
                ready(dns).count(),
                dns.pods.len()
            ));
        }
    };
    Tested::Confirmed(found)
}

pub(super) fn pending(case: &Case) -> Tested {
    let dns = match dns(case) {
        Ok(dns) if dns.wanted != Some(0) => dns,
        Ok(_) => return Tested::Beside,
        Err(tested) => return tested,
    };
    let waiting: Vec<&Pod> = dns.pods.iter().filter(|pod| pod.node.is_none()).collect();
    if waiting.is_empty() || ready(dns).next().is_some() {
        return Tested::RuledOut("a node has been found for them".into());
    }
    Tested::Confirmed(
        Found::new(Cause::DnsPending, "no node takes CoreDNS's pods, so that nobody knows any name")
            .seen(pods_in_words(waiting.iter().copied()))
            .mend(format!("see what the scheduler says: {}", kubectl(waiting[0], "describe pod")))
            .mend("nodes that are not ready for want of a network take it once the CNI's pods run: `kubectl get nodes`"),
    )
}

/// What CoreDNS says when it sees its own question again.
fn loop_line(dns: &Dns) -> Option<&str> {
    dns.pods.iter().find_map(|pod| line_with(&pod.log, &["plugin/loop: Loop", "loop detected"]))
}

pub(super) fn loops(case: &Case) -> Tested {
    let dns = match dns(case) {
        Ok(dns) => dns,
        Err(tested) => return tested,
    };
    let harmful = ready(dns).next().is_none() || case.outside().any(|name| !answers_outside(&name));
    let said = loop_line(dns).filter(|_| harmful);
    if said.is_none() && (dns.loops.is_empty() || !harmful) {
        return Tested::RuledOut(match dns.loops.is_empty() {
            true => "no upstream of the Corefile leads back to it".into(),
            false => format!("an upstream leads back to it ({}), but it answers", list(&dns.loops)),
        });
    }
    let mut found = Found::new(
        Cause::DnsLoop,
        "CoreDNS forwards to itself: names outside of the cluster go round until it ends or gives up",
    );
    for one in &dns.loops {
        found = found.seen(one.clone());
    }
    if let Some(line) = said {
        found = found.seen(format!("its log: {}", shortened(line)));
    }
    let pods = pods_in_words(&dns.pods);
    Tested::Confirmed(found.seen(pods).mend(
        "name the resolvers of your network in `kubernetes.dns.forward` of the rack, then `rackwright apply`",
    ))
}

pub(super) fn crashes(case: &Case) -> Tested {
    let dns = match dns(case) {
        Ok(dns) => dns,
        Err(tested) => return tested,
    };
    if ready(dns).next().is_some() || dns.pods.is_empty() {
        return Tested::RuledOut("it runs".into());
    }
    let crash =
        |pod: &&Pod| pod.why.contains("CrashLoopBackOff") || pod.why.contains("Error") || pod.restarts > 0;
    let Some(pod) = dns.pods.iter().find(crash) else {
        return Tested::RuledOut("none of its pods ended".into());
    };
    if loop_line(dns).is_some() || !dns.loops.is_empty() {
        return Tested::Beside;
    }
    if let Some(line) = line_with(&pod.log, &API_TROUBLE) {
        return Tested::RuledOut(format!("it ends for want of the API: {}", shortened(line)));
    }
    let said = last_line(&pod.log).map_or("its log is empty, or was not read".to_owned(), |line| {
        format!("its log: {}", shortened(line))
    });
    Tested::Confirmed(
        Found::new(Cause::DnsCrashes, "CoreDNS ends as soon as it starts, so that nobody knows any name")
            .seen(pods_in_words(&dns.pods))
            .seen(said)
            .mend("mend what it says in the Corefile: `kubectl -n kube-system edit configmap coredns`")
            .mend("`kubectl -n kube-system rollout restart deployment coredns`"),
    )
}

pub(super) fn no_endpoints(case: &Case) -> Tested {
    let dns = match dns(case) {
        Ok(dns) => dns,
        Err(tested) => return tested,
    };
    if dns.services.is_empty() {
        return Tested::Confirmed(
            Found::new(
                Cause::DnsNoEndpoints,
                "there is no DNS Service, so that pods ask an address that nobody has",
            )
            .seen("kube-system has no Service kube-dns with an address")
            .mend("`kubeadm init phase addon coredns` on a control plane makes it anew"),
        );
    }
    if dns.endpoints > 0 {
        return Tested::RuledOut(format!("the Service kube-dns has {} ready endpoints", dns.endpoints));
    }
    let ready: Vec<&Pod> = ready(dns).collect();
    if ready.is_empty() {
        return Tested::Beside;
    }
    let mut found = Found::new(
        Cause::DnsNoEndpoints,
        "the DNS Service selects none of CoreDNS's pods, though they are ready",
    )
    .seen(format!("{} has no ready endpoint; its selector is {}", list(&dns.services), dns.selector))
    .seen(pods_in_words(ready));
    found = case
        .names()
        .filter(|n| dns.services.contains(&n.server) && !n.good())
        .take(1)
        .fold(found, |found, name| found.seen(told(case, &name)));
    Tested::Confirmed(
        found
            .mend("`kubectl -n kube-system patch service kube-dns --type=merge -p '{\"spec\":{\"selector\":{\"k8s-app\":\"kube-dns\"}}}'`")
            .mend("a selector with more labels keeps them under `patch`: `kubectl -n kube-system edit service kube-dns`"),
    )
}

pub(super) fn kubelet(case: &Case) -> Tested {
    let right = case.dns();
    if right.is_empty() {
        return Tested::CannotTell("no DNS address to compare with is known".into());
    }
    let local = |ip: &IpAddr| NODE_LOCAL.iter().any(|known| known.parse() == Ok(*ip));
    let told: Vec<(&str, Vec<IpAddr>)> =
        case.nodes().filter_map(|(host, _)| Some((host.name.as_str(), host.kubelet_dns()?))).collect();
    let is_wrong = |addresses: &Vec<IpAddr>| addresses.iter().any(|ip| !right.contains(ip) && !local(ip));
    let wrong: Vec<_> = told.iter().filter(|(_, addresses)| is_wrong(addresses)).collect();
    let (Some((node, addresses)), expected) = (wrong.first(), list(&right)) else {
        return match told.is_empty() {
            true => Tested::CannotTell("no kubelet's settings were read".into()),
            false => Tested::RuledOut(format!(
                "kubelet says {} on {}",
                list(&right),
                list(told.iter().map(|(node, _)| node))
            )),
        };
    };
    let mut found =
        Found::new(Cause::KubeletDns, "pods there ask an address for names that is not the DNS Service's")
            .on(wrong.iter().map(|(node, _)| *node));
    for (node, addresses) in &wrong {
        found = found.seen(format!(
            "{node}: clusterDNS in /var/lib/kubelet/config.yaml is {}, and the DNS Service is {expected}",
            list(addresses)
        ));
    }
    let sed = addresses
        .iter()
        .find(|ip| !right.contains(ip))
        .map(|ip| format!("s/{}/{}/", ip.to_string().replace('.', "[.]"), right[0]));
    Tested::Confirmed(
        found
            .mend(format!(
                "on {node}: `sed -i {} /var/lib/kubelet/config.yaml && systemctl restart kubelet`",
                sed.unwrap_or_default()
            ))
            .mend("then make the pods there anew: they keep what they were told at their start"),
    )
}

pub(super) fn not_ready(case: &Case) -> Tested {
    let dns = match dns(case) {
        Ok(dns) => dns,
        Err(tested) => return tested,
    };
    let running: Vec<&Pod> = dns.pods.iter().filter(|pod| pod.node.is_some()).collect();
    if running.is_empty() || ready(dns).next().is_some() || loop_line(dns).is_some() || !dns.loops.is_empty()
    {
        return Tested::Beside;
    }
    if crashes_by_itself(&running) {
        return Tested::Beside;
    }
    let said = running.iter().find_map(|pod| line_with(&pod.log, &API_TROUBLE).or(last_line(&pod.log)));
    let mut found =
        Found::new(Cause::DnsNotReady, "CoreDNS runs and is not ready, so that nobody knows any name")
            .seen(pods_in_words(running.iter().copied()));
    if let Some(line) = said {
        found = found.seen(format!("its log: {}", shortened(line)));
    }
    Tested::Confirmed(
        found
            .mend(format!("see what its probe says: {}", kubectl(running[0], "describe pod")))
            .mend("`kubectl -n kube-system rollout restart deployment coredns`"),
    )
}

fn crashes_by_itself(pods: &[&Pod]) -> bool {
    pods.iter().any(|pod| pod.why.contains("CrashLoopBackOff") && line_with(&pod.log, &API_TROUBLE).is_none())
}

pub(super) fn silent(case: &Case) -> Tested {
    let dns = match dns(case) {
        Ok(dns) => dns,
        Err(tested) => return tested,
    };
    let of = |pod: &Pod| {
        case.names().filter(|n| n.from == From::Host && Some(n.server) == pod.address).collect::<Vec<_>>()
    };
    let mut asked = 0;
    for pod in ready(dns) {
        let told_of = of(pod);
        let own: Vec<&Name> =
            told_of.iter().filter(|n| Some(n.host.name.as_str()) == pod.node.as_deref()).collect();
        asked += own.len();
        if !own.is_empty() && told_of.iter().all(|n| n.answer.is_err()) {
            let found = Found::new(Cause::DnsSilent, "CoreDNS is ready and answers nobody, not even its own node")
                .on(pod.node.clone())
                .seen(told(case, own[0]))
                .mend("see whether the Corefile serves port 53, and whether a NetworkPolicy or a firewall on that node drops DNS")
                .mend(format!("its log: {}", kubectl(pod, "logs")));
            return Tested::Confirmed(found);
        }
    }
    match (ready(dns).count(), asked) {
        (0, _) => Tested::Beside,
        (_, 0) => Tested::CannotTell("no node was asked whose own pod is CoreDNS".into()),
        _ => Tested::RuledOut("each of its pods answers its own node".into()),
    }
}

fn answers_outside(name: &Name) -> bool {
    name.answer.is_ok_and(|(rcode, _)| rcode != Rcode::SERVFAIL)
}

pub(super) fn upstream(case: &Case) -> Tested {
    let knows = |out: &Name| {
        let same = |n: &Name| {
            (&n.host.name, n.from, n.server, n.transport)
                == (&out.host.name, out.from, out.server, Transport::Udp)
        };
        case.names().any(|n| same(&n) && n.good())
    };
    let asked: Vec<Name> = case.outside().filter(knows).collect();
    let failed: Vec<&Name> = asked.iter().filter(|name| !answers_outside(name)).collect();
    if asked.is_empty() {
        return Tested::CannotTell("no pod of CoreDNS answered at all".into());
    }
    let loops = case.cluster.as_ref().is_ok_and(|cluster| !cluster.dns.loops.is_empty());
    if failed.is_empty() {
        return Tested::RuledOut(format!(
            "it told {} what it heard of a name outside",
            list(once(asked.iter().map(|n| &n.host.name)))
        ));
    }
    if loops {
        return Tested::Beside;
    }
    let pods = once(failed.iter().map(|name| server(case, name.server)));
    let nodes = once(failed.iter().map(|name| name.host.name.as_str()));
    Tested::Confirmed(
        Found::new(Cause::DnsUpstreamSilent, "CoreDNS knows names of the cluster, and its upstream does not answer for others")
            .seen(format!("asked for a name outside that nobody has in a cache, {} told {} nothing", list(&pods), list(&nodes)))
            .seen(told(case, failed[0]))
            .mend("name resolvers that answer the nodes in `kubernetes.dns.forward` of the rack, then `rackwright apply`")
            .mend("as it is, it asks whom /etc/resolv.conf of its node names: `kubectl -n kube-system get configmap coredns -o yaml`"),
    )
}
