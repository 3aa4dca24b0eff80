//! Each mistake once as an operator makes it, and manifests that have none.

use proptest::prelude::*;
use rackwright_proto::finding::Severity;

use crate::injection::lint::{Linted, NAMES, Source, lint, render};

fn one(text: &str) -> (Source, Linted) {
    let source = Source::new("web.yaml", text.as_bytes());
    let linted = lint(std::slice::from_ref(&source)).remove(0);
    (source, linted)
}

fn told(text: &str) -> String {
    let (source, linted) = one(text);
    render(&source, &linted)
}

fn names(text: &str) -> Vec<(&'static str, Severity)> {
    one(text).1.findings.iter().map(|m| (m.name, m.diagnostic.severity)).collect()
}

/// A Deployment with these lines in its own metadata, its pods' metadata and its pods' spec.
fn deployment(own: &str, pods: &str, spec: &str) -> String {
    let lines = |text: &str, indent: usize| -> String {
        text.lines().map(|line| format!("{}{line}\n", " ".repeat(indent))).collect()
    };
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  namespace: shop\n{}spec:\n  selector: \
         {{matchLabels: {{app: web}}}}\n  template:\n    metadata:\n      name: web\n{}    spec:\n{}      containers:\n      \
         - name: web\n        image: nginx\n",
        lines(own, 2),
        lines(pods, 6),
        lines(spec, 6),
    )
}

const SHOP: &str =
    "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  labels: {istio-injection: enabled}\n---\n";

#[test]
fn the_blogs_typographic_quotes() {
    let annotation = deployment("", "annotations:\n  sidecar.istio.io/inject: “false”", "");
    insta::assert_snapshot!("quotes", told(&annotation));
    let label = deployment("", "labels:\n  sidecar.istio.io/inject: ‘false’\n  app: “web”", "");
    insta::assert_snapshot!("quotes_label", told(&label));
}

#[test]
fn spaces_that_are_none() {
    insta::assert_snapshot!(
        "spaces",
        told("kind: Pod\nmetadata:\n\u{a0} name: web\nspec: {containers: []}\n")
    );
    let value = deployment("", "labels:\n  app:\u{a0}web\n  tier: a\u{a0}b", "");
    insta::assert_snapshot!("spaces_value", told(&value));
}

#[test]
fn a_label_at_the_wrong_place() {
    let own = "labels:\n  sidecar.istio.io/inject: \"false\"";
    insta::assert_snapshot!("misplaced", told(&deployment(own, "", "")));
    let both = deployment(own, own, "");
    assert_eq!(names(&both), [("inject-misplaced", Severity::Warning)]);
    let namespace =
        "kind: Namespace\nmetadata:\n  name: a\n  labels:\n    sidecar.istio.io/inject: \"true\"\n";
    assert_eq!(names(namespace), [("inject-misplaced", Severity::Error)]);
    let pod = "labels:\n  istio-injection: enabled\n  istio.io/rev: canary";
    insta::assert_snapshot!("injection_label", told(&deployment("", pod, "")));
}

#[test]
fn values_and_who_wins() {
    let unquoted = deployment("", "labels: {sidecar.istio.io/inject: false}", "");
    let other = deployment("", "labels: {sidecar.istio.io/inject: \"no\"}", "");
    let beaten = deployment(
        "",
        "labels: {sidecar.istio.io/inject: \"true\"}\nannotations: {sidecar.istio.io/inject: \"false\"}",
        "",
    );
    let annotation = deployment("", "annotations: {sidecar.istio.io/inject: \"true\"}", "");
    let namespace = "kind: Namespace\nmetadata:\n  name: shop\n  labels:\n    istio-injection: on\n    istio.io/rev: canary\n";
    let other_namespace = "kind: Namespace\nmetadata: {name: shop, labels: {istio-injection: activated}}\n";
    let all = [&unquoted, &other, &beaten, &annotation, namespace, other_namespace].map(told);
    insta::assert_snapshot!("values", all.concat());
}

#[test]
fn what_a_pod_cannot_have_beside_a_sidecar() {
    let ports = "hostNetwork: true";
    let asks = "labels: {sidecar.istio.io/inject: \"true\"}";
    insta::assert_snapshot!("host_network", told(&deployment("", asks, ports)));
    assert_eq!(
        names(&(SHOP.to_owned() + &deployment("", "", ports))),
        [("inject-host-network", Severity::Warning)]
    );
    let user = "securityContext: {runAsUser: 1337}";
    assert_eq!(names(&deployment("", "", user)), [("uid-1337", Severity::Warning)]);
    assert_eq!(names(&deployment("", asks, user)), [("uid-1337", Severity::Error)]);
    assert_eq!(names(&(SHOP.to_owned() + &deployment("", "", user))), [("uid-1337", Severity::Error)]);
    let excluded = "labels: {sidecar.istio.io/inject: \"false\"}";
    assert_eq!(names(&deployment("", excluded, user)), []);
    let taken = deployment("", asks, "")
        + "        ports: [{containerPort: 15021}, {containerPort: 15050}, {containerPort: 80}]\n";
    insta::assert_snapshot!("ports", told(&taken));
    let restricted = "kind: Namespace\nmetadata:\n  name: shop\n  labels:\n    istio.io/rev: canary\n    pod-security.kubernetes.io/enforce: restricted\n";
    insta::assert_snapshot!("restricted", told(restricted));
}

#[test]
fn namespaces_that_never_inject() {
    let namespace = "kind: Namespace\nmetadata: {name: kube-system, labels: {istio-injection: enabled}}\n";
    let pod = "kind: Pod\nmetadata:\n  name: a\n  namespace: kube-system\n  labels: {sidecar.istio.io/inject: \"true\"}\nspec: {containers: [{name: a}]}\n";
    insta::assert_snapshot!("never", told(&format!("{namespace}---\n{pod}")));
}

