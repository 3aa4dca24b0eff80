//! What the words of YAML mean here, and how nodes inherit.

use std::path::Path;

use proptest::prelude::*;

use crate::rack::model::hosts::Swap;
use crate::rack::model::network::Probe;
use crate::rack::model::ssh::{Become, SecretSource};
use crate::rack::words::{InterfaceChoice, Version};
use crate::rack::{Rack, parse};

use super::{said, with};

fn rack(lines: &str) -> Rack {
    match parse("rack.yaml", &with(lines)) {
        Ok((rack, _)) => rack,
        Err(diagnostics) => panic!("{diagnostics:#?}"),
    }
}

#[test]
fn off_means_off_however_yaml_was_rewritten() {
    for word in ["off", "\"off\"", "Off", "no", "false"] {
        assert_eq!(rack(&format!("hosts: {{swap: {word}}}")).file().hosts.swap, Swap::Off, "{word}");
        assert_eq!(rack(&format!("network: {{probe: {word}}}")).network().probe, Probe::Off, "{word}");
    }
    assert!(!said(&with("hosts: {swap: \"no\"}")).is_empty());
    assert!(!said(&with("hosts: {swap: true}")).is_empty());
}

#[test]
fn yes_and_on_are_true() {
    for (word, value) in
        [("true", true), ("yes", true), ("On", true), ("false", false), ("no", false), ("OFF", false)]
    {
        let rack = rack(&format!("kubernetes: {{proxy: {{mode: ipvs, strictARP: {word}}}}}"));
        let proxy = rack.kubernetes().and_then(|k| k.proxy.clone()).unwrap();
        assert_eq!(proxy.strict_arp, value, "{word}");
    }
    for word in ["y", "1", "\"true\"", "[true]"] {
        assert!(
            !said(&with(&format!("kubernetes: {{proxy: {{mode: ipvs, strictARP: {word}}}}}"))).is_empty(),
            "{word}"
        );
    }
}

#[test]
fn versions_and_modes_keep_their_digits() {
    let rack = rack(
        "kubernetes: {version: 1.30}\nhosts: {sysctls: {vm.swappiness: 010, kernel.printk: 4 4 1 7}, files: [{path: /a, content: x, mode: 0644}, {path: /b, absent: yes, mode: 0o600}]}",
    );
    assert_eq!(rack.kubernetes().unwrap().version.as_ref().unwrap().to_string(), "1.30");
    let modes: Vec<u32> = rack.file().hosts.files.iter().map(|f| f.mode.bits()).collect();
    assert_eq!(modes, [0o644, 0o600]);
    let hosts = &rack.node("cp1").unwrap().hosts;
    assert_eq!(hosts.sysctls[&"vm.swappiness".parse().unwrap()].as_str(), "010");
    assert_eq!(hosts.sysctls[&"kernel.printk".parse().unwrap()].as_str(), "4 4 1 7");
}

#[test]
fn versions_have_suffixes_and_a_v() {
    for (text, printed) in
        [("v0.13.10", "0.13.10"), ("1.31.0-rc.0", "1.31.0-rc.0"), ("1.30.2+k3s1", "1.30.2+k3s1")]
    {
        assert_eq!(text.parse::<Version>().unwrap().to_string(), printed);
    }
    for bad in ["", "v", "1", "1.", "1.2.3.4", "1.x", "1.2-", "1.2+", "latest", "+1.2", "1.2 "] {
        assert!(bad.parse::<Version>().is_err(), "{bad}");
    }
}

#[test]
fn sections_may_be_left_empty() {
    let rack = rack("ssh:\nhosts: ~\nnetwork: null\nkubernetes:");
    assert!(rack.kubernetes().is_none());
    assert_eq!(rack.network().interface, InterfaceChoice::Auto);
    assert!(
        said("apiVersion: rackwright.dev/v1\nkind: Rack\nnodes:\n")[0]
            .contains("nothing, where a list belongs")
    );
}

#[test]
fn aliases_are_their_anchors() {
    let rack = rack("hosts: {sysctls: &s {vm.swappiness: 1}}\nssh: {identity: &i [a, b], known_hosts: *i}");
    assert_eq!(rack.node("cp1").unwrap().ssh.known_hosts.len(), 2);
    let deep =
        (1..9).map(|n| format!("a{n}: &a{n} [*a{0},*a{0},*a{0},*a{0},*a{0},*a{0},*a{0},*a{0}]\n", n - 1));
    let bomb = format!("a0: &a0 [1,1,1,1,1,1,1,1]\n{}", deep.collect::<String>());
    assert!(said(&bomb)[0].contains("more than"));
}

