//! Laws of planning on a cluster that holds state: what is planned is done, again is nothing, and revert brings back
//! what was there, whatever was there.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use proptest::prelude::*;
use rackwright_proto::cluster::workload::{STAMP, Stamp};
use rackwright_proto::cluster::{
    ClusterStep, Family, LabelPlace, LabelsStep, ObjectStep, PlannedClusterStep, TextStep, WorkloadKind,
    WorkloadStep,
};
use rackwright_proto::name::RunId;
use rackwright_proto::plan::Purpose;
use rackwright_proto::step::Decision;
use serde_json::{Value, json};

use super::digest;
use super::facts::ClusterFacts;
use super::look::{live, look};
use super::plan::{Planned, WantedStep, part, plan, revert, stale};

fn run() -> RunId {
    "20261123t142233-7k3f9x".parse().unwrap()
}

fn config(name: &str, entry: &str, text: &str) -> ConfigMap {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "kube-system", "annotations": {"hash": "kubeadm's"}},
        "data": {entry: text, "other": "of somebody else"},
    }))
    .unwrap()
}

/// A cluster as kubeadm leaves it, with what others made in MetalLB's kinds.
fn cluster(theirs: &[String]) -> ClusterFacts {
    let mut facts = ClusterFacts { uid: "one".into(), version: "v1.37.2".into(), ..ClusterFacts::default() };
    facts.proxy.config = Some(config("kube-proxy", "config.conf", "mode: \"\"\n"));
    facts.dns.config = Some(config("coredns", "Corefile", ".:53 {\n    forward . /etc/resolv.conf\n}\n"));
    facts.proxy.daemon_set = Some(daemon_set(None));
    facts.dns.deployment = Some(deployment(None));
    facts.injection.namespaces = ["shop", "bank"].map(namespace).into();
    facts.injection.deployments = vec![web()];
    facts.balancer.pools = Some(theirs.iter().map(|name| pool(name, "203.0.113.0/28")).collect());
    facts
}

/// A namespace that somebody labelled before us.
fn namespace(name: &str) -> Namespace {
    let labels = json!({"team": "a", "istio-injection": "disabled", "istio.io/rev": "old"});
    serde_json::from_value(json!({"metadata": {"name": name, "uid": format!("u-{name}"), "labels": labels}}))
        .unwrap()
}

fn web() -> Deployment {
    let mut deployment = deployment(None);
    let metadata = &mut deployment.metadata;
    metadata.name = Some("web".into());
    metadata.namespace = Some("shop".into());
    metadata.uid = Some("u-web".into());
    let template = &mut deployment.spec.as_mut().unwrap().template;
    template.metadata.get_or_insert_default().labels = Some(BTreeMap::from([("app".into(), "web".into())]));
    deployment
}

fn daemon_set(stamp: Option<&str>) -> DaemonSet {
    serde_json::from_value(json!({
        "metadata": {"name": "kube-proxy", "generation": 1},
        "spec": {"selector": {}, "template": template(stamp)},
        "status": {
            "observedGeneration": 1, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3,
            "currentNumberScheduled": 3, "numberMisscheduled": 0, "numberReady": 3,
        },
    }))
    .unwrap()
}

fn deployment(stamp: Option<&str>) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "coredns", "generation": 1},
        "spec": {"replicas": 2, "selector": {}, "template": template(stamp)},
        "status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2},
    }))
    .unwrap()
}

fn template(stamp: Option<&str>) -> Value {
    let annotations: BTreeMap<&str, &str> = stamp.into_iter().map(|stamp| (STAMP, stamp)).collect();
    json!({"metadata": {"annotations": annotations}})
}

fn pool(name: &str, addresses: &str) -> Value {
    json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
        "metadata": {"name": name, "namespace": "metallb-system"},
        "spec": {"addresses": [addresses]},
    })
}