#[test]
fn lists_other_kinds_and_places() {
    let user = "spec: {containers: [{name: a, securityContext: {runAsUser: 1337}}]}";
    let job = format!(
        "kind: CronJob\nmetadata: {{name: a}}\nspec: {{jobTemplate: {{spec: {{template: {{{user}}}}}}}}}"
    );
    assert_eq!(names(&job), [("uid-1337", Severity::Warning)]);
    let rollout = format!("kind: Rollout\nmetadata: {{name: a}}\nspec: {{template: {{{user}}}}}");
    assert_eq!(names(&rollout), [("uid-1337", Severity::Warning)]);
    let list = format!(
        "kind: List\nitems:\n- {{kind: Pod, metadata: {{name: a}}, {user}}}\n- {{kind: List, items: [{{kind: Pod, metadata: {{name: b}}, {user}}}]}}\n"
    );
    let (_, linted) = one(&list);
    let objects: Vec<&str> = linted.findings.iter().map(|m| m.object.as_str()).collect();
    assert_eq!((linted.objects, objects), (2, vec!["Pod a", "Pod b"]));
    assert_eq!(
        names("kind: Service\nmetadata: {name: a, labels: {sidecar.istio.io/inject: \"true\"}}\n"),
        []
    );
}

#[test]
fn namespaces_of_one_file_count_in_another() {
    let sources = [
        Source::new("a.yaml", SHOP.as_bytes()),
        Source::new("b.yaml", deployment("", "", "hostNetwork: true").as_bytes()),
    ];
    let linted = lint(&sources);
    assert_eq!((linted[0].findings.len(), linted[1].findings[0].name), (0, "inject-host-network"));
}

#[test]
fn what_is_meant_is_not_told() {
    let prose = "kind: ConfigMap\nmetadata:\n  name: a\n  annotations:\n    note: the “best” one – really\n    other: \"“quoted”\"\ndata:\n  page: |\n    “hello”\u{a0}world\n# “comment”\n";
    assert_eq!(names(prose), []);
    let pods = "labels: {sidecar.istio.io/inject: \"true\", istio.io/rev: canary}";
    assert_eq!(names(&(SHOP.to_owned() + &deployment("", pods, ""))), []);
    assert_eq!(names("---\n---\n# nothing\n"), []);
    assert_eq!(names(""), []);
    assert_eq!(
        names(
            "defaults: &d {a: b}\nkind: ConfigMap\nmetadata: {name: a}\ndata: {<<: *d, bin: !!binary aGk=, own: !mine x}\n"
        ),
        []
    );
}

#[test]
fn texts_that_are_none() {
    let broken = SHOP.to_owned() + "kind: Deployment\nmetadata:\n  name: web\n labels: x\n";
    insta::assert_snapshot!("broken", told(&broken));
    let source = Source::new("web.yaml", b"kind: Pod\nmetadata: {name: a\xff\xfe}\n");
    let linted = lint(std::slice::from_ref(&source)).remove(0);
    assert!(
        linted.findings.iter().any(|m| m.name == "manifest-unreadable" && m.diagnostic.line == 2),
        "{linted:?}"
    );
    let deep = "[".repeat(5000);
    assert_eq!(names(&deep), [("manifest-unreadable", Severity::Error)]);
    let many = "- “a”\n".repeat(1000);
    assert_eq!(names(&many).len(), crate::injection::lint::MOST);
}

#[test]
fn json_for_programs() {
    let (_, linted) = one(&deployment("labels: {sidecar.istio.io/inject: \"false\"}", "", ""));
    let mut out = Vec::new();
    crate::report::lint::json_text(&mut out, &[linted]).unwrap();
    insta::assert_snapshot!("json", String::from_utf8(out).unwrap());
}

/// `docs/mesh.md` has a row for each name.
#[test]
fn every_name_is_documented() {
    let text = include_str!("../../../../docs/mesh.md");
    for row in NAMES.iter().map(crate::findings::row) {
        assert!(text.contains(&row), "docs/mesh.md lacks: {row}");
    }
}

fn manifest() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        "[a-z]{1,6}",
        "[“”‘’\u{a0}a-z\"' :#\\[{-]{0,8}",
        Just("sidecar.istio.io/inject".to_owned())
    ];
    let line = (0usize..6, word.clone(), word)
        .prop_map(|(indent, key, value)| format!("{}{key}: {value}\n", "  ".repeat(indent)));
    proptest::collection::vec(line, 0..12)
        .prop_map(|lines| format!("kind: Pod\nmetadata:\n{}", lines.concat()))
}

proptest! {
    #[test]
    fn any_text_is_looked_at(text in prop_oneof![any::<String>(), manifest()]) {
        let (source, linted) = one(&text);
        let rendered = render(&source, &linted);
        for mistake in &linted.findings {
            let line = source.text.split('\n').nth(mistake.diagnostic.line - 1).unwrap_or_default();
            prop_assert!(mistake.diagnostic.column <= line.chars().count() + 1);
            prop_assert!(NAMES.iter().any(|(name, _)| *name == mistake.name));
        }
        prop_assert_eq!(rendered.is_empty(), linted.findings.is_empty());
    }

    #[test]
    fn good_manifests_stay_good(name in "[a-z]{1,10}", image in "[a-z]{1,10}:[0-9]\\.[0-9]", port in 1u16..14999) {
        let text = deployment("", &format!("labels: {{app: {name}}}"), "")
            .replace("nginx", &image) + &format!("        ports: [{{containerPort: {port}}}]\n");
        prop_assert_eq!(names(&text), vec![]);
    }
}
