//! Probes on real Ethernet segments, between network namespaces of this machine.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test has no door"
)]
#![allow(missing_docs)]

mod segment;

use std::net::IpAddr;

use rackwright_proto::l2::{Answer, Patience, Probe, Probed};
use rackwright_proto::link::Mac;
use segment::{Segment, Space, possible, quick};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn answered(text: &str, macs: &[Mac]) -> Answer {
    let mut macs = macs.to_vec();
    macs.sort();
    Answer { ip: ip(text), macs, seekers: Vec::new() }
}

fn ask(space: &Space, probe: Probe) -> Probed {
    space.probe(vec![probe]).remove(0)
}

fn as_ourselves(probe: Probe) -> Probe {
    Probe { as_ourselves: true, ..probe }
}

#[test]
fn an_address_of_one_host_of_two_and_of_none() {
    if !possible() {
        return;
    }
    let segment = Segment::new();
    let asker = segment.host("asker", &["192.0.2.1/24"]);
    let one = segment.host("one", &["192.0.2.2/24", "192.0.2.200/24"]);
    let two = segment.host("two", &["192.0.2.200/24"]);
    let both = [one.mac("eth0"), two.mac("eth0")];
    for probe in [quick("192.0.2.1", "192.0.2.254"), as_ourselves(quick("192.0.2.2", "192.0.2.200"))] {
        let asked = if probe.as_ourselves { 199 } else { 254 };
        let expected = [answered("192.0.2.2", &both[..1]), answered("192.0.2.200", &both)];
        let probed = ask(&asker, probe);
        assert_eq!((probed.answers.as_slice(), probed.asked), (expected.as_slice(), asked));
        assert_eq!(probed.trouble, None);
    }
    // The second opinion of iputils: -D is its duplicate address detection, which fails where one answers.
    let duplicate = ["arping", "-D", "-q", "-c", "1", "-w", "2", "-I", "eth0", "192.0.2.200"];
    let second = asker.inside(move || std::process::Command::new("arping").args(&duplicate[1..]).status());
    assert_eq!(second.unwrap().code(), Some(1));
}

#[test]
fn arp_ignore_decides_who_answers() {
    if !possible() {
        return;
    }
    let segment = Segment::new();
    let asker = segment.host("asker", &["192.0.2.1/24"]);
    let other = segment.host("other", &["192.0.2.2/24"]);
    other.ip("addr add 192.0.2.50/32 dev lo");
    let mac = other.mac("eth0");
    let probe = || quick("192.0.2.50", "192.0.2.50");
    assert_eq!(ask(&asker, probe()).answers, [answered("192.0.2.50", &[mac])]);
    other.sysctl("net.ipv4.conf.all.arp_ignore=1");
    assert_eq!(ask(&asker, probe()).answers, []);
    other.sysctl("net.ipv4.conf.all.arp_ignore=8");
    assert_eq!(ask(&asker, as_ourselves(quick("192.0.2.2", "192.0.2.2"))).answers, []);
}

#[test]
fn no_cache_learns_from_a_probe() {
    if !possible() {
        return;
    }
    let segment = Segment::new();
    let asker = segment.host("asker", &["192.0.2.1/24"]);
    let other = segment.host("other", &["192.0.2.2/24"]);
    assert_eq!(ask(&asker, quick("192.0.2.2", "192.0.2.2")).answers.len(), 1);
    assert_eq!(other.ip("neigh show dev eth0 nud all to 192.0.2.0/24"), "");
    assert_eq!(asker.ip("neigh show dev eth0 nud all to 192.0.2.0/24"), "");
    ask(&asker, as_ourselves(quick("192.0.2.2", "192.0.2.2")));
    assert!(other.ip("neigh show dev eth0 nud all to 192.0.2.1").contains("192.0.2.1"));
}

