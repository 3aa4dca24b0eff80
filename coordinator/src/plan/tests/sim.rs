//! A host that keeps state and nothing else: steps act on it as the kernel and systemd would.

use std::collections::{BTreeMap, BTreeSet};

use rackwright_proto::event::{Event, Outcome, Record, RunResult};
use rackwright_proto::facts::{Basics, Clock, Facts, Machine, Swap, SwapArea};
use rackwright_proto::file::{FileSeen, FileWant, sha256_hex};
use rackwright_proto::kernel::{KernelSeen, KernelStep, ModuleSeen, SysctlSeen};
use rackwright_proto::link::Network;
use rackwright_proto::memory::SwapSeen;
use rackwright_proto::name::{NodeName, RunId};
use rackwright_proto::plan::{NodePlan, PlannedStep, Purpose};
use rackwright_proto::receipt::Ledger;
use rackwright_proto::step::{Decision, HostStep, Seen};
use rackwright_proto::tool::{LinkSeen, ToolSeen, ToolStep, TreeSeen};
use rackwright_proto::unit::{AtBoot, UnitSeen};

use crate::plan::{Planned, Wanted, after_module, node_plan, revert_plan, steps};

const FORWARD: &str = "kernel/sysctl/net.ipv4.ip_forward";
const REDIRECTS: &str = "kernel/sysctl/net.ipv4.conf.all.accept_redirects";

#[derive(Debug, Clone, Default)]
pub(super) struct Sim {
    pub(super) world: BTreeMap<String, Seen>,
    pub(super) swap_units: BTreeSet<String>,
    kept: BTreeMap<String, String>,
    pub(super) ledger: Ledger,
    runs: u32,
}

pub(super) fn node() -> NodeName {
    "w1".parse().unwrap()
}

pub(super) fn file_seen(text: &str) -> FileSeen {
    FileSeen::File {
        sha256: sha256_hex(text.as_bytes()),
        text: Some(text.to_owned()),
        mode: 0o644,
        uid: 0,
        gid: 0,
        owner: Some("root".into()),
        group: Some("root".into()),
    }
}

pub(super) fn value(text: &str) -> Seen {
    Seen::Kernel(KernelSeen::Sysctl(SysctlSeen::Value { value: text.into() }))
}

pub(super) fn module(seen: ModuleSeen) -> Seen {
    Seen::Kernel(KernelSeen::Module(seen))
}

pub(super) fn basics() -> Basics {
    Basics {
        hostname: "w1".into(),
        machine_id: "0123456789abcdef0123456789abcdef".into(),
        boot_id: "b".into(),
        kernel: "6.12.0-1-amd64".into(),
        arch: "x86_64".into(),
        systemd: true,
        euid: 0,
    }
}

impl Sim {
    pub(super) fn facts(&self, wanted: &Wanted) -> Facts {
        let asked = steps(wanted, &basics()).unwrap_or_default().into_iter().map(|s| s.what);
        let known = self.ledger.entries.values().map(|e| e.step.clone());
        let mut seen: BTreeMap<String, Seen> = asked.chain(known).map(|s| (s.key(), self.look(&s))).collect();
        let mut swap = Swap::default();
        for (key, now) in &self.world {
            match now {
                Seen::Memory(now) if now.active => swap.active.push(SwapArea {
                    device: key.trim_start_matches("memory/swap/").into(),
                    kind: "partition".into(),
                    size_bytes: 1 << 30,
                    used_bytes: now.used_bytes,
                    zram: false,
                }),
                Seen::File(file) if key == "file//etc/fstab" => swap.fstab = Some(file.clone()),
                _ => {}
            }
        }
        for unit in &self.swap_units {
            let step = super::unit_step(unit, AtBoot::Masked, None);
            let now = self.look(&step);
            if matches!(&now, Seen::Unit(u) if u.at_boot != Some(AtBoot::Masked)) {
                swap.units.push(unit.clone());
            }
            seen.insert(step.key(), now);
        }
        Facts {
            basics: basics(),
            machine: Machine::default(),
            network: Network::default(),
            swap,
            sysctl_files: Vec::new(),
            clock: Clock::default(),
            seen,
            ledger: self.ledger.clone(),
            drift: None,
            full: None,
            troubles: Vec::new(),
        }
    }

