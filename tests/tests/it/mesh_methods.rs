//! Other ways to Istio: the operator inside of the cluster, and a second revision beside the first.

use rackwright_lab::{Istio, Spec, need_cluster};
use serde_json::Value;

use crate::mesh_apply::{desk, is_gone, is_ready};
use crate::operator::says;

const REVISION: &str = "1-29-1";

#[test]
#[ignore = "long: the operator takes minutes for what istioctl does in seconds"]
fn the_operator_installs_and_goes() {
    need_cluster!();
    let desk = desk(Spec::test(1).istio(Istio::V1_23));
    desk.edit("    version: 1.23.2\n", "    version: 1.23.2\n    method: operator\n");
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
