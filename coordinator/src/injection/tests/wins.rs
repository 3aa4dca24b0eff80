//! The table of Istio's selectors, every row and every combination, against the selectors themselves as the chart
//! writes them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::injection::hooks::{Injectors, Settings, selects};
use crate::injection::wins::{
    Cause, INJECT, INJECTION, Labels, NEVER, Namespace, Pod, REVISION, Verdict, decide,
};

fn on(key: &str, operator: &str, values: &[&str]) -> Value {
    match values {
        [] => json!({"key": key, "operator": operator}),
        values => json!({"key": key, "operator": operator, "values": values}),
    }
}

fn segment(name: &str, namespace: Vec<Value>, object: Vec<Value>) -> Value {
    json!({
        "name": format!("{name}.sidecar-injector.istio.io"),
        "namespaceSelector": {"matchExpressions": namespace},
        "objectSelector": {"matchExpressions": object},
        "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": {},
    })
}

/// A configuration as the chart (1.29) writes it for a revision or a tag.
fn hook(revision: &str, name: &str, auto: bool) -> MutatingWebhookConfiguration {
    let absent = |key: &str| on(key, "DoesNotExist", &[]);
    let not_off = || on(INJECT, "NotIn", &["false"]);
    let mut segments = vec![
        segment("rev.namespace", vec![on(REVISION, "In", &[name]), absent(INJECTION)], vec![not_off()]),
        segment(
            "rev.object",
            vec![absent(REVISION), absent(INJECTION)],
            vec![not_off(), on(REVISION, "In", &[name])],
        ),
    ];
    if name == "default" {
        segments.push(segment("namespace", vec![on(INJECTION, "In", &["enabled"])], vec![not_off()]));
        segments.push(segment(
            "object",
            vec![absent(INJECTION), absent(REVISION)],
            vec![on(INJECT, "In", &["true"]), absent(REVISION)],
        ));
    }
    if auto {
        segments.push(segment(
            "auto",
            vec![absent(INJECTION), absent(REVISION), on("kubernetes.io/metadata.name", "NotIn", NEVER)],
            vec![absent(INJECT), absent(REVISION)],
        ));
    }
    serde_json::from_value(json!({
        "metadata": {"name": format!("istio-{name}"), "labels": {REVISION: revision, "app": "sidecar-injector"}},
        "webhooks": segments,
    }))
    .unwrap()
}

fn labels(of: &[(&str, Option<&str>)]) -> Labels {
    of.iter().filter_map(|(key, value)| Some(((*key).to_owned(), value.as_ref()?.to_string()))).collect()
}

#[derive(Debug, Clone)]
struct Case {
    namespace: &'static str,
    of_namespace: Labels,
    of_pod: Labels,
    annotations: Labels,
    host_network: bool,
}

impl Case {
    fn decide(&self, injectors: &Injectors) -> Verdict {
        let namespace = Namespace { name: self.namespace, labels: &self.of_namespace };
        let pod =
            Pod { labels: &self.of_pod, annotations: &self.annotations, host_network: self.host_network };
        decide(namespace, pod, injectors)
    }

    /// What the API server and the injector do, with nothing but the selectors.
    fn really(&self, hooks: &[MutatingWebhookConfiguration], settings: &Settings) -> Option<String> {
        let mut namespace = self.of_namespace.clone();
        namespace.insert("kubernetes.io/metadata.name".into(), self.namespace.into());
        let all = |s: &Option<LabelSelector>, labels: &Labels| s.as_ref().is_none_or(|s| selects(s, labels));
        let hook = hooks.iter().find(|hook| {
            let mut segments = hook.webhooks.iter().flatten();
            segments.any(|s| all(&s.namespace_selector, &namespace) && all(&s.object_selector, &self.of_pod))
        })?;
        if self.host_network || NEVER.contains(&self.namespace) {
            return None;
        }
        let said = self.of_pod.get(INJECT).or_else(|| self.annotations.get(INJECT)).map(String::as_str);
        let injects = match said {
            Some("true") => true,
            Some("false") => false,
            _ if settings.never(&self.of_pod) => false,
            _ if settings.always(&self.of_pod) => true,
            _ => settings.enabled,
        };
        injects.then(|| hook.metadata.labels.as_ref().unwrap()[REVISION].clone())
    }
}

