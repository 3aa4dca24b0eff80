use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Act, Install};
use crate::mesh::Settings;
use crate::mesh::settings::{HelmValues, IstioOperator};
use crate::rack::model::kubernetes::Istio;

fn install(rack: Value, settings: Settings) -> Install {
    let istio: Istio = serde_json::from_value(rack).unwrap();
    Install::of(&istio, settings)
}

fn operator(spec: Value) -> Settings {
    let file: IstioOperator = serde_json::from_value(
        json!({"apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator", "spec": spec}),
    )
    .unwrap();
    Settings::Operator(Box::new(file))
}

fn helm(values: Value) -> Settings {
    let values: HelmValues = serde_json::from_value(values).unwrap();
    Settings::Helm(Box::new(values))
}

fn written(acts: &[Act]) -> String {
    let mut text = String::new();
    for act in acts {
        let _ = match act {
            Act::Run(run) => {
                let files = run.files.iter().map(|(name, content)| format!("\n    {name}: {content}"));
                let files: String = files.collect();
                let (tool, version, seconds) = (&run.tool, &run.version, run.seconds);
                writeln!(
                    text,
                    "run {} {}  ({tool} {version}, {seconds} s){files}",
                    run.program,
                    run.args.join(" ")
                )
            }
            Act::Apply(object) => writeln!(text, "apply {object}"),
            Act::Delete { kind, namespace, name, .. } => {
                writeln!(text, "delete {kind} {}/{name}", namespace.as_deref().unwrap_or("-"))
            }
            Act::Await(objects) => {
                let names: Vec<String> = objects.iter().map(ToString::to_string).collect();
                writeln!(text, "await {}", names.join(", "))
            }
        };
    }
    text
}

fn all(install: &Install) -> String {
    let tag: Vec<Act> = install.default_tag(60).into_iter().collect();
    format!(
        "{}-- default tag\n{}-- removal\n{}-- removal of the last\n{}",
        written(&install.acts(60)),
        written(&tag),
        written(&install.removal(false, 60)),
        written(&install.removal(true, 60)),
    )
}

#[test]
fn istioctl() {
    let plain = install(json!({"version": "1.29.1"}), Settings::None);
    insta::assert_snapshot!("istioctl-plain", all(&plain));
    let rack = json!({"version": "1.29.1", "profile": "ambient", "revision": "1-29-1"});
    let file = operator(
        json!({"hub": "registry.example.com/istio", "values": {"global": {"istioNamespace": "mesh"}}}),
    );
    insta::assert_snapshot!("istioctl-file", all(&install(rack, file)));
}

#[test]
fn the_operator() {
    let rack = json!({"version": "1.23.2", "method": "operator", "profile": "demo"});
    insta::assert_snapshot!("operator-plain", all(&install(rack.clone(), Settings::None)));
    let file = operator(json!({"hub": "registry.example.com/istio", "tag": "1.23.2-distroless"}));
    insta::assert_snapshot!("operator-file", all(&install(rack, file)));
}

#[test]
fn charts() {
    let of = |rack: Value, values: Value| all(&install(rack, helm(values)));
    insta::assert_snapshot!("helm-plain", of(json!({"version": "1.29.1", "method": "helm"}), json!({})));
    insta::assert_snapshot!(
        "helm-old",
        of(json!({"version": "1.17.5", "method": "helm", "profile": "demo"}), json!({}))
    );
    let of_123 = json!({"version": "1.23.2", "method": "helm", "profile": "openshift"});
    insta::assert_snapshot!("helm-openshift-1.23", of(of_123, json!({})));
    let of_129 = json!({"version": "1.29.1", "method": "helm", "profile": "openshift-ambient"});
    insta::assert_snapshot!("helm-openshift-1.29", of(of_129, json!({})));
    let rack = json!({"version": "1.29.1", "method": "helm", "profile": "ambient", "revision": "canary"});
    let values = json!({
        "istiod": {"global": {"hub": "registry.example.com/istio"}, "pilot": {"resources": {}}},
        "gateway": {"service": {"type": "LoadBalancer"}},
        "gateways": [{"name": "edge", "namespace": "edge", "values": {"service": {"loadBalancerIP": "192.0.2.9"}}}],
    });
    insta::assert_snapshot!("helm-ambient", of(rack, values));
}

#[test]
fn what_it_is_made_of_decides_what_it_is() {
    let rack = || json!({"version": "1.29.1"});
    let same = install(rack(), operator(json!({"tag": "1.29.1"}))).canonical();
    assert_eq!(same, install(rack(), operator(json!({"tag": "1.29.1"}))).canonical());
    let mut others = vec![
        install(rack(), Settings::None).canonical(),
        install(rack(), operator(json!({"tag": "1.29.1-distroless"}))).canonical(),
        install(json!({"version": "1.29.1", "profile": "demo"}), Settings::None).canonical(),
        install(json!({"version": "1.29.1", "revision": "canary"}), Settings::None).canonical(),
        install(json!({"version": "1.29.1", "method": "helm"}), Settings::None).canonical(),
        same,
    ];
    others.sort();
    others.dedup();
    assert_eq!(others.len(), 6);
}

#[test]
fn no_run_is_longer_than_an_agent_bears() {
    let install = install(json!({"version": "1.29.1", "profile": "demo"}), Settings::None);
    let Act::Run(run) = install.acts(u32::MAX).remove(0) else { panic!("a run") };
    assert_eq!(run.seconds, rackwright_proto::tool::ToolRun::LONGEST);
}