#[test]
fn two_who_seek_the_same_address_hear_each_other() {
    if !possible() {
        return;
    }
    let segment = Segment::new();
    let [left, right] = ["left", "right"].map(|name| segment.host(name, &[]));
    let macs = [left.mac("eth0"), right.mac("eth0")];
    let ranges = [["192.0.2.100", "192.0.2.101"], ["2001:db8::100", "2001:db8::101"]];
    // Patient, so that both are surely at it at the same time.
    let probes = || ranges.map(|[a, b]| Probe { patience: Patience::Rfc5227, ..quick(a, b) }).to_vec();
    let (heard_left, heard_right) = std::thread::scope(|scope| {
        let other = scope.spawn(|| right.probe(probes()));
        (left.probe(probes()), other.join().unwrap())
    });
    for (at, range) in ranges.into_iter().enumerate() {
        let sought = |mac| range.map(|at| Answer { ip: ip(at), macs: Vec::new(), seekers: vec![mac] });
        assert_eq!(heard_left[at].answers, sought(macs[1]));
        assert_eq!(heard_right[at].answers, sought(macs[0]));
    }
}

#[test]
fn neighbours_of_ipv6_advertise_themselves() {
    if !possible() {
        return;
    }
    let segment = Segment::new();
    let asker = segment.host("asker", &["2001:db8::1/64"]);
    let one = segment.host("one", &["2001:db8::2/64", "2001:db8::200/64"]);
    let two = segment.host("two", &["2001:db8::200/64"]);
    let both = [one.mac("eth0"), two.mac("eth0")];
    let expected = [answered("2001:db8::2", &both[..1]), answered("2001:db8::200", &both)];
    for probe in [quick("2001:db8::1", "2001:db8::2ff"), as_ourselves(quick("2001:db8::2", "2001:db8::200"))]
    {
        let probed = ask(&asker, probe);
        assert_eq!((probed.answers.as_slice(), probed.trouble), (expected.as_slice(), None));
    }
}

#[test]
fn a_vlan_is_a_segment_of_its_own() {
    if !possible() {
        return;
    }
    let segment = Segment::new();
    let asker = segment.host("asker", &["192.0.2.1/24"]);
    let other = segment.host("other", &["192.0.2.2/24"]);
    if !asker.inside(|| {
        let argv = ["link", "add", "link", "eth0", "name", "eth0.7", "type", "vlan", "id", "7"];
        std::process::Command::new("ip").args(argv).output().unwrap().status.success()
    }) {
        println!("SKIPPED: this kernel has no 802.1Q");
        return;
    }
    other.ip("link add link eth0 name eth0.7 type vlan id 7");
    other.ip("addr add 192.0.2.77/24 dev eth0.7");
    for host in [&asker, &other] {
        host.ip("link set eth0.7 up");
    }
    other.sysctl("net.ipv4.conf.all.arp_ignore=1");
    let tagged = Probe { link: "eth0.7".parse().unwrap(), ..quick("192.0.2.2", "192.0.2.77") };
    let heard = asker.probe(vec![tagged, quick("192.0.2.2", "192.0.2.77")]);
    let mac = other.mac("eth0.7");
    assert_eq!(heard[0].answers, [answered("192.0.2.77", &[mac])]);
    assert_eq!(heard[1].answers, [answered("192.0.2.2", &[mac])]);
}

#[test]
fn links_that_cannot_be_asked_on_say_why() {
    if !possible() {
        return;
    }
    let segment = Segment::new();
    let asker = segment.host("asker", &[]);
    let trouble = |probe: Probe| {
        let probed = ask(&asker, probe);
        assert_eq!((probed.asked, probed.answers), (0, vec![]));
        probed.trouble.unwrap()
    };
    let on = |link: &str| Probe { link: link.parse().unwrap(), ..quick("192.0.2.1", "192.0.2.9") };
    assert_eq!(trouble(on("eth9")), "there is no link eth9");
    assert_eq!(trouble(on("lo")), "lo is not an Ethernet link");
    assert_eq!(trouble(as_ourselves(on("eth0"))), "eth0 has no IPv4 address to ask from");
    asker.ip("link set eth0 arp off");
    let noarp = trouble(on("eth0"));
    assert_eq!(noarp, "eth0 does not take part in ARP or neighbour discovery (NOARP)");
    asker.ip("link set eth0 arp on");
    asker.sysctl("net.ipv6.conf.eth0.disable_ipv6=1");
    let six = trouble(quick("2001:db8::1", "2001:db8::2"));
    assert_eq!(six, "eth0 has no IPv6 link-local address");
    segment.unplug("asker");
    assert_eq!(trouble(on("eth0")), "eth0 has no carrier");
    asker.ip("link set eth0 down");
    assert_eq!(trouble(on("eth0")), "eth0 is down");
}

