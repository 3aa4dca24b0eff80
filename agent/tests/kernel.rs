//! The kernel's network and sysctls as we read them, beside what `ip` made and `sysctl` says.
//!
//! Each test starts itself again in a network and mount namespace of its own, and refuses to work in any other.
#![expect(clippy::disallowed_methods, reason = "the tests prove with other programs than ours")]
#![expect(clippy::unwrap_used, reason = "a test may break")]

mod own_namespace;

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::process::Command;

use rackwright_agent::facts;
use rackwright_agent::host::Host;
use rackwright_agent::step::kernel;
use rackwright_proto::facts::{Depth, Facts};
use rackwright_proto::fault::FaultKind;
use rackwright_proto::kernel::{KernelSeen, KernelStep, SysctlSeen, SysctlStep};
use rackwright_proto::link::{Link, LinkKind, Network, Route};
use rackwright_proto::receipt::Ledger;

use own_namespace::{command, in_own_namespace};

fn ip(lines: &[&str]) {
    lines.iter().for_each(|line| drop(command(&format!("ip {line}"))));
}

async fn network() -> Network {
    Host::this().network().await.unwrap()
}

fn link<'a>(network: &'a Network, name: &str) -> &'a Link {
    network
        .links
        .iter()
        .find(|link| link.name == name)
        .unwrap_or_else(|| panic!("no link {name}: {network:#?}"))
}

fn route<'a>(network: &'a Network, to: &str) -> Vec<&'a Route> {
    network.routes.iter().filter(|route| route.to == to.parse().unwrap()).collect()
}

#[test]
fn links_are_seen_as_ip_made_them() {
    in_own_namespace("links_are_seen_as_ip_made_them", &[], || async {
        ip(&[
            "link set lo up",
            "link add br0 type bridge",
            "link add near address 02:00:00:00:00:01 mtu 1400 type veth peer name far",
            "link set far master br0",
            "link set near up",
            "link set far up",
            "link add vx0 type vxlan id 5 dstport 4789",
            "link set vx0 arp off",
        ]);
        let network = network().await;
        let names: Vec<_> = network.links.iter().map(|l| (l.index, l.name.as_str())).collect();
        assert!(names.is_sorted(), "{names:?}");
        let a = link(&network, "near");
        assert_eq!((a.kind, a.info_kind.as_str(), a.mtu), (LinkKind::Veth, "veth", 1400));
        assert_eq!(a.mac.unwrap().to_string(), "02:00:00:00:00:01");
        assert!(a.up && a.carrier && a.broadcast && !a.noarp, "{a:?}");
        assert_eq!((a.parent.as_deref(), a.master.as_deref()), (None, None), "a veth's peer is no parent");
        assert_eq!(link(&network, "far").master.as_deref(), Some("br0"));
        assert_eq!(link(&network, "br0").kind, LinkKind::Bridge);
        assert_eq!(link(&network, "lo").kind, LinkKind::Loopback);
        let other = link(&network, "vx0");
        assert!(other.kind == LinkKind::Other && other.noarp && !other.up, "{other:?}");
        for link in &network.links {
            let sys =
                |file: &str| fs::read_to_string(format!("/sys/class/net/{}/{file}", link.name)).unwrap();
            assert_eq!(sys("mtu").trim(), link.mtu.to_string(), "{}", link.name);
            assert_eq!(sys("address").trim(), link.mac.unwrap().to_string(), "{}", link.name);
        }
    });
}

#[test]
fn vlans_and_bonds_are_seen_where_the_kernel_has_them() {
    in_own_namespace("vlans_and_bonds_are_seen_where_the_kernel_has_them", &[], || async {
        ip(&["link add near type veth peer name far"]);
        let can = |line: &str| Command::new("ip").args(line.split(' ')).output().unwrap().status.success();
        let vlan = can("link add link near name near.7 type vlan id 7");
        let bond = can("link add bond7 type bond mode balance-alb") && can("link set far master bond7");
        let network = network().await;
        if vlan {
            let vlan = link(&network, "near.7");
            assert_eq!(
                (vlan.kind, vlan.vlan, vlan.parent.as_deref()),
                (LinkKind::Vlan, Some(7), Some("near"))
            );
        }
        if bond {
            let bond = link(&network, "bond7");
            assert_eq!((bond.kind, bond.bond_mode.as_deref()), (LinkKind::Bond, Some("balance-alb")));
            assert_eq!(link(&network, "far").master.as_deref(), Some("bond7"));
        }
    });
}

