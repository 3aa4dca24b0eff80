//! Other ways to Istio: the operator inside of the cluster, and a second revision beside the first.

use std::fs;
use std::time::Duration;

use rackwright_lab::{Istio, Spec, await_until, must, need_cluster};
use serde_json::Value;

use crate::mesh_apply::{desk, is_gone, is_ready};
use crate::operator::says;

const LIMIT: Duration = Duration::from_secs(300);
const REVISION: &str = "1-29-1";

#[test]
#[ignore = "long: the operator takes minutes for what istioctl does in seconds"]
fn the_operator_installs_and_goes() {
    need_cluster!();
    let desk = desk(Spec::test(1).istio(Istio::V1_23));
    desk.ends(0, &["apply", "--yes"]);
    for workload in ["deployment/istiod", "deployment/istio-ingressgateway"] {
        is_ready(&desk, workload);
    }
    let object = desk.object(&["istiooperators.install.istio.io", "--namespace=istio-system"]);
    assert_eq!(object["items"][0]["status"]["status"], "HEALTHY", "{object:#}");
    says(&desk.ends(0, &["plan", "--exit-code"]), "nothing to do");
    // An operator that is left is a second owner for whoever comes by another way.
    desk.edit("method: operator", "method: istioctl");
    says(&desk.ends(3, &["apply", "--yes"]), "operator");
    desk.edit("method: istioctl", "method: operator");
    desk.ends(0, &["revert", "--yes"]);
    is_gone(&desk);
}

/// As a blog has it: `profile` beside `spec` instead of under it.
const BLOG: &str = "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata:\n  \
                    namespace: istio-system\n  name: example-istiocontrolplane\nspec:\nprofile: demo\n";

#[test]
#[ignore = "long: the operator takes minutes for what istioctl does in seconds"]
fn a_profile_beside_spec_is_refused_where_the_operator_takes_it_for_another() {
    need_cluster!();
    let desk = desk(Spec::test(1).istio(Istio::V1_23));
    fs::write(desk.lab().dir().join("blog.yaml"), BLOG).unwrap();
    desk.edit("    file: istio.yaml\n", "    file: blog.yaml\n");
    let refused = desk.ends(1, &["plan"]);
    for words in ["blog.yaml:7:1", "profile", "spec"] {
        says(&refused, words);
    }

    let mut init = desk.istioctl(Istio::V1_23).unwrap();
    init.args(["operator", "init"]);
    must(init, "run `istioctl operator init`", LIMIT).unwrap();
    desk.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system}\n").unwrap();
    await_until("the API takes the file", LIMIT, || desk.apply(BLOG).map_err(|error| error.to_string()))
        .unwrap();
    await_until("the operator says which profile it reads", LIMIT, || {
        let object = desk.object(&["istiooperators.install.istio.io", "--namespace=istio-system"]);
        let profile = &object["items"][0]["spec"]["profile"];
        if profile == "default" { Ok(()) } else { Err(format!("{object:#}")) }
    })
    .unwrap();
}

#[test]
#[ignore = "long: two installations and the move from one to the other"]
fn a_second_revision_takes_over_from_the_first() {
    need_cluster!();
    let desk = desk(Spec::test(1).istio(Istio::V1_29));
    desk.ends(0, &["apply", "--yes"]);
    desk.kubectl(&["create", "namespace", "shop"]);
    desk.kubectl(&["label", "namespace", "shop", "istio-injection=enabled"]);

    desk.edit("    version: 1.29.1\n", &format!("    version: 1.29.1\n    revision: {REVISION}\n"));
    let first = desk.ends(0, &["apply", "--yes"]);
    says(&first, "mesh-revision-in-use");
    for workload in ["deployment/istiod", "deployment/istiod-1-29-1", "deployment/istio-ingressgateway"] {
        is_ready(&desk, workload);
    }
    // The gateway has moved, the namespace has not.
    let waits = desk.ends(0, &["plan"]);
    says(&waits, "namespace shop");

    desk.kubectl(&["label", "namespace", "shop", "istio-injection-", &format!("istio.io/rev={REVISION}")]);
    says(&desk.ends(4, &["plan", "--exit-code"]), "undo: uninstall Istio 1.29.1");
    desk.ends(0, &["apply", "--yes"]);
    assert_eq!(desk.object(&["deployment/istiod", "--namespace=istio-system"]), Value::Null);
    for workload in ["deployment/istiod-1-29-1", "deployment/istio-ingressgateway"] {
        is_ready(&desk, workload);
    }
    says(&desk.ends(0, &["plan", "--exit-code"]), "nothing to do");
    desk.kubectl(&["delete", "namespace", "shop"]);
    desk.ends(0, &["revert", "--yes"]);
    is_gone(&desk);
}
