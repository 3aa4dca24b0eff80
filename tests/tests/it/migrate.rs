//! kube-proxy's mode changed on a real cluster: node by node, drained and rebooted where the rack allows, with the
//! Service's address answering after each turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rackwright_lab::talk::say;
use rackwright_lab::{Cluster, Metallb, Output, Release, Spec, await_until, need_cluster, run};
use serde_json::Value;

use crate::operator::{coded, rackwright, says};

/// Every node is drained, and may boot: a quarter of an hour on a busy machine.
const LIMIT: Duration = Duration::from_secs(1200);
const SYSTEM: &str = "--namespace=kube-system";

fn up(nodes: usize) -> Cluster {
    Cluster::up(Spec::test(nodes).kube(Release::V1_37).metallb(Metallb::V0_13)).unwrap()
}

fn kube(cluster: &Cluster, arguments: &[&str]) -> String {
    cluster.kube(arguments, None).unwrap().text().to_owned()
}

/// Rewrites what the rack says of kube-proxy.
fn want(cluster: &Cluster, proxy: &str) {
    let path = cluster.lab().rack_yaml();
    let text = std::fs::read_to_string(&path).unwrap();
    let line = |line: &str| match line.starts_with("  proxy: ") {
        true => format!("  proxy: {proxy}\n"),
        false => format!("{line}\n"),
    };
    std::fs::write(path, text.lines().map(line).collect::<String>()).unwrap();
}

#[track_caller]
fn ends(cluster: &Cluster, code: i32, arguments: &[&str]) -> Output {
    coded(run(rackwright(cluster.lab(), arguments), None, LIMIT).unwrap(), code)
}

#[track_caller]
fn migrate(cluster: &Cluster, more: &[&str]) -> (Value, String) {
    let output = ends(cluster, 0, &[&["migrate-proxy", "--yes", "--json"], more].concat());
    (serde_json::from_str(&output.stdout).unwrap(), output.stderr)
}

fn assert_mode(cluster: &Cluster, mode: &str) {
    for host in cluster.lab().hosts() {
        let ask = "printf 'GET /proxyMode HTTP/1.0\\r\\n\\r\\n' | socat -t5 - TCP:127.0.0.1:10249 | tail -n1";
        assert_eq!(host.read(ask).unwrap().trim(), mode, "{}", host.name());
    }
}

/// Nothing of ours stays on objects of others once a migration is at its end.
fn assert_released(cluster: &Cluster) {
    let strategy = "--output=jsonpath={.spec.updateStrategy.type} {.metadata.annotations}";
    let said = kube(cluster, &["get", "daemonset", "kube-proxy", SYSTEM, strategy]);
    assert!(said.starts_with("RollingUpdate ") && !said.contains("update-strategy"), "{said}");
    let cordoned = "--output=jsonpath={.items[*].spec.unschedulable}{.items[*].metadata.annotations}";
    let nodes = kube(cluster, &["get", "nodes", cordoned]);
    assert!(!nodes.contains("true{") && !nodes.contains("rackwright.dev"), "{nodes}");
}

/// Connects to an address from outside, again and again, and counts.
struct Watch {
    stop: Arc<AtomicBool>,
    tries: Arc<AtomicU32>,
    failed: Arc<AtomicU32>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    fn start(cluster: &Cluster, address: &str) -> Self {
        let (stop, tries, failed) = (Arc::default(), Arc::default(), Arc::default());
        let (s, t, f): (Arc<AtomicBool>, Arc<AtomicU32>, Arc<AtomicU32>) =
            (Arc::clone(&stop), Arc::clone(&tries), Arc::clone(&failed));
        let lab = rackwright_lab::Lab::open(&cluster.lab().spec().name).unwrap();
        let url = format!("http://{address}/");
        let thread = std::thread::spawn(move || {
            while !s.load(Ordering::Relaxed) {
                let mut curl = lab.op_command("curl").unwrap();
                curl.args(["--silent", "--fail", "--max-time", "2", &url]);
                let answered = run(curl, None, Duration::from_secs(10)).is_ok_and(|output| output.code == 0);
                t.fetch_add(1, Ordering::Relaxed);
                f.fetch_add(u32::from(!answered), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(200));
            }
            lab.keep();
        });
        Self { stop, tries, failed, thread: Some(thread) }
    }

