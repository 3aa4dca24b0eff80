//! What must hold for every rack and every host.

use proptest::prelude::*;
use proptest::sample::subsequence;
use rackwright_proto::file::{Content, FileStep, FileWant};
use rackwright_proto::kernel::ModuleSeen;
use rackwright_proto::memory::SwapSeen;
use rackwright_proto::plan::{PlannedStep, Purpose};
use rackwright_proto::step::{Decision, HostStep, Seen};
use rackwright_proto::tool::{LinkSeen, ToolSeen, ToolStep};
use rackwright_proto::unit::{AtBoot, UnitSeen};

use super::sim::{Sim, basics, file_seen, module, value};
use crate::plan::{
    Because, Planned, ProxyMode, ProxyWanted, UnitFile, Wanted, WatchUnits, steps, unobserved,
};

const MODULES: [&str; 5] = ["br_netfilter", "dummy", "ip_vs", "nf_conntrack", "overlay"];
const SYSCTLS: [&str; 7] = [
    "net.bridge.bridge-nf-call-arptables",
    "net.ipv4.conf.all.accept_redirects",
    "net.ipv4.conf.all.arp_ignore",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.ip_forward",
    "net.netfilter.nf_conntrack_max",
    "vm.swappiness",
];
const FILES: [&str; 3] = ["/etc/motd", "/etc/netplan/50-x.yaml", "/etc/systemd/network/10-x.network"];
const FSTAB: [&str; 4] = [
    "UUID=1 / ext4 defaults 0 1",
    "/dev/sdb none swap sw 0 0",
    "# a remark",
    "/swapfile\tnone\tswap\tsw 0 0",
];

fn wanted() -> impl Strategy<Value = Wanted> {
    let modules = subsequence(MODULES.to_vec(), 0..=3);
    let sysctls = subsequence(SYSCTLS.to_vec(), 0..=5);
    let files = subsequence(FILES.to_vec(), 0..=3);
    let mode = prop_oneof![
        Just(ProxyMode::Iptables),
        Just(ProxyMode::Nftables),
        Just(ProxyMode::Ipvs { scheduler: "rr".into() })
    ];
    let proxy = proptest::option::of((mode, any::<bool>()));
    let tools = subsequence(vec!["1.23.2", "1.29.1"], 0..=1);
    (modules, sysctls, files, proxy, any::<bool>(), any::<bool>(), "[012]", "[abc]{1,3}", tools).prop_map(
        |(modules, sysctls, files, proxy, swap_off, watch, level, text, tools)| Wanted {
            modules: modules.iter().map(|m| Because::new(m.parse().unwrap(), "hosts.modules")).collect(),
            sysctls: sysctls
                .iter()
                .map(|k| Because::new((k.parse().unwrap(), level.clone()), "hosts.sysctls"))
                .collect(),
            swap_off,
            files: files.iter().map(|path| Because::new(file_step(path, &text), "hosts.files")).collect(),
            proxy: proxy.map(|(mode, strict_arp)| ProxyWanted { mode, strict_arp }),
            watch: WatchUnits { units: if watch { units(&text) } else { Vec::new() } },
            tools: tools.into_iter().map(super::tool).collect(),
            tools_in_use: Some(std::collections::BTreeSet::new()),
            agent_path: format!("/usr/local/lib/rackwright/agent-{text}"),
        },
    )
}

/// Keys of what takes back, at boot, what was not confirmed.
const GUARDS: [&str; 3] = [
    "unit/rackwright-restore.service",
    "file//etc/systemd/system/rackwright-restore.service",
    "file//usr/local/lib/rackwright/agent",
];

fn file_step(path: &str, text: &str) -> FileStep {
    let content = Content::Text(text.to_owned());
    let want = FileWant::Content { content, mode: 0o600, owner: "root".into(), group: "root".into() };
    FileStep { path: path.to_owned(), want }
}

fn units(text: &str) -> Vec<UnitFile> {
    let unit = |name: &str, enable, active| UnitFile {
        name: name.parse().unwrap(),
        text: format!("[Unit]\nDescription={text}\n"),
        enable,
        active,
        why: "watch".into(),
    };
    vec![
        unit("rackwright-drift.service", false, None),
        unit("rackwright-drift.timer", true, Some(true)),
        unit("rackwright-restore.service", true, None),
    ]
}

