//! A cluster of three nodes that is well, and what can be done to it. What hosts answer follows from who loses what.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use rackwright_proto::examine::{
    CniFile, DropRule, Echo, Echoed, Examine, Examined, FromPod, KubeletNames, PodSpace, Rules, ServicePort,
    Tracked, Translation, Tunnel,
};
use rackwright_proto::link::{Address, Link, LinkKind, Mac, Network, Route};
use rackwright_proto::reach::{Asked, Rcode, Reach, Reached, Transport};
use rackwright_proto::traces::{Chain, Family, KubeletDns};

use super::super::ask;
use super::super::case::{AddressState, Case, Cluster, Dns, Hook, Host, Mesh, Node, Pod, ServiceState};
use super::trouble::Trouble;
use super::trouble::Trouble as T;
use crate::balancer::Reason;
use crate::network::fixtures;
use crate::proof::dns::{is_outside, outside_name};

/// One packet, or one question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) host: &'a str,
    pub(super) from_pod: bool,
    pub(super) to: IpAddr,
    pub(super) port: u16,
    /// The size of an echo; 0 for questions.
    pub(super) bytes: u16,
    /// For a name outside of the cluster.
    pub(super) outside: bool,
}

type Loses = Box<dyn Fn(&Way) -> bool>;

/// A cluster, who loses what on the way, and what else hosts say.
pub(super) struct World {
    cluster: Cluster,
    api_lost: bool,
    deaf: Vec<&'static str>,
    hosts: Vec<Host>,
    said: BTreeMap<String, Examined>,
    loses: Vec<Loses>,
}

const NODES: [&str; 3] = ["cp1", "w1", "w2"];
const DNS: &str = "10.96.0.10";
const DNS_POD: &str = "10.244.1.2";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn pod(name: &str, node: usize, address: &str) -> Pod {
    Pod {
        name: name.into(),
        node: Some(NODES[node].into()),
        address: Some(ip(address)),
        ready: true,
        ..Pod::default()
    }
}

fn link(name: &str, kind: LinkKind, net: &str, mac: Option<Mac>) -> Link {
    Link { kind, ..fixtures::link(name, mac, &[net]) }
}

fn route(to: &str, via: Option<&str>, link: &str) -> Route {
    Route { to: to.parse().unwrap(), via: via.map(ip), link: Some(link.into()), protocol: 4, metric: 0 }
}

fn host(at: usize) -> Host {
    let mac = Mac([0x52, 0x54, 0, 0, 0, 11 + at as u8]);
    let links = vec![
        link("eth0", LinkKind::Physical, &format!("192.0.2.{}/24", 11 + at), Some(mac)),
        link("cni0", LinkKind::Bridge, &format!("10.244.{at}.1/24"), None),
    ];
    let mut routes = vec![route("0.0.0.0/0", Some("192.0.2.1"), "eth0"), route("192.0.2.0/24", None, "eth0")];
    routes.extend((0..3).map(|other| match other == at {
        true => route(&format!("10.244.{other}.0/24"), None, "cni0"),
        false => route(&format!("10.244.{other}.0/24"), Some(&format!("192.0.2.{}", 11 + other)), "eth0"),
    }));
    Host {
        name: NODES[at].into(),
        address: Some(ip(&format!("192.0.2.{}", 11 + at))),
        control_plane: at == 0,
        network: Network { links, routes, ..Network::default() },
        asked: Examine::default(),
        examined: Err("it was not asked".into()),
    }
}

