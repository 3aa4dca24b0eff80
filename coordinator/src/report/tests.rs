use std::sync::{Arc, Mutex};

use rackwright_proto::event::{Event, Outcome, Record, RunResult};
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::file::{Content, FileSeen, FileStep, FileWant, sha256_hex};
use rackwright_proto::kernel::{KernelSeen, KernelStep, ModuleSeen, ModuleStep, SysctlSeen, SysctlStep};
use rackwright_proto::name::{NodeName, RunId};
use rackwright_proto::plan::{Confirm, NodePlan, Plan, PlannedStep, Purpose};
use rackwright_proto::step::{HostStep, Seen};

use super::apply::{NodeOutcome, NodeResult, StepOutcome};
use super::nodes::few_words;
use super::paint::{Ink, Paint};
use super::plan::View;
use super::progress::{Now, Progress};
use super::status::{Drift, Known, NodeStatus, State};
use super::{apply, check, plan, status, words};
use crate::cluster::outcome::Proof;

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn run() -> RunId {
    "20261123t142233-7k3f9x".parse().unwrap()
}

fn told(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut bytes = Vec::new();
    write(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn value(text: &str) -> Seen {
    Seen::Kernel(KernelSeen::Sysctl(SysctlSeen::Value { value: text.into() }))
}

fn planned(step: HostStep, seen: Seen, why: &str) -> PlannedStep {
    let decision = step.decide(&seen);
    PlannedStep { step, purpose: Purpose::Want, why: why.into(), seen, decision }
}

fn sysctl(key: &str, wanted: &str, seen: &str) -> PlannedStep {
    let (key, wanted) = (key.parse().unwrap(), wanted.to_owned());
    let step = HostStep::Kernel(KernelStep::Sysctl(SysctlStep { key, value: wanted, after_module: None }));
    planned(step, value(seen), "kube-proxy strictARP")
}

fn module(name: &str, seen: ModuleSeen) -> PlannedStep {
    let step = HostStep::Kernel(KernelStep::Module(ModuleStep { name: name.parse().unwrap(), loaded: true }));
    planned(step, Seen::Kernel(KernelSeen::Module(seen)), "kube-proxy mode ipvs")
}

fn file(path: &str, text: &str, seen: FileSeen) -> PlannedStep {
    let content = Content::Text(text.into());
    let want = FileWant::Content { content, mode: 0o644, owner: "root".into(), group: "root".into() };
    planned(HostStep::File(FileStep { path: path.into(), want }), Seen::File(seen), "hosts.files")
}

fn there(text: &str) -> FileSeen {
    FileSeen::File {
        sha256: sha256_hex(text.as_bytes()),
        text: Some(text.into()),
        mode: 0o644,
        uid: 0,
        gid: 0,
        owner: Some("root".into()),
        group: Some("root".into()),
    }
}

fn whole<'a>(run: Option<&'a RunId>, nodes: &'a [NodeOutcome], rack: &'a str) -> apply::Whole<'a> {
    static NOTHING: std::sync::LazyLock<Proof> = std::sync::LazyLock::new(Proof::default);
    apply::Whole { run, nodes, cluster: None, proof: &NOTHING, rack }
}

fn node_plan(name: &str, steps: Vec<PlannedStep>) -> NodePlan {
    let risky = steps.iter().any(|s| s.step.risky());
    let confirm = risky.then(|| Confirm { within_s: 60, probes: vec![] });
    NodePlan { node: node(name), machine_id: name.into(), steps, confirm }
}

fn rack_plan() -> Plan {
    let worker = |n: u32| {
        let steps = vec![
            module("br_netfilter", ModuleSeen::Loaded { users: n }),
            module("ip_vs", ModuleSeen::Loadable),
            file("/etc/modules-load.d/rackwright.conf", "# ours\nip_vs\n", FileSeen::Absent),
            file("/etc/fstab", "a / ext4\n# rackwright: b none swap\n", there("a / ext4\nb none swap\n")),
            sysctl("net.ipv4.ip_forward", "1", "0"),
            sysctl("net.ipv4.conf.all.arp_announce", "2", "0"),
        ];
        node_plan(&format!("w{n}"), steps)
    };
    let mut undo = sysctl("vm.swappiness", "60", "10");
    undo.purpose = Purpose::Undo;
    undo.why = "no longer wanted by the rack".into();
    let mut nodes = vec![node_plan("cp1", vec![]), node_plan("cp2", vec![undo])];
    nodes.extend((1..=62).map(worker));
    Plan {
        format: Plan::FORMAT,
        build: "0.1.0/1".into(),
        rack_sha256: String::new(),
        rack: "rack.yaml".into(),
        revert: false,
        cluster: None,
        nodes,
        findings: vec![],
    }
}

