//! Pools and advertisements as MetalLB's objects (`metallb.io/v1beta1`).
//!
//! What an advertisement of the rack leaves open is filled in from what the agents saw: MetalLB elects the announcing
//! node without looking at interfaces, so that a node without the interface would announce nothing.

use std::collections::{BTreeMap, BTreeSet};

use rackwright_proto::cluster::ClusterStep;
use rackwright_proto::cluster::object::FIELD_MANAGER;
use rackwright_proto::l2::Span;
use serde_json::{Map, Value, json};

use super::manifest::{MANAGED_BY, step, text};
use super::placement::{Member, Placement, placements};
use super::selector::selects;
use super::view::{HOSTNAME, is_ours};
use crate::network::{PoolInput, Scene};
use crate::rack::model::kubernetes::{Advertisement, Metallb, Pool};

/// What the objects depend on, beside the rack.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    /// What the agents saw.
    pub scene: &'a Scene<'a>,
    /// The cluster's nodes, by [`super::placement::members`].
    pub members: Vec<Member>,
    /// All `L2Advertisement`s that are there now.
    pub advertisements: &'a [Value],
}

/// The steps for all pools, then for all advertisements, each with the field of the rack that leads to it.
pub(super) fn steps(metallb: &Metallb, context: &Context) -> Vec<(ClusterStep, String)> {
    let path = "kubernetes.metallb";
    let pools = metallb.pools.iter().enumerate();
    let pools = pools.map(|(at, p)| (step(pool(metallb, p)), format!("{path}.pools[{at}]")));
    let mut names = Names::of(metallb);
    let mut steps: Vec<_> = pools.collect();
    for (at, advertisement) in metallb.advertisements.iter().enumerate() {
        let base = names.bases[at].clone();
        let objects = advertised(metallb, advertisement, &base, context, &mut names);
        steps.extend(objects.into_iter().map(|o| (step(o), format!("{path}.advertisements[{at}]"))));
    }
    steps
}

fn object(metallb: &Metallb, kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "metallb.io/v1beta1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": metallb.namespace.as_str(),
            "labels": {MANAGED_BY: FIELD_MANAGER},
        },
        "spec": spec,
    })
}

fn pool(metallb: &Metallb, pool: &Pool) -> Value {
    let mut spec = json!({
        "addresses": pool.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "autoAssign": pool.auto_assign,
        "avoidBuggyIPs": pool.avoid_buggy_ips,
    });
    if let Some(allocation) = &pool.service_allocation {
        let mut fields = plain(allocation);
        if allocation.priority == 0 {
            fields.remove("priority");
        }
        spec["serviceAllocation"] = Value::Object(fields);
    }
    object(metallb, "IPAddressPool", pool.name.as_str(), spec)
}

/// A word of the rack that MetalLB has in the same form, without what is empty.
fn plain(word: &impl serde::Serialize) -> Map<String, Value> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(word) else { return Map::new() };
    for value in fields.values_mut() {
        for item in value.as_array_mut().into_iter().flatten() {
            retain_some(item);
        }
    }
    fields.retain(|_, value| !is_empty(value));
    fields
}

fn retain_some(item: &mut Value) {
    if let Value::Object(fields) = item {
        fields.values_mut().filter_map(Value::as_array_mut).flatten().for_each(retain_some);
        fields.retain(|_, value| !is_empty(value));
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null()
        || value.as_array().is_some_and(Vec::is_empty)
        || value.as_object().is_some_and(Map::is_empty)
}

/// Names of advertisements, none twice.
struct Names {
    bases: Vec<String>,
    taken: BTreeSet<String>,
}

impl Names {
    fn of(metallb: &Metallb) -> Self {
        let all = &metallb.advertisements;
        let mut taken: BTreeSet<String> =
            all.iter().filter_map(|a| a.name.as_ref()).map(ToString::to_string).collect();
        let mut base = |ad: &Advertisement| match &ad.name {
            Some(name) => name.to_string(),
            None if ad.pools.is_empty() => free(&mut taken, "all"),
            None => free(&mut taken, &ad.pools.iter().map(|p| p.as_str()).collect::<Vec<_>>().join("-")),
        };
        let bases = all.iter().map(&mut base).collect();
        Self { bases, taken }
    }

    /// A name for one of several placements of an advertisement.
    fn part(&mut self, base: &str, placement: &Placement) -> String {
        let interfaces: Vec<&str> = placement.interfaces.iter().map(String::as_str).collect();
        free(&mut self.taken, &format!("{base}-{}", interfaces.join("-")))
    }
}

/// A name like this one that is not taken, in the form that Kubernetes wants (RFC 1123).
fn free(taken: &mut BTreeSet<String>, like: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' };
    let like: String = like.chars().map(plain).take(240).collect();
    let like = like.trim_matches(['-', '.']).to_owned();
    let numbered = (2u32..).map(|n| format!("{like}-{n}"));
    let name =
        std::iter::once(like.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or(like);
    taken.insert(name.clone());
    name
}

/// The objects that an advertisement of the rack becomes.
fn advertised(
    metallb: &Metallb,
    ad: &Advertisement,
    base: &str,
    context: &Context,
    names: &mut Names,
) -> Vec<Value> {
    let candidates: Vec<&Member> = context.members.iter().filter(|member| lets(ad, member)).collect();
    if !unheard(&candidates, context.scene).is_empty() {
        let kept = kept(base, context, names);
        if !kept.is_empty() {
            return kept;
        }
    }
    let of = |p: &&Pool| ad.pools.is_empty() || ad.pools.contains(&p.name);
    let pools: Vec<PoolInput> = metallb.pools.iter().filter(of).map(|p| input(p, ad)).collect();
    let places = placements(context.scene, &pools, &candidates);
    let as_given = |a: &&Placement| !a.nodes.is_empty();
    let places: Vec<&Placement> = places.iter().filter(as_given).collect();
    match places[..] {
        [] => vec![object(metallb, "L2Advertisement", base, given(ad, &context.members))],
        [only] if only.pools.len() == pools.len() => {
            let spec = filled(ad, only, &candidates, context, false);
            vec![object(metallb, "L2Advertisement", base, spec)]
        }
        _ => {
            let part = |place: &&Placement| {
                let spec = filled(ad, place, &candidates, context, true);
                object(metallb, "L2Advertisement", &names.part(base, place), spec)
            };
            places.iter().map(part).collect()
        }
    }
}

/// Candidates that are of the rack, but were not heard.
pub(super) fn unheard<'a>(candidates: &[&'a Member], scene: &Scene) -> Vec<&'a str> {
    let heard = |name: &String| scene.nodes.iter().any(|node| node.name == *name);
    let silent = candidates.iter().filter(|m| m.rack.as_ref().is_some_and(|name| !heard(name)));
    silent.map(|m| m.name.as_str()).collect()
}

