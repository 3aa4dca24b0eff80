//! What each host is asked: few questions, all at once, each with its deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use rackwright_proto::examine::{Echo, Examine, ServicePort};
use rackwright_proto::l2::{Patience, Probe, Span};
use rackwright_proto::reach::{Asked, Reach, RecordKind, Transport};

use super::case::{Cluster, Host, Node};
use crate::network::{gather, on_segment, subnet_around};

/// How long each answer may take, in milliseconds.
pub const WITHIN_MS: u32 = 2_500;
/// The same for names outside of the cluster: CoreDNS tries several upstreams, 2 s each.
const OUTSIDE_WITHIN_MS: u32 = 3_000;
/// The most of each kind of others that one host asks.
const MOST: usize = 8;
/// The most other hosts that are sent echoes.
const MOST_PEERS: usize = 24;
/// A small packet.
pub const SMALL: u16 = 84;
/// The ports of DNS, of the API server, and of istiod for proxies.
const DNS: u16 = 53;
pub(super) const API: u16 = 6443;
pub(super) const ISTIOD: u16 = 15012;

/// What one host is asked. `cluster` is `None` while the API is not heard, and `dns` then what kubelets say.
/// `outside` is a name for the upstream, an [`outside_name`](crate::proof::dns::outside_name).
pub fn ask(host: &Host, hosts: &[Host], cluster: Option<&Cluster>, dns: &[IpAddr], outside: &str) -> Examine {
    let nothing = Cluster::default();
    let known = cluster.unwrap_or(&nothing);
    let domain = if known.dns.domain.is_empty() { "cluster.local" } else { &known.dns.domain };
    let name = format!("kubernetes.default.svc.{domain}");
    let pods: Vec<IpAddr> = known.dns.pods.iter().filter_map(|pod| pod.address).take(MOST).collect();
    let mut both = Vec::new();
    for server in dns.iter().chain(&pods) {
        for transport in [Transport::Udp, Transport::Tcp] {
            both.push(question(*server, transport, &name, WITHIN_MS));
        }
    }
    both.extend(known.api.map(|ip| tcp(SocketAddr::new(ip, 443))));
    let istiod = known.mesh.iter().flat_map(|mesh| &mesh.istiod);
    both.extend(istiod.filter_map(|pod| pod.address).take(MOST).map(|ip| tcp(SocketAddr::new(ip, ISTIOD))));
    let mut questions = both.clone();
    questions.extend(pods.iter().map(|pod| question(*pod, Transport::Udp, outside, OUTSIDE_WITHIN_MS)));
    if host.control_plane {
        questions.extend(host.address.map(|ip| tcp(SocketAddr::new(ip, API))));
        questions.extend(known.hooks.iter().flat_map(|hook| &hook.endpoints).take(MOST).map(|at| tcp(*at)));
    }
    Examine {
        services: services(known, dns),
        questions,
        from_pod: both,
        pods: known.pod.iter().filter_map(|pod| pod.address).collect(),
        echoes: echoes(host, hosts, known),
        pod_echoes: pod_echoes(host, hosts, known),
        within_ms: WITHIN_MS,
    }
}

fn question(server: IpAddr, transport: Transport, name: &str, within_ms: u32) -> Asked {
    let kind = if server.is_ipv6() { RecordKind::Aaaa } else { RecordKind::A };
    Asked::new(Reach::Dns { server: (server, DNS).into(), transport, name: name.to_owned(), kind }, within_ms)
}

fn tcp(address: SocketAddr) -> Asked {
    Asked::new(Reach::Tcp { address }, WITHIN_MS)
}

fn services(known: &Cluster, dns: &[IpAddr]) -> Vec<ServicePort> {
    let of = |address: &IpAddr, transport, port| ServicePort { address: *address, transport, port };
    let names = dns.iter().flat_map(|ip| [of(ip, Transport::Udp, DNS), of(ip, Transport::Tcp, DNS)]);
    names.chain(known.api.iter().map(|ip| of(ip, Transport::Tcp, 443))).collect()
}

/// To each other host, itself and its pods' side: a small packet, and one as large as our own link takes.
fn echoes(host: &Host, hosts: &[Host], known: &Cluster) -> Vec<Echo> {
    let mut echoes = Vec::new();
    let node = |name: &str| -> Option<&Node> { known.nodes.iter().find(|node| node.name == name) };
    for peer in hosts.iter().filter(|peer| peer.name != host.name).take(MOST_PEERS) {
        for to in [peer.address, peer.pod_side(node(&peer.name))].into_iter().flatten() {
            echoes.push(Echo { to, bytes: SMALL });
            let link = host.route(to).and_then(|route| route.link.as_ref());
            let link = link.and_then(|name| host.network.links.iter().find(|link| link.name == *name));
            let full = link.and_then(|link| u16::try_from(link.mtu).ok()).unwrap_or(1500);
            echoes.push(Echo { to, bytes: full.max(SMALL) });
        }
    }
    echoes
}

/// From a pod, to each other host's pods' side: a small packet, and one as large as the link of our own pods takes.
fn pod_echoes(host: &Host, hosts: &[Host], known: &Cluster) -> Vec<Echo> {
    let side = |host: &Host| host.pod_side(known.nodes.iter().find(|node| node.name == host.name));
    let has = |link: &&rackwright_proto::link::Link, ip| link.addresses.iter().any(|a| a.net.addr() == ip);
    let link = side(host).and_then(|ip| host.network.links.iter().find(|link| has(link, ip)));
    let full = link.and_then(|link| u16::try_from(link.mtu).ok()).unwrap_or(SMALL);
    let peers = hosts.iter().filter(|peer| peer.name != host.name).take(MOST_PEERS);
    let to = peers.filter_map(side);
    to.flat_map(|to| [Echo { to, bytes: SMALL }, Echo { to, bytes: full.max(SMALL) }]).collect()
}

/// Who answers for addresses: every host with a link on an address's segment asks there, by host.
pub fn probes(hosts: &[Host], addresses: &BTreeSet<IpAddr>) -> BTreeMap<String, Vec<Probe>> {
    let mut asked = BTreeMap::<_, Vec<_>>::new();
    for host in hosts {
        for link in host.network.links.iter().filter(|link| on_segment(link)) {
            let around =
                |ip: &IpAddr| subnet_around(&host.network, link, &Span { first: *ip, last: *ip }).is_some();
            let spans = gather(addresses.iter().copied().filter(around));
            let (false, Ok(name)) = (spans.is_empty(), link.name.parse()) else { continue };
            let probe = Probe { link: name, spans, patience: Patience::Quick, as_ourselves: true };
            asked.entry(host.name.clone()).or_default().push(probe);
        }
    }
    asked
}
