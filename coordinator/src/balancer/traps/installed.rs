//! Who installed MetalLB, which version, and who else does its work.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rackwright_proto::cluster::object::FIELD_MANAGER;
use rackwright_proto::finding::Finding;

use super::{Scope, check};
use crate::balancer::manifest::{MANAGED_BY, text};
use crate::balancer::names;
use crate::balancer::release::Release;
use crate::balancer::view::{self, service_name, strings};
use crate::network::{link_matches, list};

pub(super) fn judge(scope: &Scope) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(owned_by_others(scope));
    findings.extend(downgrade(scope));
    findings.extend(forgotten_kind(scope));
    findings.extend(another_balancer(scope));
    findings.extend(ignored_annotations(scope));
    findings.extend(ignored_service_selectors(scope));
    findings.extend(invalid_configuration(scope));
    findings.extend(excluded_interfaces(scope));
    findings
}

/// Who looks after a workload: a tool that would undo what we do, or somebody who ran a command once.
enum Owner {
    Tool(String),
    Hand(String),
}

fn owner(metadata: &ObjectMeta) -> Option<Owner> {
    let label = metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY));
    let chart = metadata.annotations.as_ref().and_then(|all| all.get("meta.helm.sh/release-name"));
    if chart.is_some() || label.is_some_and(|by| by == "Helm") {
        let release = chart.map(|name| format!(" (release {name})")).unwrap_or_default();
        return Some(Owner::Tool(format!("Helm{release}")));
    }
    if let Some(owner) = metadata.owner_references.as_ref().and_then(|all| all.first()) {
        return Some(Owner::Tool(format!("the object {}/{}", owner.kind, owner.name)));
    }
    let managers = metadata.managed_fields.iter().flatten();
    let told =
        managers.filter(|m| m.subresource.as_deref() != Some("status")).filter_map(|m| m.manager.as_deref());
    let told: Vec<&str> = told.filter(|m| !matches!(*m, "kube-controller-manager" | "kubelet")).collect();
    if told.contains(&FIELD_MANAGER) {
        return None;
    }
    let tool = told
        .iter()
        .find(|m| ["argocd", "flux", "kustomize-controller", "helm"].iter().any(|t| m.contains(t)));
    let hand = || Owner::Hand(told.first().map_or_else(|| "somebody".to_owned(), |m| (*m).to_owned()));
    Some(tool.map_or_else(hand, |tool| Owner::Tool((*tool).to_owned())))
}

/// Ours, or installed by hand at the very version that the rack wants, may be taken over.
fn owned_by_others(scope: &Scope) -> Option<Finding> {
    let facts = &scope.facts.balancer;
    let workloads = facts.deployments.iter().map(|d| ("Deployment", &d.metadata));
    let mut workloads = workloads.chain(facts.daemon_sets.iter().map(|d| ("DaemonSet", &d.metadata)));
    let live = view::release(facts);
    let (what, owner) = workloads.find_map(|(kind, metadata)| {
        let owner = owner(metadata)?;
        let name = metadata.name.as_deref().unwrap_or_default();
        let same = matches!(owner, Owner::Hand(_)) && live == Some(scope.wanted_release());
        (!same).then(|| (format!("{kind} {name}"), owner))
    })?;
    let version = live.map_or_else(|| "of an unknown version".to_owned(), |live| live.to_string());
    let (by, fix) = match owner {
        Owner::Tool(tool) => {
            let fix = format!(
                "leave MetalLB to {tool} and take `metallb` out of the rack, or let {tool} remove it first (pools can stay)"
            );
            (tool, fix)
        }
        Owner::Hand(hand) => {
            let fix = format!(
                "write `version: {version}` to take it over as it is; or waive this to install over it"
            );
            (hand, fix)
        }
    };
    let checked = "who installed the MetalLB that is there";
    let expected = format!("none, ours, or version {} of the native manifest", scope.wanted_release());
    let observed = format!("{what} is from {by}, MetalLB {version}");
    Some(check(names::BALANCER_OWNED_BY_OTHERS, "MetalLB", checked, expected).error(observed, fix))
}

