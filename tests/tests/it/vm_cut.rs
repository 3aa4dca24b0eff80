//! The power fails in the middle of the work: on machines with a kernel and a disk of their own, so that all is lost
//! that was not flushed. Whatever the moment, the next apply converges and revert brings back what was there.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rackwright_lab::{Host, Lab, Spec, each, need_vm, talk};
use rackwright_proto::event::Record;

use crate::cut::{self, Place, Side};
use crate::operator::{Rack, Working, changes, expect, journals, rackwright};
use crate::tool::Archive;

/// Steps of all families, some of files that were there before.
const FEW: usize = 3;
const MANY: usize = 120;

/// A host that was used before: files with content and modes of their own, a file that shall go, swap.
const USED: &str = r"
mkdir -m 750 /etc/many
for n in 000 002 019 099; do echo mine $n > /etc/many/$n; chmod 600 /etc/many/$n; done
echo old > /etc/old.conf; chmod 4751 /etc/old.conf
dd if=/dev/zero of=/swapfile bs=1M count=16 status=none; chmod 600 /swapfile; mkswap -q /swapfile; swapon /swapfile
echo '/swapfile none swap sw 0 0' >> /etc/fstab
sync
";

/// All files that the rack touches: type, mode, owner, target and content.
const TREE: &str = r"
set -- /etc/many /etc/old.conf /etc/fstab /etc/sysctl.d /etc/modules-load.d /etc/systemd/system /usr/local/bin \
    /usr/local/lib/rackwright
find $@ \( ! -type d -o -path /etc/many \) ! -path '/usr/local/lib/rackwright/*agent-*' -printf '%p\t%y %m %U:%G %l\n' 2>/dev/null
find $@ -type f ! -path '/usr/local/lib/rackwright/*agent-*' -exec sha256sum {} + 2>/dev/null |
    sed 's/^\([^ ]*\)  \(.*\)/\2\t\1/'
";

/// What the kernel does because of the rack.
const LIVE: &str = r"
sysctl net.ipv4.tcp_keepalive_time net.ipv4.conf.all.arp_announce net.ipv4.conf.all.arp_ignore net.ipv4.ip_forward \
    net.ipv4.conf.all.accept_redirects net.bridge.bridge-nf-call-iptables net.ipv4.vs.conntrack 2>/dev/null
grep -oE '^(ip_vs|ip_vs_wrr|br_netfilter|overlay) ' /proc/modules | sort
swapon --show=NAME --noheadings
true
";

/// What must never be left for long, and agents that are not what their names say.
const DEBRIS: &str = r"
find / -xdev \( -name '.rackwright-*' -o -path '/usr/local/lib/rackwright/.*' \)
cd /usr/local/lib/rackwright && for agent in agent-*; do
    case $(sha256sum < $agent) in ${agent#agent-}*) ;; *) echo $agent is another;; esac
done
true
";

type Tree = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    tree: Tree,
    live: String,
}

impl State {
    fn of(host: &Host) -> Self {
        let mut tree = Tree::new();
        for line in host.read(TREE).unwrap().lines() {
            let (path, what) = line.split_once('\t').unwrap();
            tree.entry(path.to_owned()).or_default().push_str(what);
        }
        Self { tree, live: host.read(LIVE).unwrap() }
    }
}

/// Two used machines, and what they look like before and after the work.
struct Machines {
    lab: Lab,
    hosts: Vec<Host>,
    untouched: Vec<State>,
    prepared: Vec<State>,
    in_effect: Vec<serde_json::Value>,
    /// What the work needs, uncut: journal syncs on a host, time.
    apply: (usize, Duration),
    revert: (usize, Duration),
}

/// The work in which the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Apply,
    /// The first apply: the agent is not there yet.
    Delivery,
    Revert,
}

impl Machines {
    /// Does all once without a cut, and insists that it comes back.
    fn up(files: usize) -> Self {
        let lab = Lab::up(Spec::test(2).vms_all()).unwrap();
        let hosts = lab.hosts();
        each(&hosts, 2, |host| {
            host.read(USED).unwrap();
            cut::install(host);
        });
        write_rack(&lab, files);
        let untouched = each(&hosts, 2, State::of);
        let mut machines = Self {
            lab,
            hosts,
            prepared: Vec::new(),
            untouched,
            in_effect: Vec::new(),
            apply: (0, Duration::ZERO),
            revert: (0, Duration::ZERO),
        };
        // The agent is delivered by the first, which takes longer than those to come.
        machines.apply = machines.uncut(Work::Delivery);
        machines.prepared = each(&machines.hosts, 2, State::of);
        machines.in_effect = machines.receipts();
        machines.revert = machines.uncut(Work::Revert);
        machines.assert_untouched();
        machines
    }

    fn uncut(&self, work: Work) -> (usize, Duration) {
        self.hosts.iter().for_each(|host| cut::set(host, None));
        let begun = Instant::now();
        expect(&self.lab, work.arguments(), 0);
        let took = begun.elapsed();
        let syncs: Vec<usize> = self.hosts.iter().map(cut::syncs).collect();
        assert_eq!(syncs[0], syncs[1], "{work:?} is another on each");
        self.hosts.iter().for_each(cut::release);
        talk::say(format_args!("{work:?} without a cut: {} syncs, {:.1} s", syncs[0], took.as_secs_f64()));
        (syncs[0], took)
    }