#[test]
fn nodes_inherit_and_override() {
    let text = "\
apiVersion: rackwright.dev/v1
kind: Rack
ssh: {user: ops, become: sudo, becomePassword: {env: SUDO}, identity: a, jump: [{address: 192.0.2.1}], port: 2022}
hosts: {modules: [overlay, nf-conntrack], sysctls: {vm.swappiness: 1, vm.panic_on_oom: 0}, files: [{path: /a, content: rack}]}
network: {interface: bond0, gateway: 192.0.2.1}
nodes:
  - {name: a, address: a.example.com}
  - name: b
    address: 2001:db8::b
    port: 22
    roles: [worker, control-plane]
    hostKey: SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDvTPZ5o2sPgVnTeDo
    ssh: {user: root, become: none, becomePassword: prompt, identity: [b, c], jump: []}
    hosts: {modules: [nf_conntrack, ip_vs], sysctls: {vm.swappiness: 2}, swap: keep, files: [{path: /a, content: node}]}
    network: {interface: auto}
";
    let (rack, _) = parse("rack.yaml", text).unwrap();
    let (a, b) = (rack.node("a").unwrap(), rack.node("b").unwrap());
    assert_eq!((a.port, b.port), (Some(2022), Some(22)));
    assert_eq!((a.ssh.become_root, b.ssh.become_root), (Become::Sudo, Become::None));
    assert_eq!(a.ssh.become_password, Some(SecretSource::Env("SUDO".parse().unwrap())));
    assert_eq!(b.ssh.become_password, Some(SecretSource::Prompt));
    assert_eq!((a.ssh.identity.len(), b.ssh.identity.len(), b.ssh.host_keys.len()), (1, 2, 1));
    assert_eq!((a.ssh.jump.as_ref().unwrap().len(), b.ssh.jump.as_ref().unwrap().len()), (1, 0));
    let modules: Vec<&str> = b.hosts.modules.iter().map(|m| m.as_str()).collect();
    assert_eq!(modules, ["overlay", "nf_conntrack", "ip_vs"]);
    let values: Vec<&str> = b.hosts.sysctls.values().map(|v| v.as_str()).collect();
    assert_eq!(values, ["0", "2"]);
    assert_eq!((a.hosts.swap, b.hosts.swap), (Swap::Off, Swap::Keep));
    let content = |n: &crate::rack::Node| n.hosts.files.values().next().unwrap().content.clone().unwrap();
    assert_eq!((content(a).as_str().to_owned(), content(b).as_str()), ("rack".to_owned(), "node"));
    assert_eq!(
        (&a.network.interface, &b.network.interface),
        (&InterfaceChoice::Named("bond0".parse().unwrap()), &InterfaceChoice::Auto)
    );
    assert!(b.is_control_plane() && !a.is_control_plane());
}

#[test]
fn waivers_cover_the_rack_or_some_nodes() {
    let rack = rack(
        "hosts: {waive: [{finding: clock-unsynchronised, reason: lab}, {finding: module-missing, nodes: [cp1], reason: soon}]}",
    );
    let cp1 = "cp1".parse().unwrap();
    assert_eq!(rack.waived("clock-unsynchronised", Some(&cp1)), Some("lab"));
    assert_eq!(rack.waived("clock-unsynchronised", None), Some("lab"));
    assert_eq!(rack.waived("module-missing", Some(&cp1)), Some("soon"));
    assert_eq!(rack.waived("module-missing", None), None);
}

#[test]
fn a_confirmation_has_seconds_to_an_hour() {
    for good in ["5s", "60s", "1h"] {
        assert!(said(&with(&format!("limits: {{confirm: {good}}}"))).is_empty(), "{good}");
    }
    for bad in ["4s", "500ms", "61min", "2h"] {
        let said = said(&with(&format!("limits: {{confirm: {bad}}}")));
        assert_eq!(said, [format!("limits.confirm {bad} is no time to confirm a change in")]);
    }
}

#[test]
fn local_paths_start_at_the_rack_or_at_home() {
    let path = |text: &str| text.parse::<crate::rack::words::LocalPath>().unwrap();
    let home = Some(Path::new("/home/ops"));
    assert_eq!(path("keys/a").resolve(Path::new("/racks"), home), Path::new("/racks/keys/a"));
    assert_eq!(path("~/a").resolve(Path::new("/racks"), home), Path::new("/home/ops/a"));
    assert_eq!(path("/a").resolve(Path::new("/racks"), home), Path::new("/a"));
}

#[test]
fn a_byte_order_mark_is_told_and_moves_nothing() {
    let text = format!("\u{feff}{}", with("hosts: {swop: off}"));
    let found = parse("rack.yaml", &text).unwrap_err();
    let places: Vec<(usize, usize)> = found.iter().map(|d| (d.line, d.column)).collect();
    assert_eq!(places, [(1, 1), (5, 9)]);
    let only = parse("rack.yaml", &format!("\u{feff}{}", with(""))).unwrap().1;
    assert_eq!((only.len(), only[0].message.as_str()), (1, "byte order mark (U+FEFF)"));
}