fn downgrade(scope: &Scope) -> Option<Finding> {
    let live = view::release(&scope.facts.balancer).filter(|live| *live > scope.wanted_release())?;
    let expected = format!("at most {}", scope.wanted_release());
    let fix = format!(
        "write `version: {live}` under kubernetes.metallb; an older MetalLB forgets fields of newer objects"
    );
    Some(
        check(
            names::BALANCER_DOWNGRADE,
            "MetalLB",
            "that no newer MetalLB runs than the rack wants",
            expected,
        )
        .error(format!("{live} runs"), fix),
    )
}

fn forgotten_kind(scope: &Scope) -> Option<Finding> {
    let live = view::release(&scope.facts.balancer)?;
    let forgets =
        live < Release::WITHOUT_ADDRESS_POOL && scope.wanted_release() >= Release::WITHOUT_ADDRESS_POOL;
    let checked = "whether pools of the old kind AddressPool are still meant to count";
    let fix = "see `kubectl get addresspools.metallb.io -A`; write each of them as a pool of the rack, then delete it";
    forgets.then(|| {
        check(names::BALANCER_ADDRESS_POOL_OLD, "MetalLB", checked, "IPAddressPools only").warning(
            format!("{live} runs, which reads AddressPools; {} does not", scope.wanted_release()),
            fix,
        )
    })
}

fn another_balancer(scope: &Scope) -> Vec<Finding> {
    let name = |set: &DaemonSet| set.metadata.name.clone().unwrap_or_default();
    let sets = &scope.facts.daemon_sets;
    let mut found = Vec::new();
    if let Some(set) = sets.iter().map(name).find(|name| name.starts_with("svclb-")) {
        let fix = "start the k3s servers with `--disable=servicelb`";
        found.push(("ServiceLB of k3s", format!("DaemonSet kube-system/{set}"), fix));
    }
    if let Some(set) = sets.iter().find(|set| name(set).contains("kube-vip") && serves(set)) {
        let fix = "take `svc_enable` from kube-vip, or give it a class of its own with `lb_class_only`";
        found.push(("kube-vip", format!("DaemonSet kube-system/{}", name(set)), fix));
    }
    let cilium = scope.facts.cilium.as_ref().and_then(|map| map.data.as_ref());
    if cilium.is_some_and(|data| data.get("enable-l2-announcements").is_some_and(|on| on == "true")) {
        let fix = "set `l2announcements.enabled=false` in Cilium, or take `metallb` out of the rack";
        found.push((
            "Cilium",
            "`enable-l2-announcements: true` in ConfigMap kube-system/cilium-config".into(),
            fix,
        ));
    }
    let say = |(who, observed, fix): (&str, String, &str)| {
        let checked = "that MetalLB alone hands out and announces addresses";
        check(names::BALANCER_ANOTHER, who, checked, "no other balancer").warning(observed, fix)
    };
    found.into_iter().map(say).collect()
}

/// Whether kube-vip looks after Services (`svc_enable`), beside the control plane.
fn serves(set: &DaemonSet) -> bool {
    let pod = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let variables = pod.into_iter().flat_map(|pod| &pod.containers).flat_map(|c| c.env.iter().flatten());
    variables.into_iter().any(|v| v.name == "svc_enable" && v.value.as_deref() == Some("true"))
}

/// Annotations with the newer prefix, which older releases do not read.
pub(in crate::balancer) fn new_annotations(service: &Service) -> Vec<&str> {
    let annotations: &BTreeMap<String, String> = match &service.metadata.annotations {
        Some(annotations) => annotations,
        None => return Vec::new(),
    };
    let asks = ["metallb.io/address-pool", "metallb.io/loadBalancerIPs", "metallb.io/allow-shared-ip"];
    let old = |key: &str| annotations.contains_key(&key.replace("metallb.io", "metallb.universe.tf"));
    asks.into_iter().filter(|key| annotations.contains_key(*key) && !old(key)).collect()
}