fn object(kind: &str, name: &str, want: Value) -> ClusterStep {
    ClusterStep::Object(Box::new(ObjectStep {
        family: Family::Balancer,
        api_version: "v1".into(),
        kind: kind.into(),
        namespace: (kind != "Namespace").then(|| "metallb-system".into()),
        name: name.into(),
        want: Some(want),
    }))
}

fn text(family: Family, name: &str, entry: &str, want: &str) -> Vec<ClusterStep> {
    let (namespace, want) = ("kube-system".to_owned(), want.to_owned());
    let kind = if family == Family::Dns { WorkloadKind::Deployment } else { WorkloadKind::DaemonSet };
    let workload = WorkloadStep {
        family,
        kind,
        namespace: namespace.clone(),
        name: name.into(),
        stamp: Stamp::Is(digest::stamp(&want)),
    };
    let text = TextStep { family, namespace, name: name.into(), entry: entry.into(), want };
    vec![ClusterStep::Text(text), ClusterStep::Workload(workload)]
}

/// A mode, an upstream, pools, and what of Istio's injection.
type SomeRack = (Option<String>, Option<String>, Vec<String>, Option<(Option<String>, bool, bool)>);

/// What some rack may want.
fn wanted((mode, upstream, pools, injection): &SomeRack) -> Vec<WantedStep> {
    let mut steps = Vec::new();
    if let Some(mode) = mode {
        steps.extend(text(Family::Proxy, "kube-proxy", "config.conf", &format!("mode: {mode}\n")));
    }
    if let Some(upstream) = upstream {
        let corefile = format!(".:53 {{\n    forward . {upstream}\n}}\n");
        steps.extend(text(Family::Dns, "coredns", "Corefile", &corefile));
    }
    if !pools.is_empty() {
        steps.push(object("Namespace", "metallb-system", json!({"kind": "Namespace"})));
    }
    steps.extend(pools.iter().map(|name| object("IPAddressPool", name, pool(name, "192.0.2.0/28"))));
    if let Some((revision, excludes, restarts)) = injection {
        steps.extend(injected(revision.as_deref(), *excludes, *restarts));
    }
    steps.into_iter().map(|step| WantedStep { step, why: "a rack".into() }).collect()
}

fn injected(revision: Option<&str>, excludes: bool, restarts: bool) -> Vec<ClusterStep> {
    let own = |value: Option<&str>| value.map(str::to_owned);
    let legacy = revision.is_none().then_some("enabled");
    let want = [("istio-injection".to_owned(), own(legacy)), ("istio.io/rev".to_owned(), own(revision))];
    let mut namespace = labels("Namespace", None, "shop", LabelPlace::Object);
    namespace.want = want.into();
    let mut steps = vec![ClusterStep::Labels(namespace)];
    if excludes {
        let mut web = labels("Deployment", Some("shop"), "web", LabelPlace::PodTemplate);
        web.want = BTreeMap::from([("sidecar.istio.io/inject".into(), Some("false".into()))]);
        steps.push(ClusterStep::Labels(web));
    }
    if restarts {
        let (namespace, name) = ("shop".to_owned(), "web".to_owned());
        let stamp = Stamp::Is(digest::stamp(revision.unwrap_or("default")));
        let kind = WorkloadKind::Deployment;
        steps.push(ClusterStep::Workload(WorkloadStep {
            family: Family::Mesh,
            kind,
            namespace,
            name,
            stamp,
        }));
    }
    steps
}

fn labels(kind: &str, namespace: Option<&str>, name: &str, place: LabelPlace) -> LabelsStep {
    let (namespace, name) = (namespace.map(str::to_owned), name.to_owned());
    let (api_version, kind) = ("v1".into(), kind.to_owned());
    LabelsStep {
        family: Family::Mesh,
        api_version,
        kind,
        namespace,
        name,
        place,
        want: BTreeMap::new(),
        only: None,
    }
}

