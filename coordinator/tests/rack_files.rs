//! Whole rack files: the examples and the shortest useful rack parse; broken ones say why, all at once.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

use rackwright::rack::{diagnostic, load, parse};

const SAMPLE: &str = "\
apiVersion: rackwright.dev/v1
kind: Rack
ssh: {user: ops, become: sudo}
nodes:
  - {name: cp1, address: 192.0.2.11, roles: [control-plane]}
  - {name: w1, address: 192.0.2.12}
hosts:
  modules: [overlay]
  sysctls: {net.ipv4.ip_forward: 1}
  swap: off
kubernetes:
  proxy: {mode: ipvs, scheduler: rr, strictARP: true}
  dns: {forward: [192.0.2.53]}
  metallb:
    version: 0.13.10
    pools: [{name: first, addresses: [192.0.2.200-192.0.2.219]}]
    advertisements: [{pools: [first]}]
  istio: {version: 1.17.5, method: istioctl, profile: default}
";

#[test]
fn the_sample_parses_without_a_warning() {
    let (rack, warnings) = parse("rack.yaml", SAMPLE).unwrap();
    assert_eq!(warnings, []);
    let names: Vec<&str> = rack.nodes().map(|n| n.name.as_str()).collect();
    assert_eq!(names, ["cp1", "w1"]);
    let kubernetes = rack.kubernetes().unwrap();
    assert_eq!(kubernetes.metallb.as_ref().unwrap().version.to_string(), "0.13.10");
    let key = "net.ipv4.ip_forward".parse().unwrap();
    assert_eq!(rack.node("w1").unwrap().hosts.sysctls[&key].as_str(), "1");
}

#[test]
fn examples_parse_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let loaded = load(&path).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(loaded.render_warnings(), "", "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 2);
}

/// Each file of `tests/bad` beside what is said about it, in `tests/snapshots`.
#[test]
fn bad_racks_say_why() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let found = match parse("rack.yaml", &text) {
            Ok((_, warnings)) => warnings,
            Err(diagnostics) => diagnostics,
        };
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        insta::assert_snapshot!(stem, diagnostic::render("rack.yaml", &text, &found));
    }
}