#[test]
fn no_secret_is_ever_shown() {
    for lines in [
        "ssh: {becomePassword: hunter2}",
        "ssh: {becomePassword: [hunter2]}",
        "ssh:\n  becomePassword:\n    hunter2: x",
        "ssh:\n  becomePassword:\n    - env: hunter2",
        "ssh:\n  becomePassword:\n    hunter2",
        "ssh:\n  becomePassword:\n    env: hunter-2",
        "ssh: {password: hunter2, becom: sudo}",
        "ssh:\n  passphrase: “hunter2”\n",
        "ssh: {becomePassword: !vault hunter2}",
        "ssh: {becomePassword: hunter2",
    ] {
        let text = with(lines);
        let found = parse("rack.yaml", &text).unwrap_err();
        let shown = crate::rack::diagnostic::render("rack.yaml", &text, &found);
        let json = serde_json::to_string(&found).unwrap();
        assert!(!shown.contains("hunter") && !json.contains("hunter"), "{shown}");
    }
}

#[test]
fn pools_of_a_large_rack_are_checked_in_good_time() {
    let pools: Vec<String> = (0..2000u32)
        .map(|n| format!("{{name: p{n}, addresses: [198.18.{}.{}/29]}}", n / 32, n % 32 * 8))
        .collect();
    let lines = format!(
        "kubernetes: {{metallb: {{version: 0.13.10, pools: [{}], advertisements: [{{}}]}}}}",
        pools.join(", ")
    );
    assert_eq!(said(&with(&lines)), [""; 0]);
}

#[test]
fn windows_line_ends_move_nothing() {
    let text = with("hosts:\n  swap: of\n  sysctls: {a.b: 1, a/b: 2}").replace('\n', "\r\n");
    let found = parse("rack.yaml", &text).unwrap_err();
    let places: Vec<(usize, usize, usize)> = found.iter().map(|d| (d.line, d.column, d.end_column)).collect();
    assert_eq!(places, [(6, 9, 11), (7, 21, 24)]);
    assert!(found[1].message.contains("two ways of writing"));
}

#[test]
fn many_mistakes_are_told_in_bounds() {
    let lines: String = (0..5000).map(|n| format!("field{n}: 1\n")).collect();
    let found = parse("rack.yaml", &with(&lines)).unwrap_err();
    assert_eq!(found.len(), 200);
    assert!(found[199].message.ends_with("(and 4800 more problems)"));
}

#[test]
fn files_that_are_no_racks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rack.yaml");
    let load = || crate::rack::load(&path).unwrap_err().to_string();
    assert!(load().starts_with("read the rack "));
    let write =
        |bytes: &[u8]| std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), bytes).unwrap();
    write(b"\xff\xfea\0");
    assert!(load().contains("UTF-16"));
    write(b"kind: Rack\nname: \xe9t\xe9\n");
    assert!(load().contains(":2:7: error: this is not UTF-8"));
    write(&vec![b'#'; usize::try_from(crate::rack::LARGEST).unwrap() + 1]);
    assert!(load().contains("larger than 4 MiB"));
}

proptest! {
    #[test]
    fn versions_print_as_they_were_read(major in 0u32..99, minor in 0u32..999, patch in proptest::option::of(0u32..999)) {
        let text = match patch {
            Some(patch) => format!("{major}.{minor}.{patch}"),
            None => format!("{major}.{minor}"),
        };
        prop_assert_eq!(text.parse::<Version>().unwrap().to_string(), text.clone());
        let rack = rack(&format!("kubernetes: {{version: {text}}}"));
        prop_assert_eq!(rack.kubernetes().unwrap().version.as_ref().unwrap().to_string(), text);
    }

    #[test]
    fn periods_print_as_something_equal(number in 1u32..8000, unit in prop_oneof!["ms", "s", "min", "h"]) {
        let period: crate::rack::words::Period = format!("{number}{unit}").parse().unwrap();
        prop_assert_eq!(period.to_string().parse(), Ok(period));
    }
}

#[test]
fn a_manifest_comes_from_one_place_and_by_https() {
    let sha256 = "0".repeat(64);
    let with_manifest = |source: &str| {
        said(&with(&format!(
            "kubernetes: {{metallb: {{version: 0.13.10, manifest: {{{source}, sha256: \"{sha256}\"}}}}}}"
        )))
    };
    assert_eq!(with_manifest("url: \"https://mirror.example.com/metallb.yaml\""), [""; 0]);
    let both = with_manifest("path: m.yaml, url: \"https://mirror.example.com/metallb.yaml\"");
    assert_eq!(both, ["kubernetes.metallb.manifest.url a manifest comes from one place: `path` or `url`"]);
    for url in ["http://mirror.example.com/m.yaml", "https://user:secret@example.com/", "https://"] {
        assert_eq!(with_manifest(&format!("url: \"{url}\"")).len(), 1, "{url}");
    }
}

#[test]
fn a_node_is_rebooted_only_if_it_may_be_drained() {
    let of = |migrate: &str| {
        said(&with(&format!("kubernetes: {{proxy: {{mode: nftables, migrate: {migrate}}}}}")))
    };
    assert!(of("{drain: true, reboot: true}").is_empty());
    assert!(of("{drain: true}").is_empty());
    let refused = of("{reboot: true}");
    assert!(!refused.is_empty(), "a reboot without a drain");
}