/// Carries out a plan as a cluster would, with receipts as a run keeps them.
fn carry_out(facts: &mut ClusterFacts, steps: &[PlannedClusterStep]) {
    for planned in steps {
        let step = &planned.step;
        let seen = look(facts, step);
        assert!(planned.seen.still(&seen), "{planned:?} is stale: {seen:?}");
        let acts = matches!(step.decide(&seen), Decision::Change { .. });
        if acts && planned.purpose == Purpose::Want && step.inverse(&seen).is_some() {
            let meant = digest::intended(step);
            facts.ledger.intend(&run(), step, &seen, digest::seen(&seen), meant);
        }
        if acts {
            act(facts, step);
        }
        assert_eq!(step.decide(&look(facts, step)), Decision::Keep, "{step:?}");
        match (planned.purpose, step) {
            (Purpose::Undo, _) => facts.ledger.undone(&step.key()),
            (Purpose::Want, ClusterStep::Object(object)) => {
                let done = digest::object(live(facts, object).unwrap());
                facts.ledger.done(&step.key(), done);
            }
            (Purpose::Want, _) => facts.ledger.done(&step.key(), digest::intended(step).unwrap()),
        }
    }
}

fn act(facts: &mut ClusterFacts, step: &ClusterStep) {
    match step {
        ClusterStep::Text(step) => {
            let config = match step.family {
                Family::Dns => &mut facts.dns.config,
                _ => &mut facts.proxy.config,
            };
            let data = config.as_mut().unwrap().data.as_mut().unwrap();
            data.insert(step.entry.clone(), step.want.clone());
        }
        ClusterStep::Workload(step) => {
            let stamp = match &step.stamp {
                Stamp::Is(stamp) => Some(stamp.as_str()),
                Stamp::Any | Stamp::Absent => None,
            };
            match step.family {
                Family::Mesh => restart(facts, step),
                Family::Dns => facts.dns.deployment = Some(deployment(stamp)),
                _ => facts.proxy.daemon_set = Some(daemon_set(stamp)),
            }
        }
        ClusterStep::Object(step) if step.kind == "IPAddressPool" => {
            let pools = facts.balancer.pools.as_mut().unwrap();
            pools.retain(|pool| pool["metadata"]["name"] != step.name.as_str());
            pools.extend(step.want.clone());
        }
        ClusterStep::Labels(step) => relabel(facts, step),
        ClusterStep::Object(object) => match &object.want {
            Some(want) => _ = facts.balancer.live.insert(step.key(), want.clone()),
            None => _ = facts.balancer.live.remove(&step.key()),
        },
        ClusterStep::Mesh(_) => unreachable!("see the tests of Istio"),
    }
}

fn relabel(facts: &mut ClusterFacts, step: &LabelsStep) {
    let metadata = match step.place {
        LabelPlace::Object => {
            let namespaces = &mut facts.injection.namespaces;
            let is = |n: &&mut Namespace| n.metadata.name.as_deref() == Some(&step.name);
            &mut namespaces.iter_mut().find(is).unwrap().metadata
        }
        LabelPlace::PodTemplate => {
            let spec = facts.injection.deployments[0].spec.as_mut().unwrap();
            spec.template.metadata.get_or_insert_default()
        }
    };
    let labels = metadata.labels.get_or_insert_default();
    for (key, value) in &step.want {
        match value {
            Some(value) => _ = labels.insert(key.clone(), value.clone()),
            None => _ = labels.remove(key),
        }
    }
}

fn restart(facts: &mut ClusterFacts, step: &WorkloadStep) {
    let spec = facts.injection.deployments[0].spec.as_mut().unwrap();
    let annotations = spec.template.metadata.get_or_insert_default().annotations.get_or_insert_default();
    match &step.stamp {
        Stamp::Is(stamp) => _ = annotations.insert(STAMP.into(), stamp.clone()),
        Stamp::Any | Stamp::Absent => _ = annotations.remove(STAMP),
    }
}

