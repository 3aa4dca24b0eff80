//! Racks and hosts that operators have.

use rackwright_proto::file::{FileSeen, FileWant};
use rackwright_proto::kernel::ModuleSeen;
use rackwright_proto::memory::SwapSeen;
use rackwright_proto::plan::{PlannedStep, Purpose};
use rackwright_proto::step::{Decision, HostStep, Seen};

use super::sim::{Sim, basics, file_seen, module, value};
use crate::plan::{Because, MODULES_FILE, ProxyMode, ProxyWanted, SYSCTLS_FILE, Wanted, stale, steps};

fn ipvs() -> Wanted {
    Wanted {
        swap_off: true,
        proxy: Some(ProxyWanted { mode: ProxyMode::Ipvs { scheduler: "wrr".into() }, strict_arp: true }),
        ..Wanted::default()
    }
}

fn titles(steps: &[PlannedStep]) -> Vec<String> {
    steps.iter().map(|s| s.step.title()).collect()
}

fn text_of(step: &HostStep) -> String {
    let HostStep::File(file) = step else { panic!("{step:?} is not a file") };
    let FileWant::Content { content, .. } = &file.want else { panic!("{step:?} has no content") };
    String::from_utf8(content.bytes().unwrap()).unwrap()
}

#[test]
fn ipvs_leads_to_modules_and_sysctls() {
    let steps = steps(&ipvs(), &basics()).unwrap();
    let told: Vec<String> = steps.iter().map(|s| format!("{} ({})", s.what.title(), s.why)).collect();
    insta::assert_snapshot!(told.join("\n"));
    let of =
        |path: &str| text_of(&steps.iter().find(|s| s.what.key() == format!("file/{path}")).unwrap().what);
    insta::assert_snapshot!(of(MODULES_FILE));
    insta::assert_snapshot!(of(SYSCTLS_FILE));
}

#[test]
fn conntrack_had_another_name_before_4_19() {
    let modules = |kernel: &str| {
        let basics = rackwright_proto::facts::Basics { kernel: kernel.into(), ..basics() };
        let steps = steps(&ipvs(), &basics).unwrap();
        steps.iter().any(|s| s.what.key() == "kernel/module/nf_conntrack_ipv4")
    };
    assert!(modules("4.18.0-553.el8.x86_64"));
    assert!(modules("3.10.0-1160.el7.x86_64"));
    assert!(!modules("4.19.0"));
    assert!(!modules("6.12.0-1-amd64"));
    assert!(!modules("unreadable"));
}

#[test]
fn nothing_is_wanted_of_a_host_that_the_rack_says_nothing_about() {
    assert_eq!(steps(&Wanted::default(), &basics()).unwrap(), vec![]);
}

#[test]
fn a_rack_that_contradicts_itself_is_told_where() {
    let sysctl =
        |key: &str, value: &str| Because::new((key.parse().unwrap(), value.to_owned()), "hosts.sysctls");
    let wanted = Wanted {
        sysctls: vec![
            sysctl("net.ipv4.conf.all.forwarding", "0"),
            sysctl("net.ipv4.conf.all.arp_ignore", "2"),
        ],
        ..ipvs()
    };
    insta::assert_snapshot!(steps(&wanted, &basics()).unwrap_err());
    let file = rackwright_proto::file::FileStep { path: "/etc/fstab".into(), want: FileWant::Absent };
    let wanted = Wanted { files: vec![Because::new(file, "hosts.files")], ..ipvs() };
    insta::assert_snapshot!(steps(&wanted, &basics()).unwrap_err());
}

#[test]
fn a_sysctl_brings_the_module_that_carries_it() {
    let key = "net.bridge.bridge-nf-call-arptables".parse().unwrap();
    let wanted =
        Wanted { sysctls: vec![Because::new((key, "1".into()), "hosts.sysctls")], ..Wanted::default() };
    let steps = steps(&wanted, &basics()).unwrap();
    assert!(steps.iter().any(|s| s.what.key() == "kernel/module/br_netfilter"));
}

#[test]
fn modules_that_cannot_be_loaded_take_their_sysctls_and_lines_with_them() {
    let mut sim = Sim::default();
    for name in ["br_netfilter", "ip_vs", "ip_vs_wrr", "nf_conntrack", "overlay"] {
        sim.world.insert(format!("kernel/module/{name}"), module(ModuleSeen::NoModules));
    }
    let planned = sim.plan(&ipvs());
    insta::assert_snapshot!(titles(&planned.plan.steps).join("\n"));
    let told: Vec<String> =
        planned.findings.iter().map(|f| format!("{} {}: {}", f.name, f.subject, f.observed)).collect();
    insta::assert_snapshot!(told.join("\n"));
    assert!(planned.findings.iter().all(|f| !f.blocks()));
}

#[test]
fn a_missing_module_blocks() {
    let mut sim = Sim::default();
    let missing = ModuleSeen::Missing { release: "6.12.0-1-amd64".into() };
    sim.world.insert("kernel/module/ip_vs_wrr".into(), module(missing));
    let blocking: Vec<_> = sim.plan(&ipvs()).findings.into_iter().filter(|f| f.blocks()).collect();
    assert_eq!(blocking.len(), 1);
    assert_eq!((blocking[0].name.as_str(), blocking[0].subject.as_str()), ("module-missing", "ip_vs_wrr"));
}

