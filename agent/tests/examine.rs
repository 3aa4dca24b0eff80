//! What is measured of a cluster's network, beside what `ip` and `nft` made.
//!
//! The test starts itself again in a network and mount namespace of its own, and refuses to work in any other.
#![expect(clippy::disallowed_methods, reason = "the tests prove with other programs than ours")]
#![expect(clippy::unwrap_used, reason = "a test may break")]

mod own_namespace;

use std::fs;
use std::net::IpAddr;

use own_namespace::{command, in_own_namespace, namespace};
use rackwright_agent::examine::examine;
use rackwright_agent::host::Host;
use rackwright_proto::examine::{Echo, Echoed, Examine, Rules, ServicePort};
use rackwright_proto::reach::{Asked, Reach, Reached, Transport};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A pod behind a bridge, and a name server's Service that kube-proxy translates over UDP only.
fn cluster() {
    for line in [
        "link set lo up",
        "link add cni0 type bridge",
        "address add 10.244.0.1/24 dev cni0",
        "link set cni0 up",
        "netns add cni-pod",
        "link add veth0 type veth peer name eth0 netns cni-pod",
        "link set veth0 master cni0 up",
        "-n cni-pod link set lo up",
        "-n cni-pod address add 10.244.0.9/24 dev eth0",
        "-n cni-pod link set eth0 up",
    ] {
        command(&format!("ip {line}"));
    }
    let rules = "table ip kube-proxy {\n map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; \
                 elements = { 10.96.0.10 . udp . 53 : goto service-dns } }\n \
                 map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; \
                 elements = { 10.96.0.7 . tcp . 80 : drop } }\n chain service-dns { accept; }\n}\n\
                 table ip filter {\n chain FORWARD { type filter hook forward priority 0; policy drop; accept; }\n \
                 chain INPUT { type filter hook input priority 0; policy accept; udp dport 8472 counter drop; }\n}\n";
    fs::write("/run/rules.nft", rules).unwrap();
    command("nft -f /run/rules.nft");
}

fn service(address: &str, transport: Transport, port: u16) -> ServicePort {
    ServicePort { address: ip(address), transport, port }
}

#[test]
fn a_pod_its_rules_and_its_way_are_measured() {
    in_own_namespace("a_pod_its_rules_and_its_way_are_measured", &["/run"], || async {
        cluster();
        let listener = tokio::net::TcpListener::bind("10.244.0.1:8080").await.unwrap();
        let tcp = |address: &str| Asked::new(Reach::Tcp { address: address.parse().unwrap() }, 2000);
        let echo = |to: &str, bytes| Echo { to: ip(to), bytes };
        let what = Examine {
            services: vec![
                service("10.96.0.10", Transport::Udp, 53),
                service("10.96.0.10", Transport::Tcp, 53),
                service("10.96.0.7", Transport::Tcp, 80),
            ],
            questions: vec![tcp("10.244.0.9:9")],
            from_pod: vec![tcp("10.244.0.1:8080"), tcp("10.244.0.9:9")],
            echoes: vec![echo("10.244.0.9", 84), echo("10.244.0.9", 1500), echo("10.244.0.9", 1600)],
            pod_echoes: vec![echo("10.244.0.1", 1500)],
            pods: vec![],
            within_ms: 2000,
        };
        let found = examine(&Host::this(), &what).await;
        drop(listener);

        assert_eq!(found.translation.by, ["nftables"], "{found:?}");
        assert_eq!(found.translation.rules, [Rules::Present, Rules::Absent, Rules::NoEndpoints]);
        let closed: Vec<_> =
            found.closed_forward.iter().map(|c| (c.table.as_str(), c.name.as_str())).collect();
        assert_eq!(closed, [("filter", "FORWARD")]);
        let drops: Vec<_> =
            found.drops.iter().map(|d| (d.place.as_str(), d.hook.as_str(), d.rule.as_str())).collect();
        assert_eq!(drops, [("ip filter INPUT", "input", "udp dport 8472 counter drop")]);

        assert_eq!(found.from_pod.pod, Some(ip("10.244.0.9")), "{found:?}");
        assert!(matches!(found.from_pod.reached[0], Reached::Tcp { .. }), "{found:?}");
        assert!(matches!(&found.from_pod.reached[1], Reached::Failed { why } if why == "connection refused"));
        assert_eq!(found.from_pod.echoed, [Echoed::Answered]);
        assert_eq!(found.echoed, [Echoed::Answered, Echoed::Answered, Echoed::TooBig { mtu: 0 }]);
        assert_eq!(found.spaces.len(), 1);
        // The agent itself is where it was.
        assert_eq!(fs::read_link("/proc/thread-self/ns/net").unwrap().to_string_lossy(), namespace());
        let forwarding = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
        assert_eq!(found.sysctls["net.ipv4.ip_forward"], forwarding.trim());
    });
}