/// What an operator would compare before and after.
fn state(facts: &ClusterFacts) -> Value {
    let mut pools = facts.balancer.pools.clone().unwrap();
    pools.sort_by_key(ToString::to_string);
    json!({
        "proxy": facts.proxy.config, "dns": facts.dns.config, "set": facts.proxy.daemon_set,
        "deployment": facts.dns.deployment, "pools": pools, "live": facts.balancer.live,
        "namespaces": facts.injection.namespaces, "web": facts.injection.deployments,
    })
}

fn racks() -> impl Strategy<Value = SomeRack> {
    let mode = proptest::option::of("iptables|nftables");
    let upstream = proptest::option::of("192\\.0\\.2\\.[1-3]");
    let pools = proptest::sample::subsequence(vec!["a".to_owned(), "b".into(), "c".into()], 0..3);
    let revision = proptest::option::of("canary|new");
    let injection = proptest::option::of((revision, any::<bool>(), any::<bool>()));
    (mode, upstream, pools, injection)
}

proptest! {
    #[test]
    fn again_is_nothing_and_revert_brings_back(racks in proptest::collection::vec(racks(), 1..4)) {
        let mut facts = cluster(&[]);
        let before = state(&facts);
        for rack in &racks {
            let Planned { steps, findings } = plan(&facts, &wanted(rack));
            prop_assert!(findings.is_empty(), "{findings:?}");
            carry_out(&mut facts, &steps);
            prop_assert_eq!(plan(&facts, &wanted(rack)).steps, vec![]);
        }
        let undone = revert(&facts);
        prop_assert!(undone.findings.is_empty(), "{:?}", undone.findings);
        carry_out(&mut facts, &undone.steps);
        prop_assert_eq!(state(&facts), before);
        prop_assert!(facts.ledger.entries.is_empty());
    }

    #[test]
    fn equal_inputs_plan_equal_bytes(rack in racks()) {
        let facts = cluster(&[]);
        let bytes = || serde_json::to_string(&part(&facts, plan(&facts, &wanted(&rack)).steps)).unwrap();
        prop_assert_eq!(bytes(), bytes());
    }
}

fn some_rack() -> SomeRack {
    (Some("nftables".into()), Some("192.0.2.1".into()), vec!["a".into()], None)
}

#[test]
fn what_somebody_changed_since_is_left_alone() {
    let mut facts = cluster(&[]);
    let steps = plan(&facts, &wanted(&some_rack())).steps;
    carry_out(&mut facts, &steps);
    let data = facts.dns.config.as_mut().unwrap().data.as_mut().unwrap();
    data.insert("Corefile".into(), "by hand".into());
    let undone = revert(&facts);
    let left: Vec<_> = undone.findings.iter().map(|f| (f.name.as_str(), f.subject.as_str())).collect();
    assert_eq!(left, [("cluster-changed-by-others", "dns/corefile")]);
    assert!(undone.steps.iter().all(|s| s.step.key() != "dns/corefile"));
}

#[test]
fn what_holds_objects_of_others_stays() {
    let mut facts = cluster(&[]);
    let steps = plan(&facts, &wanted(&some_rack())).steps;
    carry_out(&mut facts, &steps);
    facts.balancer.pools.as_mut().unwrap().push(pool("theirs", "203.0.113.16/28"));
    let undone = revert(&facts);
    assert!(
        undone
            .findings
            .iter()
            .any(|f| f.name == "holds-others" && f.observed.contains("IPAddressPool theirs"))
    );
    assert!(undone.steps.iter().all(|s| s.step.key() != "balancer/Namespace/-/metallb-system"));
    assert!(undone.steps.iter().any(|s| s.step.key() == "balancer/IPAddressPool/metallb-system/a"));
}

#[test]
fn configuration_comes_back_before_its_pods_restart() {
    let mut facts = cluster(&[]);
    let steps = plan(&facts, &wanted(&some_rack())).steps;
    carry_out(&mut facts, &steps);
    let keys: Vec<String> = revert(&facts).steps.iter().map(|s| s.step.key()).collect();
    assert_eq!(
        keys,
        [
            "balancer/IPAddressPool/metallb-system/a",
            "balancer/Namespace/-/metallb-system",
            "dns/corefile",
            "dns/rollout",
            "proxy/config",
            "proxy/rollout",
        ]
    );
}