fn module_state() -> impl Strategy<Value = ModuleSeen> {
    prop_oneof![
        4 => Just(ModuleSeen::Loadable),
        2 => Just(ModuleSeen::Loaded { users: 0 }),
        1 => Just(ModuleSeen::BuiltIn),
        1 => Just(ModuleSeen::NoModules),
        1 => Just(ModuleSeen::Missing { release: "6.12.0-1-amd64".into() }),
    ]
}

fn host() -> impl Strategy<Value = Sim> {
    let modules = proptest::collection::vec(module_state(), MODULES.len());
    let values = proptest::collection::vec("[0-2]", SYSCTLS.len());
    let files = subsequence(FILES.to_vec(), 0..=2);
    let areas = subsequence(vec!["/dev/sdb", "/swapfile"], 0..=2);
    let lines = subsequence(FSTAB.to_vec(), 0..=4);
    (modules, values, files, areas, lines, any::<bool>()).prop_map(
        |(modules, values, files, areas, lines, zram)| {
            let mut sim = Sim::default();
            let modules = MODULES.iter().zip(modules);
            sim.world.extend(modules.map(|(name, seen)| (format!("kernel/module/{name}"), module(seen))));
            let values = SYSCTLS.iter().zip(values);
            sim.world.extend(values.map(|(key, v)| (format!("kernel/sysctl/{key}"), value(&v))));
            sim.world.extend(files.iter().map(|p| (format!("file/{p}"), Seen::File(file_seen("theirs\n")))));
            let on = Seen::Memory(SwapSeen { active: true, used_bytes: 0 });
            sim.world.extend(areas.iter().map(|a| (format!("memory/swap/{a}"), on.clone())));
            let fstab: String = lines.iter().map(|l| format!("{l}\n")).collect();
            sim.world.insert("file//etc/fstab".into(), Seen::File(file_seen(&fstab)));
            if zram {
                let unit = "dev-zram0.swap";
                let seen = UnitSeen { at_boot: Some(AtBoot::Enabled), active: true, systemd: true };
                sim.swap_units.insert(unit.into());
                sim.world.insert(format!("unit/{unit}"), Seen::Unit(seen));
            }
            // Before the modules that carry them are loaded, their keys have the kernel's own values.
            sim.world.remove("kernel/sysctl/net.bridge.bridge-nf-call-arptables");
            sim.world.remove("kernel/sysctl/net.netfilter.nf_conntrack_max");
            // What the kernel resets is 0 or 1.
            let forward = sim.world.get("kernel/sysctl/net.ipv4.ip_forward").cloned();
            let on = forward.is_some_and(|f| f != value("0"));
            sim.world.insert("kernel/sysctl/net.ipv4.ip_forward".into(), value(if on { "1" } else { "0" }));
            sim
        },
    )
}

fn consistent() -> impl Strategy<Value = Wanted> {
    wanted().prop_filter("the rack contradicts itself", |w| steps(w, &basics()).is_ok())
}

/// Every step that a plan of either rack could touch on this host.
fn through(sims: &[&Sim], racks: &[&Wanted]) -> Vec<HostStep> {
    let mut all: Vec<HostStep> = Vec::new();
    for sim in sims {
        for rack in racks {
            all.extend(sim.plan(rack).plan.steps.into_iter().map(|s| s.step));
        }
    }
    all
}

fn shuffled(wanted: &Wanted) -> Wanted {
    let mut other = wanted.clone();
    other.modules.reverse();
    other.sysctls.reverse();
    other.files.reverse();
    other.watch.units.reverse();
    other.modules.extend(wanted.modules.clone());
    other
}