fn ignored_annotations(scope: &Scope) -> Option<Finding> {
    let release = scope.wanted_release();
    let asking = scope.facts.services.iter().map(|s| (service_name(s), new_annotations(s)));
    let asking: Vec<String> = asking
        .filter(|(_, keys)| !keys.is_empty())
        .map(|(name, keys)| format!("{name} ({})", keys.join(", ")))
        .collect();
    let ignores = release < Release::NEW_ANNOTATIONS && !asking.is_empty();
    let fix = "write the annotations with the prefix `metallb.universe.tf/`, which all versions read, or use MetalLB 0.14.9 or newer";
    ignores.then(|| {
        let checked = format!("that MetalLB {release} reads what Services ask for");
        check(
            names::BALANCER_VERSION_IGNORES,
            "annotations",
            checked,
            "annotations that begin with metallb.universe.tf/",
        )
        .warning(list(asking), fix)
    })
}

fn ignored_service_selectors(scope: &Scope) -> Vec<Finding> {
    let release = scope.wanted_release();
    let asking = scope.after.advertisements.iter().filter(|ad| !ad.list("serviceSelectors").is_empty());
    let asking = asking.filter(|_| release < Release::SERVICE_SELECTORS);
    let say = |ad: &view::Advertisement| {
        let checked = format!("that MetalLB {release} knows all fields of L2Advertisement {}", ad.name);
        check(
            names::BALANCER_VERSION_IGNORES,
            &ad.name,
            checked,
            "no serviceSelectors, which came with 0.16.0",
        )
        .warning("it has serviceSelectors", "use MetalLB 0.16.0 or newer, or remove them")
    };
    asking.map(say).collect()
}

/// What MetalLB itself says of its configuration (ConfigurationState, from 0.15.3 on).
fn invalid_configuration(scope: &Scope) -> Vec<Finding> {
    let states = scope.facts.balancer.states.iter().flatten();
    let invalid = states.filter(|state| text(state, "/status/result") == "Invalid");
    let say = |state: &serde_json::Value| {
        let fix = "mend what it names; until then MetalLB goes on with its last valid configuration";
        check(
            names::BALANCER_CONFIGURATION_INVALID,
            text(state, "/metadata/name"),
            "what MetalLB says of its configuration",
            "Valid",
        )
        .warning(text(state, "/status/errorSummary"), fix)
    };
    invalid.map(say).collect()
}

/// The exclusion list of the manifest, where it is not the one that is known of its version.
fn excluded_interfaces(scope: &Scope) -> Vec<Finding> {
    let Some(map) = scope.objects("ConfigMap").find(|step| step.name == "metallb-excludel2") else {
        return Vec::new();
    };
    let list = map.want.as_ref().map(|object| text(object, "/data/excludel2.yaml")).unwrap_or_default();
    let list: serde_json::Value = serde_saphyr::from_str(list).unwrap_or_default();
    let patterns = strings(&list, "/announcedInterfacesToExclude");
    let mut found = Vec::new();
    for ad in scope.after.advertisements.iter().filter(|ad| scope.wants("L2Advertisement", &ad.name)) {
        for link in ad.interfaces() {
            let Some(pattern) = patterns.iter().find(|pattern| link_matches(pattern, link)) else { continue };
            let checked = format!("whether MetalLB announces on {link}");
            let fix = format!(
                "take `{pattern}` out of `excludel2.yaml` in ConfigMap metallb-excludel2 of the manifest, or use another interface"
            );
            found.push(
                check(
                    names::BALANCER_EXCLUDES_INTERFACE,
                    link,
                    checked,
                    "no pattern of the exclusion list that matches it",
                )
                .error(format!("the list of the manifest holds `{pattern}`"), fix),
            );
        }
    }
    found
}