/// Whether the rack lets a node announce.
pub(super) fn lets(ad: &Advertisement, member: &Member) -> bool {
    let everywhere = ad.nodes.is_empty() && ad.node_selectors.is_empty();
    let named = || ad.nodes.iter().any(|name| Some(name.as_str()) == member.rack.as_deref());
    let label = |key: &str| Ok(member.labels.get(key).map(String::as_str));
    let selected =
        || ad.node_selectors.iter().any(|s| selects(&Value::Object(plain(s)), label) == Some(true));
    everywhere || named() || selected()
}

/// What there is of an advertisement by our doing, as it is.
fn kept(base: &str, context: &Context, names: &Names) -> Vec<Value> {
    let part = format!("{base}-");
    let of = |name: &str| name == base || (name.starts_with(&part) && !names.taken.contains(name));
    let live = context.advertisements.iter().filter(|o| is_ours(o) && of(text(o, "/metadata/name")));
    let bare = |o: &Value| {
        let fields = ["name", "namespace", "labels"].into_iter();
        let metadata: Map<_, _> =
            fields.filter_map(|f| Some((f.to_owned(), o["metadata"].get(f)?.clone()))).collect();
        json!({"apiVersion": o["apiVersion"], "kind": o["kind"], "metadata": metadata, "spec": o["spec"]})
    };
    live.map(bare).collect()
}

fn input(pool: &Pool, ad: &Advertisement) -> PoolInput {
    PoolInput {
        name: pool.name.to_string(),
        ranges: pool.addresses.iter().map(|r| Span { first: r.first(), last: r.last() }).collect(),
        nodes: Vec::new(),
        interfaces: (!ad.interfaces.is_empty())
            .then(|| ad.interfaces.iter().map(ToString::to_string).collect()),
    }
}

/// The fields that the rack gives.
fn given(ad: &Advertisement, members: &[Member]) -> Value {
    let mut selectors: Vec<Value> = ad.node_selectors.iter().map(|s| Value::Object(plain(s))).collect();
    if !ad.nodes.is_empty() {
        let hostname =
            |name: &str| members.iter().find(|m| m.rack.as_deref() == Some(name)).map(|m| m.hostname.clone());
        let named = ad.nodes.iter().map(|n| hostname(n.as_str()).unwrap_or_else(|| n.to_string()));
        selectors.insert(0, by_hostname(named));
    }
    let mut spec = Map::new();
    if !ad.pools.is_empty() {
        spec.insert("ipAddressPools".into(), json!(ad.pools));
    }
    if !selectors.is_empty() {
        spec.insert("nodeSelectors".into(), selectors.into());
    }
    if !ad.interfaces.is_empty() {
        spec.insert("interfaces".into(), json!(ad.interfaces));
    }
    Value::Object(spec)
}

fn by_hostname(names: impl Iterator<Item = String>) -> Value {
    let names: BTreeSet<String> = names.collect();
    json!({"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": names}]})
}

/// The fields that the rack gives, and what it leaves open from what was seen.
fn filled(
    ad: &Advertisement,
    place: &Placement,
    candidates: &[&Member],
    context: &Context,
    part: bool,
) -> Value {
    let mut spec = given(ad, &context.members);
    if part {
        spec["ipAddressPools"] = json!(place.pools);
    }
    if part || ad.interfaces.is_empty() {
        spec["interfaces"] = json!(place.interfaces);
    }
    if place.nodes.len() < candidates.len() {
        let nodes: BTreeMap<&str, &str> =
            candidates.iter().map(|m| (m.name.as_str(), m.hostname.as_str())).collect();
        let hostnames = place.nodes.iter().filter_map(|name| nodes.get(name.as_str()));
        spec["nodeSelectors"] = json!([by_hostname(hostnames.map(|h| (*h).to_owned()))]);
    }
    spec
}

#[cfg(test)]
mod tests;