fn bytes(planned: &Planned) -> String {
    serde_json::to_string(&(&planned.plan, &planned.findings)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_inputs_give_the_same_bytes(rack in consistent(), sim in host()) {
        let facts = sim.facts(&rack);
        prop_assert_eq!(unobserved(&rack, &facts).unwrap(), Vec::<HostStep>::new());
        prop_assert_eq!(bytes(&sim.plan(&rack)), bytes(&sim.plan(&shuffled(&rack))));
    }

    #[test]
    fn an_applied_plan_leaves_nothing_to_plan(rack in consistent(), sim in host()) {
        let mut sim = sim;
        sim.run(&sim.plan(&rack).plan);
        let again = sim.plan(&rack).plan;
        prop_assert!(again.is_empty(), "{:#?}", again.steps);
        prop_assert!(again.confirm.is_none());
    }

    #[test]
    fn two_racks_one_after_the_other_revert_to_the_start(a in consistent(), b in consistent(), start in host()) {
        let mut sim = start.clone();
        sim.run(&sim.plan(&a).plan);
        let after_a = sim.clone();
        sim.run(&sim.plan(&b).plan);
        prop_assert!(sim.plan(&b).plan.is_empty());
        let mut touched = through(&[&start, &after_a], &[&a, &b]);
        // What the kernel resets while a rack does not name it is out of our sight.
        let redirects = |key: &str| key.ends_with("accept_redirects");
        let named = |rack: &Wanted| rack.sysctls.iter().any(|s| redirects(s.what.0.as_str()));
        if !(named(&a) && named(&b)) {
            touched.retain(|s| !redirects(&s.key()));
        }
        let revert = sim.revert();
        prop_assert_eq!(revert.findings, vec![]);
        sim.run(&revert.plan);
        prop_assert_eq!(sim.differences(&start, &touched), Vec::<String>::new());
        prop_assert!(sim.revert().plan.is_empty());
        prop_assert!(sim.ledger.entries.is_empty());
    }

    #[test]
    fn a_run_that_was_cut_off_converges_and_reverts(
        rack in consistent(), start in host(), steps in 0_usize..12, acted: bool,
    ) {
        let mut sim = start.clone();
        let plan = sim.plan(&rack).plan;
        sim.run_until(&plan, steps, acted);
        sim.run(&sim.plan(&rack).plan);
        prop_assert!(sim.plan(&rack).plan.is_empty());
        sim.run(&sim.revert().plan);
        let touched: Vec<HostStep> = plan.steps.into_iter().map(|s| s.step).collect();
        prop_assert_eq!(sim.differences(&start, &touched), Vec::<String>::new());
    }

    #[test]
    fn what_could_cut_the_node_off_comes_last(a in consistent(), b in consistent(), sim in host()) {
        let mut sim = sim;
        sim.run(&sim.plan(&a).plan);
        for plan in [sim.plan(&b).plan, sim.revert().plan] {
            // Behind it is only what takes it back at boot, and goes.
            let place = |s: &PlannedStep| match s.step.key() {
                key if s.purpose == Purpose::Undo && GUARDS.contains(&key.as_str()) => 2,
                _ => u8::from(s.step.risky()),
            };
            let places: Vec<u8> = plan.steps.iter().map(place).collect();
            prop_assert!(places.is_sorted(), "{:#?}", plan.steps);
            let acts = plan.changes().any(|s| s.step.risky());
            prop_assert_eq!(plan.confirm.is_some(), acts);
        }
    }

    #[test]
    fn a_foreign_change_survives_a_revert(rack in consistent(), sim in host(), pick: prop::sample::Index) {
        let mut sim = sim;
        sim.run(&sim.plan(&rack).plan);
        let ours: Vec<HostStep> = sim.ledger.entries.values().map(|e| e.step.clone()).collect();
        let foreign = |step: &HostStep| match step {
            HostStep::Kernel(_) if matches!(sim.look(step), Seen::Kernel(rackwright_proto::kernel::KernelSeen::Sysctl(_))) => Some(value("77")),
            HostStep::File(_) => Some(Seen::File(file_seen("changed by somebody else\n"))),
            HostStep::Tool(ToolStep::Link(_)) => Some(Seen::Tool(ToolSeen::Link(LinkSeen::Foreign { what: "a file".into() }))),
            _ => None,
        };
        let candidates: Vec<(HostStep, Seen)> = ours.iter().filter_map(|s| Some((s.clone(), foreign(s)?))).collect();
        prop_assume!(!candidates.is_empty());
        let (step, theirs) = pick.get(&candidates).clone();
        prop_assume!(!step.key().ends_with("accept_redirects") && !step.key().starts_with("kernel/sysctl/net.bridge")
            && !step.key().starts_with("kernel/sysctl/net.netfilter"));
        sim.world.insert(step.key(), theirs.clone());
        let revert = sim.revert();
        let acts = revert.plan.changes().any(|s| s.step.key() == step.key());
        prop_assert!(!acts, "{:#?}", revert.plan.steps);
        sim.run(&revert.plan);
        prop_assert!(theirs.still(&sim.look(&step)), "{:?}", sim.look(&step));
        prop_assert!(sim.revert().plan.is_empty());
    }

    #[test]
    fn plans_hold_only_what_can_be_done(rack in consistent(), sim in host()) {
        let planned = sim.plan(&rack).plan;
        let doable = |d: &Decision| matches!(d, Decision::Keep | Decision::Change { .. });
        let all = planned.steps.iter().all(|s| doable(&s.decision));
        prop_assert!(all);
    }
}
