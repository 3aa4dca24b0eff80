//! The doctor before Services of type LoadBalancer: each reason why one has no address, or why nobody answers for it.

use rackwright_lab::{Cluster, Metallb, Release, Spec, need_cluster};

use crate::cluster_rack::{kube, write};
use crate::diagnose::{cause_of, diagnose, well};

const METALLB: &str = "--namespace=metallb-system";
const POOL: &str = "ipaddresspool.metallb.io/first";
const ADVERTISEMENT: &str = "l2advertisement.metallb.io/first";
const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// What MetalLB says of it comes at any time, and what is said of pods that end changes while they do.
fn without_events(said: &str) -> String {
    let line = |line: &str| line.split("; MetalLB says").next().unwrap_or_default().to_owned();
    let line = |text: &str| line(text).split("; pod speaker-").next().unwrap_or_default().to_owned();
    said.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn told(cluster: &Cluster, service: &str, name: &str) -> String {
    without_events(&cause_of(cluster, &["--service", service], name))
}

fn patch(cluster: &Cluster, object: &str, spec: &str) {
    let patch = format!("--patch={{\"spec\": {spec}}}");
    kube(cluster, &["patch", METALLB, object, "--type=merge", &patch]);
}

fn advertise(cluster: &Cluster, more: &str) {
    let meta = "metadata: {name: first, namespace: metallb-system}";
    let spec = format!("spec: {{ipAddressPools: [first]{more}}}");
    let kind = "apiVersion: metallb.io/v1beta1\nkind: L2Advertisement";
    kube(cluster, &["delete", METALLB, ADVERTISEMENT, "--ignore-not-found"]);
    cluster.apply(&format!("{kind}\n{meta}\n{spec}\n")).unwrap();
}

#[test]
#[ignore = "long: every reason there is"]
fn each_reason_of_a_service_is_told() {
    need_cluster!();
    let shape = Spec::test(2).kube(Release::V1_37).metallb(Metallb::V0_16);
    let cluster = Cluster::up(shape).unwrap();
    cluster.install_metallb(Metallb::V0_16).unwrap();
    // kubeadm's own label of control planes.
    kube(&cluster, &["label", "node", "cp1", &format!("{EXCLUDE}-")]);
    cluster.give_pool().unwrap();
    cluster.deploy_web("web", 1).unwrap();
    let address = cluster.address_of("web").unwrap();
    write(&cluster, &["dns: {}"]);
    well(&cluster);
    let mut all = asked_for_wrongly(&cluster, &address);
    all.extend(pools_that_do_not_serve(&cluster, &address));
    all.extend(nobody_announces(&cluster));
    insta::assert_snapshot!("reasons_of_services", all.join("\n\n"));

    // A webhook without endpoints is told before it.
    kube(&cluster, &["scale", METALLB, "deployment/controller", "--replicas=0"]);
    cause_of(&cluster, &[], "webhook-no-endpoints");
    service(&cluster, "late", "", "");
    let output = diagnose(&cluster, &["--service", "late"]);
    assert!(output.stdout.contains("also         service-no-controller"), "{}", output.stdout);
}

fn service(cluster: &Cluster, name: &str, annotations: &str, spec: &str) {
    let meta = format!("{{name: {name}, annotations: {{{annotations}}}}}");
    let spec = format!("{{type: LoadBalancer, selector: {{app: web}}, ports: [{{port: 80}}]{spec}}}");
    cluster.apply(&format!("apiVersion: v1\nkind: Service\nmetadata: {meta}\nspec: {spec}\n")).unwrap();
}

/// Services that cannot have what they ask for.
fn asked_for_wrongly(cluster: &Cluster, taken: &str) -> Vec<String> {
    const ADDRESS: &str = "metallb.universe.tf/loadBalancerIPs";
    let taken = format!("{ADDRESS}: {taken}");
    let twice = format!("{ADDRESS}: 192.0.2.210");
    let cases = [
        ("outside", "metallb.universe.tf/loadBalancerIPs: 198.51.100.1", "", "service-request-outside"),
        ("unreadable", "metallb.universe.tf/loadBalancerIPs: first", "", "service-request-unreadable"),
        ("twice", twice.as_str(), ", loadBalancerIP: 192.0.2.211", "service-request-twice"),
        ("unknown", "metallb.universe.tf/address-pool: nowhere", "", "service-pool-unknown"),
        ("taken", taken.as_str(), "", "service-request-taken"),
        ("family", "metallb.universe.tf/loadBalancerIPs: '2001:db8::1'", "", "service-family-unserved"),
        ("class", "", ", loadBalancerClass: example.com/other", "service-class-other"),
    ];
    let mut all = vec![told(cluster, "nothere", "service-missing")];
    for (name, annotations, spec, cause) in cases {
        service(cluster, name, annotations, spec);
        all.push(told(cluster, name, cause));
        kube(cluster, &["delete", "service", name]);
    }
    all
}

fn pools_that_do_not_serve(cluster: &Cluster, address: &str) -> Vec<String> {
    patch(cluster, POOL, "{\"autoAssign\": false}");
    service(cluster, "more", "", "");
    let by_hand = told(cluster, "more", "service-pool-not-for-it");
    patch(cluster, POOL, &format!("{{\"autoAssign\": true, \"addresses\": [\"{address}/32\"]}}"));
    let full = told(cluster, "more", "service-pool-exhausted");
    kube(cluster, &["delete", "service", "more"]);
    patch(cluster, POOL, "{\"addresses\": [\"192.0.2.200-192.0.2.219\"]}");
    well(cluster);
    vec![by_hand, full]
}

/// What keeps speakers from answering for an address that a Service has.
fn nobody_announces(cluster: &Cluster) -> Vec<String> {
    kube(cluster, &["delete", METALLB, ADVERTISEMENT]);
    let mut all = vec![told(cluster, "web", "silent-no-advertisement")];
    advertise(cluster, ", nodeSelectors: [{matchLabels: {nobody: here}}]");
    all.push(told(cluster, "web", "silent-no-match"));
    // Its pod is on the other node.
    advertise(cluster, ", nodeSelectors: [{matchLabels: {kubernetes.io/hostname: cp1}}]");
    let local = |policy: &str| {
        let patch = format!("--patch={{\"spec\": {{\"externalTrafficPolicy\": \"{policy}\"}}}}");
        kube(cluster, &["patch", "service", "web", &patch]);
    };
    local("Local");
    all.push(told(cluster, "web", "silent-local-policy"));
    local("Cluster");
    advertise(cluster, "");
    let label = |label: &str| kube(cluster, &["label", "nodes", "--all", "--overwrite", label]);
    label(&format!("{EXCLUDE}=true"));
    all.push(told(cluster, "web", "silent-announcer-excluded"));
    label(&format!("{EXCLUDE}-"));
    let on = |node: &str| {
        let selector = format!("{{\"nodeSelector\": {{\"nobody\": {node}}}}}");
        patch(cluster, "daemonset/speaker", &format!("{{\"template\": {{\"spec\": {selector}}}}}"));
    };
    on("\"here\"");
    all.push(told(cluster, "web", "silent-speaker-not-ready"));
    on("null");
    well(cluster);
    all
}
