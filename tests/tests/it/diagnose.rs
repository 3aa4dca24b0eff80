//! The doctor on a real cluster: each defect is made, told as one cause with its evidence, and healed; then all is
//! well again.

use std::time::Duration;

use rackwright_lab::{Cluster, ClusterDefect, Metallb, Output, Release, Spec, await_until, need_cluster};

use crate::cluster_rack::{kube, system, write};
use crate::operator::{ends, rackwright};

const LIMIT: Duration = Duration::from_secs(150);

pub(crate) fn diagnose(cluster: &Cluster, arguments: &[&str]) -> Output {
    ends(rackwright(cluster.lab(), &[&["diagnose"], arguments].concat()))
}

/// Waits until this cause is told, and returns what is said of it, without what differs from run to run.
#[track_caller]
pub(crate) fn cause(cluster: &Cluster, name: &str) -> String {
    cause_of(cluster, &[], name)
}

#[track_caller]
pub(crate) fn cause_of(cluster: &Cluster, arguments: &[&str], name: &str) -> String {
    let head = format!("{:<12} {name}", "cause");
    let said = await_until(&format!("the doctor finds {name}"), LIMIT, || {
        let output = diagnose(cluster, arguments);
        let first = output.stdout.lines().next().unwrap_or_default();
        match first == head || first.starts_with(&format!("{head} on ")) {
            true if output.code == 1 => Ok(output.stdout),
            _ => Err(format!("{}: {}{}", output.code, output.stdout, output.stderr)),
        }
    });
    masked(said.unwrap().split("\n\n").next().unwrap_or_default())
}

/// Waits until a diagnosis ends with this code and says all of this.
#[track_caller]
pub(crate) fn until_said(cluster: &Cluster, code: i32, words: &[&str]) {
    await_until(&format!("the doctor says {words:?}"), LIMIT, || {
        let output = diagnose(cluster, &[]);
        match output.code == code && words.iter().all(|word| output.stdout.contains(word)) {
            true => Ok(()),
            false => Err(format!("{}: {}{}", output.code, output.stdout, output.stderr)),
        }
    })
    .unwrap();
}

/// Waits until nothing is wrong.
#[track_caller]
pub(crate) fn well(cluster: &Cluster) {
    await_until("the doctor finds nothing", LIMIT, || {
        let output = diagnose(cluster, &[]);
        match output.code {
            0 if output.stdout.starts_with("nothing found wrong\n") => Ok(()),
            code => Err(format!("{code}: {}{}", output.stdout, output.stderr)),
        }
    })
    .unwrap();
}

/// Names of pods, their addresses and how often they were restarted are chance.
fn masked(said: &str) -> String {
    let mut text = said.to_owned();
    for prefix in
        ["coredns-", "kube-proxy-", "web-", "speaker-", "controller-", "istiod-", "istio-ingressgateway-"]
    {
        text = replaced(&text, prefix, "POD", |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    }
    text = replaced(&text, "10.244.", "N.N", |c| c.is_ascii_digit() || c == '.');
    for many in (1..30).rev() {
        let s = if many == 1 { "" } else { "s" };
        text = text.replace(&format!(", {many} restart{s})"), ")");
    }
    text
}

/// What follows a prefix, as far as its characters fit, is `with`.
fn replaced(text: &str, prefix: &str, with: &str, fits: impl Fn(char) -> bool) -> String {
    let mut parts = text.split(prefix);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(&fits);
        let kept = if part[..part.len() - rest.len()].ends_with('.') { "." } else { "" };
        out.push_str(&format!("{prefix}{with}{kept}{rest}"));
    }
    out
}

/// Spoils, shows what is said, heals, and waits until all is well.
#[track_caller]
fn shown(cluster: &Cluster, defect: ClusterDefect, name: &str) -> String {
    cluster.spoil("w1", defect).unwrap();
    let said = cause(cluster, name);
    cluster.heal("w1", defect).unwrap();
    well(cluster);
    said
}