fn said(at: usize) -> Examined {
    let dns = KubeletDns {
        cluster_dns: vec![DNS.into()],
        resolv_conf: "/etc/resolv.conf".into(),
        nameservers: vec![],
    };
    let sysctls = [
        ("net.ipv4.ip_forward", "1"),
        ("net.bridge.bridge-nf-call-iptables", "1"),
        ("net.ipv4.conf.all.rp_filter", "0"),
    ];
    Examined {
        kubelet: Some(KubeletNames { dns, domain: "cluster.local".into() }),
        translation: Translation { by: vec!["nftables".into()], rules: vec![Rules::Present; 3] },
        tracked: Some(Vec::new()),
        sysctls: sysctls.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        cni: vec![CniFile {
            path: "/etc/cni/net.d/10-lab.conflist".into(),
            name: "lab".into(),
            plugins: vec!["bridge".into()],
            mtu: None,
        }],
        spaces: vec![PodSpace { addresses: vec![ip(&format!("10.244.{at}.9"))], names: false }],
        from_pod: FromPod { pod: Some(ip(&format!("10.244.{at}.9"))), ..FromPod::default() },
        ..Examined::default()
    }
}

fn cluster() -> Cluster {
    let node = |at: usize| Node {
        name: NODES[at].into(),
        ready: true,
        why: "KubeletReady: kubelet is posting ready status".into(),
        addresses: vec![ip(&format!("192.0.2.{}", 11 + at))],
        pods: vec![format!("10.244.{at}.0/24").parse().unwrap()],
    };
    Cluster {
        nodes: (0..3).map(node).collect(),
        api: Some(ip("10.96.0.1")),
        dns: Dns {
            services: vec![ip(DNS)],
            selector: "k8s-app=kube-dns".into(),
            domain: "cluster.local".into(),
            wanted: Some(2),
            pods: vec![
                pod("kube-system/coredns-a", 1, DNS_POD),
                pod("kube-system/coredns-b", 2, "10.244.2.2"),
            ],
            endpoints: 2,
            loops: vec![],
        },
        proxy: Some(
            (0..3)
                .map(|at| pod(&format!("kube-system/kube-proxy-{at}"), at, &format!("192.0.2.{}", 11 + at)))
                .collect(),
        ),
        hooks: vec![Hook {
            name: "ValidatingWebhookConfiguration/istio-validator".into(),
            service: "istio-system/istiod".into(),
            endpoints: vec![SocketAddr::new(ip("10.244.1.5"), 15017)],
            lacks: String::new(),
        }],
        mesh: Some(Mesh {
            istiod: vec![pod("istio-system/istiod-a", 1, "10.244.1.5")],
            gateways: vec![pod("istio-system/istio-ingressgateway-a", 2, "10.244.2.6")],
        }),
        services: vec![ServiceState {
            name: "istio-system/istio-ingressgateway".into(),
            exists: true,
            pending: None,
            addresses: vec![AddressState {
                address: ip("192.0.2.200"),
                heard: Some([Mac([0x52, 0x54, 0, 0, 0, 12])].into()),
                silent: vec![],
            }],
        }],
        pod: None,
    }
}

fn reason(name: &'static str, words: &str, evidence: &str, fix: &str) -> Reason {
    Reason { name, words: words.into(), evidence: evidence.into(), fix: fix.into() }
}

impl World {
    pub(super) fn well() -> Self {
        Self {
            cluster: cluster(),
            api_lost: false,
            deaf: Vec::new(),
            hosts: (0..3).map(host).collect(),
            said: (0..3).map(|at| (NODES[at].to_owned(), said(at))).collect(),
            loses: Vec::new(),
        }
    }

    pub(super) fn with(troubles: &[Trouble]) -> Self {
        let mut world = Self::well();
        troubles.iter().for_each(|trouble| world.suffer(*trouble));
        world
    }

    pub(super) fn lose(&mut self, loses: impl Fn(&Way) -> bool + 'static) {
        self.loses.push(Box::new(loses));
    }

    pub(super) fn deaf(&mut self, host: &'static str) {
        self.deaf.push(host);
    }

    fn of(&mut self, host: &str) -> &mut Examined {
        self.said.get_mut(host).unwrap()
    }

    /// No pod of CoreDNS is ready any more, and this is how each of them is.
    fn dns_is(&mut self, why: &str, restarts: i32, log: &str) {
        for pod in &mut self.cluster.dns.pods {
            (pod.ready, pod.why, pod.restarts, pod.log) = (false, why.into(), restarts, log.into());
        }
        self.cluster.dns.endpoints = 0;
        self.lose(|way| way.port == 53);
    }