    pub(super) fn plan(&self, wanted: &Wanted) -> Planned {
        node_plan(&node(), wanted, &self.facts(wanted)).unwrap()
    }

    pub(super) fn revert(&self) -> Planned {
        revert_plan(&node(), &self.facts(&Wanted::default()))
    }

    pub(super) fn look(&self, step: &HostStep) -> Seen {
        let there = self.world.get(&step.key());
        match step {
            HostStep::Kernel(KernelStep::Sysctl(s)) => match after_module(&s.key) {
                Some(m) if !self.has_module(m.as_str()) => {
                    Seen::Kernel(KernelSeen::Sysctl(SysctlSeen::Absent))
                }
                _ => there.cloned().unwrap_or_else(|| value("0")),
            },
            HostStep::Kernel(KernelStep::Module(_)) => {
                there.cloned().unwrap_or_else(|| module(ModuleSeen::Loadable))
            }
            HostStep::Memory(_) => {
                there.cloned().unwrap_or(Seen::Memory(SwapSeen { active: false, used_bytes: 0 }))
            }
            HostStep::File(_) => there.cloned().unwrap_or(Seen::File(FileSeen::Absent)),
            HostStep::Tool(tool) => there.cloned().unwrap_or(Seen::Tool(match tool {
                ToolStep::Tree(_) => ToolSeen::Tree(TreeSeen::Absent),
                ToolStep::Link(_) => ToolSeen::Link(LinkSeen::Absent),
            })),
            HostStep::Unit(s) => {
                let file = format!("file//etc/systemd/system/{}", s.name);
                let exists = self.swap_units.contains(s.name.as_str())
                    || matches!(self.world.get(&file), Some(Seen::File(FileSeen::File { .. })));
                let found = |at_boot, active| Seen::Unit(UnitSeen { at_boot, active, systemd: true });
                match (exists, there) {
                    (false, _) => found(None, false),
                    (true, Some(seen)) => seen.clone(),
                    (true, None) => found(Some(AtBoot::Disabled), false),
                }
            }
        }
    }

    fn has_module(&self, name: &str) -> bool {
        let seen = self.world.get(&format!("kernel/module/{name}"));
        matches!(
            seen,
            Some(Seen::Kernel(KernelSeen::Module(ModuleSeen::Loaded { .. } | ModuleSeen::BuiltIn)))
        )
    }

    fn act(&mut self, step: &HostStep) {
        if let Seen::File(FileSeen::File { sha256, text: Some(text), .. }) = self.look(step) {
            self.kept.insert(sha256, text);
        }
        let after = match step {
            HostStep::Kernel(KernelStep::Module(s)) if s.loaded => module(ModuleSeen::Loaded { users: 0 }),
            HostStep::Kernel(KernelStep::Module(_)) => module(ModuleSeen::Loadable),
            HostStep::Kernel(KernelStep::Sysctl(s)) => value(&s.value),
            HostStep::Memory(s) => Seen::Memory(SwapSeen { active: s.active, used_bytes: 0 }),
            HostStep::File(s) => Seen::File(self.written(&s.want)),
            HostStep::Tool(ToolStep::Tree(s)) => Seen::Tool(ToolSeen::Tree(match &s.archive {
                Some(archive) => TreeSeen::Unpacked { sha256: archive.sha256.clone() },
                None => TreeSeen::Absent,
            })),
            HostStep::Tool(ToolStep::Link(s)) => Seen::Tool(ToolSeen::Link(match &s.target {
                Some(target) => LinkSeen::Ours { target: target.clone() },
                None => LinkSeen::Absent,
            })),
            HostStep::Unit(s) => {
                let Seen::Unit(now) = self.look(step) else { unreachable!() };
                let active = s.active.unwrap_or(now.active);
                Seen::Unit(UnitSeen { at_boot: Some(s.at_boot), active, systemd: true })
            }
        };
        if let (FORWARD, Seen::Kernel(KernelSeen::Sysctl(SysctlSeen::Value { value: on }))) =
            (step.key().as_str(), &after)
        {
            self.world.insert(REDIRECTS.into(), value(if on == "0" { "1" } else { "0" }));
        }
        self.world.insert(step.key(), after);
    }

