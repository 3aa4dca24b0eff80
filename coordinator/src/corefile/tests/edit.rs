//! What an edit changes, and what it refuses.

use crate::corefile::{Corefile, EditError, set_forward};
use crate::rack::words::Upstream;

/// What kubeadm of several versions writes, oldest first.
pub(super) const KUBEADM: [&str; 3] = [
    include_str!("../golden/kubeadm-1.16"),
    include_str!("../golden/kubeadm-1.30"),
    include_str!("../golden/kubeadm-1.37"),
];

pub(super) fn upstreams(words: &[&str]) -> Vec<Upstream> {
    words.iter().map(|word| word.parse().unwrap()).collect()
}

fn set(text: &str, words: &[&str]) -> Result<String, EditError> {
    let edited = set_forward(text, ".", &upstreams(words))?;
    assert_eq!(set_forward(&edited, ".", &upstreams(words)).unwrap(), edited, "twice is once");
    Ok(edited)
}

fn refused(text: &str) -> String {
    set(text, &["192.0.2.53"]).unwrap_err().to_string()
}

#[test]
fn kubeadms_own_changes_in_one_place() {
    for text in KUBEADM {
        let edited = set(text, &["192.0.2.53", "tls://[2001:db8::53]:8853"]).unwrap();
        let expected = text.replace("/etc/resolv.conf", "192.0.2.53 tls://[2001:db8::53]:8853");
        assert_eq!(edited, expected);
        assert_eq!(set(&edited, &["/etc/resolv.conf"]).unwrap(), text, "and back");
    }
}

#[test]
fn nothing_but_the_upstreams_is_touched() {
    let text = "# a\r\n.:53 {\r\n\tforward\t.  192.0.2.1\t \"192.0.2.2\"   { # why\r\n\t\tpolicy sequential\r\n\t}\r\n}\r\n";
    let edited = set(text, &["192.0.2.53"]).unwrap();
    assert_eq!(edited, text.replace("192.0.2.1\t \"192.0.2.2\"", "192.0.2.53"));
    assert_eq!(
        set(text, &["192.0.2.1:53", "192.0.2.2"]).unwrap(),
        text,
        "the same upstreams, otherwise written"
    );
}

#[test]
fn a_glued_comment_is_no_upstream_but_its_rest_is() {
    let edited = set(". {\n  forward . 192.0.2.1#old 192.0.2.2#new\n}\n", &["192.0.2.53"]).unwrap();
    assert_eq!(edited, ". {\n  forward . 192.0.2.53#new\n}\n");
}

#[test]
fn the_server_on_port_53_is_meant() {
    let text = "tls://. {\n  forward . 192.0.2.1\n}\n. {\n  forward . 192.0.2.1\n}\nexample.org {\n  forward . 192.0.2.1\n}\n";
    let edited = set(text, &["192.0.2.53"]).unwrap();
    assert_eq!(
        edited,
        text.replacen("192.0.2.1", "\0", 1).replacen("192.0.2.1", "192.0.2.53", 1).replace('\0', "192.0.2.1")
    );
    let stub = set_forward(text, "Example.org", &upstreams(&["192.0.2.53"])).unwrap();
    assert!(
        stub.ends_with("example.org {\n  forward . 192.0.2.53\n}\n")
            && stub.matches("192.0.2.53").count() == 1
    );
}

#[test]
fn a_missing_forward_gets_a_line_of_its_own() {
    let all = [
        ".:53 {\n\terrors # all\n\tcache 30 {\n\t\tservfail 0s\n\t} # 1\n\t# last\n}\n",
        ". {\n}\n",
        "  . { }\n",
        ". { errors\n}",
        ". {\r\n  errors\r\n}\r\n",
        ".:53\nerrors\n",
        ".:53",
        ". {\n    # nothing yet\n}\nexample.org {\n  forward . 192.0.2.1\n}\n",
    ];
    let edited = all.map(|text| format!("{text:?}\n{:?}", set(text, &["192.0.2.53"]).unwrap()));
    insta::assert_snapshot!(edited.join("\n"));
}

#[test]
fn a_snippet_is_edited_if_nobody_else_uses_it() {
    let one = "(up) {\n  forward . 192.0.2.1\n}\n. {\n  import up\n}\n";
    assert_eq!(set(one, &["192.0.2.53"]).unwrap(), one.replace("192.0.2.1", "192.0.2.53"));
    let two = format!("{one}example.org {{\n  import up\n}}\n");
    assert!(matches!(set(&two, &["192.0.2.53"]), Err(EditError::Shared { line: 2, .. })));
}

#[test]
fn what_cannot_be_edited_is_refused_with_the_way_out() {
    let many: Vec<String> = (1..=16).map(|n| format!("192.0.2.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let all = [
        refused("example.org {\n}\n"),
        refused("example.org {\n}\nimport /etc/extra/*.server\n"),
        refused("{$ZONE} {\n}\n"),
        refused(".:5301 {\n}\n.:5302 {\n}\n"),
        refused(". {\n  forward . 192.0.2.1\n  forward . 192.0.2.2\n}\n"),
        refused("(up) {\n  forward . 192.0.2.1\n}\n. {\n  import up\n}\nexample.org {\n  import up\n}\n"),
        refused(". {\n  errors\n  import /etc/extra/*.override\n}\n"),
        refused(". {\n  proxy . /etc/resolv.conf\n}\n"),
        refused(". {\n"),
        set(". {\n}\n", &[]).unwrap_err().to_string(),
        set(". {\n}\n", &many).unwrap_err().to_string(),
        set(". {\n}\n", &["/etc/{$NAME}"]).unwrap_err().to_string(),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn odd_paths_are_quoted() {
    let edited = set(". {\n}\n", &["/etc/my resolv#1.conf"]).unwrap();
    assert_eq!(edited, ". {\n    forward . \"/etc/my resolv#1.conf\"\n}\n");
    let corefile = Corefile::parse(&edited).unwrap();
    assert_eq!(corefile.forwards()[0].tls_servername(), None);
}