#[test]
fn sixty_four_nodes_are_a_screenful() {
    let text = told(|out| plan::text(out, &rack_plan(), Some("rackwright apply"), View::default()));
    assert!(text.lines().count() <= 24, "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_verbose_plan_tells_reasons_and_texts() {
    let mut rack = rack_plan();
    rack.nodes.drain(3..);
    let view = View { verbose: true, ..View::default() };
    insta::assert_snapshot!(told(|out| plan::text(out, &rack, Some("rackwright apply"), view)));
}

#[test]
fn a_plan_with_nothing_to_do_says_so() {
    let mut rack = rack_plan();
    rack.nodes.truncate(1);
    assert_eq!(plan::summary(&rack, Some("rackwright apply")), "Nothing to do.");
    rack.nodes[0].steps.push(module("overlay", ModuleSeen::BuiltIn));
    let summary = plan::summary(&rack, Some("rackwright apply"));
    assert_eq!(summary, "Nothing to change; what is already so will be recorded. Run `rackwright apply`.");
}

#[test]
fn text_of_a_host_cannot_steer_the_terminal() {
    let step = file("/etc/motd", "x\n", there("\x1b]0;evil\x07\n"));
    let mut rack = rack_plan();
    rack.nodes = vec![node_plan("w1", vec![step])];
    let text = told(|out| plan::text(out, &rack, Some("rackwright apply"), View::default()));
    assert!(!text.contains('\x1b') && !text.contains('\x07'), "{text:?}");
}

#[test]
fn a_stale_plan_tells_what_changed() {
    let difference = |about: &str, planned: &str, now: &str| crate::plan::Difference {
        about: about.into(),
        planned: planned.into(),
        now: now.into(),
    };
    let differences = [
        (node("w1"), vec![]),
        (
            node("w2"),
            vec![
                difference("set net.ipv4.ip_forward = 1", "0", "1"),
                difference("write /etc/fstab", "absent", "file"),
            ],
        ),
    ];
    insta::assert_snapshot!(told(|out| plan::stale(out, &differences, Paint::PLAIN)));
}

#[test]
fn runs_of_names_are_told_in_few_words() {
    let names = |text: &str| few_words(&text.split(' ').collect::<Vec<_>>());
    assert_eq!(names("cp1 w1 w2 w3"), "cp1, w1..w3 (4 nodes)");
    assert_eq!(names("w1 w2"), "w1, w2");
    assert_eq!(names("w08 w09 w10"), "w08..w10 (3 nodes)");
    assert_eq!(names("w8 w09 w10"), "w8, w09, w10");
    assert_eq!(names("n1.a n2.a n3.a"), "n1.a..n3.a (3 nodes)");
    assert_eq!(names("a b c"), "a, b, c");
    assert_eq!(names("w18446744073709551615"), "w18446744073709551615");
    assert_eq!(few_words::<&str>(&[]), "");
}

fn outcomes() -> Vec<NodeOutcome> {
    let fault = Fault::new(FaultKind::Host, "load kernel module ip_vs_x", "not in the tree of kernel 6.12.0")
        .next("install linux-modules-extra-6.12.0");
    let lost = Fault::new(FaultKind::Deadline, "connect to 192.0.2.74:22", "no answer in 10 s");
    let held = Fault::new(FaultKind::Locked, "lock the host", "held by ops@desk since 2026-11-23T14:22:33Z");
    let rolled = NodeResult::RolledBack {
        why: "192.0.2.1 no longer answers".into(),
        keys: vec![
            "kernel/sysctl/net.ipv4.conf.all.rp_filter".into(),
            "file//etc/sysctl.d/90-rackwright.conf".into(),
        ],
    };
    let mut all: Vec<NodeOutcome> = (1..=60)
        .map(|n| NodeOutcome::idle(node(&format!("w{n}")), NodeResult::Changed { changes: 12 }))
        .collect();
    all.push(NodeOutcome::idle(node("cp1"), NodeResult::Unchanged));
    all.push(NodeOutcome {
        node: node("w61"),
        result: NodeResult::Failed { fault: fault.clone() },
        steps: vec![StepOutcome {
            title: "load kernel module ip_vs_x".into(),
            outcome: Outcome::Failed { fault },
        }],
    });
    all.push(NodeOutcome::idle(node("w62"), NodeResult::NotReached { fault: lost }));
    all.push(NodeOutcome::idle(node("w63"), NodeResult::Refused { fault: held }));
    all.push(NodeOutcome::idle(node("w64"), rolled));
    all.push(NodeOutcome::idle(node("w65"), NodeResult::Detached { run: run() }));
    all
}

#[test]
fn a_summary_tells_what_happened_where_and_what_is_next() {
    let all = outcomes();
    insta::assert_snapshot!(told(|out| apply::text(
        out,
        &whole(Some(&run()), &all, "rack.yaml"),
        View::default()
    )));
    let next = |outcomes: &[NodeOutcome]| apply::next(&whole(None, outcomes, "lab.yaml"));
    assert_eq!(next(&all), "rackwright attach lab.yaml");
    assert_eq!(next(&all[..60]), "rackwright status lab.yaml");
    assert_eq!(next(&all[..63]), "rackwright apply lab.yaml");
    assert_eq!(next(&all[..65]), "rackwright check lab.yaml");
}

#[test]
fn the_summary_as_json() {
    let all = outcomes();
    insta::assert_snapshot!(told(|out| apply::json_text(out, &whole(Some(&run()), &all[59..], "rack.yaml"))));
}

fn events(records: Vec<Record>) -> Vec<Event> {
    records.into_iter().enumerate().map(|(seq, record)| Event { seq: seq as u64, at_ms: 0, record }).collect()
}

#[test]
fn events_amount_to_an_outcome() {
    let step = sysctl("vm.swappiness", "10", "60").step;
    let outcome = |outcome| Record::Outcome { index: 0, step: step.clone(), purpose: Purpose::Want, outcome };
    let finished = |result| Record::Finished { result };
    let changed = || outcome(Outcome::Changed { before: value("60"), after: value("10") });
    let of = |records| NodeOutcome::from_events(node("w1"), &run(), &events(records)).result;
    assert_eq!(of(vec![changed(), finished(RunResult::Done)]), NodeResult::Changed { changes: 1 });
    let unchanged = outcome(Outcome::Unchanged { seen: value("10") });
    assert_eq!(of(vec![unchanged, finished(RunResult::Done)]), NodeResult::Unchanged);
    assert_eq!(of(vec![changed()]), NodeResult::Detached { run: run() });
    let fault = Fault::new(FaultKind::Host, "set x", "denied");
    let failed = outcome(Outcome::Failed { fault: fault.clone() });
    assert_eq!(of(vec![changed(), failed, finished(RunResult::Failed)]), NodeResult::Failed { fault });
    let rolled = Record::RolledBack { why: "silence".into(), keys: vec!["k".into()] };
    assert_eq!(
        of(vec![changed(), rolled, finished(RunResult::RolledBack)]),
        NodeResult::RolledBack { why: "silence".into(), keys: vec!["k".into()] }
    );
}

fn statuses() -> Vec<NodeStatus> {
    let known = |name: &str, drift: Vec<Drift>, at_ms| NodeStatus {
        node: node(name),
        state: State::Known(Box::new(Known {
            last: Some(rackwright_proto::receipt::LastRun {
                run: run(),
                operator: "ops@desk".into(),
                at_ms,
                result: RunResult::Done,
            }),
            in_effect: vec!["load kernel module ip_vs".into(), "set net.ipv4.ip_forward = 1".into()],
            drift,
            drift_checked_ms: None,
        })),
    };
    let untouched = Known { last: None, in_effect: vec![], drift: vec![], drift_checked_ms: None };
    let fault = Fault::new(FaultKind::Deadline, "connect to 192.0.2.74:22", "no answer in 10 s");
    vec![
        known("w1", vec![], 1_795_443_753_000),
        known("w2", vec![], 1_795_443_753_400),
        known(
            "w3",
            vec![Drift { title: "set net.ipv4.ip_forward = 1".into(), now: "0".into() }],
            1_795_443_753_000,
        ),
        NodeStatus { node: node("w4"), state: State::Known(Box::new(untouched)) },
        NodeStatus { node: node("w5"), state: State::NotReached { fault } },
    ]
}

#[test]
fn status_tells_what_is_in_effect_and_what_drifted() {
    let proof = Proof::default();
    let nodes = statuses();
    let whole = status::Whole { nodes: &nodes, cluster: None, proof: &proof };
    insta::assert_snapshot!(told(|out| status::text(out, &whole, View::default())));
    let whole = status::Whole { nodes: &nodes[2..], ..whole };
    insta::assert_snapshot!(told(|out| status::json_text(out, &whole)));
}

#[test]
fn findings_as_json() {
    let nodes = [&node("w1")];
    let found = [
        crate::findings::Check::new("cgroup-v1", &nodes, "", "cgroup hierarchy", "version 2")
            .pass("version 2"),
        crate::findings::Check::new("not-root", &nodes, "", "the agent's user", "root")
            .error("user id 1000", "sudo"),
    ];
    let looked = check::Looked { nodes: 1, ..check::Looked::default() };
    insta::assert_snapshot!(told(|out| check::json_text(
        out,
        &found,
        &looked,
        &std::collections::BTreeMap::new()
    )));
    let view = View { verbose: true, ..View::default() };
    insta::assert_snapshot!(told(|out| check::text(out, &found, &looked, view)));
}

#[test]
fn colour_is_only_for_terminals_that_want_it() {
    assert!(Paint::new(true, None).colour());
    assert!(Paint::new(true, Some("")).colour());
    assert!(!Paint::new(true, Some("1")).colour());
    assert!(!Paint::new(false, None).colour());
    assert_eq!(Paint::PLAIN.ink(Ink::Bad, "x"), "x");
    assert_eq!(Paint::new(true, None).ink(Ink::Bad, "x"), "\x1b[31mx\x1b[0m");
}

#[test]
fn times_are_utc_and_keys_lose_their_family() {
    assert_eq!(words::utc(1_795_443_753_123), "2026-11-23T14:22:33Z");
    assert_eq!(words::of_key("memory/swap//dev/sdb"), "/dev/sdb");
    assert_eq!(words::of_key("file//etc/fstab"), "/etc/fstab");
    assert_eq!(
        words::of_key("kernel/sysctl/net.ipv4.conf.eth0/100.rp_filter"),
        "net.ipv4.conf.eth0/100.rp_filter"
    );
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn progress_without_a_terminal_is_plain_lines() {
    let out = Shared::default();
    let progress = Progress::lines(out.clone());
    let now = Now { number: 3, of: 12, title: "set net.ipv4.ip_forward = 1", why: "Kubernetes" };
    progress.step(&node("w1"), now);
    progress.say(&node("w2"), "waits for ops@desk");
    progress.done(&node("w1"), "12 changes");
    progress.end();
    let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    assert_eq!(
        text,
        "w1: [3/12] set net.ipv4.ip_forward = 1 (Kubernetes)\nw2: waits for ops@desk\nw1: 12 changes\n"
    );
}

#[test]
fn bars_take_the_same_calls_and_end() {
    for nodes in [2, 64] {
        let progress = Progress::bars_on(nodes, indicatif::ProgressDrawTarget::hidden());
        let now = Now { number: 1, of: 1, title: "set x", why: "y" };
        progress.step(&node("w1"), now);
        progress.say(&node("w1"), "waits");
        progress.done(&node("w1"), "1 change");
        progress.end();
    }
    Progress::quiet().say(&node("w1"), "nobody hears");
}