/// Every combination of what matters: 2 x 5 x 6 x 4 x 4 x 4 x 2 cases.
fn cases() -> Vec<Case> {
    let inject = [None, Some("true"), Some("false"), Some("“false”")];
    let revisions = [None, Some("default"), Some("canary"), Some("prod"), Some("gone"), Some("")];
    let mut cases = Vec::new();
    for namespace in ["shop", "kube-system"] {
        for legacy in [None, Some("enabled"), Some("disabled"), Some("true"), Some("")] {
            for revision in revisions {
                for label in inject {
                    for own in [None, Some("default"), Some("canary"), Some("gone")] {
                        for annotation in inject {
                            for host_network in [false, true] {
                                cases.push(Case {
                                    namespace,
                                    of_namespace: labels(&[(INJECTION, legacy), (REVISION, revision)]),
                                    of_pod: labels(&[(INJECT, label), (REVISION, own), ("app", Some("web"))]),
                                    annotations: labels(&[(INJECT, annotation)]),
                                    host_network,
                                });
                            }
                        }
                    }
                }
            }
        }
    }
    cases
}

fn selector(labels: Value) -> LabelSelector {
    serde_json::from_value(json!({"matchLabels": labels})).unwrap()
}

fn check(hooks: &[MutatingWebhookConfiguration], settings: &Settings, text: &str) {
    let texts: BTreeMap<String, String> =
        ["default", "canary", "new"].iter().map(|r| ((*r).to_owned(), text.to_owned())).collect();
    let injectors = Injectors::read(hooks, &texts);
    for case in cases() {
        let verdict = case.decide(&injectors);
        let ours = match &verdict {
            Verdict::Injected { revision, .. } => Some(revision.clone()),
            Verdict::Not { .. } => None,
        };
        assert_eq!(ours, case.really(hooks, settings), "{case:?}: {verdict:?}");
        assert!(!verdict.why().is_empty());
    }
}

#[test]
fn every_combination_is_decided_as_the_selectors_do() {
    let plain = Settings::default();
    check(&[], &plain, "");
    check(&[hook("default", "default", false)], &plain, "policy: enabled\n");
    check(&[hook("canary", "canary", false), hook("default", "default", true)], &plain, "");
    // Tags: `prod` and `default` lead to revision `new`.
    check(&[hook("new", "prod", false), hook("new", "default", false)], &plain, "");
    let web = "[{matchLabels: {app: web}}]";
    let (some, none) = (vec![selector(json!({"app": "web"}))], vec![]);
    check(
        &[hook("default", "default", false)],
        &Settings::new(true, some.clone(), none.clone()),
        &format!("policy: enabled\nneverInjectSelector: {web}\ntemplates: {{sidecar: \"{{{{ }}}}\"}}\n"),
    );
    check(
        &[hook("default", "default", true)],
        &Settings::new(false, none.clone(), some.clone()),
        &format!("policy: disabled\nalwaysInjectSelector: {web}\nneverInjectSelector: [{{}}]\n"),
    );
    check(
        &[hook("default", "default", true)],
        &Settings::new(false, none.clone(), none),
        "policy: disabled\n",
    );
}

fn row(of_namespace: &[(&str, &str)], of_pod: &[(&str, &str)]) -> Case {
    let some = |of: &[(&str, &str)]| of.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Case {
        namespace: "shop",
        of_namespace: some(of_namespace),
        of_pod: some(of_pod),
        annotations: Labels::new(),
        host_network: false,
    }
}

#[test]
fn the_table_of_the_documentation() {
    let injectors = Injectors::read(
        &[hook("default", "default", false), hook("canary", "canary", false)],
        &BTreeMap::new(),
    );
    let said = |case: Case| match case.decide(&injectors) {
        Verdict::Injected { revision, why } => format!("{revision}: {why}"),
        Verdict::Not { cause, why } => format!("{cause:?}: {why}"),
    };
    let both = [(INJECTION, "enabled"), (REVISION, "canary")];
    let host = Case { host_network: true, ..row(&[(INJECTION, "enabled")], &[]) };
    let mut beaten = row(&[(INJECTION, "enabled")], &[(INJECT, "true")]);
    beaten.annotations.insert(INJECT.into(), "false".into());
    let mut quoted = row(&[(INJECTION, "enabled")], &[]);
    quoted.annotations.insert(INJECT.into(), "“false”".into());
    let rows = [
        said(row(&[(INJECTION, "enabled")], &[])),
        said(row(&both, &[(INJECT, "true")])),
        said(row(&[(INJECTION, "enabled")], &[(INJECT, "false")])),
        said(row(&[(INJECTION, "disabled")], &[(INJECT, "true")])),
        said(row(&[(REVISION, "canary")], &[])),
        said(row(&[(REVISION, "gone")], &[])),
        said(row(&[], &[(INJECT, "true")])),
        said(row(&[], &[(REVISION, "canary")])),
        said(row(&[], &[])),
        said(row(&[], &[(INJECT, "yes")])),
        said(row(&[(INJECTION, "on")], &[])),
        said(host),
        said(beaten),
        said(quoted),
        said(Case { namespace: "kube-system", ..row(&[(INJECTION, "enabled")], &[]) }),
    ];
    insta::assert_snapshot!(rows.join("\n"));
}

