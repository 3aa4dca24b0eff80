//! Tools of the cluster: what is unpacked, linked, kept and removed.

use std::collections::BTreeSet;

use rackwright_proto::file::{FileStep, FileWant};
use rackwright_proto::plan::PlannedStep;
use rackwright_proto::step::{Decision, Seen};
use rackwright_proto::tool::{LinkSeen, ToolSeen, TreeSeen};

use super::sim::{Sim, basics};
use super::tool;
use crate::plan::{Because, NoArchive, Wanted, pushed, steps};

fn with(version: &str, in_use: Option<&[&str]>) -> Wanted {
    let used = |v: &&str| ("istio".parse().unwrap(), v.parse().unwrap());
    let tools_in_use = in_use.map(|versions| versions.iter().map(used).collect());
    Wanted { tools: vec![tool(version)], tools_in_use, ..Wanted::default() }
}

fn acts(sim: &Sim, wanted: &Wanted) -> Vec<String> {
    let steps = sim.plan(wanted).plan.steps;
    let acts = |s: &&PlannedStep| matches!(s.decision, Decision::Change { .. });
    steps.iter().filter(acts).map(|s| s.step.title()).collect()
}

#[test]
fn an_upgrade_unpacks_beside_relinks_and_then_removes_what_nobody_needs() {
    let mut sim = Sim::default();
    let old = with("1.23.2", Some(&[]));
    assert_eq!(acts(&sim, &old), ["unpack istio 1.23.2", "link /usr/local/bin/istioctl"]);
    let plan = sim.plan(&old).plan;
    assert_eq!(pushed(&plan).iter().map(|(_, title)| title.as_str()).collect::<Vec<_>>(), ["istio 1.23.2"]);
    sim.run(&plan);
    assert!(sim.plan(&old).plan.is_empty());

    // The cluster still has what 1.23.2 installed.
    for in_use in [Some(["1.23.2"].as_slice()), None] {
        let new = with("1.29.1", in_use);
        let mut sim = sim.clone();
        assert_eq!(acts(&sim, &new), ["unpack istio 1.29.1", "link /usr/local/bin/istioctl"], "{in_use:?}");
        sim.run(&sim.plan(&new).plan);
        assert!(sim.plan(&new).plan.is_empty());
        assert_eq!(acts(&sim, &with("1.29.1", Some(&[]))), ["remove istio 1.23.2"]);
        let nothing = Wanted { tools_in_use: new.tools_in_use, ..Wanted::default() };
        let kept = acts(&sim, &nothing).contains(&"remove istio 1.23.2".to_owned());
        assert!(!kept, "the link goes, the tree stays");
    }
    let nothing = Wanted { tools_in_use: Some(BTreeSet::new()), ..Wanted::default() };
    assert_eq!(acts(&sim, &nothing), ["remove /usr/local/bin/istioctl", "remove istio 1.23.2"]);
    let start = Sim::default();
    sim.run(&sim.revert().plan);
    assert!(sim.ledger.entries.is_empty());
    let touched: Vec<_> = plan.steps.into_iter().map(|s| s.step).collect();
    assert_eq!(sim.differences(&start, &touched), Vec::<String>::new());
}

#[test]
fn what_was_unpacked_needs_no_publisher() {
    let mut sim = Sim::default();
    sim.run(&sim.plan(&with("1.29.1", Some(&[]))).plan);
    let mut unknown = with("1.29.1", Some(&[]));
    unknown.tools[0].archive = Err(NoArchive { why: "no way to it".into(), next: "give it".into() });
    let planned = sim.plan(&unknown);
    assert!(planned.plan.is_empty() && planned.findings.is_empty(), "{planned:#?}");
    unknown.tools[0].version = "1.30.0".parse().unwrap();
    let found = sim.plan(&unknown).findings;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].name.as_str(), found[0].observed.as_str()), ("tool-archive", "no way to it"));
}

#[test]
fn a_foreign_program_is_refused_and_a_damaged_tree_is_mended() {
    let mut sim = Sim::default();
    let wanted = with("1.29.1", Some(&[]));
    sim.run(&sim.plan(&wanted).plan);
    let sha256 = wanted.tools[0].archive.as_ref().unwrap().sha256.clone();
    let damaged = TreeSeen::Damaged { sha256, what: "bin/istioctl is missing".into() };
    sim.world.insert("tool/istio/1.29.1".into(), Seen::Tool(ToolSeen::Tree(damaged)));
    assert_eq!(acts(&sim, &wanted), ["unpack istio 1.29.1"]);
    // A damaged tree is ours, too.
    let revert = sim.revert();
    assert_eq!((revert.findings.len(), revert.plan.changes().count()), (0, 2));

    let foreign = LinkSeen::Foreign { what: "a file".into() };
    sim.world.insert("tool/link/istioctl".into(), Seen::Tool(ToolSeen::Link(foreign)));
    let found = sim.plan(&wanted).findings;
    assert_eq!(found[0].name, "step-refused");
    assert_eq!(
        found[0].observed,
        "/usr/local/bin/istioctl is a file, which rackwright did not make; move it away, so that the rack's version is \
         found there"
    );
}

#[test]
fn a_file_of_the_rack_cannot_be_where_a_link_is() {
    let mut wanted = with("1.29.1", None);
    let file = FileStep { path: "/usr/local/bin/istioctl".into(), want: FileWant::Absent };
    wanted.files.push(Because::new(file, "hosts.files"));
    let conflicts = steps(&wanted, &basics()).unwrap_err();
    assert!(conflicts.to_string().starts_with("file /usr/local/bin/istioctl is wanted as"), "{conflicts}");
}
