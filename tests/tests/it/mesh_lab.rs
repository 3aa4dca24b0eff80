//! The lab's Istio: archives as publishers make them, a mesh that serves, an overlay below it.

use std::path::Path;
use std::time::Duration;

use rackwright_lab::{
    Archive, Cluster, ClusterDefect, Istio, Metallb, Release, Spec, await_until, command, helm, must,
    need_cluster,
};

const LIMIT: Duration = Duration::from_secs(120);

/// Unpacks an archive, and returns what its program says.
fn says(archive: &Archive, program: &str, arguments: &[&str], into: &Path) -> String {
    let mut unpack = command("tar");
    unpack.arg("-C").arg(into).arg("-xzf").arg(&archive.path);
    must(unpack, "unpack", LIMIT).unwrap();
    let mut ask = command(into.join(program));
    ask.args(arguments);
    must(ask, "ask for the version", LIMIT).unwrap().stdout
}

fn assert_istio(istio: Istio) {
    let (archive, folder) = (istio.archive().unwrap(), tempfile::tempdir().unwrap());
    let (version, root) = (istio.version(), format!("istio-{}", istio.version()));
    let said = says(&archive, &format!("{root}/bin/istioctl"), &["version", "--remote=false"], folder.path());
    assert!(said.contains(version), "{said}");
    let manifests = folder.path().join(&root).join("manifests");
    let read = |path: &str| std::fs::read_to_string(manifests.join(path)).unwrap();
    assert!(read("charts/base/Chart.yaml").contains(&format!("\nversion: {version}\n")));
    let profile = read("profiles/default.yaml");
    assert!(profile.contains("hub: docker.io/istio\n") && profile.contains(&format!("tag: {version}\n")));
    let mut sum = archive.path.clone().into_os_string();
    sum.push(".sha256");
    let sum = std::fs::read_to_string(sum).unwrap();
    assert_eq!(sum, format!("{} {}\n", archive.sha256, archive.file()));
}

#[test]
fn an_archive_is_as_its_publisher_makes_it() {
    need_cluster!();
    assert_istio(Istio::V1_29);
}

#[test]
#[ignore = "long: builds Istio 1.17.5 and 1.23.2, and Helm"]
fn older_archives_are_too_and_helms() {
    need_cluster!();
    assert_istio(Istio::V1_17);
    assert_istio(Istio::V1_23);
    let folder = tempfile::tempdir().unwrap();
    let archive = helm().unwrap();
    let program = format!("linux-{}/helm", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" });
    let said = says(&archive, &program, &["version", "--short"], folder.path());
    assert!(archive.file().contains(said.trim().split('+').next().unwrap()), "{said}");
}

#[test]
fn a_gateway_serves_what_has_a_sidecar() {
    need_cluster!();
    let cluster = Cluster::up(Spec::test(2).kube(Release::V1_37).istio(Istio::V1_29)).unwrap();
    cluster.install_metallb(Metallb::V0_13).unwrap();
    cluster.give_pool().unwrap();
    cluster.install_istio(Istio::V1_29).unwrap();
    cluster.deploy_mesh_web("mesh", "shop").unwrap();

    let containers = "--output=jsonpath={.items[*].spec['initContainers','containers'][*].name}";
    let pods = ["get", "pods", "--namespace=mesh", "--selector=app=shop", containers];
    let names = cluster.kube(&pods, None).unwrap().stdout;
    assert!(names.contains("istio-init") && names.contains("istio-proxy"), "{names}");

    let address = cluster.gateway_address().unwrap();
    let answer = await_until("the gateway serves", LIMIT, || {
        let url = format!("http://{address}/");
        cluster.outside().get_as("shop.lab.test", &url).map_err(|error| error.to_string())
    })
    .unwrap();
    assert!(answer.contains("server: istio-envoy"), "{answer}");
    let node = answer.lines().last().unwrap();
    assert!(cluster.lab().hosts().iter().any(|host| host.name() == node), "{answer}");
}

#[test]
#[ignore = "long: installs Istio to spoil it"]
fn a_gateway_that_rejects_its_configuration_is_not_ready() {
    need_cluster!();
    let cluster = Cluster::up(Spec::test(2).kube(Release::V1_37).istio(Istio::V1_29)).unwrap();
    cluster.install_istio(Istio::V1_29).unwrap();
    cluster.spoil("cp1", ClusterDefect::GatewayRejects).unwrap();
    let gateway = ["--namespace=istio-system", "--selector=app=istio-ingressgateway"];
    await_until("Envoy says what it rejects", LIMIT, || {
        let asked = cluster.kube(&[&["logs", "--tail=40"], &gateway[..]].concat(), None);
        let said = asked.map_err(|error| error.to_string())?.stdout;
        if said.contains("find a registered implementation") { Ok(()) } else { Err(said) }
    })
    .unwrap();
    cluster.heal("cp1", ClusterDefect::GatewayRejects).unwrap();
    let status = ["rollout", "status", gateway[0], "deployment/istio-ingressgateway", "--timeout=120s"];
    cluster.kube(&status, None).unwrap();
}

#[test]
#[ignore = "long: a template of its own"]
fn pods_reach_each_other_through_an_overlay() {
    need_cluster!();
    let cluster = Cluster::up(Spec::test(2).kube(Release::V1_37).overlay()).unwrap();
    cluster.deploy_web("web", 2).unwrap();
    let host = cluster.lab().host("w1");
    let links = host.read("ip -details link show type vxlan").unwrap();
    assert!(links.contains("mtu 1450") && links.contains("dstport 4789"), "{links}");
    let pods = ["get", "pods", "--selector=app=web", "--output=jsonpath={.items[*].status.podIP}"];
    for address in cluster.kube(&pods, None).unwrap().stdout.split(' ') {
        let tcp = format!("TCP:{address}:8080,connect-timeout=5");
        let ask = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | socat -t5 - {tcp} | tail -n1");
        let answer = host.read(&ask).unwrap();
        assert!(cluster.lab().hosts().iter().any(|host| host.name() == answer), "{answer}");
    }
    host.kill().unwrap();
    host.boot().unwrap();
    host.read("ip neighbour show dev overlay.1 | grep PERMANENT").unwrap();
}
