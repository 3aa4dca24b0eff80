//! Where the settings live.

use super::config::{ipvs, only};
use super::words;
use rackwright_proto::file::{FileSeen, FileWant};
use rackwright_proto::receipt::{Entry, Ledger};
use rackwright_proto::step::{HostStep, Seen as HostSeen};

use crate::proxy::home::{DaemonSet, Home, Seen, recognise, written};
use crate::rack::model::kubernetes::ProxyMode;

fn seen(version: &str) -> Seen {
    Seen { kubelet_versions: vec![version.into(), version.into()], ..Seen::default() }
}

fn set(name: &str, args: &[&str]) -> DaemonSet {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    DaemonSet { namespace: "kube-system".into(), name: name.into(), args }
}

fn cilium(value: &str) -> Option<std::collections::BTreeMap<String, String>> {
    Some([("kube-proxy-replacement".to_owned(), value.to_owned())].into())
}

#[test]
fn every_home_is_recognised() {
    let proxy = vec![set("kube-proxy", &[])];
    let kubeadm = Seen { daemon_sets: proxy.clone(), config_conf: true, ..seen("v1.37.2") };
    assert_eq!(recognise(&kubeadm), Home::Kubeadm);
    assert_eq!(recognise(&Seen { cilium_config: cilium("false"), ..kubeadm.clone() }), Home::Kubeadm);
    assert_eq!(recognise(&seen("v1.33.1+k3s1")), Home::K3s);
    assert_eq!(recognise(&seen("v1.33.1+rke2r1")), Home::Rke2);
    assert_eq!(recognise(&seen("v1.33.1+k0s")), Home::K0s);
    assert_eq!(recognise(&Seen { daemon_sets: proxy.clone(), ..seen("v1.33.1+k0s.0") }), Home::K0s);
    assert_eq!(recognise(&seen("v1.37.2")), Home::Missing);
    let who = |seen: &Seen| match recognise(seen) {
        Home::ReplacedBy { who, .. } => who,
        other => panic!("{other:?}"),
    };
    assert_eq!(who(&Seen { cilium_config: cilium("true"), ..seen("v1.37.2") }), "Cilium");
    assert_eq!(who(&Seen { cilium_config: cilium("strict"), ..seen("v1.27.2+k3s1") }), "Cilium");
    let router = vec![set("kube-router", &["--run-router=true", "--run-service-proxy=true"])];
    assert_eq!(who(&Seen { daemon_sets: router, ..seen("v1.37.2") }), "kube-router");
    assert_eq!(who(&Seen { calico_bpf: true, ..seen("v1.37.2") }), "Calico's eBPF data plane");
    let routes = vec![set("kube-router", &["--run-service-proxy=false"])];
    assert_eq!(recognise(&Seen { daemon_sets: routes, ..seen("v1.37.2") }), Home::Missing);
}

#[test]
fn each_home_says_where_the_setting_lives() {
    let mixed = Seen { kubelet_versions: vec!["v1.33.1+k3s1".into(), "v1.33.1".into()], ..Seen::default() };
    let other = Seen { daemon_sets: vec![set("kube-proxy", &[])], ..seen("v1.33.1") };
    let all = [
        Home::Kubeadm,
        Home::K3s,
        Home::Rke2,
        Home::K0s,
        recognise(&Seen { cilium_config: cilium("true"), ..seen("v1.37.2") }),
        recognise(&mixed),
        recognise(&other),
        Home::Missing,
    ];
    let found: Vec<_> = all.iter().map(|home| home.finding(Some(&ipvs()))).collect();
    insta::assert_snapshot!(words(&found));
    assert!(!all.iter().any(|home| home.finding(None).blocks()), "nothing is wanted, nothing is in the way");
}

#[test]
fn k3s_and_rke2_are_set_by_a_file_of_ours() {
    let k3s = Home::K3s.drop_in(&ipvs()).unwrap();
    insta::assert_snapshot!(format!("{} {:?}\n{}", k3s.path, k3s.units, k3s.text));
    let rke2 = Home::Rke2.drop_in(&only(ProxyMode::Nftables)).unwrap();
    assert_eq!(rke2.path, "/etc/rancher/rke2/config.yaml.d/50-rackwright.yaml");
    assert!(rke2.text.ends_with("kube-proxy-arg+:\n  - \"proxy-mode=nftables\"\n"));
    assert_eq!(Home::Kubeadm.drop_in(&ipvs()), None);
}

#[test]
fn a_file_that_is_read_at_the_start_only_asks_for_a_restart_until_the_mode_is_there() {
    let file = Home::K3s.drop_in(&only(ProxyMode::Nftables)).unwrap();
    let of = |name: &str, server, said: Result<&str, &str>| {
        let said = said.map(str::to_owned).map_err(str::to_owned);
        file.restart(&name.parse().unwrap(), server, ProxyMode::Nftables, &said)
    };
    let found = [
        of("cp1", true, Ok("iptables")),
        of("w1", false, Ok("iptables")),
        of("w2", false, Err("connection refused")),
        of("w3", false, Ok("nftables")),
    ];
    insta::assert_snapshot!(words(&found));
    assert!(!found.iter().any(rackwright_proto::finding::Finding::blocks));
}

#[test]
fn the_file_is_a_step_of_the_host_and_is_found_again_in_its_receipts() {
    let step = Home::Rke2.drop_in(&only(ProxyMode::Iptables)).unwrap().step();
    let FileWant::Content { mode, owner, .. } = &step.want else { panic!("{step:?}") };
    assert_eq!((*mode, owner.as_str()), (0o644, "root"));
    let mut ledger = Ledger::default();
    assert_eq!(written(&ledger), None);
    let host_step = HostStep::File(step.clone());
    let entry = Entry {
        before: HostSeen::File(FileSeen::Absent),
        after: None,
        order: 0,
        run: "run".parse().unwrap(),
        step: host_step.clone(),
    };
    ledger.entries.insert(host_step.key(), entry);
    assert_eq!(written(&ledger), Some(step));
}