fn with_swap(fstab: &str) -> Sim {
    let mut sim = Sim::default();
    sim.world.insert("memory/swap//dev/sdb".into(), Seen::Memory(SwapSeen { active: true, used_bytes: 0 }));
    sim.world.insert("file//etc/fstab".into(), Seen::File(file_seen(fstab)));
    sim
}

#[test]
fn fstab_keeps_its_swap_entries_as_comments_and_what_others_add() {
    let wanted = Wanted { swap_off: true, ..Wanted::default() };
    let mut sim = with_swap("UUID=1 / ext4 defaults 0 1\n/dev/sdb none swap sw 0 0\n# end");
    let plan = sim.plan(&wanted).plan;
    assert_eq!(titles(&plan.steps), ["write /etc/fstab", "stop using swap on /dev/sdb"]);
    let text = "UUID=1 / ext4 defaults 0 1\n# rackwright: /dev/sdb none swap sw 0 0\n# end";
    assert_eq!(text_of(&plan.steps[0].step), text);
    sim.run(&plan);
    assert!(sim.plan(&wanted).plan.is_empty());

    sim.world.insert(
        "file//etc/fstab".into(),
        Seen::File(file_seen(&format!("{text}\n/dev/sdc /data xfs defaults 0 2\n"))),
    );
    assert!(sim.plan(&wanted).plan.is_empty(), "lines of others are theirs");
    sim.run(&sim.revert().plan);
    let Some(Seen::File(FileSeen::File { text: Some(text), .. })) = sim.world.get("file//etc/fstab") else {
        panic!()
    };
    assert_eq!(
        text,
        "UUID=1 / ext4 defaults 0 1\n/dev/sdb none swap sw 0 0\n# end\n/dev/sdc /data xfs defaults 0 2\n"
    );
}

#[test]
fn swap_comes_back_when_the_rack_no_longer_says_off() {
    let mut sim = with_swap("/dev/sdb none swap sw 0 0\n");
    sim.run(&sim.plan(&Wanted { swap_off: true, ..Wanted::default() }).plan);
    let plan = sim.plan(&Wanted::default()).plan;
    assert_eq!(titles(&plan.steps), ["use swap on /dev/sdb", "write /etc/fstab"]);
    assert!(plan.steps.iter().all(|s| s.purpose == Purpose::Undo));
}

#[test]
fn a_value_that_somebody_else_changed_is_told_once_and_left() {
    let mut sim = Sim::default();
    sim.run(&sim.plan(&ipvs()).plan);
    sim.world.insert("kernel/sysctl/net.ipv4.conf.all.arp_ignore".into(), value("8"));
    let revert = sim.revert();
    let told: Vec<_> = revert.findings.iter().map(|f| format!("{}: {}", f.subject, f.observed)).collect();
    assert_eq!(told, ["net.ipv4.conf.all.arp_ignore: 8; before us it was 0"]);
    sim.run(&revert.plan);
    assert_eq!(sim.world.get("kernel/sysctl/net.ipv4.conf.all.arp_ignore"), Some(&value("8")));
    assert_eq!(sim.revert().findings, vec![]);
}

#[test]
fn persistence_comes_before_the_live_value_and_forwarding_before_what_it_resets() {
    let key = "net.ipv4.conf.all.accept_redirects".parse().unwrap();
    let wanted = Wanted { sysctls: vec![Because::new((key, "1".into()), "hosts.sysctls")], ..ipvs() };
    let steps = steps(&wanted, &basics()).unwrap();
    let risky: Vec<String> = steps.iter().filter(|s| s.what.risky()).map(|s| s.what.key()).collect();
    assert_eq!(
        risky,
        [
            "file//etc/sysctl.d/90-rackwright.conf",
            "kernel/sysctl/net.ipv4.ip_forward",
            "kernel/sysctl/net.ipv4.conf.all.accept_redirects",
            "kernel/sysctl/net.ipv4.conf.all.arp_announce",
            "kernel/sysctl/net.ipv4.conf.all.arp_ignore",
        ]
    );
}

#[test]
fn a_saved_plan_tells_what_changed_since() {
    let mut sim = Sim::default();
    let saved = sim.plan(&ipvs()).plan;
    let now = |sim: &Sim| stale(&saved, &sim.plan(&ipvs()).plan, &sim.facts(&ipvs()));
    assert_eq!(now(&sim), vec![]);
    sim.world.insert("kernel/sysctl/net.ipv4.ip_forward".into(), value("1"));
    sim.world.insert("kernel/module/overlay".into(), module(ModuleSeen::Loaded { users: 3 }));
    sim.world.insert("memory/swap//dev/sdb".into(), Seen::Memory(SwapSeen { active: true, used_bytes: 0 }));
    let told: Vec<String> =
        now(&sim).iter().map(|d| format!("{}: {}, now {}", d.about, d.planned, d.now)).collect();
    insta::assert_snapshot!(told.join("\n"));

    let mut other = sim.facts(&ipvs());
    other.basics.machine_id = "another".into();
    let told = stale(&saved, &saved, &other);
    assert_eq!((told.len(), told[0].now.as_str()), (1, "another"));
}