    fn written(&self, want: &FileWant) -> FileSeen {
        match want {
            FileWant::Content { content, mode, .. } => {
                let text = String::from_utf8(content.bytes().unwrap()).unwrap();
                let FileSeen::File { sha256, text, uid, gid, owner, group, .. } = file_seen(&text) else {
                    unreachable!()
                };
                FileSeen::File { sha256, text, mode: *mode, uid, gid, owner, group }
            }
            FileWant::Kept { sha256, mode, .. } => {
                let mut seen = file_seen(self.kept.get(sha256).expect("the agent kept these bytes"));
                if let FileSeen::File { mode: have, .. } = &mut seen {
                    *have = *mode;
                }
                seen
            }
            FileWant::Link { target } => FileSeen::Link { target: target.clone() },
            FileWant::Absent => FileSeen::Absent,
        }
    }

    /// Runs a plan to its end.
    pub(super) fn run(&mut self, plan: &NodePlan) {
        self.run_until(plan, usize::MAX, false);
    }

    /// Runs a plan until the power goes: `steps` done, the next one announced, and acted on if `acted`.
    pub(super) fn run_until(&mut self, plan: &NodePlan, steps: usize, acted: bool) {
        let mut records = Vec::new();
        for (index, planned) in plan.steps.iter().enumerate() {
            let whole = index < steps;
            self.one(index as u32, planned, &mut records, whole, acted);
            if !whole {
                break;
            }
        }
        if plan.steps.len() <= steps {
            records.push(Record::Finished { result: RunResult::Done });
        }
        self.runs += 1;
        let run: RunId = format!("run-{}", self.runs).parse().unwrap();
        let event = |(seq, record)| Event { seq: seq as u64, at_ms: 0, record };
        let events: Vec<Event> = records.into_iter().enumerate().map(event).collect();
        self.ledger.fold(&run, &events);
    }

    fn one(
        &mut self,
        index: u32,
        planned: &PlannedStep,
        records: &mut Vec<Record>,
        whole: bool,
        acted: bool,
    ) {
        let (step, purpose) = (planned.step.clone(), planned.purpose);
        let before = self.look(&step);
        assert!(planned.seen.still(&before), "{} is stale", step.title());
        let outcome = match step.decide(&before) {
            Decision::Keep => Outcome::Unchanged { seen: before },
            Decision::Change { .. } => {
                records.push(Record::Intent { index, step: step.clone(), purpose, before: before.clone() });
                if whole || acted {
                    self.act(&step);
                    let after = self.look(&step);
                    assert_eq!(step.decide(&after), Decision::Keep, "{} diverged", step.title());
                }
                Outcome::Changed { before, after: self.look(&step) }
            }
            Decision::Unsupported { why } => {
                assert_eq!(purpose, Purpose::Undo, "{}: {why}", step.title());
                Outcome::Unsupported { why }
            }
            Decision::Refuse { why } => panic!("{}: {why}", step.title()),
        };
        if whole {
            records.push(Record::Outcome { index, step, purpose, outcome });
        }
    }

    /// Whether both hosts look the same through every step of either ledger's making.
    pub(super) fn differences(&self, other: &Sim, through: &[HostStep]) -> Vec<String> {
        let differs = |step: &&HostStep| {
            let (a, b) = (self.look(step), other.look(step));
            !(a.still(&b) && b.still(&a))
        };
        let told =
            |step: &HostStep| format!("{}: {:?} / {:?}", step.key(), self.look(step), other.look(step));
        through.iter().filter(differs).map(told).collect()
    }
}
