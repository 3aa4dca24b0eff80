//! From what is wanted of a cluster, what it has, and what we did there before, to a list of steps. Pure.

use std::collections::BTreeSet;

use rackwright_proto::cluster::mesh::MeshWant;
use rackwright_proto::cluster::{
    ClusterEntry, ClusterPlan, ClusterSeen, ClusterStep, Family, LabelPlace, ObjectStep, PlannedClusterStep,
};
use rackwright_proto::finding::Finding;
use rackwright_proto::plan::Purpose;
use rackwright_proto::step::Decision;
use serde_json::Value;

use super::digest;
use super::facts::ClusterFacts;
use super::look::{live, look};
use super::mesh;
use crate::findings::Check;
use crate::plan::Difference;

/// A step that the rack leads to, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedStep {
    /// The step.
    pub step: ClusterStep,
    /// Why: `kubernetes.proxy`.
    pub why: String,
}

impl Planned {
    fn add(&mut self, more: Self) {
        self.steps.extend(more.steps);
        self.findings.extend(more.findings);
    }
}

/// A plan, and what was found while making it.
#[derive(Debug, Clone, Default)]
pub struct Planned {
    /// Steps that do something, or cannot be done.
    pub steps: Vec<PlannedClusterStep>,
    /// What stands in the way, or was left alone.
    pub findings: Vec<Finding>,
}

/// What is to be done for `wanted`: first what we did once and nobody wants any more is undone, since an address pool
/// may come back under another name. Only advertisements go last: MetalLB takes the union of all, so nothing is silent
/// while one takes over from another, or where a run ends before it does.
pub fn plan(facts: &ClusterFacts, wanted: &[WantedStep]) -> Planned {
    let keys: Vec<String> = wanted.iter().map(|w| w.step.key()).collect();
    let unwanted = |key: &str| !keys.iter().any(|k| k == key);
    let replaced = wanted.iter().any(|w| matches!(w.step, ClusterStep::Mesh(_)));
    let last =
        |key: &str| replaced && unwanted(key) && (is_revision(facts, key) || is_place(facts, key).is_some());
    let mut planned = undo(facts, |key| unwanted(key) && !last(key), "no longer wanted by the rack");
    planned.add(only(facts, wanted));
    planned.add(superseded(facts, last));
    planned
}

/// Whether a key is of a control plane of Istio.
fn is_revision(facts: &ClusterFacts, key: &str) -> bool {
    let undo = facts.ledger.entries.get(key).and_then(|entry| entry.undo.as_ref());
    matches!(undo, Some(ClusterStep::Mesh(_)))
}

/// The name of a namespace that we made for Istio.
fn is_place<'a>(facts: &'a ClusterFacts, key: &str) -> Option<&'a str> {
    match facts.ledger.entries.get(key)?.undo.as_ref()? {
        ClusterStep::Object(o) => (o.family == Family::Mesh && o.kind == "Namespace").then_some(&o.name),
        _ => None,
    }
}

/// Revisions of Istio beside the one that the rack names now: each goes once nobody uses it any more, and after all
/// else, since the new one has to be there first. With the last one in a namespace of ours goes that.
fn superseded(facts: &ClusterFacts, concerns: impl Fn(&str) -> bool) -> Planned {
    let mut found = Vec::new();
    let mut free = Vec::new();
    let mut houses = BTreeSet::new();
    for key in facts.ledger.entries.keys().filter(|key| concerns(key) && is_revision(facts, key)) {
        let revision = key.strip_prefix("mesh/").unwrap_or(key);
        match mesh::users(&facts.mesh, revision).as_slice() {
            [] => free.push(key.clone()),
            users => {
                found.push(in_use(key, revision, users));
                houses.extend(mesh::places(&facts.ledger, key));
            }
        }
    }
    let places = facts.ledger.entries.keys().filter(|key| concerns(key));
    free.extend(places.filter(|key| is_place(facts, key).is_some_and(|p| !houses.contains(p))).cloned());
    let mut planned = undo(facts, |key| free.iter().any(|k| k == key), "nobody uses this revision any more");
    planned.findings.extend(found);
    planned
}

fn in_use(key: &str, revision: &str, users: &[String]) -> Finding {
    let what = "whether a revision that the rack no longer wants may go";
    Check::new("mesh-revision-in-use", &[], key, what, "no namespace and no proxy of it").warning(
        users.join(", "),
        format!(
            "let `kubernetes.istio.injection.namespaces` name those of revision {revision}, restart their workloads, \
             then apply again: it is uninstalled when nobody uses it"
        ),
    )
}