    fn receipts(&self) -> Vec<serde_json::Value> {
        let told: serde_json::Value =
            serde_json::from_str(&expect(&self.lab, &["status", "--json"], 0).stdout).unwrap();
        let sorted = |node: &serde_json::Value| {
            let mut steps: Vec<String> =
                node["in_effect"].as_array().unwrap().iter().map(ToString::to_string).collect();
            steps.sort();
            serde_json::Value::from(steps)
        };
        told["nodes"].as_array().unwrap().iter().map(sorted).collect()
    }

    /// Cuts the power of each host where its run is stopped at its place.
    fn cut_at(&self, work: Work, places: [Place; 2]) {
        talk::say(format_args!("{work:?}: cut at {places:?}"));
        let earlier = self.prepare(work);
        for (host, place) in self.hosts.iter().zip(places) {
            cut::set(host, Some(place));
        }
        let mut working = Working::start(&self.lab, rackwright(&self.lab, work.arguments()));
        for (host, place) in self.hosts.iter().zip(places) {
            cut::await_stop(host, place, &mut working);
        }
        self.hosts.iter().for_each(|host| host.kill().unwrap());
        working.kill();
        let again = if places[0].sync.is_multiple_of(2) { Work::Apply } else { work };
        self.recover(work, again, &earlier);
    }

    /// Cuts the power of each host so long after the coordinator was started.
    fn cut_after(&self, work: Work, times: [Duration; 2], again: Work) {
        talk::say(format_args!("{work:?}: cut after {times:?}"));
        let earlier = self.prepare(work);
        let working = Working::start(&self.lab, rackwright(&self.lab, work.arguments()));
        let both: Vec<_> = self.hosts.iter().zip(times).collect();
        each(&both, 2, |(host, after)| {
            thread::sleep(*after);
            host.kill().unwrap();
        });
        working.kill();
        self.recover(work, again, &earlier);
    }

    /// Returns the runs that were there before the work, by host.
    fn prepare(&self, work: Work) -> Vec<Vec<String>> {
        match work {
            Work::Apply => {}
            Work::Delivery => self.hosts.iter().for_each(|host| {
                host.read("rm -f /usr/local/lib/rackwright/agent-*; sync").unwrap();
            }),
            Work::Revert => drop(expect(&self.lab, &["apply", "--yes"], 0)),
        }
        self.hosts.iter().map(|host| journals(host).into_keys().collect()).collect()
    }

    fn recover(&self, work: Work, again: Work, earlier: &[Vec<String>]) {
        each(&self.hosts, 2, |host| host.boot().unwrap());
        self.assert_whole();
        if again != Work::Revert {
            expect(&self.lab, &["apply", "--yes"], 0);
            self.assert_converged();
            if work != Work::Revert {
                self.assert_nothing_twice(earlier);
            }
        }
        expect(&self.lab, &["revert", "--yes"], 0);
        self.assert_untouched();
    }

    /// Each file is the old one or the new one.
    #[track_caller]
    fn assert_whole(&self) {
        for (n, host) in self.hosts.iter().enumerate() {
            let now = State::of(host).tree;
            let (before, after) = (&self.untouched[n].tree, &self.prepared[n].tree);
            let is_debris = |path: &str| path.contains("/.rackwright-");
            let broken = now.iter().filter(|(path, what)| {
                !is_debris(path) && before.get(*path) != Some(what) && after.get(*path) != Some(what)
            });
            assert_eq!(broken.collect::<Vec<_>>(), [], "neither old nor new on {}", host.name());
            let gone = before.keys().filter(|path| after.contains_key(*path) && !now.contains_key(*path));
            assert_eq!(gone.collect::<Vec<_>>(), Vec::<&String>::new(), "gone from {}", host.name());
        }
    }

    #[track_caller]
    fn assert_converged(&self) {
        expect(&self.lab, &["plan", "--exit-code"], 0);
        assert_eq!(self.receipts(), self.in_effect);
        for (host, prepared) in self.hosts.iter().zip(&self.prepared) {
            assert_same(host, prepared);
            assert_eq!(host.read(DEBRIS).unwrap(), "", "left on {}", host.name());
        }
    }

    #[track_caller]
    fn assert_untouched(&self) {
        for (host, untouched) in self.hosts.iter().zip(&self.untouched) {
            assert_same(host, untouched);
            assert_eq!(host.read(DEBRIS).unwrap(), "", "left on {}", host.name());
        }
    }

    /// What the kernel forgets with the power has to be done again, and what was undone because nobody confirmed it;
    /// nothing else has.
    #[track_caller]
    fn assert_nothing_twice(&self, earlier: &[Vec<String>]) {
        for (host, earlier) in self.hosts.iter().zip(earlier) {
            let volatile = |key: &str| key.starts_with("kernel/") || key.starts_with("memory/");
            let mut twice = changes(host, earlier);
            let undone = undone(host, earlier);
            twice.retain(|key, count| *count > 1 + usize::from(volatile(key) || undone.contains(key)));
            assert!(twice.is_empty(), "done more than once on {}: {twice:?}", host.name());
        }
    }
}

