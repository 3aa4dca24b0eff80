//! Versions and kernels.

use rackwright_proto::finding::Severity;

use super::words;
use crate::proxy::config::Current;
use crate::proxy::gates::{Node, Scene, findings};
use crate::rack::model::kubernetes::ProxyMode;

fn node(version: &str, kernel: &str) -> Node {
    Node {
        name: "w1".parse().unwrap(),
        proxy: version.parse().unwrap(),
        kernel: kernel.into(),
        ipvs: Some(true),
        networks: vec!["192.0.2.0/24".parse().unwrap()],
    }
}

fn current(mode: &str, gates: &[(&str, bool)]) -> Current {
    let feature_gates = gates.iter().map(|(gate, on)| ((*gate).to_owned(), *on)).collect();
    Current { mode: mode.into(), feature_gates, ..Current::default() }
}

/// The worst of what is said of a mode.
fn worst(mode: ProxyMode, version: &str, gates: &[(&str, bool)]) -> (String, Severity) {
    let control_plane = version.parse().unwrap();
    let nodes = [node(version, "6.12.0")];
    let scene = Scene {
        wanted: Some(mode),
        current: &current("", gates),
        control_plane: &control_plane,
        nodes: &nodes,
    };
    let found = findings(&scene);
    let worst = found.iter().max_by_key(|f| f.severity).unwrap();
    (worst.name.clone(), worst.severity)
}

#[test]
fn ipvs_goes_step_by_step() {
    use Severity::{Error, Pass, Warning};
    let gate = [("KubeProxyIPVS", true)];
    let ipvs = |version: &str, gates: &[(&str, bool)]| worst(ProxyMode::Ipvs, version, gates);
    assert_eq!(ipvs("1.34.0", &[]).1, Pass);
    assert_eq!(ipvs("1.35.0", &[]), ("proxy-mode-deprecated".into(), Warning));
    assert_eq!(ipvs("1.39.9", &[]), ("proxy-mode-deprecated".into(), Warning));
    assert_eq!(ipvs("1.37.0", &[("KubeProxyIPVS", false)]), ("proxy-mode-off".into(), Error));
    assert_eq!(ipvs("1.40.0", &[]), ("proxy-mode-off".into(), Error));
    assert_eq!(ipvs("1.42.0", &gate), ("proxy-mode-deprecated".into(), Warning));
    assert_eq!(ipvs("1.43.0", &gate), ("proxy-mode-gone".into(), Error));
}

#[test]
fn nftables_comes_step_by_step() {
    use Severity::{Error, Pass, Warning};
    let nftables = |version: &str, gates: &[(&str, bool)]| worst(ProxyMode::Nftables, version, gates).1;
    assert_eq!(nftables("1.28.0", &[]), Error);
    assert_eq!(nftables("1.30.0", &[]), Error);
    assert_eq!(nftables("1.30.0", &[("NFTablesProxyMode", true)]), Warning);
    assert_eq!(nftables("1.31.0", &[]), Warning);
    assert_eq!(nftables("1.31.0", &[("NFTablesProxyMode", false)]), Error);
    assert_eq!(nftables("1.33.0", &[]), Pass);
}

#[test]
fn kernels_must_carry_the_mode() {
    let control_plane = "1.37.2".parse().unwrap();
    let of = |mode, nodes: &[Node]| {
        let current = current("", &[]);
        findings(&Scene { wanted: Some(mode), current: &current, control_plane: &control_plane, nodes })
    };
    let mut found = Vec::new();
    for kernel in ["5.4.0-150-generic", "5.13.0", "6.1", "odd"] {
        found.extend(of(ProxyMode::Nftables, &[node("1.37.2", kernel)]).split_off(2));
    }
    let without = Node { ipvs: Some(false), ..node("1.37.2", "6.12.0") };
    found.extend(of(ProxyMode::Ipvs, &[without]).split_off(1));
    let tested = Node { networks: vec!["198.51.100.0/24".parse().unwrap()], ..node("1.30.0", "6.12.0") };
    found.extend(of(ProxyMode::Ipvs, &[tested]).split_off(1));
    insta::assert_snapshot!(words(&found));
}

#[test]
fn every_gate_is_said_in_words() {
    let control_plane = "1.43.0".parse().unwrap();
    let nodes = ["1.34.0", "1.36.0", "1.39.0", "1.40.0", "1.43.0"].map(|version| node(version, "6.12.0"));
    let mut found = Vec::new();
    for mode in ["", "iptables", "ipvs"] {
        let current = current(mode, &[]);
        let scene = Scene { wanted: None, current: &current, control_plane: &control_plane, nodes: &nodes };
        found.extend(findings(&scene));
    }
    insta::assert_snapshot!(words(&found));
}
