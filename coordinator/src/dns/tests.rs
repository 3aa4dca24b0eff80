use std::collections::BTreeMap;
use std::net::IpAddr;

use rackwright_proto::facts::ResolvConf;
use rackwright_proto::finding::{Finding, Severity};

use super::manager::recognise;
use super::{Node, Pod, Policy, Scene, findings};
use crate::rack::words::Upstream;

const KUBEADM: &str = include_str!("../corefile/golden/kubeadm-1.37");

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn node(name: &str, nameserver: &str) -> Node {
    let conf = ResolvConf {
        path: "/etc/resolv.conf".into(),
        nameservers: nameserver.split_whitespace().map(str::to_owned).collect(),
        search: vec![],
    };
    Node {
        name: name.parse().unwrap(),
        schedulable: true,
        resolver: Some(conf),
        cluster_dns: vec![ip("10.96.0.10")],
    }
}

fn pod(name: &str, node: &str, address: &str) -> Pod {
    Pod { name: name.into(), node: Some(node.parse().unwrap()), addresses: vec![ip(address)] }
}

struct Cluster {
    corefile: String,
    wanted: Vec<Upstream>,
    pods: Vec<Pod>,
    nodes: Vec<Node>,
    service: Vec<IpAddr>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            corefile: KUBEADM.into(),
            wanted: vec![],
            pods: vec![pod("coredns-a", "cp1", "10.244.0.2"), pod("coredns-b", "w1", "10.244.1.2")],
            nodes: vec![node("cp1", "192.0.2.53"), node("w1", "192.0.2.53")],
            service: vec![ip("10.96.0.10")],
        }
    }
}

impl Cluster {
    fn scene(&self) -> Scene<'_> {
        Scene {
            corefile: &self.corefile,
            wanted: &self.wanted,
            allow_loop: false,
            service: &self.service,
            pods: &self.pods,
            policy: Policy::Default,
            nodes: &self.nodes,
            manager: None,
        }
    }

    fn forwards_to(list: &str) -> Self {
        Self { wanted: list.split(' ').map(|word| word.parse().unwrap()).collect(), ..Self::default() }
    }
}

fn bad(scene: &Scene<'_>) -> Vec<Finding> {
    findings(scene).into_iter().filter(|f| f.severity != Severity::Pass).collect()
}

