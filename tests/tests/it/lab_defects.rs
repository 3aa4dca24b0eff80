//! What can be ordered to be wrong between pods, Services and the name server is really wrong, as pods and hosts tell
//! it.

use std::time::Duration;

use rackwright_lab::{Cluster, ClusterDefect, Release, Spec, await_until, need_cluster, run};

const LIMIT: Duration = Duration::from_secs(120);
const EXEC_LIMIT: Duration = Duration::from_secs(30);
const NAME: &str = "kubernetes.default.svc.cluster.local";
/// The name server's Service.
const SERVER: &str = "10.96.0.10";

/// A cluster with a web server and a client on every node.
struct Bench {
    cluster: Cluster,
}

impl Bench {
    fn up(spec: Spec) -> Self {
        let cluster = Cluster::up(spec.kube(Release::V1_37)).unwrap();
        for host in cluster.lab().hosts() {
            cluster.apply(&pod(host.name(), host.name())).unwrap();
        }
        cluster.kube(&["wait", "pod", "--all", "--for=condition=Ready", "--timeout=120s"], None).unwrap();
        Self { cluster }
    }

    /// Whether a command inside of a pod succeeds.
    fn succeeds(&self, pod: &str, command: &str) -> Result<(), String> {
        let mut exec = self.cluster.kubectl().unwrap();
        exec.args(["exec", pod, "--", "sh", "-c", command]);
        let output = run(exec, None, EXEC_LIMIT).map_err(|error| error.to_string())?;
        if output.success() { Ok(()) } else { Err(output.stdout + &output.stderr) }
    }

    fn resolves(&self, pod: &str) -> Result<(), String> {
        self.succeeds(pod, &format!("timeout 3 nslookup -type=a {NAME} {SERVER}"))
    }

    /// Whether a pod gets a page of some size from another one.
    fn gets(&self, pod: &str, from: &str, page: &str) -> Result<(), String> {
        let address = self.address(from);
        self.succeeds(pod, &format!("timeout 3 wget -q -O /dev/null http://{address}:8080/{page}"))
    }

    fn address(&self, pod: &str) -> String {
        self.cluster.kube(&["get", "pod", pod, "--output=jsonpath={.status.podIP}"], None).unwrap().stdout
    }

    /// Spoils, waits until a look fails, and heals; after that it must succeed again.
    #[track_caller]
    fn fails_under(&self, defect: ClusterDefect, look: impl Fn() -> Result<(), String>) {
        self.fails_while(defect, look, || ());
    }

    /// The same with a look at what else holds meanwhile.
    #[track_caller]
    fn fails_while(
        &self,
        defect: ClusterDefect,
        look: impl Fn() -> Result<(), String>,
        meanwhile: impl Fn(),
    ) {
        await_until(&format!("all is well before {defect:?}"), LIMIT, &look).unwrap();
        self.cluster.spoil("w1", defect).unwrap();
        await_until(&format!("{defect:?} shows"), LIMIT, || match look() {
            Ok(()) => Err("all is well".to_owned()),
            Err(_) => Ok(()),
        })
        .unwrap();
        meanwhile();
        look().unwrap_err();
        self.cluster.heal("w1", defect).unwrap();
        await_until(&format!("all is well after {defect:?}"), LIMIT, &look).unwrap();
    }
}

/// A client that also serves a small and a large page.
fn pod(name: &str, node: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{nodeName: {node}, \
         terminationGracePeriodSeconds: 1, containers: [{{name: here, image: 'docker.io/library/busybox:lab', \
         command: [sh, -c, 'mkdir /www && echo small > /www/small && head -c 65536 /dev/zero > /www/large && \
         exec httpd -f -p 8080 -h /www']}}]}}}}"
    )
}

#[test]
#[ignore = "long: six defects, each seen, healed and seen to be healed"]
fn names_do_not_resolve() {
    need_cluster!();
    let bench = Bench::up(Spec::test(2));
    let resolves = || bench.resolves("w1");
    bench.fails_under(ClusterDefect::DnsDown, resolves);
    bench.fails_under(ClusterDefect::DnsNoEndpoints, resolves);
    bench.fails_while(ClusterDefect::DnatMissing, resolves, || bench.resolves("cp1").unwrap());
    bench.fails_under(ClusterDefect::IpForwardOff, resolves);
    // Only pods that start now are told of it.
    let fresh = || {
        let _ = bench.cluster.kube(&["delete", "pod", "fresh", "--ignore-not-found", "--now"], None);
        bench.cluster.apply(&pod("fresh", "w1")).unwrap();
        let ready = ["wait", "pod", "fresh", "--for=condition=Ready", "--timeout=60s"];
        bench.cluster.kube(&ready, None).unwrap();
        bench.succeeds("fresh", &format!("timeout 3 nslookup -type=a {NAME}"))
    };
    bench.fails_while(ClusterDefect::KubeletDns, fresh, || bench.resolves("w1").unwrap());
    let host = bench.cluster.lab().host("w1");
    let from_one_port = || {
        // A query for the root's name servers, which is answered whatever the answer.
        let query = r"\000\001\001\000\000\001\000\000\000\000\000\000\000\000\002\000\001";
        let ask = format!("printf '{query}' | socat -t2 - UDP:{SERVER}:53,sourceport=40003 | wc -c");
        let said = host.read(&ask).unwrap();
        if said == "0" { Err(said) } else { Ok(()) }
    };
    bench.fails_while(ClusterDefect::StaleNat, from_one_port, || {
        bench.resolves("w1").unwrap();
        let entries = host.read("conntrack -L -p udp -d 10.96.0.10 --reply-src 10.244.255.250").unwrap();
        assert!(entries.contains("UNREPLIED"), "{entries}");
    });
}

#[test]
#[ignore = "long: a template of its own"]
fn packets_between_pods_go_missing() {
    need_cluster!();
    let bench = Bench::up(Spec::test(2).segments(2));
    let small = || bench.gets("w1", "cp1", "small");
    bench.fails_while(ClusterDefect::SmallMtu, || bench.gets("w1", "cp1", "large"), || small().unwrap());
    bench.fails_under(ClusterDefect::CidrOverlap, small);
    bench.fails_under(ClusterDefect::RpFilter, small);

    // A Service whose endpoint is on the same node.
    bench.cluster.kube(&["expose", "pod", "w1", "--port=80", "--target-port=8080"], None).unwrap_err();
    bench.cluster.kube(&["label", "pod", "w1", "app=here"], None).unwrap();
    bench.cluster.kube(&["expose", "pod", "w1", "--port=80", "--target-port=8080"], None).unwrap();
    bench.cluster.apply(&pod("beside", "w1")).unwrap();
    bench.cluster.kube(&["wait", "pod", "beside", "--for=condition=Ready", "--timeout=60s"], None).unwrap();
    let service = ["get", "service", "w1", "--output=jsonpath={.spec.clusterIP}"];
    let address = bench.cluster.kube(&service, None).unwrap().stdout;
    let same_node =
        || bench.succeeds("beside", &format!("timeout 3 wget -q -O /dev/null http://{address}/small"));
    bench.fails_under(ClusterDefect::BridgeNfOff, same_node);
}

#[test]
#[ignore = "long: a template of its own"]
fn an_overlay_is_closed() {
    need_cluster!();
    let bench = Bench::up(Spec::test(2).overlay());
    bench.fails_under(ClusterDefect::OverlayClosed, || bench.gets("w1", "cp1", "small"));
    bench.fails_under(ClusterDefect::SmallMtu, || bench.gets("w1", "cp1", "large"));
}
