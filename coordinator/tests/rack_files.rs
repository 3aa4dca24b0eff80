//! Whole rack files: the examples and the shortest useful rack parse; broken ones say why, all at once.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

use rackwright::cmd::init::{InitOptions, hosts_list, rack_text};
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

#[test]
fn init_writes_a_commented_rack() {
    let list = "\
127.0.0.1 localhost
::1 ip6-localhost ip6-loopback
ff02::1 ip6-allnodes
# the rack
192.0.2.11 cp1 cp1.example.com   # aliases are not needed
w1 192.0.2.12
2001:db8::13
host4.example.com
";
    let options = InitOptions {
        nodes: hosts_list(list).unwrap(),
        user: Some("ops".parse().unwrap()),
        become_sudo: true,
        pool: vec!["192.0.2.200-192.0.2.219".parse().unwrap()],
        mode: Some(rackwright::rack::model::kubernetes::ProxyMode::Ipvs),
    };
    let text = rack_text(&options).unwrap();
    assert_eq!(parse("rack.yaml", &text).unwrap().1, []);
    insta::assert_snapshot!("init", text);
    let bare = InitOptions { nodes: vec!["a=192.0.2.1".parse().unwrap()], ..InitOptions::default() };
    insta::assert_snapshot!("init-bare", rack_text(&bare).unwrap());
}

#[test]
fn init_refuses_what_is_no_list_of_hosts() {
    let refused = |text: &str| {
        let error = hosts_list(text).map(|nodes| rack_text(&InitOptions { nodes, ..InitOptions::default() }));
        let error = error.and_then(|text| text).unwrap_err();
        let source = std::error::Error::source(&error).map(|s| format!(": {s}")).unwrap_or_default();
        format!("{error}{source}")
    };
    assert!(refused("# nothing\n").contains("no hosts"));
    assert_eq!(refused("a 192.0.2.1\nb 192.0.2.1\n"), "`192.0.2.1` is given twice");
    assert!(refused("a 192.0.2.1\n\nA_B 192.0.2.2\n").starts_with("line 3"));
    let clash = InitOptions {
        nodes: vec!["a=192.0.2.201".parse().unwrap()],
        pool: vec!["192.0.2.200-192.0.2.219".parse().unwrap()],
        ..InitOptions::default()
    };
    assert!(rack_text(&clash).unwrap_err().to_string().contains("holds 192.0.2.201, the address of node a"));
    for bad in ["cp1", "cp1=192.0.2.1:boss", "=192.0.2.1", "cp1=", "cp1=[2001:db8::1"] {
        assert!(bad.parse::<rackwright::cmd::init::InitNode>().is_err(), "{bad}");
    }
    let node: rackwright::cmd::init::InitNode = "cp1=2001:db8::1:control-plane,worker".parse().unwrap();
    assert_eq!((node.address.to_string().as_str(), node.roles.len()), ("2001:db8::1", 2));
}
