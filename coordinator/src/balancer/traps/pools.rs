//! Addresses: overlaps, ranges that are larger than they look, pools that lose what is in use.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use rackwright_proto::cluster::object::FIELD_MANAGER;
use rackwright_proto::finding::Finding;
use serde_json::Value;

use super::{Scope, check, others};
use crate::balancer::names;
use crate::balancer::release::Release;
use crate::balancer::view::{Pool, Told, given, service_name};
use crate::network::list;

pub(super) fn judge(scope: &Scope) -> Vec<Finding> {
    let mut findings = overlaps(scope);
    findings.extend(masked(scope));
    findings.extend(shrinks(scope));
    findings.extend(for_nobody(scope));
    findings.extend(shared(scope));
    findings
}

/// Pools that the rack does not speak of, and that stay.
fn foreign<'a>(scope: &'a Scope) -> impl Iterator<Item = &'a Pool> {
    scope.after.pools.iter().filter(|pool| !scope.wants("IPAddressPool", &pool.name))
}

fn ours<'a>(scope: &'a Scope) -> impl Iterator<Item = &'a Pool> {
    scope.after.pools.iter().filter(|pool| scope.wants("IPAddressPool", &pool.name))
}

fn overlaps(scope: &Scope) -> Vec<Finding> {
    let mut found = Vec::new();
    for pool in ours(scope) {
        for other in foreign(scope) {
            let both = pool.ranges.iter().flat_map(|a| other.ranges.iter().filter_map(|b| a.intersection(b)));
            let both: Vec<String> = both.map(|range| range.to_string()).collect();
            if both.is_empty() {
                continue;
            }
            let checked = format!("that no pool of others holds addresses of pool {}", pool.name);
            let observed = format!(
                "IPAddressPool {} (set by {}) holds {} too",
                other.name,
                others(&other.object),
                list(both)
            );
            let fix = format!(
                "choose other addresses, or delete IPAddressPool {}: MetalLB refuses overlaps",
                other.name
            );
            let finding = check(
                names::POOL_OVERLAPS_FOREIGN,
                &pool.name,
                checked,
                "addresses that no other pool holds",
            );
            found.push(finding.error(observed, fix));
        }
    }
    found
}

fn masked(scope: &Scope) -> Vec<Finding> {
    let all =
        foreign(scope).flat_map(|pool| pool.masked.iter().map(move |(text, range)| (pool, text, range)));
    let say = |(pool, text, range): (&Pool, &String, &rackwright_proto::range::AddressRange)| {
        let checked = format!("that pool {} is as large as it looks", pool.name);
        let fix = format!("write {range}, or the range from first to last, into IPAddressPool {}", pool.name);
        check(names::POOL_FOREIGN_HOST_BITS, &pool.name, checked, "a network without host bits")
            .warning(format!("{text}, which MetalLB reads as {range}"), fix)
    };
    all.map(say).collect()
}

/// Addresses that Services have, and that no pool will hold any more.
fn shrinks(scope: &Scope) -> Vec<Finding> {
    let loses =
        |pool: &&Pool, address: &IpAddr| pool.holds(*address) && scope.after.pool_of(*address).is_none();
    let of_service = |pool: &&Pool, service: &Service| {
        let lost = given(service).into_iter().filter(|address| loses(pool, address)).collect::<Vec<_>>();
        lost.into_iter()
            .map(|address| format!("{address} of Service {}", service_name(service)))
            .collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for pool in &scope.live.pools {
        let lost: Vec<String> = scope.facts.services.iter().flat_map(|s| of_service(&pool, s)).collect();
        if lost.is_empty() {
            continue;
        }
        let checked = format!("that pool {} loses no address that a Service has", pool.name);
        let observed = format!("it would lose {}", list(lost));
        let release = scope.wanted_release();
        let then = match release >= Release::TAKES_ADDRESSES_AWAY {
            true => "gives these Services other addresses at once",
            false => "takes none of the changed pools until these Services are gone",
        };
        let fix = format!(
            "leave these addresses in a pool, or delete the Services first; waived, MetalLB {release} {then}"
        );
        found.push(
            check(
                names::POOL_SHRINKS_IN_USE,
                &pool.name,
                checked,
                "all addresses in use are still in a pool",
            )
            .error(observed, fix),
        );
    }
    found
}

fn for_nobody(scope: &Scope) -> Vec<Finding> {
    let services = &scope.facts.services;
    let nobody = |pool: &&Pool| !services.is_empty() && services.iter().all(|s| pool.is_for(s) == Told::No);
    let say = |pool: &Pool| {
        let checked = format!("whom pool {} is for", pool.name);
        let observed = format!(
            "no Service of type LoadBalancer (there are {}) matches its serviceAllocation",
            services.len()
        );
        let fix = "compare its namespaces and selectors with the Services' own (`kubectl get services -A --show-labels`)";
        check(names::POOL_ALLOCATION_MATCHES_NOTHING, &pool.name, checked, "a Service that matches")
            .warning(observed, fix)
    };
    ours(scope).filter(nobody).map(say).collect()
}

/// Fields of our pools and advertisements that somebody else set, and that we do not speak of: they stay.
fn shared(scope: &Scope) -> Vec<Finding> {
    let live = scope.live.pools.iter().map(|p| ("IPAddressPool", &p.name, &p.object));
    let live = live.chain(scope.live.advertisements.iter().map(|a| ("L2Advertisement", &a.name, &a.object)));
    let mut found = Vec::new();
    for (kind, name, object) in live {
        let Some(want) = scope.objects(kind).find(|step| step.name == *name).and_then(|s| s.want.as_ref())
        else {
            continue;
        };
        let fields = object["spec"].as_object().into_iter().flatten().map(|(field, _)| field.as_str());
        let foreign: Vec<&str> =
            fields.filter(|f| want["spec"].get(*f).is_none() && set_by_others(object, f)).collect();
        if !foreign.is_empty() {
            let checked = format!("that {kind} {name} is as the rack says, and no more");
            let fix = format!(
                "write the same into the rack, or remove it: kubectl edit {} -n {} {name}",
                kind.to_lowercase(),
                scope.metallb.namespace
            );
            found.push(
                check(names::BALANCER_OBJECT_SHARED, name, checked, "no fields but those of the rack")
                    .warning(format!("{} set {}", others(object), list(foreign)), fix),
            );
        }
    }
    found
}

fn set_by_others(object: &Value, field: &str) -> bool {
    let managers = object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    let pointer = format!("/fieldsV1/f:spec/f:{field}");
    let (ours, theirs): (Vec<&Value>, Vec<&Value>) =
        managers.filter(|m| m.pointer(&pointer).is_some()).partition(|m| m["manager"] == FIELD_MANAGER);
    ours.is_empty() && !theirs.is_empty()
}