/// What is to be done for `wanted`, whatever else we did once.
pub fn only(facts: &ClusterFacts, wanted: &[WantedStep]) -> Planned {
    let mut planned = Planned::default();
    for WantedStep { step, why } in wanted {
        let seen = look(facts, step);
        let decision = step.decide(&seen);
        if let Decision::Refuse { why } = &decision {
            planned.findings.push(refused(step, why));
        }
        if !matches!(decision, Decision::Keep) {
            let (step, why) = (step.clone(), why.clone());
            planned.steps.push(PlannedClusterStep { step, purpose: Purpose::Want, why, seen, decision });
        }
    }
    // Stable: all else stays in order.
    planned.steps.sort_by_key(ends_announcing);
    planned
}

fn ends_announcing(planned: &PlannedClusterStep) -> bool {
    matches!(&planned.step, ClusterStep::Object(o) if o.kind == "L2Advertisement" && o.want.is_none())
}

/// What undoes everything that we did.
pub fn revert(facts: &ClusterFacts) -> Planned {
    undo(facts, |_| true, "revert")
}

/// The file's part for a cluster, or nothing where nothing is to be done.
pub fn part(facts: &ClusterFacts, steps: Vec<PlannedClusterStep>) -> ClusterPlan {
    ClusterPlan { cluster: facts.uid.clone(), version: facts.version.clone(), steps }
}

fn undo(facts: &ClusterFacts, concerns: impl Fn(&str) -> bool, why: &str) -> Planned {
    let mut planned = Planned::default();
    let concerned = facts.ledger.entries.iter().filter(|(key, _)| concerns(key));
    let mut entries: Vec<(&String, &ClusterEntry, &ClusterStep)> =
        concerned.filter_map(|(key, entry)| Some((key, entry, entry.undo.as_ref()?))).collect();
    entries.sort_by_key(|(_, entry, step)| backwards(entry, step));
    let mut stays = BTreeSet::new();
    for (key, entry, step) in entries {
        if is_place(facts, key).is_some_and(|place| stays.contains(place)) {
            planned.findings.push(holds(step, "an installation of Istio that is left alone"));
            continue;
        }
        if let Some(finding) = left_alone(facts, entry, step) {
            stays.extend(mesh::places(&facts.ledger, key));
            planned.findings.push(finding);
            continue;
        }
        let (step, finding) = sparing(facts, step);
        planned.findings.extend(finding);
        let (step, seen) = (&step, look(facts, &step));
        let decision = step.decide(&seen);
        let (step, why) = (step.clone(), why.to_owned());
        planned.steps.push(PlannedClusterStep { step, purpose: Purpose::Undo, why, seen, decision });
    }
    planned
}

/// The same step without what it would take from others: Istio's kinds, where others made objects of them.
fn sparing(facts: &ClusterFacts, step: &ClusterStep) -> (ClusterStep, Option<Finding>) {
    let mut step = step.clone();
    let theirs = facts.mesh.customs.join(", ");
    match &mut step {
        ClusterStep::Mesh(mesh) if mesh.want == (MeshWant::Gone { shared: true }) && !theirs.is_empty() => {
            mesh.want = MeshWant::Gone { shared: false };
            let finding = holds(&step, &theirs);
            (step, Some(finding))
        }
        _ => (step, None),
    }
}

/// What was made last goes first; but pods are restarted after their configuration is back, and namespaces outlive what
/// is in them.
fn backwards(
    entry: &ClusterEntry,
    step: &ClusterStep,
) -> (std::cmp::Reverse<Family>, bool, std::cmp::Reverse<u64>) {
    let late = match step {
        ClusterStep::Workload(_) => true,
        // It replaces pods, too; while sidecars are still injected, they would come back with one.
        ClusterStep::Labels(labels) => labels.place == LabelPlace::PodTemplate,
        // What was installed goes before the namespaces that it is in.
        ClusterStep::Object(object) => object.family == Family::Mesh,
        _ => false,
    };
    (std::cmp::Reverse(step.family()), late, std::cmp::Reverse(entry.order))
}

