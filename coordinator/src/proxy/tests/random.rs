//! Any text, and configurations of any shape.

use proptest::prelude::*;

use super::config::{KUBEADM, ipvs, only};
use crate::proxy::config::{read, set};
use crate::rack::model::kubernetes::ProxyMode;

/// The value of `ipvs`, after its colon.
fn section() -> impl Strategy<Value = Option<String>> {
    let block = (
        "  |    ",
        prop::sample::subsequence(
            vec![
                "# a: comment",
                "excludeCIDRs: null",
                "minSyncPeriod: 0s # why",
                "scheduler: \"\"",
                "strictARP: false",
                "tcpTimeout: 0s",
            ],
            1..=6,
        ),
    );
    let block = block
        .prop_filter("a comment is no mapping", |(_, lines)| lines.len() > 1 || !lines[0].starts_with('#'));
    let block = block
        .prop_map(|(indent, lines)| lines.iter().map(|line| format!("\n{indent}{line}")).collect::<String>());
    let flow =
        [" {}", " null", " {strictARP: false}", " {excludeCIDRs: [], syncPeriod: 1s} # flow", "", " ~"];
    let flow = prop::sample::select(flow.to_vec()).prop_map(str::to_owned);
    prop::option::of(prop_oneof![block, flow])
}

fn mode() -> impl Strategy<Value = Option<String>> {
    let values = ["\"\"", "iptables", "'ipvs'", "nftables # ä", "", "null", "\"nftables\""];
    prop::option::of(prop::sample::select(values.to_vec()).prop_map(str::to_owned))
}

/// A configuration: its known keys in any order, among others.
fn text() -> impl Strategy<Value = String> {
    let others = prop::sample::subsequence(
        vec![
            "bindAddress: 0.0.0.0",
            "conntrack:\n  maxPerCore: null\n  min: 0",
            "# a comment: on its own",
            "nodePortAddresses:\n- 192.0.2.0/24\n- \"198.51.100.0/24\"",
            "hostnameOverride: \"ü\"",
            "x: |\n  some\n\n  text",
            "winkernel: {a: 1, b: [2, 3]}",
        ],
        0..=7,
    );
    let newline = prop::sample::select(vec!["\n", "\r\n"]);
    (
        others,
        section(),
        mode(),
        newline,
        any::<bool>(),
        Just(()).prop_perturb(|(), mut rng| rng.random::<u64>()),
    )
        .prop_map(|(others, section, mode, newline, last, seed)| {
            let mut lines: Vec<String> = others.into_iter().map(str::to_owned).collect();
            lines.push("apiVersion: kubeproxy.config.k8s.io/v1alpha1".into());
            lines.push("kind: KubeProxyConfiguration".into());
            lines.extend(section.map(|value| format!("ipvs:{value}")));
            lines.extend(mode.map(|value| format!("mode: {value}")));
            let count = lines.len();
            lines.rotate_left(usize::try_from(seed % count as u64).unwrap());
            let text = lines.join("\n") + if last { "\n" } else { "" };
            text.replace('\n', newline)
        })
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        let _ = set(&text, &ipvs());
    }

    #[test]
    fn no_damage_makes_it_panic(at in any::<prop::sample::Index>(), with in "[\\PC\n]{0,3}", cut in 0..40_usize) {
        for text in KUBEADM {
            let mut chars: Vec<char> = text.chars().collect();
            let start = at.index(chars.len());
            let end = (start + cut).min(chars.len());
            chars.splice(start..end, with.chars());
            let text: String = chars.into_iter().collect();
            if let Ok(edited) = set(&text, &ipvs()) {
                let again = set(&edited, &ipvs());
                prop_assert_eq!(again, Ok(edited));
            }
        }
    }

    #[test]
    fn an_edit_sets_what_is_wanted_and_nothing_else(text in text()) {
        let edited = set(&text, &ipvs()).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        let current = read(&edited).unwrap();
        prop_assert_eq!((current.mode.as_str(), current.scheduler.as_str(), current.strict_arp), ("ipvs", "rr", true));
        prop_assert_eq!(current.exclude_cidrs, ipvs().exclude_cidrs.unwrap());
        let again = set(&edited, &ipvs());
        prop_assert_eq!(again, Ok(edited.clone()));
        // All lines that say nothing of what was set are there, in their order.
        let ours = ["mode", "ipvs", "scheduler", "strictARP", "excludeCIDRs"];
        let other = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !ours.iter().any(|key| line.contains(key))).map(str::to_owned).collect()
        };
        prop_assert_eq!(other(&edited), other(&text), "{}", edited);
        for comment in text.lines().filter_map(|line| line.split_once('#').map(|(_, comment)| comment)) {
            prop_assert!(edited.contains(comment.trim_end()), "{edited}");
        }
    }

    #[test]
    fn there_and_back_again(text in text()) {
        let first = set(&text, &only(ProxyMode::Iptables)).unwrap();
        let there = set(&first, &only(ProxyMode::Nftables)).unwrap();
        let back = set(&there, &only(ProxyMode::Iptables)).unwrap();
        let typed = read(&back).unwrap();
        prop_assert_eq!(typed, read(&first).unwrap());
        prop_assert_eq!(back.lines().count(), first.lines().count());
    }
}
