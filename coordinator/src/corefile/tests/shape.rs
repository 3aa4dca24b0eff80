//! What is read from a Corefile.

use crate::corefile::{Corefile, Target, Transport, zone_name};

fn words(text: &str) -> Vec<String> {
    let tokens = crate::corefile::lexer::tokens(text).unwrap();
    tokens.into_iter().map(|token| token.text).collect()
}

fn refused(text: &str) -> String {
    Corefile::parse(text).unwrap_err().to_string()
}

#[test]
fn tokens_are_cut_as_coredns_cuts_them() {
    assert_eq!(words("a # b c\nd"), ["a", "d"]);
    assert_eq!(words("a#b c"), ["a", "c"], "a comment inside of a word ends at the next space");
    assert_eq!(words("\"a b\"c"), ["a b", "c"]);
    assert_eq!(words(r#""a \"b\" \n \\" """#), [r#"a "b" \n \\"#, ""]);
    assert_eq!(words("a\\\nb"), ["a\\", "b"], "nothing continues a line");
    assert_eq!(words("\u{feff}a\r\nb\rc"), ["a", "bc"]);
    assert_eq!(words("{$HOME}/x a{b}"), ["{$HOME}/x", "a{b}"]);
}

#[test]
fn everything_of_the_grammar_is_read() {
    let text = "# ours\n(log-all) {\n  log\n  errors\n}\n\nexample.org, tls://example.net:5353,\n10.0.0.0/23 {\n  import log-all\n  \
                import /etc/extra/*.override\n  template IN A {\n    match \"^a b\\\"c$\"\n    answer \"{{ .Name }} 60 IN A 192.0.2.1\"\n  }\n}\n\
                import /etc/extra/*.server\n{$ZONE}:53 {\n  whoami\n}\n";
    let corefile = Corefile::parse(text).unwrap();
    let [first, second] = &corefile.servers[..] else { panic!("{corefile:?}") };
    let keys: Vec<_> = first.keys.iter().map(|k| (k.transport, k.zones.join(" "), k.port)).collect();
    assert_eq!(
        keys,
        [
            (Transport::Dns, "example.org.".into(), Some(53)),
            (Transport::Tls, "example.net.".into(), Some(5353)),
            (Transport::Dns, "0.0.10.in-addr.arpa. 1.0.10.in-addr.arpa.".into(), Some(53)),
        ]
    );
    let names: Vec<&str> = first.plugins.iter().map(|p| p.name.text.as_str()).collect();
    assert_eq!(names, ["log", "errors", "template"]);
    assert_eq!(first.plugins[0].snippet.as_deref(), Some("log-all"));
    let block = first.plugins[2].block.as_ref().unwrap();
    assert_eq!(block[0].args[0].text, "^a b\"c$");
    assert_eq!(first.imported[0].text, "/etc/extra/*.override");
    assert_eq!(corefile.imported[0].text, "/etc/extra/*.server");
    assert!(second.keys[0].zones.is_empty(), "only the pod knows $ZONE");
}

#[test]
fn a_server_block_needs_no_braces() {
    let corefile = Corefile::parse(".:53\nerrors\nforward . 192.0.2.53\n").unwrap();
    assert_eq!(corefile.servers[0].plugins.len(), 2);
    assert_eq!(Corefile::parse(":53").unwrap().servers[0].keys[0].zones, ["."]);
    assert!(Corefile::parse("").unwrap().servers.is_empty());
}

#[test]
fn targets_are_told_apart() {
    let server = |text: &str| match Target::of(text) {
        Target::Server { transport, address, port, name } => {
            format!("{transport:?} {address} {port} {}", name.unwrap_or_default())
        }
        other => format!("{other:?}"),
    };
    assert_eq!(server("192.0.2.53"), "Dns 192.0.2.53 53 ");
    assert_eq!(server("dns://192.0.2.53:5353"), "Dns 192.0.2.53 5353 ");
    assert_eq!(server("2001:db8::53"), "Dns 2001:db8::53 53 ");
    assert_eq!(server("[2001:db8::53]:5353"), "Dns 2001:db8::53 5353 ");
    assert_eq!(server("tls://192.0.2.53"), "Tls 192.0.2.53 853 ");
    assert_eq!(server("tls://192.0.2.53%dns.example.org:10853"), "Tls 192.0.2.53 10853 dns.example.org");
    assert_eq!(server("https://192.0.2.53"), "Https 192.0.2.53 443 ");
    assert_eq!(server("fe80::1%eth0"), "Dns fe80::1 53 eth0");
    assert_eq!(server("/etc/resolv.conf"), "File(\"/etc/resolv.conf\")");
    assert_eq!(server("dns.example.org"), "Host(\"dns.example.org\")");
    assert_eq!(server("{$UPSTREAM}"), "Variable(\"{$UPSTREAM}\")");
}

#[test]
fn zones_are_compared_as_coredns_compares_them() {
    let names =
        [".", "", "Example.ORG", "dns://example.org.:53", "2001:db8::/32", "10.0.0.0/8"].map(zone_name);
    assert_eq!(
        names,
        [".", ".", "example.org.", "example.org.", "8.b.d.0.1.0.0.2.ip6.arpa.", "10.in-addr.arpa."]
    );
}

#[test]
fn what_coredns_refuses_is_refused_with_its_place() {
    let all = [
        ".:53 {\n  errors\n",
        ".:53 {\n  errors }\n",
        ".:53 {\n  forward . 192.0.2.53\n  {\n  }\n}\n",
        ".:53 {\n  forward .\n}\n",
        ".:53 {\n  errors\n}\n}\n",
        ".:53 {\n}\n. {\n}\n",
        "example.org Example.org:53 {\n}\n",
        ".:53, {\n}\n",
        ".:53 , example.org {\n}\n",
        ".: {\n}\n",
        ".:65536 {\n}\n",
        "a..b {\n}\n",
        "(a) {\n}\n(a) {\n}\n",
        "(a) {\n  import a\n}\n. {\n  import a\n}\n",
        ". {\n  import a\n}\n(a) {\n}\n",
        ". {\n  import a b\n}\n",
        ". {\n  hosts \"a\n}\n",
        "(a)\n",
    ];
    insta::assert_snapshot!(all.map(|text| format!("{text:?}\n  {}", refused(text))).join("\n"));
}

#[test]
fn views_and_bound_addresses_share_a_zone() {
    Corefile::parse(". {\n bind 192.0.2.1\n}\n. {\n bind 192.0.2.2\n}\n").unwrap();
    Corefile::parse(". {\n view a {\n  expr true\n }\n}\n. {\n}\n").unwrap();
    Corefile::parse(".:53 {\n}\n.:5353 {\n}\ntls://. {\n}\n").unwrap();
    refused(". {\n bind 192.0.2.1\n}\n. {\n}\n");
}

#[test]
fn snippets_that_grow_without_end_are_refused() {
    let mut text = String::from("(s0) {\n log\n}\n");
    for n in 1..40 {
        text += &format!("(s{n}) {{\n import s{}\n import s{}\n}}\n", n - 1, n - 1);
    }
    text += ". {\n import s39\n}\n";
    assert!(refused(&text).contains("leads to too many imports"));
}

#[test]
fn kubeadms_own_is_read() {
    for text in super::edit::KUBEADM {
        let corefile = Corefile::parse(text).unwrap();
        let [forward] = &corefile.forwards()[..] else { panic!("{corefile:?}") };
        assert_eq!(
            (forward.from.as_str(), &forward.to[..]),
            (".", &[Target::File("/etc/resolv.conf".into())][..])
        );
        assert!(corefile.servers[0].has("loop"));
    }
}
