//! The configuration's text.

use crate::proxy::config::{Current, Wanted, read, set};
use crate::rack::model::kubernetes::{ProxyMode, Scheduler};

/// What kubeadm of several versions writes; 1.37's is from a cluster whose operator chose nftables.
pub(super) const KUBEADM: [&str; 2] =
    [include_str!("../golden/kubeadm-1.30.conf"), include_str!("../golden/kubeadm-1.37.conf")];

const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

pub(super) fn ipvs() -> Wanted {
    Wanted {
        mode: ProxyMode::Ipvs,
        scheduler: Some(Scheduler::Rr),
        strict_arp: Some(true),
        exclude_cidrs: Some(vec!["192.0.2.0/24".into(), "2001:db8::/32".into()]),
    }
}

pub(super) fn only(mode: ProxyMode) -> Wanted {
    Wanted { mode, scheduler: None, strict_arp: None, exclude_cidrs: None }
}

fn done(text: &str, wanted: &Wanted) -> String {
    let edited = set(text, wanted).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(set(&edited, wanted).unwrap(), edited, "twice is once");
    edited
}

/// The lines that differ.
fn difference(old: &str, new: &str) -> String {
    let diff = similar::TextDiff::from_lines(old, new);
    diff.unified_diff().context_radius(0).to_string()
}

#[test]
fn kubeadms_own_changes_in_four_lines() {
    let edited = KUBEADM.map(|text| difference(text, &done(text, &ipvs())));
    insta::assert_snapshot!(edited.join("\n"));
}

#[test]
fn another_mode_is_one_line() {
    for text in KUBEADM {
        let edited = done(text, &only(ProxyMode::Iptables));
        let mode = if text.contains("mode: nftables") { "mode: nftables" } else { "mode: \"\"" };
        assert_eq!(edited, text.replace(mode, "mode: iptables"));
        assert_eq!(read(&edited).unwrap(), Current { mode: "iptables".into(), ..Current::default() });
    }
}

#[test]
fn what_is_set_is_read_again() {
    let current = read(&done(KUBEADM[0], &ipvs())).unwrap();
    assert_eq!((current.mode.as_str(), current.scheduler.as_str(), current.strict_arp), ("ipvs", "rr", true));
    assert_eq!(current.exclude_cidrs, ["192.0.2.0/24", "2001:db8::/32"]);
    let gates = format!("{HEAD}featureGates:\n  KubeProxyIPVS: true\nmetricsBindAddress: 0.0.0.0:10249\n");
    let current = read(&gates).unwrap();
    assert_eq!(current.feature_gates, [("KubeProxyIPVS".to_owned(), true)]);
    assert_eq!(current.metrics_address, "0.0.0.0:10249");
}

#[test]
fn every_shape_is_edited_where_it_stands() {
    let all = [
        HEAD.to_owned(),
        format!("{HEAD}ipvs: null # later\n"),
        format!("{HEAD}ipvs:\nmode: \"iptables\" # é\n"),
        format!("{HEAD}ipvs: {{}}\n"),
        format!("{HEAD}ipvs: {{syncPeriod: 1s}}\nmode: 'ipvs'\n"),
        format!("{HEAD}ipvs:\n    # why\n    syncPeriod: 1s\n    # end\nmode: ipvs\n"),
        format!("{HEAD}ipvs:\n  excludeCIDRs:\n  - 198.51.100.0/24 # old\n  # more\n  scheduler: rr\nmode: ipvs\n"),
        format!("{HEAD}ipvs:\n  excludeCIDRs:\n    - 192.0.2.0/24 # a\n    - 198.51.100.0/24\n    # c\n    - 203.0.113.0/24 # b\n"),
        format!("{HEAD}ipvs:\n  excludeCIDRs: [198.51.100.0/24]\n"),
        "---\n# x\napiVersion: v1\nkind: Other\nmode: iptables\n---\nmode: iptables\nkind: KubeProxyConfiguration\napiVersion: kubeproxy.config.k8s.io/v1alpha1\n".to_owned(),
        "{\"apiVersion\": \"kubeproxy.config.k8s.io/v1alpha1\", \"kind\": \"KubeProxyConfiguration\", \"mode\": \"\"}".to_owned(),
        format!("{HEAD}mode: iptables\n").replace('\n', "\r\n"),
    ];
    let edited = all.map(|text| format!("{text}=>\n{}", done(&text, &ipvs()).replace('\r', "␍")));
    insta::assert_snapshot!(edited.join("\n----\n"));
}

#[test]
fn what_is_not_there_and_not_wanted_is_not_written() {
    let off = Wanted { strict_arp: Some(false), ..only(ProxyMode::Ipvs) };
    assert_eq!(done(&format!("{HEAD}mode: ipvs\n"), &off), format!("{HEAD}mode: ipvs\n"));
    let on = format!("{HEAD}ipvs:\n  strictARP: true\nmode: ipvs\n");
    assert_eq!(done(&on, &off), on.replace("true", "false"));
}

#[test]
fn what_cannot_be_edited_safely_is_refused_with_its_place() {
    let all = [
        String::new(),
        "a: [\n".to_owned(),
        "kind: Other\n".to_owned(),
        format!("{HEAD}---\n{HEAD}"),
        HEAD.replace("v1alpha1", "v1alpha2"),
        "kind: KubeProxyConfiguration\n".to_owned(),
        format!("{HEAD}mode: &m iptables\n"),
        format!("{HEAD}a: &m iptables\nmode: *m\n"),
        format!("{HEAD}mode: !!str iptables\n"),
        format!("{HEAD}ipvs: &i\n  strictARP: false\nx: *i\n"),
        format!("{HEAD}ipvs: yes\n"),
        format!("{HEAD}ipvs:\n  strictARP: [false]\n"),
        format!("{HEAD}mode: iptables\nmode: ipvs\n"),
        format!("{HEAD}ipvs:\n  <<: {{strictARP: false}}\n"),
        format!("{HEAD}ipvs:\n  excludeCIDRs:\n  - {{a: b}}\n"),
    ];
    let said = all.map(|text| format!("{text:?}\n  {}", set(&text, &ipvs()).unwrap_err()));
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn the_racks_words_become_what_is_wanted() {
    let proxy = |text: &str| serde_json::from_str(text).unwrap();
    let rack = proxy(
        r#"{"mode": "ipvs", "scheduler": "rr", "strictARP": true, "excludeCIDRs": ["192.0.2.0/24", "2001:db8::/32"]}"#,
    );
    assert_eq!(Wanted::from(&rack), ipvs());
    assert_eq!(Wanted::from(&proxy(r#"{"mode": "nftables", "strictARP": true}"#)), only(ProxyMode::Nftables));
}

#[test]
fn json_stays_json() {
    let text = "{\"apiVersion\": \"kubeproxy.config.k8s.io/v1alpha1\", \"kind\": \"KubeProxyConfiguration\", \"ipvs\": {\"strictARP\": false}}";
    let edited: serde_json::Value = serde_json::from_str(&done(text, &ipvs())).unwrap();
    assert_eq!(edited["mode"], "ipvs");
    assert_eq!(edited["ipvs"]["scheduler"], "rr");
    assert_eq!(edited["ipvs"]["strictARP"], true);
    assert_eq!(edited["ipvs"]["excludeCIDRs"][1], "2001:db8::/32");
}