    fn gateway_is(&mut self, log: &str) {
        let gateway = &mut self.cluster.mesh.as_mut().unwrap().gateways[0];
        (gateway.ready, gateway.log) = (false, log.into());
    }

    /// The one Service has this address.
    fn address(&mut self) -> &mut AddressState {
        &mut self.cluster.services[0].addresses[0]
    }

    fn suffer(&mut self, trouble: Trouble) {
        match trouble {
            T::ApiDown => {
                self.api_lost = true;
                self.lose(|way| way.port == 6443);
            }
            T::NodeGone => {
                let node = &mut self.cluster.nodes[2];
                (node.ready, node.why) = (false, "NodeStatusUnknown: Kubelet stopped posting node status.".into());
            }
            T::DnsScaledDown => {
                (self.cluster.dns.wanted, self.cluster.dns.endpoints) = (Some(0), 0);
                self.cluster.dns.pods.clear();
                self.lose(|way| way.port == 53);
            }
            T::DnsPending => {
                self.dns_is("Unschedulable: 0/3 nodes are available: 3 node(s) had untolerated taint(s).", 0, "");
                self.cluster.dns.pods.iter_mut().for_each(|pod| (pod.node, pod.address) = (None, None));
            }
            T::DnsLoops => {
                self.cluster.dns.loops = vec!["the Corefile forwards to 10.96.0.10: the DNS Service itself".into()];
                self.dns_is("CrashLoopBackOff", 4, ".:53\n[FATAL] plugin/loop: Loop (127.0.0.1:39216 -> :53) detected for zone \".\", see https://coredns.io/plugins/loop#troubleshooting. Query: \"HINFO 4547991504243258144.3688648895315093531.\"\n");
            }
            T::DnsBadCorefile => {
                self.dns_is("CrashLoopBackOff", 3, "/etc/coredns/Corefile:8 - Error during parsing: Unknown directive 'forwrad'\n");
            }
            T::DnsNoEndpoints => {
                (self.cluster.dns.endpoints, self.cluster.dns.selector) = (0, "k8s-app=dns".into());
                self.lose(|way| way.to == ip(DNS));
            }
            T::KubeletDns => {
                let kubelet = self.of("w1").kubelet.as_mut().unwrap();
                kubelet.dns.cluster_dns = vec!["10.96.0.99".into()];
            }
            T::DnatGone => {
                self.of("w1").translation.rules = vec![Rules::Absent, Rules::Absent, Rules::Present];
                self.lose(|way| way.host == "w1" && way.to == ip(DNS));
            }
            T::ForwardOff => {
                self.of("w1").sysctls.insert("net.ipv4.ip_forward".into(), "0".into());
                self.lose(|way| way.host == "w1" && way.from_pod);
            }
            T::BridgeOff => {
                self.of("w1").sysctls.remove("net.bridge.bridge-nf-call-iptables");
            }
            T::ForwardDrops => {
                let chain = Chain { family: Family::Ip, table: "filter".into(), name: "FORWARD".into() };
                self.of("w1").closed_forward = vec![chain];
                self.lose(|way| way.host == "w1" && way.from_pod);
            }
            T::SubnetOverlaps => {
                let net = "10.96.0.0/24".parse().unwrap();
                let address = Address { net, dynamic: true, secondary: false };
                self.hosts[1].network.links[0].addresses.push(address);
            }
            T::RouteOverlaps => {
                self.hosts[1].network.links.push(link("tun0", LinkKind::Other, "10.8.0.2/24", None));
                self.hosts[1].network.routes.push(route("10.244.0.0/25", None, "tun0"));
                self.lose(|way| way.host == "w1" && way.to == ip("10.244.0.1"));
            }
            T::StrictReversePath => {
                let mut second = link("eth1", LinkKind::Physical, "198.51.100.12/24", None);
                second.arp.rp_filter = 1;
                self.hosts[1].network.links.push(second);
                self.of("w1").rose = [("IPReversePathFilter".to_owned(), 12)].into();
                self.lose(|way| way.host != "w1" && way.to == ip("10.244.1.1"));
            }
            T::OverlayClosed => {
                for name in NODES {
                    let tunnel = Tunnel { link: "flannel.1".into(), kind: "vxlan".into(), port: Some(8472) };
                    self.of(name).tunnels = vec![tunnel];
                }
                let rule = "iifname \"eth0\" udp dport 8472 counter drop".into();
                let drop = DropRule { place: "inet filter input".into(), hook: "input".into(), rule };
                let own = self.of("w2");
                (own.drops, own.managers) = (vec![drop], vec!["firewalld: running".into()]);
                self.lose(|way| between_pods(way, 2));
            }
            T::RoutesFiltered => self.lose(|way| between_pods(way, 2)),
            T::SmallMtu => {
                self.hosts[1].network.links[0].mtu = 1400;
                self.lose(|way| {
                    let w1 = [ip("192.0.2.12"), ip("10.244.1.1")].contains(&way.to) || way.host == "w1";
                    w1 && way.bytes > 1400
                });
            }
            T::SmallMtuOfPods => self.lose(|way| way.host == "w2" && way.from_pod && way.bytes > 1400),
            T::StaleNat => {
                let service = ServicePort { address: ip(DNS), transport: Transport::Udp, port: 53 };
                let entry = Tracked { from: ip("10.244.1.9"), service, answers: ip("10.244.2.77"), unreplied: true };
                self.of("w1").tracked = Some(vec![entry]);
            }
            T::DnsNotReady => self.dns_is("", 0, "[INFO] plugin/ready: Still waiting on: \"kubernetes\"\n"),
            T::DnsSilent => self.lose(|way| way.to == ip(DNS_POD)),
            T::UpstreamSilent => self.lose(|way| way.outside),
            T::HookEmpty => self.cluster.hooks[0].endpoints.clear(),
            T::HookFar => self.lose(|way| way.port == 15017),
            T::IstiodGone => {
                let istiod = &mut self.cluster.mesh.as_mut().unwrap().istiod[0];
                (istiod.ready, istiod.node, istiod.address) = (false, None, None);
                istiod.why = "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu.".into();
            }
            T::IstiodFar => self.lose(|way| way.host == "w2" && way.port == 15012),
            T::GatewayRejects => self.gateway_is(
                "warning envoy config external/envoy/source/extensions/config_subscription/grpc/delta_subscription_state.cc:310 delta config for type.googleapis.com/envoy.config.listener.v3.Listener rejected: Error adding/updating listener(s) 0.0.0.0_8080: Didn't find a registered implementation for 'istio.metadata_exchange'\n",
            ),
            T::GatewayTimesOut => self.gateway_is(
                "warn ca ca request failed, starting attempt 1 in 94.482ms\nwarning failed to warm certificate: failed to generate workload certificate: create certificate: rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: dial tcp: lookup istiod.istio-system.svc on 10.96.0.10:53: read udp 10.244.2.6:52345->10.96.0.10:53: i/o timeout\"\ninfo Readiness succeeded: no\n",
            ),
            T::GatewayRefused => self.gateway_is(
                "warning failed to warm certificate: dial tcp: lookup istiod.istio-system.svc on 10.96.0.10:53: no such host\n",
            ),
            T::GatewayStuck => self.gateway_is("warn Envoy proxy is NOT ready: config not received from XDS server (is Istiod running?): cds updates: 0 successful, 0 rejected\n"),
            T::PodStuck => {
                let mut stuck = pod("shop/web-0", 1, "10.244.1.9");
                (stuck.ready, stuck.why) = (false, "ImagePullBackOff".into());
                self.cluster.pod = Some(stuck);
            }
            T::Pending => {
                let words = "all addresses that it could have are taken";
                let fix = "add addresses to a pool, or delete Services of type LoadBalancer that nobody needs";
                let service = &mut self.cluster.services[0];
                service.addresses.clear();
                service.pending = Some(reason("service-pool-exhausted", words, "pool first has 20 addresses, and 20 taken", fix));
            }
            T::Silent => {
                if self.cluster.services[0].addresses.is_empty() {
                    return;
                }
                let words = "no L2Advertisement carries pool first, which 192.0.2.200 is of";
                let of = reason("silent-no-advertisement", words, "L2Advertisements: none", "add one to kubernetes.metallb.advertisements, then `rackwright apply`");
                let state = self.address();
                (state.heard, state.silent) = (Some([].into()), vec![of]);
            }
            T::Doubled => {
                if self.cluster.services[0].addresses.is_empty() {
                    return;
                }
                let stranger = Mac([0x02, 0, 0, 0, 0, 0x99]);
                self.address().heard.get_or_insert_default().extend([stranger, Mac([0x52, 0x54, 0, 0, 0, 12])]);
            }
        }
    }