#[test]
fn a_saved_plan_is_stale_when_its_text_was_edited_or_its_cluster_is_another() {
    let mut facts = cluster(&[]);
    let wanted = wanted(&some_rack());
    let saved = part(&facts, plan(&facts, &wanted).steps);
    assert_eq!(stale(&saved, &part(&facts, plan(&facts, &wanted).steps), &facts), []);
    let data = facts.proxy.config.as_mut().unwrap().data.as_mut().unwrap();
    data.insert("config.conf".into(), "mode: ipvs\n".into());
    let about = |facts: &ClusterFacts| -> Vec<String> {
        let fresh = part(facts, plan(facts, &wanted).steps);
        stale(&saved, &fresh, facts).into_iter().map(|d| d.about).collect()
    };
    assert_eq!(about(&facts), ["edit config.conf of ConfigMap kube-system/kube-proxy"]);
    facts.uid = "another".into();
    assert_eq!(about(&facts), ["the cluster itself (uid of kube-system)"]);
}

#[test]
fn a_namespace_made_anew_is_left_as_its_maker_wants_it() {
    let mut facts = cluster(&[]);
    let rack = (None, None, vec![], Some((None, false, false)));
    let steps = plan(&facts, &wanted(&rack)).steps;
    carry_out(&mut facts, &steps);
    facts.injection.namespaces[0].metadata.uid = Some("another".into());
    let undone = revert(&facts);
    assert!(
        undone.findings.is_empty() && undone.steps.iter().all(|s| s.decision == Decision::Keep),
        "{undone:?}"
    );
    // What is labelled again is undone as it was found this time.
    let labels = facts.injection.namespaces[0].metadata.labels.as_mut().unwrap();
    labels.clear();
    let steps = plan(&facts, &wanted(&rack)).steps;
    carry_out(&mut facts, &steps);
    let undone = revert(&facts);
    carry_out(&mut facts, &undone.steps);
    assert_eq!(facts.injection.namespaces[0].metadata.labels, Some(BTreeMap::new()));
}

#[test]
fn labels_that_somebody_changed_since_are_left_alone() {
    let mut facts = cluster(&[]);
    let rack = (None, None, vec![], Some((Some("canary".into()), false, true)));
    let steps = plan(&facts, &wanted(&rack)).steps;
    carry_out(&mut facts, &steps);
    let labels = facts.injection.namespaces[0].metadata.labels.as_mut().unwrap();
    labels.insert("istio.io/rev".into(), "theirs".into());
    let status = super::outcome::ClusterStatus::of(&facts);
    let drift: Vec<_> = status.drift.iter().map(|d| (d.key.as_str(), d.now.as_str())).collect();
    assert_eq!(drift, [("mesh/labels/Namespace/-/shop", "other labels")]);
    let undone = revert(&facts);
    let keys: Vec<String> = undone.steps.iter().map(|s| s.step.key()).collect();
    assert_eq!((undone.findings.len(), keys), (1, vec!["mesh/rollout/Deployment/shop/web".to_owned()]));
}

#[test]
fn pods_are_made_anew_only_when_no_sidecar_is_injected_any_more() {
    let mut facts = cluster(&[]);
    let rack = (None, None, vec![], Some((None, true, true)));
    let steps = plan(&facts, &wanted(&rack)).steps;
    carry_out(&mut facts, &steps);
    let keys: Vec<String> = revert(&facts).steps.iter().map(|s| s.step.key()).collect();
    let pods = ["mesh/rollout/Deployment/shop/web", "mesh/labels/Deployment/shop/web"];
    assert_eq!(keys, [&["mesh/labels/Namespace/-/shop"], &pods[..]].concat());
}
