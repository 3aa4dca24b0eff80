use serde_json::{Value, json};

use super::{Objects, Owner, Standing, View, of_image, standing};
use crate::mesh::{Expected, Kind, Release};

fn objects(deployments: Value, rest: impl FnOnce(&mut Objects)) -> Objects {
    let mut objects =
        Objects { deployments: serde_json::from_value(deployments).unwrap(), ..Objects::default() };
    rest(&mut objects);
    objects
}

/// As `istioctl install` of 1.29.1 leaves it: labels of the chart, and those of the installer.
fn istiod() -> Value {
    json!({
        "metadata": {"name": "istiod", "namespace": "istio-system", "generation": 1, "labels": {
            "app": "istiod", "istio": "pilot", "istio.io/rev": "default", "release": "istio",
            "install.operator.istio.io/owning-resource": "unknown", "operator.istio.io/component": "Pilot",
            "operator.istio.io/managed": "Reconcile", "operator.istio.io/version": "1.29.1",
        }},
        "spec": {"replicas": 1, "selector": {}, "template": {"spec": {"containers": [
            {"name": "discovery", "image": "docker.io/istio/pilot@sha256:0123"},
        ]}}},
        "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
    })
}

#[test]
fn versions_are_read_from_images_and_labels() {
    let view = View::of(&objects(json!([istiod()]), |_| {}));
    let plane = view.plane("default").unwrap();
    assert_eq!((plane.release, &plane.owner), (Some(Release::new(1, 29, 1)), &Owner::Istioctl));
    assert_eq!(of_image("localhost:5000/istio/pilot:1.23.2-distroless"), Some(Release::new(1, 23, 2)));
    assert_eq!(of_image("localhost:5000/istio/pilot"), None);
    assert_eq!(of_image("docker.io/istio/pilot:latest"), None);
}

#[test]
fn tags_and_revisions_lead_to_control_planes() {
    let webhooks = json!([
        {"metadata": {"name": "istio-sidecar-injector", "labels": {"istio.io/rev": "default"}}},
        {"metadata": {"name": "istio-revision-tag-prod", "labels": {"istio.io/tag": "prod", "istio.io/rev": "default"}}},
        {"metadata": {"name": "istio-revision-tag-old", "labels": {"istio.io/tag": "old", "istio.io/rev": "1-28-3"}}},
    ]);
    let objects = objects(json!([istiod()]), |o| o.mutating = serde_json::from_value(webhooks).unwrap());
    let view = View::of(&objects);
    let leads: Vec<bool> = ["default", "prod", "old", "1-28-3"].iter().map(|name| view.leads(name)).collect();
    assert_eq!(leads, [true, true, false, false]);
    assert_eq!(view.tags.len(), 2);
}

#[test]
fn proxies_are_counted_with_and_without_their_containers() {
    let status =
        |revision: &str| json!({"sidecar.istio.io/status": json!({"revision": revision}).to_string()});
    let pods = json!([
        {"metadata": {"name": "a", "namespace": "shop", "annotations": status("default")},
         "spec": {"containers": [], "initContainers": [{"name": "istio-proxy", "image": "istio/proxyv2:1.29.1"}]}},
        {"metadata": {"name": "b", "namespace": "shop", "annotations": status("canary")}},
        {"metadata": {"name": "c", "namespace": "shop", "labels": {"service.istio.io/canonical-name": "c"}},
         "spec": {"containers": [{"name": "app"}]}},
        {"metadata": {"name": "gateway", "namespace": "istio-system", "labels": {"istio.io/rev": "default"}},
         "spec": {"containers": [{"name": "istio-proxy", "image": "istio/proxyv2:1.29.1"}]}},
        {"metadata": {"name": "odd", "namespace": "shop", "annotations": {"sidecar.istio.io/status": "{"}}},
    ]);
    let view = View::of(&objects(json!([]), |o| o.pods = serde_json::from_value(pods).unwrap()));
    let seen: Vec<_> = view.proxies.iter().map(|p| (p.revision.as_str(), p.release, p.count)).collect();
    assert_eq!(seen, [("canary", None, 1), ("default", Some(Release::new(1, 29, 1)), 2)]);
    assert_eq!(view.proxies[1].some, ["istio-system/gateway", "shop/a"]);
}