/// A finding when somebody else changed what we would undo, or would lose what is theirs.
fn left_alone(facts: &ClusterFacts, entry: &ClusterEntry, step: &ClusterStep) -> Option<Finding> {
    let seen = look(facts, step);
    if step.decide(&seen) == Decision::Keep {
        return None;
    }
    if let ClusterStep::Object(object) = step
        && object.want.is_none()
        && let Some(theirs) = theirs(facts, object)
    {
        return Some(holds(step, &theirs));
    }
    let ours = match (&seen, step) {
        (ClusterSeen::Text(_) | ClusterSeen::Labels(_), _) => entry.is_ours(&digest::seen(&seen)),
        // Cut off while it was undone: its pods are still on their way.
        (ClusterSeen::Workload(now), ClusterStep::Workload(undo)) => {
            undo.stamp.is_of(now) || entry.is_ours(&digest::workload(now))
        }
        // Cut off while it was made: ours, if it bears our mark.
        (ClusterSeen::Object(seen), _) if entry.after.is_none() => seen.ours,
        (ClusterSeen::Mesh(seen), _) => !mesh::is_changed(seen),
        (_, ClusterStep::Object(object)) => entry.is_ours(&digest::object(live(facts, object)?)),
        _ => return None,
    };
    (!ours).then(|| changed(step))
}

/// What a namespace or a kind of MetalLB's holds that we did not make: it would go with it.
fn theirs(facts: &ClusterFacts, object: &ObjectStep) -> Option<String> {
    if !matches!(object.kind.as_str(), "Namespace" | "CustomResourceDefinition") {
        return None;
    }
    if object.family == Family::Mesh {
        let theirs = mesh::foreign(&facts.mesh, &object.name, &facts.ledger);
        return (!theirs.is_empty()).then(|| theirs.join(", "));
    }
    let lists =
        [("IPAddressPool", &facts.balancer.pools), ("L2Advertisement", &facts.balancer.advertisements)];
    let objects = lists.iter().flat_map(|(kind, list)| list.iter().flatten().map(move |o| (*kind, o)));
    let foreign = objects.filter(|(kind, object)| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        !facts.ledger.entries.contains_key(&format!("balancer/{kind}/{namespace}/{name}"))
    });
    let named: Vec<String> =
        foreign.map(|(kind, o)| format!("{kind} {}", text_of(&o["metadata"]["name"]))).collect();
    (!named.is_empty()).then(|| named.join(", "))
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn refused(step: &ClusterStep, why: &str) -> Finding {
    Check::new("cluster-step-refused", &[], step.key(), step.title(), "it can be done")
        .error(why, "mend that, or take it out of the rack")
}

fn changed(step: &ClusterStep) -> Finding {
    Check::new(
        "cluster-changed-by-others",
        &[],
        step.key(),
        "what we set is as we left it",
        "unchanged since",
    )
    .warning("somebody else changed it since; it is left alone", "change it back by hand if you want it")
}

fn holds(step: &ClusterStep, theirs: &str) -> Finding {
    Check::new("holds-others", &[], step.key(), "whether others use what we made", "nothing of others in it")
        .warning(
            format!("{theirs} would go with it; it is left alone"),
            "remove those first, then revert again",
        )
}

/// What changed on a cluster since `planned` was saved; empty when it may run. `fresh` is the plan that would be made
/// today, of the same rack and from `facts`.
pub fn stale(planned: &ClusterPlan, fresh: &ClusterPlan, facts: &ClusterFacts) -> Vec<Difference> {
    if planned.cluster != fresh.cluster {
        let (planned, now) = (planned.cluster.clone(), fresh.cluster.clone());
        return vec![Difference { about: "the cluster itself (uid of kube-system)".into(), planned, now }];
    }
    let mut differences: Vec<Difference> = planned.steps.iter().filter_map(|s| differs(s, facts)).collect();
    let new = fresh.steps.iter().filter(|f| !planned.steps.iter().any(|p| p.step.key() == f.step.key()));
    differences.extend(new.map(|f| Difference {
        about: f.step.title(),
        planned: "nothing to do".into(),
        now: intent(&f.decision),
    }));
    differences
}

fn differs(planned: &PlannedClusterStep, facts: &ClusterFacts) -> Option<Difference> {
    let now = look(facts, &planned.step);
    (!planned.seen.still(&now)).then(|| Difference {
        about: planned.step.title(),
        planned: intent(&planned.decision),
        now: intent(&planned.step.decide(&now)),
    })
}

fn intent(decision: &Decision) -> String {
    match decision {
        Decision::Keep => "as wanted".into(),
        Decision::Change { from, to } => format!("{from} -> {to}"),
        Decision::Unsupported { why } | Decision::Refuse { why } => why.clone(),
    }
}