/// A cluster with pods on its workers, of which nothing is asked but what the doctor always looks at.
fn up(spec: Spec) -> Cluster {
    let cluster = Cluster::up(spec.kube(Release::V1_37)).unwrap();
    cluster.deploy_web("web", 4).unwrap();
    kube(&cluster, &["delete", "service", "web"]);
    write(&cluster, &["dns: {}"]);
    cluster
}

/// Where a cluster's CoreDNS runs is chance, and much of what is said follows from it.
fn with_names_on_cp1(spec: Spec) -> Cluster {
    let cluster = up(spec);
    let select = r#"{"spec":{"template":{"spec":{"nodeSelector":{"kubernetes.io/hostname":"cp1"}}}}}"#;
    system(&cluster, &["patch", "deployment", "coredns", &format!("--patch={select}")]);
    system(&cluster, &["rollout", "status", "deployment/coredns", "--timeout=120s"]);
    well(&cluster);
    cluster
}

#[test]
fn what_is_wrong_with_names_and_nodes_is_told_apart() {
    need_cluster!();
    let cluster = with_names_on_cp1(Spec::test(3).segments(2));
    let defects = [
        (ClusterDefect::DnatMissing, "service-not-translated"),
        (ClusterDefect::IpForwardOff, "forwarding-off"),
        (ClusterDefect::KubeletDns, "kubelet-dns"),
        (ClusterDefect::DnsNoEndpoints, "dns-no-endpoints"),
        (ClusterDefect::DnsDown, "dns-down"),
    ];
    let told = defects.map(|(defect, name)| shown(&cluster, defect, name));
    insta::assert_snapshot!("names_and_nodes", told.join("\n\n"));
    without_the_api(&cluster);
}

#[test]
#[ignore = "long: what is rarer"]
fn what_else_is_wrong_with_names_and_nodes_is_told_apart() {
    need_cluster!();
    let cluster = with_names_on_cp1(Spec::test(3).segments(2));
    let defects = [
        (ClusterDefect::BridgeNfOff, "bridge-rules-off"),
        (ClusterDefect::StaleNat, "stale-nat"),
        (ClusterDefect::RpFilter, "reverse-path"),
    ];
    let told = defects.map(|(defect, name)| shown(&cluster, defect, name));
    insta::assert_snapshot!("names_and_nodes_more", told.join("\n\n"));
    // Which ways between three nodes are seen first is chance.
    let said = shown(&cluster, ClusterDefect::SmallMtu, "large-packets-lost");
    for words in
        ["large-packets-lost on w1", "a packet of 84 bytes is answered", "w1: rule of inet small-mtu"]
    {
        assert!(said.contains(words), "no {words:?} in\n{said}");
    }
    insta::assert_snapshot!("ranges_overlap", shown(&cluster, ClusterDefect::CidrOverlap, "ranges-overlap"));
    what_no_branch_explains(&cluster);
    while_others_are_silent(&cluster);
    upstreams(&cluster);
}

fn without_the_api(cluster: &Cluster) {
    cluster.stop_api_server("cp1").unwrap();
    until_said(cluster, 1, &["cause        api-unreachable", "cp1: 192.0.2.11:6443: connection refused"]);
    // The hosts are asked all the same.
    cluster.lab().host("w1").read("sysctl -w net.ipv4.ip_forward=0").unwrap();
    until_said(cluster, 1, &["also         forwarding-off on w1"]);
    cluster.lab().host("w1").read("sysctl -w net.ipv4.ip_forward=1").unwrap();
    cluster.start_api_server("cp1").unwrap();
    well(cluster);
}