#[test]
fn addresses_routes_and_neighbours_are_seen_as_ip_made_them() {
    in_own_namespace("addresses_routes_and_neighbours_are_seen_as_ip_made_them", &[], || async {
        ip(&[
            "link set lo up",
            "link add near type veth peer name far",
            "link set near up",
            "link set far up",
            "addr add 192.0.2.11/24 dev near",
            "addr add 192.0.2.12/24 dev near",
            "addr add 198.51.100.1/24 dev near valid_lft 300 preferred_lft 200",
            "addr add 203.0.113.1 peer 203.0.113.2/32 dev far",
            "addr add 2001:db8::1/64 dev near nodad",
            "route add default via 192.0.2.1 dev near proto dhcp metric 100",
            "route add 198.18.0.0/24 nexthop via 192.0.2.2 dev near nexthop via 192.0.2.3 dev near",
            "route add blackhole 198.18.1.0/24",
            "route add 198.18.2.0/24 via 192.0.2.1 table 77",
            "-6 route add default via 2001:db8::ff dev near",
            "neigh add 192.0.2.1 lladdr 02:00:00:00:00:aa dev near nud permanent",
            "neigh add 192.0.2.2 lladdr 02:00:00:00:00:bb dev near nud stale",
            "neigh add 2001:db8::ff lladdr 02:00:00:00:00:cc dev near nud reachable",
        ]);
        let network = network().await;
        let address = |link_name: &str, net: &str| {
            let found = link(&network, link_name).addresses.iter().find(|a| a.net == net.parse().unwrap());
            found.map(|a| (a.dynamic, a.secondary))
        };
        assert_eq!(address("near", "192.0.2.11/24"), Some((false, false)));
        assert_eq!(address("near", "192.0.2.12/24"), Some((false, true)));
        assert_eq!(address("near", "198.51.100.1/24"), Some((true, false)));
        assert_eq!(address("near", "2001:db8::1/64"), Some((false, false)));
        assert_eq!(address("far", "203.0.113.1/32"), Some((false, false)), "ours, not the peer's");

        let [default] = route(&network, "0.0.0.0/0")[..] else { panic!("{network:#?}") };
        assert_eq!((default.protocol, default.metric, default.link.as_deref()), (16, 100, Some("near")));
        assert_eq!(default.via, Some("192.0.2.1".parse().unwrap()));
        let hops: Vec<_> = route(&network, "198.18.0.0/24").iter().filter_map(|route| route.via).collect();
        assert_eq!(hops, ["192.0.2.2", "192.0.2.3"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert!(route(&network, "198.18.1.0/24").is_empty(), "a blackhole leads nowhere");
        assert!(route(&network, "198.18.2.0/24").is_empty(), "another table");
        assert_eq!(route(&network, "::/0")[0].via, Some("2001:db8::ff".parse().unwrap()));
        assert_eq!(route(&network, "192.0.2.0/24")[0].via, None);

        let neighbours: BTreeMap<_, _> = network
            .neighbours
            .iter()
            .map(|n| (n.ip.to_string(), (n.mac.to_string(), n.link.as_str(), n.state.as_str())))
            .collect();
        assert_eq!(neighbours["192.0.2.1"], ("02:00:00:00:00:aa".into(), "near", "permanent"));
        assert_eq!(neighbours["192.0.2.2"], ("02:00:00:00:00:bb".into(), "near", "stale"));
        assert_eq!(neighbours["2001:db8::ff"].1, "near");
        assert!(network.neighbours.iter().all(|n| !n.ip.is_multicast() && n.link != "lo"), "{neighbours:?}");
    });
}

#[test]
fn sysctls_are_written_and_arp_settings_are_read_per_link() {
    in_own_namespace("sysctls_are_written_and_arp_settings_are_read_per_link", &[], || async {
        ip(&["link add near type veth peer name far"]);
        let host = Host::this();
        for (key, value) in [
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv4.conf.all.arp_ignore", "1"),
            ("net.ipv4.conf.all.arp_announce", "2"),
            ("net.ipv4.conf.near.arp_ignore", "8"),
            ("net.ipv4.conf.near.rp_filter", "2"),
            ("net.ipv4.conf.far.proxy_arp", "1"),
            ("net.ipv4.ip_local_port_range", "32000 60999"),
        ] {
            let step = SysctlStep { key: key.parse().unwrap(), value: value.into(), after_module: None };
            let step = KernelStep::Sysctl(step);
            kernel::act(&step, &host).await.unwrap();
            assert_eq!(command(&format!("sysctl -n {key}")).replace('\t', " "), value, "{key}");
            let seen = kernel::observe(&step, &host).await.unwrap();
            let KernelSeen::Sysctl(SysctlSeen::Value { value: seen }) = seen else { panic!("{seen:?}") };
            assert_eq!(seen.replace('\t', " "), value, "{key}");
        }
        let network = network().await;
        assert_eq!((network.arp_all.arp_ignore, network.arp_all.arp_announce), (1, 2));
        let (a, b) = (link(&network, "near").arp, link(&network, "far").arp);
        assert_eq!((a.arp_ignore, a.rp_filter, a.proxy_arp), (8, 2, 0));
        assert_eq!((b.arp_ignore, b.proxy_arp), (0, 1));
    });
}

#[test]
fn a_sysctl_that_cannot_be_set_says_why() {
    in_own_namespace("a_sysctl_that_cannot_be_set_says_why", &[], || async {
        let host = Host::this();
        let fault = |key: &str, value: &str| host.set_sysctl(&key.parse().unwrap(), value).unwrap_err();
        let bad = fault("net.ipv4.ip_forward", "yes");
        assert!(bad.cause.contains("Invalid argument") && bad.next.contains("does not accept"), "{bad:?}");
        let absent = fault("net.ipv4.conf.nolink.arp_ignore", "1");
        assert!(absent.next.contains("no net.ipv4.conf.nolink.arp_ignore"), "{absent:?}");
        let seen = host.sysctl(&"net.ipv4.conf.nolink.arp_ignore".parse().unwrap()).unwrap();
        assert_eq!(seen, SysctlSeen::Absent);
        command("mount --bind /proc/sys /proc/sys");
        command("mount -o remount,bind,ro /proc/sys");
        let read_only = fault("net.ipv4.ip_forward", "1");
        assert!(read_only.kind == FaultKind::Host && read_only.next.contains("container"), "{read_only:?}");
    });
}

#[test]
fn a_full_observation_changes_nothing() {
    in_own_namespace("a_full_observation_changes_nothing", &[], || async {
        ip(&["link add near type veth peer name far", "addr add 192.0.2.1/24 dev near", "link set near up"]);
        let host = Host::this();
        // Counters and random numbers move by themselves.
        let state = || {
            let sysctls = command("sysctl -a -r ^net\\.");
            (sysctls, command("ip -details -json link"), command("ip -json addr"), command("ip -json route"))
        };
        let before = state();
        let facts = observe(&host, Depth::Full).await;
        assert_eq!(state(), before);
        assert_eq!(facts.troubles, Vec::<String>::new());
        let full = facts.full.unwrap();
        assert!(full.disk.total_bytes > 0);
        assert_eq!(full.listening, [], "nothing listens in a new namespace");
    });
}

async fn observe(host: &Host, depth: Depth) -> Facts {
    facts::observe(host, facts::basics(host), BTreeMap::new(), Ledger::default(), depth).await
}
