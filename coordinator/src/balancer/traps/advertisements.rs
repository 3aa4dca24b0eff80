//! Who announces the pools: nobody, too many, or nodes that may not.

use k8s_openapi::api::core::v1::Node;
use rackwright_proto::finding::Finding;

use super::{Scope, check, others};
use crate::balancer::names;
use crate::balancer::objects::{lets, unheard};
use crate::balancer::release::Release;
use crate::balancer::view::{Advertisement, EXCLUDE, Pool, is_ours, node_label, node_name};
use crate::network::list;

pub(super) fn judge(scope: &Scope) -> Vec<Finding> {
    let mut findings = not_advertised(scope);
    findings.extend(missing_pools(scope));
    findings.extend(overruled(scope));
    findings.extend(no_node(scope));
    findings.extend(nodes_excluded(scope));
    findings.extend(not_filled(scope));
    findings
}

fn not_advertised(scope: &Scope) -> Vec<Finding> {
    let nobody = scope.after.pools.iter().filter(|pool| scope.after.carriers(pool).is_empty());
    let say = |pool: &Pool| {
        let checked = format!("who announces pool {}", pool.name);
        let fix = match scope.wants("IPAddressPool", &pool.name) {
            true => format!("add `- {{pools: [{}]}}` to kubernetes.metallb.advertisements", pool.name),
            false => {
                format!("it was set by {}: give it an L2Advertisement, or delete it", others(&pool.object))
            }
        };
        let observed = "none: its addresses are given out, but nobody answers for them";
        check(names::POOL_NOT_ADVERTISED, &pool.name, checked, "an L2Advertisement that carries it")
            .warning(observed, fix)
    };
    nobody.map(say).collect()
}

fn missing_pools(scope: &Scope) -> Vec<Finding> {
    let mut found = Vec::new();
    for ad in &scope.after.advertisements {
        let missing: Vec<&str> =
            ad.pools().into_iter().filter(|name| scope.after.pool(name).is_none()).collect();
        if missing.is_empty() {
            continue;
        }
        let checked = format!("that the pools of L2Advertisement {} exist", ad.name);
        let fix = format!(
            "correct the names in L2Advertisement {}, or make the pools: MetalLB ignores this silently",
            ad.name
        );
        found.push(
            check(names::ADVERTISEMENT_MISSING_POOL, &ad.name, checked, "pools that exist")
                .warning(format!("there is no pool {}", list(missing)), fix),
        );
    }
    found
}

/// MetalLB takes the union of all advertisements of a pool, so one of others without restrictions undoes ours.
fn overruled(scope: &Scope) -> Vec<Finding> {
    let mut found = Vec::new();
    for pool in scope.after.pools.iter().filter(|pool| scope.wants("IPAddressPool", &pool.name)) {
        let carriers = scope.after.carriers(pool);
        let (ours, theirs): (Vec<&Advertisement>, Vec<&Advertisement>) =
            carriers.into_iter().partition(|ad| scope.wants("L2Advertisement", &ad.name));
        let narrow = !ours.is_empty() && ours.iter().all(|ad| ad.restricts());
        for wide in theirs.iter().filter(|ad| narrow && !ad.restricts()) {
            let checked = format!("that pool {} is announced only as the rack says", pool.name);
            let observed = format!(
                "L2Advertisement {} (set by {}) announces it everywhere",
                wide.name,
                others(&wide.object)
            );
            let fix = format!(
                "name other pools in L2Advertisement {}, or delete it: MetalLB takes the union of all",
                wide.name
            );
            found.push(
                check(names::ADVERTISEMENT_OVERRULED, &pool.name, checked, "no wider advertisement")
                    .warning(observed, fix),
            );
        }
    }
    found
}

fn no_node(scope: &Scope) -> Vec<Finding> {
    let nodes = &scope.facts.nodes;
    let mut found = Vec::new();
    for ad in scope.after.advertisements.iter().filter(|_| !nodes.is_empty()) {
        let lets: Vec<&Node> = nodes.iter().filter(|node| ad.lets(node)).collect();
        let observed = match lets.is_empty() {
            true => "its nodeSelectors match no node".to_owned(),
            false if without_interfaces(scope, ad, &lets) => {
                format!("none of its nodes has an interface {}", list(ad.interfaces()))
            }
            false => continue,
        };
        let checked = format!("that somebody can announce for L2Advertisement {}", ad.name);
        let fix = match is_ours(&ad.object) || scope.wants("L2Advertisement", &ad.name) {
            true => {
                "correct `nodes`, `nodeSelectors` or `interfaces` of the advertisement in the rack".to_owned()
            }
            false => format!("correct L2Advertisement {} (set by {})", ad.name, others(&ad.object)),
        };
        found.push(
            check(
                names::ADVERTISEMENT_NO_NODE,
                &ad.name,
                checked,
                "a node that it selects, with its interfaces",
            )
            .warning(observed, fix),
        );
    }
    found
}

/// Whether all of these nodes were heard, and none has an interface of the advertisement.
fn without_interfaces(scope: &Scope, ad: &Advertisement, nodes: &[&Node]) -> bool {
    let interfaces = ad.interfaces();
    let lacks = |node: &&Node| {
        let member = scope.context.members.iter().find(|m| m.name == node_name(node));
        let rack = member.and_then(|m| m.rack.as_ref());
        let heard = scope.context.scene.nodes.iter().find(|n| Some(&n.name) == rack);
        heard.is_some_and(|n| !n.network.links.iter().any(|l| interfaces.contains(&l.name.as_str())))
    };
    !interfaces.is_empty() && nodes.iter().all(lacks)
}

/// kubeadm labels every control plane so; from 0.14.0 on MetalLB heeds it.
fn nodes_excluded(scope: &Scope) -> Vec<Finding> {
    let release = scope.wanted_release();
    let heeds =
        release >= Release::EXCLUDES_NODES && !scope.speaker_arguments().contains(&"--ignore-exclude-lb");
    let mut found = Vec::new();
    for pool in scope.after.pools.iter().filter(|pool| heeds && scope.wants("IPAddressPool", &pool.name)) {
        let carriers = scope.after.carriers(pool);
        let candidates = scope.facts.nodes.iter().filter(|node| carriers.iter().any(|ad| ad.lets(node)));
        let candidates: Vec<&Node> = candidates.collect();
        if candidates.is_empty() || candidates.iter().any(|node| node_label(node, EXCLUDE).is_none()) {
            continue;
        }
        let labelled = list(candidates.iter().map(|node| node_name(node)));
        let checked = format!("that a node may announce pool {}", pool.name);
        let expected = format!("a node without the label {EXCLUDE}, which MetalLB heeds from 0.14.0 on");
        let fix = format!("kubectl label node {} {EXCLUDE}-", node_name(candidates[0]));
        found.push(
            check(names::NODES_EXCLUDED, &pool.name, checked, expected)
                .error(format!("all that may announce have it: {labelled}"), fix),
        );
    }
    found
}

fn not_filled(scope: &Scope) -> Option<Finding> {
    let members = &scope.context.members;
    let ads = &scope.metallb.advertisements;
    let candidates: Vec<_> = members.iter().filter(|m| ads.iter().any(|ad| lets(ad, m))).collect();
    let silent = unheard(&candidates, scope.context.scene);
    let checked = "which interface carries the pools on every node";
    let fix = "see why these nodes were not heard, then run this again";
    (!silent.is_empty()).then(|| {
        check(names::ADVERTISEMENT_NOT_FILLED, "advertisements", checked, "an answer of every node")
            .warning(format!("{} did not answer; advertisements stay as they are", list(silent)), fix)
    })
}
