//! Nothing that an editor, a disk or a cat on the keyboard makes of a rack breaks the parser.

use proptest::prelude::*;

use crate::cmd::init::{InitError, InitNode, InitOptions, hosts_list, rack_text};
use crate::rack::diagnostic::render;
use crate::rack::fixtures::{self, lie_inside};
use crate::rack::model::Role;
use crate::rack::model::kubernetes::ProxyMode;
use crate::rack::parse;

static RACKS: [&str; 2] = [
    include_str!("../../../../examples/homelab.yaml"),
    include_str!("../../../../examples/four-racks-bastion.yaml"),
];

/// Every diagnostic lies inside the text, and can be rendered.
fn sound(text: &str) -> Result<(), TestCaseError> {
    let diagnostics = match parse("rack.yaml", text) {
        Ok((_, warnings)) => warnings,
        Err(diagnostics) => {
            prop_assert!(!diagnostics.is_empty());
            diagnostics
        }
    };
    lie_inside("rack.yaml", text, &diagnostics)
}

fn mutated() -> impl Strategy<Value = String> {
    fixtures::mutated(&RACKS, "(~|null|off|0644|1\\.30|<<|---|\u{201c}|\u{a0}|\u{feff}|nodes|spec)")
}

fn node() -> impl Strategy<Value = InitNode> {
    let name = "[a-z0-9]{1,8}(-[a-z0-9]{1,3})?|null|on|off|true|1e3|0x1f|y";
    let address = prop_oneof![
        (1u8..224, any::<u8>(), any::<u8>()).prop_map(|(a, b, c)| format!("{a}.{b}.{c}.7")),
        (1u16..0x3fff).prop_map(|n| format!("2001:db8::{n:x}")),
        "[a-z]{1,8}\\.example\\.com|null|on",
    ];
    let roles = prop::sample::subsequence(vec![Role::ControlPlane, Role::Worker], 0..=2);
    (name, address, roles).prop_map(|(name, address, roles)| InitNode {
        name: name.parse().unwrap(),
        address: address.parse().unwrap(),
        roles,
    })
}

fn options() -> impl Strategy<Value = InitOptions> {
    let mode = prop::sample::select(vec![
        None,
        Some(ProxyMode::Ipvs),
        Some(ProxyMode::Iptables),
        Some(ProxyMode::Nftables),
    ]);
    let user = proptest::option::of("[a-z][a-z0-9]{0,7}|null|no|1000|DOM\\\\ops");
    let pool = prop::sample::select(vec![
        vec![],
        vec!["198.51.100.200-198.51.100.219"],
        vec!["198.51.100.0/28", "2001:db8:ffff::/112", "3fff::1-3fff::9"],
    ]);
    (prop::collection::vec(node(), 1..6), user, any::<bool>(), mode, pool).prop_map(
        |(mut nodes, user, become_sudo, mode, pool)| {
            let mut names = std::collections::HashSet::new();
            let mut addresses = std::collections::HashSet::new();
            nodes.retain(|n| names.insert(n.name.clone()) && addresses.insert(n.address.clone()));
            InitOptions {
                nodes,
                user: user.map(|u| u.parse().unwrap()),
                become_sudo,
                pool: pool.iter().map(|p| p.parse().unwrap()).collect(),
                mode,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text(text in any::<String>()) {
        sound(&text)?;
    }

    #[test]
    fn text_of_yaml_characters(text in "[a-c:{}\\[\\],&*!|>'\"%@`#\t\n -]{0,200}") {
        sound(&text)?;
    }

    #[test]
    fn mutated_racks(text in mutated()) {
        sound(&text)?;
    }

    #[test]
    fn what_init_writes_parses(options in options()) {
        let text = match rack_text(&options) {
            Err(InitError::NoControlPlane) => return Ok(()),
            text => text.unwrap(),
        };
        let (rack, _) = parse("rack.yaml", &text).map_err(|d| TestCaseError::fail(render("rack.yaml", &text, &d)))?;
        prop_assert_eq!(rack.nodes().len(), options.nodes.len());
        for (node, wanted) in rack.nodes().zip(&options.nodes) {
            prop_assert_eq!((&node.name, &node.address), (&wanted.name, &wanted.address));
        }
        prop_assert_eq!(rack.file().ssh.user.as_ref(), options.user.as_ref());
    }

    #[test]
    fn lists_of_hosts(text in "([a-z0-9.:#= ]{0,30}\n){0,5}") {
        if let Ok(nodes) = hosts_list(&text) {
            let _ = rack_text(&InitOptions { nodes, ..InitOptions::default() });
        }
    }
}

#[test]
fn deep_and_wide_texts_are_refused_in_good_time() {
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "a:\n ".repeat(50_000),
        "? ".repeat(50_000),
        "a\u{201c}: [\n".repeat(50_000),
        (0..50_000).map(|n| format!("x{n}: 1\n")).collect(),
        "z: 1\n".repeat(50_000),
    ] {
        sound(&text).unwrap();
        assert!(parse("rack.yaml", &text).is_err());
    }
}
