//! A world to ask: hosts on one segment, a Service, and who answers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Event, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use rackwright_proto::l2::{Answer, Patience, Probe, Probed};
use rackwright_proto::link::{Link, LinkKind, Mac, Network};
use rackwright_proto::reach::{Asked, Knocked, Reach, Reached};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cluster::facts::ClusterFacts;
use crate::network::{NodeInput, Wanted, fixtures};
use crate::proof::case::{Case, ServiceName, Stand, addresses};
use crate::proof::service::{Seen, ServiceProof, judge};
use crate::proof::{Why, hearing, ports};

/// The hosts: a control plane, two workers, and one that is no node of the cluster.
pub(super) const HOSTS: [&str; 4] = ["cp1", "w1", "w2", "out"];
/// A machine that is no host of the rack.
pub(super) const STRANGER: Mac = Mac([0x02, 0xbb, 0xbb, 0, 0, 9]);

pub(crate) fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// The MAC address of a host's `eth0`.
pub(super) fn mac(host: &str) -> Mac {
    let at = HOSTS.iter().position(|known| *known == host).unwrap();
    Mac([0x52, 0x54, 0, 0, 0, at as u8 + 1])
}

pub(super) fn link(name: &str, mac: Mac, addresses: &[&str]) -> Link {
    fixtures::link(name, Some(mac), addresses)
}

/// What kube-proxy in ipvs mode adds to a host.
pub(super) fn ipvs(network: &mut Network, ip: &str) {
    let dummy = link("kube-ipvs0", Mac([0x0e, 0, 0, 0, 0, 1]), &[&format!("{ip}/32")]);
    network.links.push(Link { kind: LinkKind::Other, noarp: true, ..dummy });
}

pub(super) type Answers = Box<dyn Fn(&str) -> Vec<Mac>>;
type Doors = Box<dyn Fn(&str, u16) -> Reached>;

/// A rack, a cluster and a segment. As it is made, all is well: w1 announces `default/web`, 192.0.2.200.
pub(super) struct World {
    pub(super) facts: ClusterFacts,
    pub(super) networks: BTreeMap<String, Network>,
    /// Which MAC addresses a host hears, the first time and the second.
    pub(super) first: Answers,
    pub(super) again: Option<Answers>,
    /// Hosts that cannot ask.
    pub(super) broken: Vec<&'static str>,
    /// What a host gets at a port.
    pub(super) port: Doors,
    /// Whether the coordinator connects.
    pub(super) here: Option<bool>,
    pub(super) silent: Vec<Why>,
}

/// Everybody hears these hosts, and nobody himself.
pub(super) fn announced(by: &'static [&'static str]) -> Answers {
    Box::new(|host| by.iter().filter(|other| **other != host).map(|other| mac(other)).collect())
}

/// A node that announces, as ServiceL2Status says it.
pub(super) fn status(node: &str, interfaces: &[&str]) -> Value {
    let interfaces: Vec<_> = interfaces.iter().map(|name| json!({"name": name})).collect();
    json!({"metadata": {"name": "l2-x"}, "status": {"node": node, "serviceName": "web",
        "serviceNamespace": "default", "interfaces": interfaces}})
}

/// A node that announces, as the event says it.
pub(super) fn event(node: &str, at: &str) -> Event {
    object(json!({
        "metadata": {"name": "web.1", "namespace": "default"},
        "involvedObject": {"kind": "Service", "namespace": "default", "name": "web"},
        "reason": "nodeAssigned", "message": format!("announcing from node \"{node}\" with protocol \"layer2\""),
        "lastTimestamp": at,
    }))
}