#[test]
fn where_nothing_is_known_of_the_cluster_every_revision_is_there() {
    let injectors = Injectors::unknown();
    let Verdict::Injected { revision, .. } = row(&[(REVISION, "any")], &[]).decide(&injectors) else {
        panic!()
    };
    assert_eq!(revision, "any");
    assert!(!row(&[], &[]).decide(&injectors).is_injected());
}

#[test]
fn what_is_about_to_be_installed_counts() {
    let none = Injectors::of(vec![]);
    let enabled = row(&[(INJECTION, "enabled")], &[]);
    let verdict = enabled.decide(&none);
    assert!(matches!(verdict, Verdict::Not { cause: Cause::NoWebhook, .. }), "{verdict:?}");
    assert!(enabled.decide(&none.clone().with("default")).is_injected());
    assert!(!enabled.decide(&none.clone().with("canary")).is_injected());
    assert!(row(&[(REVISION, "canary")], &[]).decide(&none.with("canary")).is_injected());
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("enabled".to_owned()),
        Just("disabled".into()),
        Just("true".into()),
        Just("false".into()),
        ".{0,12}"
    ]
}

fn some_labels() -> impl Strategy<Value = Labels> {
    let key = prop_oneof![Just(INJECTION), Just(REVISION), Just(INJECT), Just("app")];
    proptest::collection::btree_map(key.prop_map(str::to_owned), word(), 0..4)
}

proptest! {
    #[test]
    fn no_always_wins(of_namespace in some_labels(), mut of_pod in some_labels(), annotations in some_labels(), off in any::<bool>()) {
        let hooks = [hook("default", "default", true)];
        let injectors = Injectors::read(&hooks, &BTreeMap::new());
        let mut case = Case { namespace: "shop", of_namespace, of_pod: of_pod.clone(), annotations, host_network: false };
        let mut host = case.clone();
        host.host_network = true;
        prop_assert!(!host.decide(&injectors).is_injected());
        if off {
            case.of_namespace.insert(INJECTION.into(), "disabled".into());
        } else {
            of_pod.insert(INJECT.into(), "false".into());
            case.of_pod = of_pod;
        }
        prop_assert!(!case.decide(&injectors).is_injected());
    }

    #[test]
    fn other_labels_change_nothing(of_namespace in some_labels(), of_pod in some_labels(), annotations in some_labels(), other in "[a-z]{1,8}") {
        let injectors = Injectors::read(&[hook("default", "default", false)], &BTreeMap::new());
        let case = Case { namespace: "shop", of_namespace, of_pod, annotations, host_network: false };
        let mut more = case.clone();
        for labels in [&mut more.of_namespace, &mut more.of_pod, &mut more.annotations] {
            labels.insert(format!("example.com/{other}"), other.clone());
        }
        prop_assert_eq!(case.decide(&injectors), more.decide(&injectors));
    }

    #[test]
    fn any_settings_are_read(text in ".{0,200}") {
        let _ = Settings::parse(&text);
    }
}

#[test]
fn what_webhooks_serve_is_read_from_their_selectors() {
    let hooks = [hook("new", "prod", false), hook("new", "default", false)];
    let injectors = Injectors::read(&hooks, &BTreeMap::new());
    assert_eq!(injectors.words(), "webhooks serve default, prod");
    assert_eq!(injectors.default().unwrap().revision, "new");
    assert_eq!(injectors.named("prod").unwrap().names, BTreeSet::from(["prod".to_owned()]));
    let foreign: MutatingWebhookConfiguration = serde_json::from_value(json!({
        "metadata": {"name": "other"}, "webhooks": [{"name": "a.example.com", "admissionReviewVersions": [], "sideEffects": "None", "clientConfig": {}}],
    }))
    .unwrap();
    assert_eq!(Injectors::read(&[foreign], &BTreeMap::new()), Injectors::of(vec![]));
}