    fn end(mut self) -> (u32, u32) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        (self.tries.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

/// A cluster with a Service behind an address, as `apply` makes it in mode nftables.
fn served(nodes: usize) -> (Cluster, String) {
    let cluster = up(nodes);
    cluster.deploy_web("web", 3).unwrap();
    want(&cluster, "{mode: nftables}");
    ends(&cluster, 0, &["apply", "--yes"]);
    assert_mode(&cluster, "nftables");
    let address = cluster.address_of("web").unwrap();
    (cluster, address)
}

#[test]
#[ignore = "long: three nodes twice over"]
fn the_mode_changes_node_by_node_and_the_service_goes_on() {
    need_cluster!();
    let (cluster, address) = served(3);
    let before = kube(&cluster, &["get", "configmap", "kube-proxy", SYSTEM, "--output=jsonpath={.data}"]);
    let watch = Watch::start(&cluster, &address);
    want(&cluster, "{mode: iptables, migrate: {drain: true}}");
    let plan = ends(&cluster, 2, &["migrate-proxy"]);
    says(&plan, "drain, new kube-proxy, prove, uncordon");
    assert_mode(&cluster, "nftables");

    // One worker first: the others wait, and nothing rolls by itself.
    let (first, _) = migrate(&cluster, &["--node", "w1"]);
    assert_eq!(first["proven"], serde_json::json!(["w1"]));
    assert_eq!(first["left"].as_array().unwrap().len(), 2, "{first}");
    let strategy =
        ["get", "daemonset", "kube-proxy", SYSTEM, "--output=jsonpath={.spec.updateStrategy.type}"];
    assert_eq!(kube(&cluster, &strategy), "OnDelete");
    let (rest, told) = migrate(&cluster, &[]);
    assert_eq!(rest["migration"]["done"], serde_json::json!(["w1"]), "{rest}");
    let order: Vec<&str> = rest["proven"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(order, ["w2", "cp1"], "{told}");
    assert_mode(&cluster, "iptables");
    assert_released(&cluster);

    want(&cluster, "{mode: nftables, migrate: {drain: true}}");
    migrate(&cluster, &[]);
    let (tries, failed) = watch.end();
    assert_mode(&cluster, "nftables");
    assert_released(&cluster);
    assert!(cluster.outside().get(&format!("http://{address}/")).is_ok());
    say(format_args!("{failed} of {tries} connections failed during two migrations"));
    assert!(failed < tries, "nothing ever answered");
    says(&ends(&cluster, 0, &["migrate-proxy", "--yes"]), "Nothing to do");
    says(&ends(&cluster, 0, &["apply", "--yes"]), "unchanged");
    let after = kube(&cluster, &["get", "configmap", "kube-proxy", SYSTEM, "--output=jsonpath={.data}"]);
    assert_eq!(before, after);
}

#[test]
#[ignore = "long: a drain and a boot of every node; virtual machines show the same"]
fn nodes_are_rebooted_where_the_rack_allows_it() {
    need_cluster!();
    let (cluster, address) = served(2);
    let boots = || {
        let hosts = cluster.lab().hosts();
        hosts.iter().map(|host| host.read("cat /proc/sys/kernel/random/boot_id").unwrap()).collect::<Vec<_>>()
    };
    let before = boots();
    want(&cluster, "{mode: iptables, migrate: {drain: true, reboot: true}}");
    let (done, told) = migrate(&cluster, &[]);
    assert_eq!(done["proven"], serde_json::json!(["w1", "cp1"]), "{told}");
    assert!(boots().iter().zip(&before).all(|(now, then)| now != then));
    assert_mode(&cluster, "iptables");
    assert_released(&cluster);
    await_until("the Service answers", Duration::from_secs(60), || {
        cluster.outside().get(&format!("http://{address}/")).map(drop).map_err(|error| error.to_string())
    })
    .unwrap();
    // Back is one command, and nothing of ours stays.
    ends(&cluster, 0, &["revert", "--yes"]);
    assert_released(&cluster);
}

#[test]
fn a_set_that_waits_for_its_pods_to_be_deleted_is_rolled_node_by_node() {
    need_cluster!();
    let cluster = up(2);
    cluster.deploy_web("web", 1).unwrap();
    let patch = r#"--patch={"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null}}}"#;
    kube(&cluster, &["patch", "daemonset", "kube-proxy", SYSTEM, patch]);
    want(&cluster, "{mode: iptables}");
    let output = ends(&cluster, 0, &["apply", "--yes"]);
    says(&output, "cp1 has its turn (1 of 2)");
    says(&output, "w1 has its turn (2 of 2)");
    assert_mode(&cluster, "iptables");
    let strategy =
        ["get", "daemonset", "kube-proxy", SYSTEM, "--output=jsonpath={.spec.updateStrategy.type}"];
    assert_eq!(kube(&cluster, &strategy), "OnDelete", "it is not ours to change");

    // Several at once are too many: set aside while it is rolled, and put back.
    let patch = r#"--patch={"spec":{"updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":2}}}}"#;
    kube(&cluster, &["patch", "daemonset", "kube-proxy", SYSTEM, patch]);
    want(&cluster, "{mode: nftables}");
    says(&ends(&cluster, 0, &["apply", "--yes"]), "w1 has its turn (2 of 2)");
    assert_mode(&cluster, "nftables");
    let most =
        "--output=jsonpath={.spec.updateStrategy.type} {.spec.updateStrategy.rollingUpdate.maxUnavailable}";
    assert_eq!(kube(&cluster, &["get", "daemonset", "kube-proxy", SYSTEM, most]), "RollingUpdate 2");
    assert_released(&cluster);
}