pub(super) fn slice(on: &[(&str, bool)]) -> EndpointSlice {
    let endpoint = |(node, ready): &(&str, bool)| {
        json!({"addresses": ["10.244.1.5"], "nodeName": node,
        "conditions": {"ready": ready}})
    };
    object(json!({
        "metadata": {"name": "web-x", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": on.iter().map(endpoint).collect::<Vec<_>>(), "ports": [],
    }))
}

pub(super) fn service(change: impl FnOnce(&mut Value)) -> Service {
    let mut service = json!({
        "metadata": {"name": "web", "namespace": "default",
            "annotations": {"metallb.io/ip-allocated-from-pool": "first"}},
        "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Cluster", "ports": [{"port": 80}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.200"}]}},
    });
    change(&mut service);
    object(service)
}

impl World {
    pub(super) fn new() -> Self {
        let mut facts = ClusterFacts {
            nodes: HOSTS[..3].iter().map(|n| object::<Node>(json!({"metadata": {"name": n}}))).collect(),
            services: vec![service(|_| ())],
            endpoints: vec![slice(&[("w1", true), ("w2", true), ("w2", false)])],
            ..ClusterFacts::default()
        };
        facts.balancer.announced = Some(vec![status("w1", &[])]);
        let network = |(at, host): (usize, &&str)| {
            let addresses = [format!("192.0.2.{}/24", 10 + at), "2001:db8::1/64".into(), "fe80::1/64".into()];
            let addresses = addresses.each_ref().map(String::as_str);
            let eth0 = link("eth0", mac(host), &addresses);
            ((*host).to_owned(), Network { links: vec![eth0], ..Network::default() })
        };
        Self {
            facts,
            networks: HOSTS.iter().enumerate().map(network).collect(),
            first: announced(&["w1"]),
            again: Some(announced(&["w1"])),
            broken: Vec::new(),
            port: Box::new(|_, _| Reached::Knock(Knocked::Open { from: mac("w1"), micros: 300 })),
            here: Some(true),
            silent: Vec::new(),
        }
    }

    /// A world in which one thing is otherwise.
    pub(super) fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut world = Self::new();
        change(&mut world);
        world
    }

    /// What everybody hears, both times.
    pub(super) fn hear_always(&mut self, who: impl Fn(&str) -> Vec<Mac> + Clone + 'static) {
        self.first = Box::new(who.clone());
        self.again = Some(Box::new(who));
    }

    pub(super) fn change_service(&mut self, change: impl FnOnce(&mut Value)) {
        self.facts.services = vec![service(change)];
    }

    /// kube-proxy's pod on a node.
    pub(super) fn proxy_pod(&mut self, node: &str, ready: &str) {
        let pod: Pod = object(json!({"spec": {"nodeName": node, "containers": []},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}}));
        self.facts.proxy.pods.push(pod);
    }

    pub(super) fn stand(&self) -> Stand {
        addresses(&self.facts, &ServiceName { namespace: "default".into(), name: "web".into() })
    }

    pub(super) fn hosts(&self) -> Vec<NodeInput<'_>> {
        let host = |(name, network)| NodeInput {
            name: String::clone(name),
            address: None,
            interface: Wanted::Auto,
            network,
        };
        self.networks.iter().map(host).collect()
    }

    fn probed(&self, probe: &Probe, host: &str, who: &Answers) -> Probed {
        let broken = self.broken.contains(&host);
        let answer = |ip: IpAddr| {
            let mut macs = who(host);
            macs.sort();
            Answer { ip, macs, seekers: vec![mac("out")] }
        };
        let answers = probe.spans.iter().filter(|_| !broken).map(|span| answer(span.first)).collect();
        let trouble = broken.then(|| "link is down".to_owned());
        Probed { link: probe.link.clone(), answers, asked: probe.spans.len() as u32, trouble }
    }

    fn hear(&self, cases: &[Case], who: &Answers) -> hearing::Hearing {
        let asked = hearing::ask(&self.hosts(), cases, Patience::Quick);
        let tell = |(host, probes): (&String, &Vec<Probe>)| {
            (host.clone(), probes.iter().map(|probe| self.probed(probe, host, who)).collect())
        };
        let probed = asked.iter().map(tell).collect();
        hearing::hear(cases, &asked, &probed)
    }

    /// Asks in stages, as in earnest.
    pub(super) fn proofs(&self) -> Vec<ServiceProof> {
        let Stand::Assigned(cases) = self.stand() else { return Vec::new() };
        let hosts = self.hosts();
        let first = self.hear(&cases, &self.first);
        let asked = ports::ask(&hosts, &cases, &first);
        let open = |host: &str, asked: &Asked| match asked.reach {
            Reach::Knock { port, .. } => (self.port)(host, port),
            _ => unreachable!("only knocks are asked"),
        };
        let reached = asked.iter().map(|(h, all)| (h.clone(), all.iter().map(|q| open(h, q)).collect()));
        let knocks = ports::knocks(&asked, &reached.collect());
        let again = self.again.as_ref().map(|who| self.hear(&cases, who)).unwrap_or_default();
        let here = self.here.map(|opens| {
            let asked = ports::ask_from_here(&cases);
            let failed = || Reached::Failed { why: "no route to host".into() };
            let reached: Vec<_> =
                asked.iter().map(|_| if opens { Reached::Tcp { micros: 1 } } else { failed() }).collect();
            ports::from_here(&asked, &reached)
        });
        let seen = Seen { first, again, knocks, here: here.unwrap_or_default() };
        cases.iter().map(|case| judge(case, &hosts, &seen, &self.silent)).collect()
    }
}