impl Work {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Apply | Self::Delivery => &["apply", "--yes"],
            Self::Revert => &["revert", "--yes"],
        }
    }
}

/// Keys of steps that runs undid by themselves, in all runs but those named.
fn undone(host: &Host, but: &[String]) -> Vec<String> {
    let events =
        journals(host).into_iter().filter(|(run, _)| !but.contains(run)).flat_map(|(_, events)| events);
    let keys = events.filter_map(|event| match event.record {
        Record::RolledBack { keys, .. } => Some(keys),
        _ => None,
    });
    keys.flatten().collect()
}

#[track_caller]
fn assert_same(host: &Host, wanted: &State) {
    let now = State::of(host);
    let differs = |a: &Tree, b: &Tree| -> Vec<String> {
        let lines = a.iter().filter(|(path, what)| b.get(*path) != Some(what));
        lines.map(|(path, what)| format!("{path}: {what}")).collect()
    };
    assert_eq!(differs(&now.tree, &wanted.tree), differs(&wanted.tree, &now.tree), "on {}", host.name());
    assert_eq!(now.live, wanted.live, "on {}", host.name());
}

/// Modules, swap, files old and new, one that goes, units, calm and risky sysctls, a tool.
fn write_rack(lab: &Lab, files: usize) {
    let archive = Archive::new(lab, "1.28.3", 200_000);
    let istio = format!("kubernetes: {{istio: {{version: 1.28.3, archive: {}}}}}", archive.pushed());
    let sysctls = "sysctls: {net.ipv4.tcp_keepalive_time: 1234, net.ipv4.vs.conntrack: 1, \
                   net.bridge.bridge-nf-call-iptables: 1, net.ipv4.conf.all.arp_announce: 2}";
    let rack = Rack::new(lab).hosts("modules: [ip_vs_wrr]").hosts(sysctls).files(files, "text");
    let rack = rack.hosts("  - {path: /etc/old.conf, absent: true}");
    rack.line(&istio).write_with(|_| ", roles: [control-plane]".to_owned());
    let text = fs::read_to_string(lab.rack_yaml()).unwrap();
    fs::write(lab.rack_yaml(), text.replace("  swap: keep\n", "  swap: off\n")).unwrap();
}

fn before(sync: usize) -> Place {
    Place { sync, side: Side::Before }
}

fn after(sync: usize) -> Place {
    Place { sync, side: Side::After }
}

/// A source of chances that can be asked for again.
fn chances() -> fastrand::Rng {
    let named = std::env::var("RACKWRIGHT_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = named.unwrap_or_else(|| fastrand::u64(..));
    talk::say(format_args!("RACKWRIGHT_SEED={seed} cuts at the same times again"));
    fastrand::Rng::with_seed(seed)
}

/// From the moment when the coordinator starts to a little after it would have ended.
fn moment(chances: &mut fastrand::Rng, took: Duration) -> Duration {
    took.mul_f64(chances.f64() * 1.1)
}

#[test]
fn power_that_fails_at_the_worst_moments_harms_nothing() {
    need_vm!();
    let machines = Machines::up(FEW);
    let syncs = machines.apply.0;
    machines.cut_at(Work::Apply, [before(syncs / 2), after(syncs - 3)]);
    machines.cut_at(Work::Revert, [after(3), before(machines.revert.0 - 1)]);
    let mut chances = chances();
    let times = [moment(&mut chances, machines.apply.1), moment(&mut chances, machines.apply.1)];
    machines.cut_after(Work::Delivery, times, Work::Apply);
}

#[test]
#[ignore = "long: a boot after every sync of an apply's journal"]
fn power_may_fail_at_every_boundary_of_an_apply() {
    need_vm!();
    let machines = Machines::up(FEW);
    for sync in 1..=machines.apply.0 {
        machines.cut_at(Work::Apply, [before(sync), after(sync)]);
    }
}

#[test]
#[ignore = "long: a boot after every sync of a revert's journal"]
fn power_may_fail_at_every_boundary_of_a_revert() {
    need_vm!();
    let machines = Machines::up(FEW);
    for sync in 1..=machines.revert.0 {
        machines.cut_at(Work::Revert, [before(sync), after(sync)]);
    }
}

#[test]
#[ignore = "long: some twenty boots"]
fn power_may_fail_at_any_time() {
    need_vm!();
    let machines = Machines::up(MANY);
    let mut chances = chances();
    for round in 0..9 {
        let work = [Work::Delivery, Work::Apply, Work::Revert][round % 3];
        let took = if work == Work::Revert { machines.revert.1 } else { machines.apply.1 };
        let times = [moment(&mut chances, took), moment(&mut chances, took)];
        let again = if chances.bool() { work } else { Work::Apply };
        machines.cut_after(work, times, again);
    }
}
