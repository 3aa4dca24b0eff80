//! Refusals of API servers in their own words, as seen, and what we make of them.

use http::Method;
use serde_json::{Value, json};

use crate::kube::ask::Ask;
use crate::kube::error::{KubeFault, WebhookTrouble};
use crate::kube::resource::Resource;
use crate::kube::status::{Status, changes};

fn fault_of(kind: &str, code: u16, status: Value) -> KubeFault {
    let resource = Resource::known("v1", kind).unwrap();
    let ask = Ask::object("get", Method::GET, &resource, Some("x"), "a");
    Status::of(status.to_string().as_bytes()).fault(code, &ask)
}

fn fault(code: u16, message: &str) -> KubeFault {
    fault_of("Pod", code, json!({"kind": "Status", "message": message}))
}

#[test]
fn a_missing_right_is_named_with_its_rule() {
    let namespaced = r#"pods is forbidden: User "system:serviceaccount:default:x" cannot list resource "pods" in API group "" in the namespace "y""#;
    let cluster = r#"ipaddresspools.metallb.io "p" is forbidden: User "ann" cannot patch resource "ipaddresspools" in API group "metallb.io" at the cluster scope"#;
    let path = r#"forbidden: User "ann" cannot get path "/readyz""#;
    insta::assert_snapshot!(
        [namespaced, cluster, path].map(|message| fault(403, message).to_string()).join("\n"),
        @r#"
    system:serviceaccount:default:x may not list pods in namespace y; a Role there bound to it needs the rule {apiGroups: [""], resources: ["pods"], verbs: ["list"]}
    ann may not patch ipaddresspools in the whole cluster; a ClusterRole bound to it needs the rule {apiGroups: ["metallb.io"], resources: ["ipaddresspools"], verbs: ["patch"]}
    ann may not get /readyz; a ClusterRole needs the rule {nonResourceURLs: ["/readyz"], verbs: ["get"]}
    "#
    );
    let ending = r#"configmaps "a" is forbidden: unable to create new content in namespace x because it is being terminated"#;
    assert!(matches!(fault(403, ending), KubeFault::Forbidden { .. }));
}