    /// What is measured.
    pub(super) fn case(&self) -> Case {
        let mut hosts = self.hosts.clone();
        let cluster = match self.api_lost {
            true => Err("get /version: connect to 127.0.0.1:6443: connection refused".to_owned()),
            false => Ok(self.cluster.clone()),
        };
        let known = cluster.as_ref().ok();
        let dns = [ip(DNS)];
        let asked: Vec<Examine> =
            hosts.iter().map(|host| ask::ask(host, &self.hosts, known, &dns, &outside_name(7))).collect();
        for (host, asked) in hosts.iter_mut().zip(asked) {
            host.examined = match self.deaf.contains(&host.name.as_str()) {
                true => Err("reach the node: connection timed out".into()),
                false => Ok(self.examined(&host.name, &asked)),
            };
            host.asked = asked;
        }
        Case { cluster, hosts, not_asked: Vec::new() }
    }

    fn examined(&self, host: &str, asked: &Examine) -> Examined {
        let mut said = self.said[host].clone();
        said.translation.rules.truncate(asked.services.len());
        said.reached = asked.questions.iter().map(|asked| self.reached(host, false, asked)).collect();
        said.from_pod.reached = asked.from_pod.iter().map(|asked| self.reached(host, true, asked)).collect();
        let echoed = |echoes: &[Echo], from_pod| {
            let each = echoes.iter().map(|echo| {
                let way = Way { host, from_pod, to: echo.to, port: 0, bytes: echo.bytes, outside: false };
                if self.is_lost(&way) { Echoed::Silence } else { Echoed::Answered }
            });
            each.collect()
        };
        said.echoed = echoed(&asked.echoes, false);
        said.from_pod.echoed = echoed(&asked.pod_echoes, true);
        said
    }

