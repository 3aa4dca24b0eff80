use proptest::prelude::*;
use rackwright_proto::cluster::ClusterSeen;
use rackwright_proto::step::Decision;
use serde_json::json;

use super::*;

/// A manifest in the form of MetalLB's, with little in it.
pub(in crate::balancer) const SMALL: &str = r#"---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {creationTimestamp: null, name: metallb-webhook-configuration}
webhooks:
- name: ipaddresspoolvalidationwebhook.metallb.io
  clientConfig: {caBundle: QQ==, service: {name: webhook-service, namespace: metallb-system}}
---
apiVersion: v1
kind: Secret
metadata: {name: webhook-server-cert, namespace: metallb-system}
data: {tls.key: QQ==}
---
apiVersion: v1
kind: Secret
metadata: {name: other, namespace: metallb-system}
stringData: {text: "é"}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: speaker, namespace: metallb-system}
spec:
  template:
    spec:
      containers:
      - image: quay.io/metallb/speaker:v0.13.10
        args: [--port=7472, --namespace=metallb-system]
        env: [{name: METALLB_NAMESPACE, value: metallb-system}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: controller, namespace: metallb-system, labels: {app.kubernetes.io/managed-by: somebody}}
spec: {template: {spec: {terminationGracePeriodSeconds: 0}}}
---
# Nothing.
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "metallb-system:speaker"}
subjects: [{kind: ServiceAccount, name: speaker, namespace: metallb-system}]
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ipaddresspools.metallb.io}
spec:
  conversion: {webhook: {clientConfig: {caBundle: QQ==, service: {namespace: metallb-system}}}}
  description: |
    On two
    lines: no, 1e3.
status: {storedVersions: [v1beta1]}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: l2advertisements.metallb.io}
---
apiVersion: v1
kind: Namespace
metadata: {name: metallb-system}
"#;

fn small(namespace: &str) -> Manifest {
    Manifest::parse(SMALL.as_bytes(), namespace).unwrap()
}

fn object<'a>(manifest: &'a Manifest, kind: &str) -> &'a Value {
    manifest.objects().iter().find(|o| text(o, "/kind") == kind).unwrap()
}

#[test]
fn objects_come_in_the_order_in_which_they_are_made() {
    let steps: Vec<String> = small("metallb-system").steps().map(|step| step.key()).collect();
    assert_eq!(
        steps,
        [
            "balancer/Namespace/-/metallb-system",
            "balancer/CustomResourceDefinition/-/ipaddresspools.metallb.io",
            "balancer/CustomResourceDefinition/-/l2advertisements.metallb.io",
            "balancer/ClusterRoleBinding/-/metallb-system:speaker",
            "balancer/Secret/metallb-system/webhook-server-cert",
            "balancer/Secret/metallb-system/other",
            "balancer/Deployment/metallb-system/controller",
            "balancer/DaemonSet/metallb-system/speaker",
            "balancer/ValidatingWebhookConfiguration/-/metallb-webhook-configuration",
            "balancer/ready/controller",
            "balancer/ready/speaker",
        ]
    );
}

#[test]
fn what_others_own_is_left_out() {
    let manifest = small("metallb-system");
    let whole = serde_json::to_string(manifest.objects()).unwrap();
    for gone in ["caBundle", "creationTimestamp", "status", "tls.key", "stringData"] {
        assert!(!whole.contains(gone), "{gone}");
    }
    let secrets = manifest.objects().iter().filter(|o| text(o, "/kind") == "Secret");
    assert!(secrets.into_iter().any(|secret| secret["data"] == json!({"text": "w6k="})));
    let labelled = |kind: &str| object(&manifest, kind)["metadata"]["labels"][MANAGED_BY].clone();
    assert_eq!((labelled("Namespace"), labelled("Deployment")), (json!("rackwright"), json!("somebody")));
    let grace = object(&manifest, "Deployment").pointer("/spec/template/spec/terminationGracePeriodSeconds");
    assert_eq!(grace, Some(&json!(0)));
    let text = object(&manifest, "CustomResourceDefinition").pointer("/spec/description");
    assert_eq!(text, Some(&json!("On two\nlines: no, 1e3.\n")));
}