fn upstreams(cluster: &Cluster) {
    cluster.spoil("cp1", ClusterDefect::DnsNoUpstream).unwrap();
    system(cluster, &["rollout", "status", "deployment/coredns", "--timeout=120s"]);
    until_said(cluster, 1, &["cause        dns-upstream-silent", "kubernetes.dns.forward"]);
    for host in cluster.lab().hosts() {
        host.read("echo nameserver 192.0.2.53 > /etc/resolv.conf").unwrap();
    }
    cluster.spoil("cp1", ClusterDefect::DnsLoop).unwrap();
    until_said(cluster, 1, &["cause        dns-loop", "the Corefile forwards to 10.96.0.10"]);
    write(cluster, &["dns: {forward: [192.0.2.53]}"]);
    let applied = ends(rackwright(cluster.lab(), &["apply", "--yes"]));
    assert_eq!(applied.code, 0, "{}{}", applied.stdout, applied.stderr);
    well(cluster);
}

#[test]
fn a_closed_overlay_is_found_with_the_rule_that_closes_it() {
    need_cluster!();
    let cluster = up(Spec::test(2).overlay());
    well(&cluster);
    let said = shown(&cluster, ClusterDefect::OverlayClosed, "overlay-blocked");
    insta::assert_snapshot!("overlay_blocked", said);
    insta::assert_snapshot!("overlay_mtu", shown(&cluster, ClusterDefect::SmallMtu, "large-packets-lost"));
}

#[test]
fn reasons_of_addresses_and_webhooks_are_told() {
    need_cluster!();
    let cluster = up(Spec::test(3));
    cluster.install_metallb(Metallb::V0_13).unwrap();
    cluster.deploy_web("web", 2).unwrap();
    insta::assert_snapshot!("no_pool", cause(&cluster, "service-no-pool"));
    cluster.give_pool().unwrap();
    let address = cluster.address_of("web").unwrap();
    well(&cluster);

    cluster.lab().plug_in("printer", address.parse().unwrap()).unwrap();
    let said = cause_of(&cluster, &["--service", "web"], "service-answered-twice");
    assert!(said.contains("(no host of the rack)"), "{said}");
    cluster.lab().unplug_device("printer").unwrap();
    well(&cluster);

    kube(&cluster, &["scale", "deployment/web", "--replicas=0"]);
    insta::assert_snapshot!("no_endpoint", cause(&cluster, "silent-no-endpoints"));
    kube(&cluster, &["scale", "deployment/web", "--replicas=2"]);
    well(&cluster);

    insta::assert_snapshot!(
        "webhook_far",
        shown(&cluster, ClusterDefect::WebhookUnreachable, "webhook-unreachable")
    );
    kube(&cluster, &["scale", "deployment/controller", "--namespace=metallb-system", "--replicas=0"]);
    let said = cause(&cluster, "webhook-no-endpoints");
    assert!(said.contains("asks Service metallb-system/webhook-service"), "{said}");
}

/// Neither a host nor the API refuses; they do not answer at all. What that takes is told: a machine may be busy.
fn while_others_are_silent(cluster: &Cluster) {
    let took = |what: &str, silent: &[&str]| {
        let all_are_told = || {
            let output = diagnose(cluster, &["--json"]);
            let said: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
            let not_asked = said["notAsked"].to_string();
            let told = silent.iter().all(|one| not_asked.contains(&format!("\"{one}: ")));
            if told { Ok(said["tookMs"].clone()) } else { Err(format!("{said:#}")) }
        };
        let took = await_until(&format!("the doctor tells of {silent:?}"), LIMIT, all_are_told).unwrap();
        rackwright_lab::talk::say(format_args!("a diagnosis takes {took} ms {what}"));
    };
    took("where all answer", &[]);
    cluster.lab().unplug("w2").unwrap();
    took("where a host is silent", &["w2"]);
    let (host, drop) = (cluster.lab().host("cp1"), "tcp dport 6443 drop");
    host.read(&format!(
        "nft 'table inet theirs {{ chain input {{ type filter hook input priority 0; {drop}; }}; }}'"
    ))
    .unwrap();
    took("where the API is silent, too", &["w2", "the API"]);
    host.read("nft delete table inet theirs").unwrap();
    cluster.lab().plug("w2").unwrap();
    well(cluster);
}

