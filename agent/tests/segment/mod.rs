//! Ethernet segments of the machine's own kernel: a bridge in one network namespace and a host in each other,
//! all removed again when the test ends, however it ends.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rackwright_proto::l2::{Patience, Probe, Probed, Span};
use rackwright_proto::link::Mac;
use rackwright_proto::reach::{Asked, Reach, Reached};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Whether this test can make namespaces; says so where it cannot.
pub(crate) fn possible() -> bool {
    let possible = nix::unistd::geteuid().is_root();
    if !possible {
        println!("SKIPPED: needs root to make network namespaces");
    }
    possible
}

/// Runs a program that must succeed, and returns what it printed.
pub(crate) fn run(argv: &[&str]) -> String {
    let output = Command::new(argv[0]).args(&argv[1..]).output().expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{argv:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A network namespace that is removed when dropped.
pub(crate) struct Space {
    name: String,
}

impl Space {
    pub(crate) fn new(what: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("rwl2-{}-{number}-{what}", std::process::id());
        run(&["ip", "netns", "add", &name]);
        let space = Self { name };
        space.ip("link set lo up");
        space
    }

    /// `ip -n THIS arguments...`
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let mut argv = vec!["ip", "-n", &self.name];
        argv.extend(arguments.split_whitespace());
        run(&argv)
    }

    /// Runs a program inside.
    pub(crate) fn exec(&self, argv: &[&str]) -> String {
        run(&[&["ip", "netns", "exec", &self.name], argv].concat())
    }

    /// Does something on a thread of its own inside.
    pub(crate) fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let space = File::open(format!("/run/netns/{}", self.name)).expect("the namespace is there");
        let work = move || {
            nix::sched::setns(space, nix::sched::CloneFlags::CLONE_NEWNET).expect("enter the namespace");
            work()
        };
        std::thread::spawn(work).join().expect("no panic inside")
    }

    /// What the agent's probe says inside.
    pub(crate) fn probe(&self, probes: Vec<Probe>) -> Vec<Probed> {
        self.inside(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(rackwright_agent::l2::probe(&probes))
        })
    }

    /// What the agent reaches from inside, each within a second.
    pub(crate) fn reach(&self, questions: Vec<Reach>) -> Vec<Reached> {
        let questions: Vec<_> = questions.into_iter().map(|reach| Asked::new(reach, 1000)).collect();
        self.inside(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(rackwright_agent::reach::ask(&questions))
        })
    }

    /// The MAC address of a link inside.
    pub(crate) fn mac(&self, link: &str) -> Mac {
        let text = self.exec(&["cat", &format!("/sys/class/net/{link}/address")]);
        text.trim().parse().expect("a MAC address")
    }

    /// Gives the packet filter inside its rules.
    pub(crate) fn nft(&self, rules: &str) {
        self.exec(&["nft", rules]);
    }

    pub(crate) fn sysctl(&self, assignment: &str) {
        self.exec(&["sysctl", "-qw", assignment]);
    }

    /// Frames that a link inside has received.
    pub(crate) fn received(&self, link: &str) -> u64 {
        let text = self.exec(&["cat", &format!("/sys/class/net/{link}/statistics/rx_packets")]);
        text.trim().parse().expect("a number")
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // Also while panicking: a failure to remove it must not hide the first failure.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// A switch and the hosts on it, each with one link `eth0`.
pub(crate) struct Segment {
    switch: Space,
}

impl Segment {
    pub(crate) fn new() -> Self {
        let switch = Space::new("switch");
        switch.sysctl("net.ipv6.conf.all.disable_ipv6=1");
        switch.ip("link add br0 type bridge mcast_snooping 0");
        switch.ip("link set br0 up");
        Self { switch }
    }

    /// A host with these addresses on its `eth0`.
    pub(crate) fn host(&self, name: &str, addresses: &[&str]) -> Space {
        let host = Space::new(name);
        self.plug(&host, name, "eth0");
        for address in addresses {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            host.ip(&format!("addr add {address} dev eth0 {nodad}"));
        }
        host
    }

    /// Gives a host one more link on this segment.
    pub(crate) fn plug(&self, host: &Space, port: &str, link: &str) {
        host.sysctl("net.ipv6.conf.default.accept_dad=0");
        let peer = &self.switch.name;
        host.ip(&format!("link add {link} type veth peer name {port} netns {peer}"));
        self.switch.ip(&format!("link set {port} master br0 up"));
        host.ip(&format!("link set {link} up"));
    }

    /// Takes the switch's end of a cable down.
    pub(crate) fn unplug(&self, port: &str) {
        self.switch.ip(&format!("link set {port} down"));
    }
}

/// A quick question on `eth0`.
pub(crate) fn quick(first: &str, last: &str) -> Probe {
    Probe {
        link: "eth0".parse().expect("a name"),
        spans: vec![Span {
            first: first.parse().expect("an address"),
            last: last.parse().expect("an address"),
        }],
        patience: Patience::Quick,
        as_ourselves: false,
    }
}