    fn is_lost(&self, way: &Way) -> bool {
        self.loses.iter().any(|loses| loses(way))
    }

    fn reached(&self, host: &str, from_pod: bool, asked: &Asked) -> Reached {
        let (to, outside) = match &asked.reach {
            Reach::Dns { server, name, .. } => (*server, is_outside(name)),
            Reach::Tcp { address } => (*address, false),
            other => panic!("{other:?} is not asked"),
        };
        let way = Way { host, from_pod, to: to.ip(), port: to.port(), bytes: 0, outside };
        match (self.is_lost(&way), &asked.reach) {
            (true, _) => Reached::Failed { why: "no answer within 2500 ms".into() },
            (false, Reach::Dns { .. }) => {
                let answers = vec![if outside { "a.root-servers.net".into() } else { "10.96.0.1".into() }];
                Reached::Dns { rcode: Rcode::NOERROR, answers, truncated: false, micros: 400 }
            }
            (false, _) => Reached::Tcp { micros: 300 },
        }
    }
}

/// Whether a packet is for or from pods of one node, and of another.
fn between_pods(way: &Way, node: usize) -> bool {
    let own = |ip: IpAddr, at: usize| ip.to_string().starts_with(&format!("10.244.{at}."));
    let is = way.host == NODES[node];
    let pods = (0..3).any(|at| own(way.to, at));
    pods && (is != own(way.to, node))
}
