//! Tools of the cluster on its control planes.

use rackwright_proto::facts::Facts;
use rackwright_proto::finding::Finding;
use rackwright_proto::name::{NodeName, Sha256};
use rackwright_proto::plan::NodePlan;
use rackwright_proto::step::{Decision, HostStep};
use rackwright_proto::tool::{Archive, ArchiveSource, LinkStep, ToolStep, TreeStep};

use super::wanted::{Because, ToolWanted, Wanted};
use crate::findings;

/// Trees and links of the tools whose archives are known.
pub(super) fn steps(wanted: &Wanted) -> Vec<Because<HostStep>> {
    let known = wanted.tools.iter().filter_map(|tool| Some((tool, tool.archive.as_ref().ok()?.clone())));
    known.flat_map(|(tool, archive)| of(tool, archive)).collect()
}

/// The same of those whose archives only the receipts know: what was unpacked once needs no publisher.
pub(super) fn from_receipts(wanted: &Wanted, facts: &Facts) -> Vec<Because<HostStep>> {
    let unknown = wanted.tools.iter().filter(|tool| tool.archive.is_err());
    unknown.filter_map(|tool| Some(of(tool, receipt(tool, facts)?))).flatten().collect()
}

fn of(tool: &ToolWanted, archive: Archive) -> Vec<Because<HostStep>> {
    let tree = TreeStep { name: tool.name.clone(), version: tool.version.clone(), archive: Some(archive) };
    let path = tree.path();
    let link = |(name, program): &(_, String)| {
        let target = Some(format!("{path}/{program}"));
        ToolStep::Link(LinkStep { name: Clone::clone(name), target })
    };
    let links: Vec<ToolStep> = tool.programs.iter().map(link).collect();
    let steps = std::iter::once(ToolStep::Tree(tree)).chain(links);
    steps.map(|step| Because::new(HostStep::Tool(step), &tool.why)).collect()
}

/// The archive that a receipt tells of, for a version that is wanted.
fn receipt(tool: &ToolWanted, facts: &Facts) -> Option<Archive> {
    let entry = facts.ledger.entries.get(&format!("tool/{}/{}", tool.name, tool.version))?;
    match &entry.step {
        HostStep::Tool(ToolStep::Tree(tree)) => tree.archive.clone(),
        _ => None,
    }
}

/// What stands in the way of tools: archives that nobody knows.
pub(super) fn missing(node: &NodeName, wanted: &Wanted, facts: &Facts) -> Vec<Finding> {
    let missing = wanted.tools.iter().filter_map(|tool| Some((tool, tool.archive.as_ref().err()?)));
    missing
        .filter(|(tool, _)| receipt(tool, facts).is_none())
        .map(|(tool, no)| findings::tool::no_archive(&[node], &tool.name, &tool.version, no))
        .collect()
}

/// Whether a tree stays although the rack no longer wants it: the cluster's receipts may need it to undo what it did.
pub(super) fn holds(wanted: &Wanted, step: &HostStep) -> bool {
    let HostStep::Tool(ToolStep::Tree(tree)) = step else { return false };
    let used =
        |used: &std::collections::BTreeSet<_>| used.contains(&(tree.name.clone(), tree.version.clone()));
    wanted.tools_in_use.as_ref().is_none_or(used)
}

/// The archives that are to be pushed to a host before its plan runs, each with the tree's title.
pub fn pushed(plan: &NodePlan) -> Vec<(Sha256, String)> {
    let acts = plan.steps.iter().filter(|s| matches!(s.decision, Decision::Change { .. }));
    let pushed = acts.filter_map(|planned| match &planned.step {
        HostStep::Tool(ToolStep::Tree(TreeStep { archive: Some(archive), name, version })) => (archive.from
            == ArchiveSource::Pushed)
            .then(|| (archive.sha256.clone(), format!("{name} {version}"))),
        _ => None,
    });
    pushed.collect()
}
