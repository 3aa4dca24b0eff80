//! Whole rack files: the examples and the shortest useful rack parse; broken ones say why, all at once.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

use rackwright::cmd::init::{InitOptions, hosts_list, rack_text};
use rackwright::mesh::profile::expected;
use rackwright::mesh::{Expected, Install, Kind, Minor, Settings, View, judge, settings};
use rackwright::rack::{Loaded, diagnostic, load, parse};
use rackwright_proto::finding::Severity;

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

/// What is found about each example before anybody looks at a host or a cluster, on the day of their writing.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("air-gap.yaml", &[]),
    ("blog.yaml", &["mesh-past-its-life"]),
    ("four-racks-bastion.yaml", &[]),
    ("homelab.yaml", &[]),
];

const WRITTEN: jiff::civil::Date = jiff::civil::date(2026, 5, 20);

#[test]
fn examples_have_the_findings_that_they_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut seen = Vec::new();
    for entry in
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|p| p.is_file())
    {
        let loaded = load(&entry).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(loaded.render_warnings(), "", "{}", entry.display());
        let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
        let (_, expected) =
            EXAMPLES.iter().find(|(known, _)| *known == name).expect("an example that is known");
        assert_eq!(mesh_findings(&loaded), *expected, "{name}");
        seen.push(name);
    }
    assert_eq!(seen.len(), EXAMPLES.len(), "{seen:?}");
}

/// The names of what is found about the rack's Istio on an empty cluster of the rack's Kubernetes; its settings file
/// must be without a warning.
fn mesh_findings(loaded: &Loaded) -> Vec<String> {
    let kubernetes = loaded.rack.kubernetes().unwrap();
    let istio = kubernetes.istio.as_ref().unwrap();
    let settings = match &istio.file {
        None => Settings::None,
        Some(file) => {
            let path = file.resolve(&loaded.folder, None);
            let bytes = std::fs::read(&path).unwrap();
            let (settings, warnings) = settings::parse(istio, &path.display().to_string(), &bytes).unwrap();
            assert_eq!(warnings, [], "{}", path.display());
            settings
        }
    };
    let install = Install::of(istio, settings);
    let version = kubernetes.version.as_ref().unwrap();
    let found =
        judge::findings(&install, &View::default(), Some(Minor(version.major, version.minor)), WRITTEN);
    // What is to be proved from outside is something that will be there.
    let brought = expected(&install);
    for gateway in &istio.gateways {
        let is = |object: &Expected| {
            object.kind == Kind::Service
                && object.name == gateway.service.name.as_str()
                && object.namespace.as_deref() == Some(gateway.service.namespace.as_str())
        };
        assert!(brought.iter().any(is), "{:?} is not among {brought:?}", gateway.service);
    }
    found.into_iter().filter(|f| f.severity != Severity::Pass).map(|f| f.name).collect()
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
