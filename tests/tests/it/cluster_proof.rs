//! The proof from outside on a real cluster: every reason why a Service is not reachable is told apart.

use rackwright_lab::{Cluster, ClusterDefect, Metallb, Release, Spec, need_cluster};

use crate::cluster_rack::{kube, metallb, state, steady, until_answering, write_with};
use crate::operator::{expect, says};

const POOLS: &str = "pools: [{name: first, addresses: [192.0.2.200-192.0.2.219]}, \
                     {name: tiny, addresses: [192.0.2.230/32], autoAssign: false}]";

fn rack(cluster: &Cluster, advertisements: &str, services: &str) {
    let metallb = metallb(Metallb::V0_13, &format!("{POOLS}, advertisements: [{advertisements}]"));
    // MetalLB's controller needs a while for its first certificate.
    write_with(cluster, "1min", &[&metallb, services]);
}

/// What an apply says at its end of what it could not prove.
#[track_caller]
fn not_proven(cluster: &Cluster) -> String {
    let output = expect(cluster.lab(), &["apply", "--yes"], 1);
    says(&output, "not proven");
    let at = output.stdout.find("\nnot proven ").unwrap_or_default();
    let said = steady(output.stdout[at..].split("\n\n0 changed").next().unwrap_or_default());
    // Speakers that do not see each other all say that they announce it: who was last is chance.
    let nodes = ["cp1", "w1", "w2"].map(|node| format!("announces from {node} ("));
    let said = nodes.iter().fold(said, |said, node| said.replace(node, "announces from NODE ("));
    // And so is who of three announces it.
    let owners = [("0b", "cp1", "w1 and w2"), ("0c", "w1", "cp1 and w2"), ("0d", "w2", "cp1 and w1")];
    owners.iter().fold(said, |said, (mac, node, others)| {
        said.replace(
            &format!("02:52:57:00:00:{mac} (eth0 of {node}; heard by {others})"),
            "OWNER (heard by OTHERS)",
        )
    })
}

#[test]
#[ignore = "long: looks from outside many times"]
fn every_reason_of_a_silent_or_doubled_address_is_told_apart() {
    need_cluster!();
    let cluster = Cluster::up(Spec::test(3).kube(Release::V1_37)).unwrap();
    cluster.deploy_web("web", 2).unwrap();
    rack(&cluster, "{pools: [first, tiny]}", "services: [{name: web}]");
    let output = expect(cluster.lab(), &["apply", "--yes"], 0);
    says(&output, "proven");
    let address = cluster.address_of("web").unwrap();

    cluster.spoil("cp1", ClusterDefect::SpeakersApart).unwrap();
    until_answering(&cluster, &address, 3);
    insta::assert_snapshot!("speakers_apart", not_proven(&cluster));
    cluster.heal("cp1", ClusterDefect::SpeakersApart).unwrap();
    // Those that took each other for dead look for each other again only after a while.
    kube(&cluster, &["delete", "pod", "--namespace=metallb-system", "--selector=component=speaker"]);
    let speakers = ["rollout", "status", "daemonset/speaker", "--namespace=metallb-system", "--timeout=120s"];
    kube(&cluster, &speakers);
    until_answering(&cluster, &address, 1);

    cluster.lab().plug_in("printer", address.parse().unwrap()).unwrap();
    until_answering(&cluster, &address, 2);
    insta::assert_snapshot!("a_second_machine", not_proven(&cluster));
    cluster.lab().unplug_device("printer").unwrap();
    until_answering(&cluster, &address, 1);

    kube(&cluster, &["scale", "deployment/web", "--replicas=0"]);
    until_answering(&cluster, &address, 0);
    insta::assert_snapshot!("no_endpoint", not_proven(&cluster));

    local_to_a_node_that_is_silent(&cluster);
    pending_and_closed(&cluster);
}

/// The only endpoint is on w1, and only w2 may announce.
fn local_to_a_node_that_is_silent(cluster: &Cluster) {
    let pinned = r#"--patch={"spec":{"replicas":1,"template":{"spec":{"nodeName":"w1"}}}}"#;
    kube(cluster, &["patch", "deployment", "web", pinned]);
    kube(cluster, &["rollout", "status", "deployment/web", "--timeout=60s"]);
    kube(cluster, &["patch", "service", "web", r#"--patch={"spec":{"externalTrafficPolicy":"Local"}}"#]);
    rack(cluster, "{pools: [first, tiny], nodes: [w2]}", "services: [{name: web}]");
    insta::assert_snapshot!("local_policy", not_proven(cluster));
    rack(cluster, "{pools: [first, tiny]}", "services: [{name: web}]");
    expect(cluster.lab(), &["apply", "--yes"], 0);
}

/// Services that get no address, each for another reason, and one whose port is closed.
fn pending_and_closed(cluster: &Cluster) {
    let service = |name: &str, metadata: &str, spec: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}{metadata}}}\n\
             spec: {{type: LoadBalancer, selector: {{app: web}}{spec}}}\n"
        )
    };
    let ports = ", ports: [{port: 80, targetPort: 8080}]";
    let tiny = ", annotations: {metallb.universe.tf/address-pool: tiny}";
    let first = service("taker", tiny, ports);
    cluster.apply(&first).unwrap();
    cluster.address_of("taker").unwrap();
    let others = [
        service("full", tiny, ports),
        service("asks", "", &format!("{ports}, loadBalancerIP: 192.0.2.99")),
        service("shut", "", ", ports: [{port: 81, targetPort: 9999}]"),
    ];
    cluster.apply(&others.concat()).unwrap();
    cluster.address_of("shut").unwrap();
    let services = "services: [{name: full}, {name: asks}, {name: shut}, {name: gone}]";
    rack(cluster, "{pools: [first, tiny]}", services);
    insta::assert_snapshot!("pending_and_closed", not_proven(cluster));
}

#[test]
#[ignore = "long: builds Kubernetes 1.30.14 and MetalLB 0.16.1"]
fn the_whole_way_on_the_older_kubernetes_with_the_newer_metallb() {
    need_cluster!();
    let shape = Spec::test(3).kube(Release::V1_30).metallb(Metallb::V0_16);
    let cluster = Cluster::up(shape).unwrap();
    let lab = cluster.lab();
    cluster.deploy_web("web", 2).unwrap();
    let before = state(&cluster);
    let pools =
        "pools: [{name: first, addresses: [192.0.2.200-192.0.2.219]}], advertisements: [{pools: [first]}]";
    let metallb = metallb(Metallb::V0_16, pools);
    // Its controller is ready before its webhook is, so that pools are refused at first.
    write_with(&cluster, "2min", &["dns: {forward: [192.0.2.53]}", &metallb, "services: [{name: web}]"]);
    let output = expect(lab, &["apply", "--yes"], 0);
    says(&output, "proven       default/web 192.0.2.200: answered by");
    // The one who answers is the one who says so.
    let told = "--output=jsonpath={.items[?(@.status.serviceName==\"web\")].status.node}";
    let node = kube(&cluster, &["get", "servicel2statuses", "--namespace=metallb-system", told]);
    says(&output, &format!("(eth0 of {node})"));
    let again = expect(lab, &["apply", "--yes"], 0);
    says(&again, "unchanged    the cluster");
    expect(lab, &["plan", "--exit-code"], 0);
    expect(lab, &["revert", "--yes"], 0);
    assert_eq!(state(&cluster), before);
}