/// Pods as Kubernetes 1.37 has them with Istio 1.29.1: a gateway of helm's chart and one of istioctl's, and a sidecar that
/// Kubernetes starts before its workload.
#[test]
fn recorded_proxies_tell_their_version_by_their_image() {
    let mut recorded: Value = serde_json::from_str(include_str!("recorded.json")).unwrap();
    let of = |pods: &Value| {
        let view = View::of(&objects(json!([]), |o| o.pods = serde_json::from_value(pods.clone()).unwrap()));
        let told = view.proxies.iter().map(|p| (p.revision.clone(), p.release, p.count));
        told.collect::<Vec<_>>()
    };
    let count = recorded.as_array().unwrap().len();
    assert_eq!(of(&recorded), [("default".to_owned(), Some(Release::new(1, 29, 1)), count)]);
    // One that is about to end is no user of its control plane, and one that ended even less.
    recorded[0]["metadata"]["deletionTimestamp"] = json!("2026-11-24T00:16:00Z");
    recorded[1]["status"]["phase"] = json!("Failed");
    assert_eq!(of(&recorded).iter().map(|(_, _, count)| count).sum::<usize>(), count - 2);
}

#[test]
fn helms_releases_are_told_by_what_they_own_and_by_name() {
    let own = json!({"meta.helm.sh/release-name": "mesh", "meta.helm.sh/release-namespace": "istio-system"});
    let mut helms = istiod();
    helms["metadata"]["annotations"] = own;
    let secret = |name: &str| json!({"metadata": {"name": name, "namespace": "istio-system"}});
    let secrets = json!([
        secret("sh.helm.release.v1.istio-base.v1"),
        secret("sh.helm.release.v1.istio-base.v2"),
        secret("sh.helm.release.v1.shop.v1"),
        secret("cacerts"),
    ]);
    let view = View::of(&objects(json!([helms]), |o| o.releases = serde_json::from_value(secrets).unwrap()));
    let names: Vec<&str> = view.releases.iter().map(|release| release.name.as_str()).collect();
    assert_eq!(names, ["istio-base", "mesh"]);
    assert_eq!(view.planes[0].owner, Owner::Helm("mesh".into()));
}

#[test]
fn what_stands_is_told_from_what_is_only_there() {
    let of = |name: &str, kind| Expected { kind, namespace: Some("istio-system".into()), name: name.into() };
    let mut gateway = istiod();
    gateway["metadata"]["name"] = json!("istio-ingressgateway");
    gateway["status"]["availableReplicas"] = json!(0);
    let set = json!([{"metadata": {"name": "ztunnel", "namespace": "istio-system"}, "status": {
        "currentNumberScheduled": 3, "desiredNumberScheduled": 3, "numberMisscheduled": 0, "numberReady": 3,
        "updatedNumberScheduled": 3, "numberAvailable": 3,
    }}]);
    let objects =
        objects(json!([istiod(), gateway]), |o| o.daemon_sets = serde_json::from_value(set).unwrap());
    assert_eq!(standing(&of("istiod", Kind::Deployment), &objects), Standing::Ready);
    assert_eq!(standing(&of("ztunnel", Kind::DaemonSet), &objects), Standing::Ready);
    assert_eq!(standing(&of("istiod", Kind::Service), &objects), Standing::Absent);
    let not_ready = Standing::NotReady("0 of 1 pods ready".into());
    assert_eq!(standing(&of("istio-ingressgateway", Kind::Deployment), &objects), not_ready);
}