#[test]
fn all_moves_to_another_namespace() {
    let whole = serde_json::to_string(small("edge").objects()).unwrap();
    // Names of the whole cluster's objects are names, and stay.
    assert_eq!(whole.matches("metallb-system").count(), 1);
    assert!(whole.contains("\"name\":\"metallb-system:speaker\"") && whole.contains("--namespace=edge"));
}

#[test]
fn what_is_no_manifest_of_metallb_is_refused() {
    let parse = |text: &str| Manifest::parse(text.as_bytes(), "metallb-system").unwrap_err().to_string();
    assert!(parse("a: [").starts_with("the manifest is no YAML"));
    assert!(parse("a: &a [*a]").starts_with("the manifest is no YAML"));
    assert_eq!(
        parse("kind: X"),
        "document 1 of the manifest has no apiVersion, so it is no object of Kubernetes"
    );
    assert!(parse("").contains("has no kind IPAddressPool"));
    assert_eq!(parse(&format!("{SMALL}---\n{SMALL}")), "the manifest has Namespace/-/metallb-system twice");
    assert!(parse(&"#".repeat(LARGEST + 1)).contains("too large"));
}

/// Objects of a real cluster right after they were applied: nothing is left to do, whoever else wrote into them.
#[test]
fn right_after_apply_nothing_is_to_be_done() {
    let pairs: Vec<Value> = serde_json::from_str(include_str!("../golden/applied-0.13.10.json")).unwrap();
    for pair in &pairs {
        let ClusterStep::Object(step) = step(pair["want"].clone()) else { panic!("no object") };
        let seen = rackwright_proto::cluster::ObjectSeen::of(Some(&pair["want"]), Some(&pair["live"]));
        assert!(seen.ours, "{}", step.name);
        let decision = ClusterStep::Object(step).decide(&ClusterSeen::Object(seen));
        assert_eq!(decision, Decision::Keep, "{}", pair["want"]);
    }
    assert_eq!(pairs.len(), 9);
}

/// On the same cluster a change by hand is seen.
#[test]
fn what_was_changed_by_hand_is_seen() {
    let pairs: Vec<Value> = serde_json::from_str(include_str!("../golden/applied-0.13.10.json")).unwrap();
    let pair = pairs.iter().find(|pair| pair["want"]["kind"] == "Deployment").unwrap();
    let mut live = pair["live"].clone();
    *live.pointer_mut("/spec/template/spec/containers/0/image").unwrap() = "elsewhere/controller:v1".into();
    let seen = rackwright_proto::cluster::ObjectSeen::of(Some(&pair["want"]), Some(&live));
    let decision = step(pair["want"].clone()).decide(&ClusterSeen::Object(seen));
    assert!(matches!(decision, Decision::Change { .. }));
}

proptest! {
    #[test]
    fn any_text_may_be_no_manifest(text in "(\\PC|\\n|: |- |---\\n){0,200}") {
        prop_assert!(Manifest::parse(text.as_bytes(), "metallb-system").is_err());
    }

    #[test]
    fn the_order_of_documents_makes_no_difference(seed in prop::collection::vec(any::<u32>(), 12)) {
        let mut documents: Vec<(u32, &str)> = seed.into_iter().zip(SMALL.split("---\n")).collect();
        documents.sort();
        let shuffled: Vec<&str> = documents.into_iter().map(|(_, text)| text).collect();
        let manifest = Manifest::parse(shuffled.join("---\n").as_bytes(), "metallb-system").unwrap();
        let kinds: Vec<&str> = manifest.objects().iter().map(|o| text(o, "/kind")).collect();
        let sorted: Vec<String> = small("metallb-system").objects().iter().map(|o| text(o, "/kind").to_owned()).collect();
        prop_assert_eq!(kinds, sorted);
    }
}