#[test]
fn a_link_that_goes_down_meanwhile_is_told() {
    if !possible() {
        return;
    }
    let segment = Segment::new();
    let asker = segment.host("asker", &["192.0.2.1/24"]);
    let patient = Probe { patience: Patience::Rfc5227, ..quick("192.0.2.2", "192.0.2.9") };
    let probed = std::thread::scope(|scope| {
        let probed = scope.spawn(|| ask(&asker, patient));
        while !probed.is_finished() && !asker.exec(&["cat", "/proc/net/packet"]).contains("0806") {
            std::thread::yield_now();
        }
        asker.ip("link set eth0 down");
        probed.join().unwrap()
    });
    let trouble = probed.trouble.unwrap();
    assert!(trouble.contains("on eth0: Network is down"), "{trouble}");
}

#[test]
fn a_whole_24_takes_three_frames_an_address() {
    if !possible() {
        return;
    }
    let segment = Segment::new();
    let asker = segment.host("asker", &["192.0.2.1/24"]);
    let other = segment.host("other", &["198.51.100.2/24"]);
    for host in [&asker, &other] {
        host.sysctl("net.ipv6.conf.all.disable_ipv6=1");
    }
    let before = other.received("eth0");
    let halves = [["192.0.2.1", "192.0.2.127"], ["192.0.2.128", "192.0.2.254"]];
    let probed = asker.probe(halves.map(|[first, last]| quick(first, last)).to_vec());
    assert_eq!(probed.iter().map(|p| p.asked).sum::<u32>(), 254);
    assert_eq!(other.received("eth0") - before, 3 * 254);
}

#[test]
fn a_neighbour_that_answered_is_not_asked_again() {
    if !possible() {
        return;
    }
    let segment = Segment::new();
    let asker = segment.host("asker", &["192.0.2.1/24"]);
    let other = segment.host("other", &["192.0.2.2/24"]);
    for host in [&asker, &other] {
        host.sysctl("net.ipv6.conf.all.disable_ipv6=1");
        host.sysctl("net.ipv4.neigh.eth0.delay_first_probe_time=100");
    }
    let before = other.received("eth0");
    let patient = Probe { patience: Patience::Rfc5227, ..as_ourselves(quick("192.0.2.2", "192.0.2.2")) };
    assert_eq!(ask(&asker, patient).answers.len(), 1);
    assert_eq!(other.received("eth0") - before, 1);
}

#[test]
fn a_neighbour_that_speaks_but_is_deaf_does_not_answer() {
    if !possible() {
        return;
    }
    let segment = Segment::new();
    let asker = segment.host("asker", &["192.0.2.1/24"]);
    let deaf = segment.host("deaf", &["192.0.2.2/24"]);
    deaf.sysctl("net.ipv4.conf.all.arp_ignore=8");
    std::thread::scope(|scope| {
        // It asks for others in its own name all the while.
        let chatter =
            Probe { patience: Patience::Rfc5227, ..as_ourselves(quick("192.0.2.3", "192.0.2.254")) };
        let chatter = scope.spawn(|| ask(&deaf, chatter));
        let overheard = loop {
            let claims = ask(&asker, quick("192.0.2.2", "192.0.2.2")).answers;
            if !claims.is_empty() || chatter.is_finished() {
                break claims;
            }
        };
        assert_eq!(overheard, [answered("192.0.2.2", &[deaf.mac("eth0")])]);
        let probe = Probe { patience: Patience::Rfc5227, ..as_ourselves(quick("192.0.2.2", "192.0.2.2")) };
        assert_eq!(ask(&asker, probe).answers, []);
        assert_eq!(chatter.join().unwrap().answers, []);
    });
}

#[test]
fn our_own_second_link_is_nobody_else() {
    if !possible() {
        return;
    }
    let segment = Segment::new();
    let asker = segment.host("asker", &["192.0.2.1/24"]);
    segment.plug(&asker, "second", "eth1");
    asker.ip("addr add 192.0.2.3/24 dev eth1");
    assert_eq!(ask(&asker, quick("192.0.2.1", "192.0.2.9")).answers, []);
}