fn words(findings: &[Finding]) -> String {
    let line = |f: &Finding| {
        format!(
            "{:?} {} {:?} [{}]\n  saw: {}\n  fix: {}",
            f.severity, f.name, f.nodes, f.subject, f.observed, f.fix
        )
    };
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn names(findings: &[Finding]) -> Vec<(&str, Severity)> {
    findings.iter().map(|f| (f.name.as_str(), f.severity)).collect()
}

#[test]
fn kubeadms_own_passes() {
    let cluster = Cluster::default();
    let found = findings(&cluster.scene());
    assert!(found.iter().all(|f| f.severity == Severity::Pass), "{}", words(&found));
    let passed: Vec<String> = found.iter().map(|f| format!("{}: {}", f.name, f.observed)).collect();
    insta::assert_snapshot!(passed.join("\n"));
}

#[test]
fn upstreams_that_lead_back_are_refused() {
    let loops =
        ["10.96.0.10", "10.244.1.2", "127.0.0.1", "127.0.0.53", "::1", "169.254.20.10", "169.254.25.10"];
    let found: Vec<Finding> = loops.iter().flat_map(|to| bad(&Cluster::forwards_to(to).scene())).collect();
    assert_eq!(found.len(), loops.len());
    assert!(found.iter().all(|f| f.name == "dns-forward-loops" && f.blocks()));
    insta::assert_snapshot!(words(&found));
}

#[test]
fn one_that_loops_among_good_ones_is_named() {
    let cluster = Cluster::forwards_to("192.0.2.53 10.96.0.10:53 /etc/resolv.conf");
    let found = bad(&cluster.scene());
    assert_eq!(names(&found), [("dns-forward-loops", Severity::Error)]);
    assert_eq!(found[0].subject, "10.96.0.10");
    let meant = Scene { allow_loop: true, ..cluster.scene() };
    insta::assert_snapshot!(words(&bad(&meant)));
}

#[test]
fn a_nodes_resolver_that_leads_back_is_found() {
    let nodes =
        vec![node("cp1", "127.0.0.53"), node("w1", "192.0.2.53 10.96.0.10"), node("w2", "127.0.0.53")];
    let cluster = Cluster { nodes, ..Cluster::default() };
    insta::assert_snapshot!(words(&bad(&cluster.scene())));
    let other = Cluster { wanted: vec!["192.0.2.53".parse().unwrap()], ..cluster };
    assert!(bad(&other.scene()).is_empty(), "resolv.conf is not asked then");
}

#[test]
fn a_pod_with_the_clusters_resolver_asks_itself() {
    let cluster = Cluster::default();
    let first = Scene { policy: Policy::ClusterFirst, ..cluster.scene() };
    assert_eq!(names(&bad(&first)), [("dns-forward-loops", Severity::Error)]);
    let own = Scene { policy: Policy::Own(vec!["10.96.0.10".into()]), ..cluster.scene() };
    assert_eq!(names(&bad(&own)), [("dns-forward-loops", Severity::Error)]);
    let good = Scene { policy: Policy::Own(vec!["192.0.2.53".into()]), ..cluster.scene() };
    assert!(bad(&good).is_empty());
}

#[test]
fn server_blocks_may_ask_each_other() {
    let corefile = ".:53 {\n forward . 127.0.0.1:5301 127.0.0.1:5302\n loop\n}\n\
                    .:5301 {\n forward . tls://192.0.2.1 {\n  tls_servername a.example.org\n }\n}\n\
                    .:5302 {\n forward . tls://192.0.2.2 {\n  tls_servername b.example.org\n }\n}\n";
    let good = Cluster { corefile: corefile.into(), ..Cluster::default() };
    assert!(bad(&good.scene()).is_empty(), "{}", words(&bad(&good.scene())));
    let round = Cluster { corefile: corefile.replace("tls://192.0.2.2", "10.96.0.10"), ..Cluster::default() };
    let found = bad(&round.scene());
    assert!(names(&found).contains(&("dns-forward-loops", Severity::Error)), "{}", words(&found));
}

#[test]
fn a_stub_zone_that_asks_the_cluster_is_a_warning() {
    let corefile = format!("{KUBEADM}corp.example.org {{\n forward . 10.96.0.10\n}}\n");
    let cluster = Cluster { corefile, ..Cluster::default() };
    assert_eq!(names(&bad(&cluster.scene())), [("dns-forward-loops", Severity::Warning)]);
}

#[test]
fn the_rest_is_said_in_words() {
    let mut found = Vec::new();
    let broken = Cluster { corefile: ".:53 {\n  errors }\n".into(), ..Cluster::default() };
    found.extend(bad(&broken.scene()));
    let alone = Cluster { corefile: ".:53 {\n  errors\n}\n".into(), ..Cluster::default() };
    found.extend(bad(&alone.scene()));
    let blind = Cluster { corefile: KUBEADM.replace("    loop\n", ""), ..Cluster::default() };
    found.extend(bad(&blind.scene()));
    let pods = vec![pod("coredns-a", "cp1", "10.244.0.2"), pod("coredns-b", "cp1", "10.244.0.3")];
    found.extend(bad(&Cluster { pods, ..Cluster::default() }.scene()));
    let service = vec![ip("10.43.0.10")];
    found.extend(bad(
        &Cluster { service, nodes: vec![node("w1", "192.0.2.53")], ..Cluster::default() }.scene()
    ));
    let nodes = vec![node("cp1", ""), node("w1", "192.0.2.53")];
    found.extend(bad(&Cluster { nodes, ..Cluster::default() }.scene()));
    found.extend(bad(&Cluster::forwards_to("tls://192.0.2.1").scene()));
    let mut twice = Cluster::forwards_to("192.0.2.53");
    twice.corefile = ". {\n forward . 192.0.2.1\n forward . 192.0.2.2\n loop\n}\n".into();
    found.extend(bad(&twice.scene()));
    insta::assert_snapshot!(words(&found));
}

#[test]
fn managers_are_recognised_and_say_where_the_setting_lives() {
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    let none = map(&[]);
    let all = [
        ("rke2-coredns-rke2-coredns", none.clone(), map(&[("meta.helm.sh/release-name", "rke2-coredns")])),
        (
            "coredns",
            map(&[("objectset.rio.cattle.io/hash", "bce283298811743a0386ab510f2f67ef74240c57")]),
            none.clone(),
        ),
        ("coredns", map(&[("k0s.k0sproject.io/stack", "coredns")]), none.clone()),
        ("coredns", map(&[("addonmanager.kubernetes.io/mode", "Reconcile")]), none.clone()),
        (
            "coredns",
            none.clone(),
            map(&[("argocd.argoproj.io/tracking-id", "dns:/ConfigMap:kube-system/coredns")]),
        ),
        ("coredns", map(&[("kustomize.toolkit.fluxcd.io/name", "dns")]), none.clone()),
        ("coredns", none.clone(), map(&[("meta.helm.sh/release-name", "dns")])),
    ];
    let cluster = Cluster::forwards_to("192.0.2.53");
    let found = all.iter().flat_map(|(name, labels, annotations)| {
        let manager = recognise(name, labels, annotations);
        assert!(manager.is_some());
        bad(&Scene { manager, ..cluster.scene() })
    });
    insta::assert_snapshot!(words(&found.collect::<Vec<_>>()));
    assert_eq!(recognise("coredns", &none, &none), None);
    let kubespray = map(&[("addonmanager.kubernetes.io/mode", "EnsureExists")]);
    assert_eq!(recognise("coredns", &kubespray, &none), None);
}