#[test]
fn webhooks_that_cannot_be_asked_are_told_apart() {
    let call = |why: &str| {
        let message = format!(
            "Internal error occurred: failed calling webhook \"pool.metallb.io\": failed to call webhook: Post \
             \"https://webhook-service.metallb-system.svc:443/validate\": {why}"
        );
        match fault(500, &message) {
            KubeFault::Webhook { webhook, trouble, .. } => {
                assert_eq!(webhook, "pool.metallb.io");
                trouble
            }
            other => panic!("{other}"),
        }
    };
    let cases = [
        ("dial tcp 10.96.1.2:443: connect: connection refused", WebhookTrouble::Refused),
        ("no endpoints available for service \"webhook-service\"", WebhookTrouble::NoEndpoints),
        ("service \"webhook-service\" not found", WebhookTrouble::NoService),
        (
            "tls: failed to verify certificate: x509: certificate signed by unknown authority",
            WebhookTrouble::Certificate,
        ),
        ("context deadline exceeded", WebhookTrouble::Late),
        ("EOF", WebhookTrouble::Other),
    ];
    for (why, trouble) in cases {
        assert_eq!(call(why), trouble, "{why}");
    }
    let conversion = "conversion webhook for metallb.io/v1beta1, Kind=BGPPeer failed: Post \"https://webhook-service\
                      .metallb-system.svc:443/convert\": dial tcp 10.96.1.2:443: connect: connection refused";
    assert!(matches!(fault(500, conversion), KubeFault::Webhook { trouble: WebhookTrouble::Refused, .. }));
    let denied = r#"admission webhook "pool.metallb.io" denied the request: ranges overlap"#;
    match fault(403, denied) {
        KubeFault::Denied { webhook, message } => {
            assert_eq!((webhook.as_str(), message.as_str()), ("pool.metallb.io", "ranges overlap"));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn fields_of_others_are_named_with_their_owners() {
    let status = json!({
        "kind": "Status", "reason": "Conflict", "message": "Apply failed with 1 conflict",
        "details": {"causes": [{
            "reason": "FieldManagerConflict", "field": ".data.Corefile",
            "message": "conflict with \"kubectl-edit\" using v1 at 2026-11-23T12:00:00Z",
        }]},
    });
    let words = fault_of("ConfigMap", 409, status).to_string();
    assert_eq!(words, "fields belong to others: .data.Corefile belongs to kubectl-edit");
}

#[test]
fn who_changed_what_is_read_off_the_managed_fields() {
    let object = json!({"metadata": {"managedFields": [
        {"manager": "kubeadm", "time": "2026-11-23T11:00:00Z", "fieldsV1": {"f:data": {".": {}, "f:Corefile": {}}}},
        {"manager": "kubectl-edit", "time": "2026-11-23T12:00:00Z",
         "fieldsV1": {"f:spec": {"f:ports": {"k:{\"port\":80}": {"f:name": {}}}}}},
    ]}});
    let changes = changes(&object);
    assert_eq!(changes[0].manager, "kubectl-edit");
    assert_eq!(changes[0].fields, [r#".spec.ports[{"port":80}].name"#]);
    assert_eq!(changes[1].fields, [".data.Corefile"]);
}

#[test]
fn an_invalid_secret_is_not_quoted() {
    let status = |kind| {
        let status = json!({
            "kind": "Status", "reason": "Invalid", "message": "\"hunter2\" is invalid",
            "details": {"causes": [{"reason": "FieldValueInvalid", "field": "data.x", "message": "\"hunter2\" no"}]},
        });
        fault_of(kind, 422, status)
    };
    assert!(status("ConfigMap").to_string().contains("data.x: \"hunter2\" no"));
    let secret = status("Secret");
    assert!(!format!("{secret} {secret:?}").contains("hunter2"));
    assert_eq!(secret.to_string(), "the API server finds it invalid: data.x");
}

#[test]
fn a_field_that_the_cluster_does_not_know_is_named() {
    let strict = r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "datax", unknown field "spec.y""#;
    let applied = "failed to create typed patch object (x/a; metallb.io/v1beta1, Kind=IPAddressPool): .spec.serviceAllocation: field not declared in schema";
    for (code, message, expected) in
        [(400, strict, vec!["datax", "spec.y"]), (500, applied, vec!["spec.serviceAllocation"])]
    {
        match fault(code, message) {
            KubeFault::UnknownField { fields } => assert_eq!(fields, expected),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn an_answer_that_is_no_status_is_taken_by_its_first_words() {
    let resource = Resource::known("metallb.io/v1beta1", "IPAddressPool").unwrap();
    let ask = Ask::object("list", Method::GET, &resource, None, "");
    let fault = Status::of(b"404 page not found\n").fault(404, &ask);
    assert!(matches!(fault, KubeFault::NoSuchKind { .. }), "{fault}");
    let fault = Status::of(&[0xff; 1000]).fault(502, &ask).to_string();
    assert!(fault.starts_with("the API server says 502"), "{fault}");
}

proptest::proptest! {
    #[test]
    fn no_answer_makes_it_stumble(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        words in "(User \"|\" cannot |resource \"|failed calling webhook \"|admission webhook \"|unknown field \"|é|,|: | ){0,12}",
        code in 300u16..600,
    ) {
        let resource = Resource::known("v1", "Pod").unwrap();
        let ask = Ask::object("get", Method::GET, &resource, None, "a");
        let _ = Status::of(&bytes).fault(code, &ask).to_string();
        let status = json!({"message": words, "details": {"causes": [{"message": words}]}});
        let _ = Status::of(status.to_string().as_bytes()).fault(code, &ask).to_string();
    }
}