/// What is wrong, and no branch of the tree: nothing is claimed, and it is said what to look at.
fn what_no_branch_explains(cluster: &Cluster) {
    let host = cluster.lab().host("w1");
    let chain = "chain output { type filter hook output priority 0; udp dport 53 drop; tcp dport 53 drop; };";
    host.read(&format!("nft 'table inet theirs {{ {chain} }}'")).unwrap();
    until_said(cluster, 3, &["w1 asks 10.96.0.10 over UDP", "tcpdump -ni any port 53"]);
    host.read("nft delete table inet theirs").unwrap();
    well(cluster);
}

/// Packets that hosts should let through and do not: a table of somebody else's.
#[track_caller]
pub(crate) fn dropping(cluster: &Cluster, rules: &str, name: &str) -> String {
    let hosts = cluster.lab().hosts();
    for host in &hosts {
        host.read(&format!("nft 'table inet theirs {{ {rules} }}'")).unwrap();
    }
    let said = cause(cluster, name);
    for host in &hosts {
        host.read("nft delete table inet theirs").unwrap();
    }
    well(cluster);
    said
}

#[test]
#[ignore = "long: a node is missed only after 40 s"]
fn a_coredns_that_cannot_start_and_a_node_that_is_gone_are_told() {
    need_cluster!();
    let cluster = up(Spec::test(2));
    well(&cluster);
    let restart = || system(&cluster, &["rollout", "restart", "deployment/coredns"]);
    let read = ["get", "configmap", "coredns", "--output=jsonpath={.data.Corefile}"];
    let good = system(&cluster, &read);
    let set = |corefile: &str| {
        let patch = serde_json::json!({"data": {"Corefile": corefile}});
        system(&cluster, &["patch", "configmap", "coredns", &format!("--patch={patch}")]);
        restart();
    };
    system(&cluster, &["scale", "deployment/coredns", "--replicas=0"]);
    set(".:53 {\n    no-such-plugin\n}\n");
    system(&cluster, &["scale", "deployment/coredns", "--replicas=2"]);
    until_said(&cluster, 1, &["cause        dns-crashes", "no-such-plugin"]);
    set(&format!("{good}\n"));
    well(&cluster);

    let on = |node: &str| {
        let select = format!(
            r#"{{"spec":{{"template":{{"spec":{{"nodeSelector":{{"kubernetes.io/hostname":{node}}}}}}}}}}}"#
        );
        system(&cluster, &["scale", "deployment/coredns", "--replicas=0"]);
        system(&cluster, &["patch", "deployment", "coredns", &format!("--patch={select}")]);
        system(&cluster, &["scale", "deployment/coredns", "--replicas=2"]);
    };
    on("\"nobody\"");
    cause(&cluster, "dns-pending");
    on("null");
    well(&cluster);

    // It runs and serves names, but nothing answers its readiness probe.
    let anew = |corefile: &str| {
        system(&cluster, &["scale", "deployment/coredns", "--replicas=0"]);
        system(&cluster, &["wait", "--for=delete", "pod", "--selector=k8s-app=kube-dns", "--timeout=120s"]);
        set(corefile);
        system(&cluster, &["scale", "deployment/coredns", "--replicas=2"]);
    };
    assert!(good.contains("    ready\n"), "{good}");
    anew(&good.replace("    ready\n", ""));
    until_said(&cluster, 1, &["cause        dns-not-ready", "(not ready)"]);
    // It is ready, and listens elsewhere.
    assert!(good.contains(".:53 {"), "{good}");
    anew(&good.replace(".:53 {", ".:5353 {"));
    until_said(&cluster, 1, &["cause        dns-pod-silent", "over UDP: connection refused"]);
    anew(&format!("{good}\n"));
    well(&cluster);

    let drops = "chain forward { type filter hook forward priority 0; policy drop; };";
    dropping(&cluster, drops, "forward-dropped");

    let host = cluster.lab().host("w1");
    host.read("systemctl stop kubelet").unwrap();
    until_said(&cluster, 1, &["cause        node-not-ready on w1"]);
    host.read("systemctl start kubelet").unwrap();
    well(&cluster);
}