#[test]
fn what_was_so_before_is_recorded_and_not_undone() {
    let mut sim = Sim::default();
    sim.world.insert("kernel/module/overlay".into(), module(ModuleSeen::Loaded { users: 2 }));
    let wanted = Wanted {
        modules: vec![Because::new("overlay".parse().unwrap(), "hosts.modules")],
        ..Wanted::default()
    };
    let plan = sim.plan(&wanted).plan;
    assert_eq!(plan.steps.iter().filter(|s| s.decision == Decision::Keep).count(), 1);
    sim.run(&plan);
    assert!(sim.plan(&wanted).plan.is_empty());
    sim.run(&sim.revert().plan);
    assert!(
        matches!(sim.world.get("kernel/module/overlay"), Some(s) if *s == module(ModuleSeen::Loaded { users: 2 }))
    );
    assert!(sim.ledger.entries.is_empty());
}

#[test]
fn swap_that_no_step_can_turn_off_is_told() {
    let wanted = Wanted { swap_off: true, ..Wanted::default() };
    let sim = with_swap("x\n");
    let mut facts = sim.facts(&wanted);
    facts.swap.units = vec!["zram generator".into(), "dev-zram0.swap".into()];
    if let Some(FileSeen::File { text, .. }) = &mut facts.swap.fstab {
        *text = None;
    }
    let planned = crate::plan::node_plan(&super::sim::node(), &wanted, &facts).unwrap();
    let told: Vec<_> = planned.findings.iter().map(|f| format!("{} {}", f.name, f.subject)).collect();
    assert_eq!(
        told,
        ["not-observed dev-zram0.swap", "swap-unclear /etc/fstab", "swap-unclear zram generator"]
    );
    let unit = super::unit_step("dev-zram0.swap", rackwright_proto::unit::AtBoot::Masked, None);
    assert_eq!(crate::plan::unobserved(&wanted, &facts).unwrap(), [unit]);
}

#[test]
fn strict_arp_means_something_only_in_ipvs_mode() {
    let strict = |mode| Wanted { proxy: Some(ProxyWanted { mode, strict_arp: true }), ..Wanted::default() };
    let arp = |wanted: &Wanted| {
        steps(wanted, &basics()).unwrap().iter().filter(|s| s.what.key().contains("arp_")).count()
    };
    assert_eq!(arp(&strict(ProxyMode::Ipvs { scheduler: "rr".into() })), 2);
    assert_eq!(arp(&strict(ProxyMode::Nftables)), 0);
    assert_eq!(arp(&strict(ProxyMode::Iptables)), 0);
}

#[test]
fn units_are_delivered_linked_and_enabled_where_systemd_is() {
    let unit = |name: &str, enable, active| crate::plan::UnitFile {
        name: name.parse().unwrap(),
        text: "[Unit]\n".into(),
        enable,
        active,
        why: "drift check".into(),
    };
    let units =
        vec![unit("rackwright-drift.timer", true, Some(true)), unit("rackwright-drift.service", false, None)];
    let wanted = Wanted {
        watch: crate::plan::WatchUnits { units },
        agent_path: "/usr/local/lib/rackwright/agent-0123456789abcdef".into(),
        ..Wanted::default()
    };
    let told: Vec<String> = steps(&wanted, &basics()).unwrap().iter().map(|s| s.what.title()).collect();
    assert_eq!(
        told,
        [
            "write /etc/systemd/system/rackwright-drift.service",
            "write /etc/systemd/system/rackwright-drift.timer",
            "link /usr/local/lib/rackwright/agent",
            "enable rackwright-drift.timer",
        ]
    );
    let bare = rackwright_proto::facts::Basics { systemd: false, ..basics() };
    assert_eq!(steps(&wanted, &bare).unwrap(), vec![]);
}

#[test]
fn what_the_ledger_tells_is_asked_for_unless_the_rack_still_holds_it() {
    let wanted = Wanted { swap_off: true, ..Wanted::default() };
    let mut sim = with_swap("x\n");
    sim.swap_units.insert("dev-zram0.swap".into());
    let motd = rackwright_proto::file::FileStep { path: "/etc/motd".into(), want: FileWant::Absent };
    sim.run(&sim.plan(&Wanted { files: vec![Because::new(motd, "hosts.files")], ..wanted.clone() }).plan);
    let mut facts = sim.facts(&wanted);
    facts.seen.clear();
    let asked = |wanted| -> Vec<String> {
        crate::plan::unobserved(wanted, &facts).unwrap().iter().map(HostStep::key).collect()
    };
    assert_eq!(asked(&wanted), ["file//etc/motd"]);
    assert_eq!(asked(&Wanted::default()), ["file//etc/motd", "unit/dev-zram0.swap"]);
}
