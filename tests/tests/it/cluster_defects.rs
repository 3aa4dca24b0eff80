//! What can be ordered to be wrong with a cluster is really wrong, as kubectl, arping and the hosts tell it.

use std::time::Duration;

use rackwright_lab::{Cluster, ClusterDefect, Metallb, Release, Spec, await_until, need_cluster};

const LIMIT: Duration = Duration::from_secs(120);

fn up(nodes: usize) -> Cluster {
    Cluster::up(Spec::test(nodes).kube(Release::V1_37)).unwrap()
}

fn kube(cluster: &Cluster, arguments: &[&str]) -> String {
    cluster.kube(arguments, None).unwrap().text().to_owned()
}

/// Waits until kubectl says something.
fn until_said(cluster: &Cluster, what: &str, arguments: &[&str]) {
    await_until(&format!("kubectl says `{what}`"), LIMIT, || {
        let said = cluster.kube(arguments, None).map_err(|error| error.to_string())?.stdout;
        if said.contains(what) { Ok(()) } else { Err(said) }
    })
    .unwrap();
}

#[test]
fn a_name_server_without_upstream_or_in_a_loop() {
    need_cluster!();
    let cluster = up(2);
    let ask = |name: &str| {
        let asked = cluster.lab().host("w1").sh(&format!("busybox nslookup -type=a {name} 10.96.0.10"));
        asked.unwrap().stdout.lines().skip(2).collect::<String>()
    };
    let until_answered = |name: &str, address: &str| {
        await_until(&format!("{name} is answered"), LIMIT, || {
            let answer = ask(name);
            if answer.contains(address) { Ok(()) } else { Err(answer) }
        })
        .unwrap();
    };
    until_answered("operator.lab.test", "192.0.2.1");

    cluster.spoil("cp1", ClusterDefect::DnsNoUpstream).unwrap();
    until_answered("kubernetes.default.svc.cluster.local", "10.96.0.1");
    let answer = ask("operator.lab.test");
    assert!(!answer.contains("192.0.2.1"), "{answer}");

    // With their resolver back, only the loop is in the way. CoreDNS itself tells of it only when it sees it in the
    // first half minute of its life.
    for host in cluster.lab().hosts() {
        host.read("echo nameserver 192.0.2.53 > /etc/resolv.conf").unwrap();
    }
    cluster.spoil("cp1", ClusterDefect::DnsLoop).unwrap();
    let pods = ["--namespace=kube-system", "--selector=k8s-app=kube-dns"];
    let running = "--output=jsonpath={.items[*].status.phase}";
    until_said(&cluster, "Running Running", &[&["get", "pods", running], &pods[..]].concat());
    for _ in 0..3 {
        let answer = ask("operator.lab.test");
        assert!(!answer.contains("192.0.2.1"), "{answer}");
    }
}

#[test]
fn a_node_whose_proxy_or_pods_never_start() {
    need_cluster!();
    let cluster = up(2);
    let system = "--namespace=kube-system";
    let on_w1 = ["--selector=k8s-app=kube-proxy", "--field-selector=spec.nodeName=w1"];
    cluster.spoil("w1", ClusterDefect::ProxyNeverReady).unwrap();
    // Whichever container it is by now: each says the same before it ends.
    await_until("kube-proxy on w1 says why it ends", LIMIT, || {
        let pod = kube(&cluster, &[&["get", "pods", system, "--output=name"], &on_w1[..]].concat());
        let said =
            cluster.kube(&["logs", system, "--tail=20", &pod], None).map_err(|error| error.to_string())?;
        if said.stdout.contains("Operation not permitted") { Ok(()) } else { Err(said.stdout) }
    })
    .unwrap();
    let ended = "--output=jsonpath={.items[*].status.containerStatuses[*].lastState.terminated.exitCode}";
    until_said(&cluster, "1", &[&["get", "pods", system, ended], &on_w1[..]].concat());
    cluster.heal("w1", ClusterDefect::ProxyNeverReady).unwrap();
    kube(&cluster, &[&["delete", "pod", system], &on_w1[..]].concat());
    kube(&cluster, &["rollout", "status", system, "daemonset/kube-proxy", "--timeout=120s"]);

    cluster.spoil("w1", ClusterDefect::ProxyStuck).unwrap();
    until_said(&cluster, "/run/xtables.lock is not a file", &["get", "events", system]);
    cluster.heal("w1", ClusterDefect::ProxyStuck).unwrap();

    cluster.spoil("w1", ClusterDefect::FormerCni0).unwrap();
    cluster.apply(&pod_on_w1()).unwrap();
    until_said(&cluster, "already has an IP address different from", &["get", "events"]);
}

/// A pod that must run on w1.
fn pod_on_w1() -> String {
    "{apiVersion: v1, kind: Pod, metadata: {name: here}, spec: {nodeName: w1, containers: [{name: here, \
     image: 'docker.io/library/busybox:lab', command: [sleep, infinity]}]}}"
        .to_owned()
}

#[test]
fn a_balancer_without_webhook_neighbours_or_endpoints() {
    need_cluster!();
    let shape = Spec::test(3).kube(Release::V1_37);
    let shape = shape.cluster_defect("cp1", ClusterDefect::WebhookUnreachable);
    let cluster = Cluster::up(shape.cluster_defect("cp1", ClusterDefect::SpeakersApart)).unwrap();
    cluster.install_metallb(Metallb::V0_13).unwrap();
    let pool = "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\n\
                metadata: {name: second, namespace: metallb-system}\nspec: {addresses: [192.0.2.230/32]}\n";
    let refused = cluster.apply(pool).unwrap_err().to_string();
    let chain = format!("{refused} {:?}", cluster.apply(pool));
    assert!(chain.contains("failed calling webhook"), "{chain}");
    cluster.heal("cp1", ClusterDefect::WebhookUnreachable).unwrap();
    cluster.give_pool().unwrap();
    cluster.deploy_web("web", 2).unwrap();
    let address = cluster.address_of("web").unwrap();
    let answering = |count: usize| {
        await_until(&format!("{count} answer for {address}"), LIMIT, || {
            let macs = cluster.outside().answering(&address).map_err(|error| error.to_string())?;
            if macs.len() == count { Ok(macs) } else { Err(format!("{macs:?}")) }
        })
        .unwrap()
    };
    answering(3);
    cluster.heal("cp1", ClusterDefect::SpeakersApart).unwrap();
    let owner = answering(1);

    cluster.lab().plug_in("printer", address.parse().unwrap()).unwrap();
    assert!(answering(2).is_superset(&owner));
    cluster.lab().unplug_device("printer").unwrap();
    answering(1);

    cluster.deploy_web("web", 0).unwrap();
    answering(0);
}
