//! A neighbour that bears witness: a node that went deaf to ARP is still reachable for whoever has its MAC in a
//! cache, for a while. A neighbour's probe goes out as a broadcast and asks no cache.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rackwright_proto::l2::{Answer, Patience, Probe, Probed, Span};
use rackwright_proto::name::NodeName;

use super::Context;
use crate::network::{self, Scene};
use crate::rack::Rack;
use crate::scene;
use crate::ssh::Target;
use crate::survey::{Session, Surveyed};

/// How many neighbours are tried for one node.
const MOST: usize = 3;

/// A neighbour that may hear a node.
#[derive(Debug, Clone)]
pub struct Candidate {
    node: NodeName,
    target: Target,
    probe: Probe,
}

/// Per node, neighbours of its segment. None where the rack wants no probes.
pub fn candidates(rack: &Rack, heard: &[Surveyed]) -> BTreeMap<NodeName, Vec<Candidate>> {
    if scene::patience(rack).is_none() {
        return BTreeMap::new();
    }
    let scene = scene::of(rack, heard, None);
    let asked = network::neighbour_probes(&scene.nodes, Patience::Quick);
    heard.iter().map(|s| (s.session.node.clone(), of_node(&scene, &asked, heard, &s.session.node))).collect()
}

fn of_node(
    scene: &Scene<'_>,
    asked: &BTreeMap<String, Vec<Probe>>,
    heard: &[Surveyed],
    node: &NodeName,
) -> Vec<Candidate> {
    let Some(ip) = scene.nodes.iter().find(|n| n.name == node.as_str()).and_then(|n| n.address) else {
        return Vec::new();
    };
    let neighbours = heard.iter().filter(|s| s.session.node != *node);
    let candidate = |s: &Surveyed| {
        let probes = asked.get(s.session.node.as_str())?;
        let link = probes.iter().find(|p| holds(p, ip))?.link.clone();
        let spans = vec![Span { first: ip, last: ip }];
        let probe = Probe { link, spans, patience: Patience::Quick, as_ourselves: true };
        Some(Candidate { node: s.session.node.clone(), target: s.session.target.clone(), probe })
    };
    neighbours.filter_map(candidate).take(MOST).collect()
}

fn holds(probe: &Probe, ip: IpAddr) -> bool {
    probe.spans.iter().any(|s| s.first.is_ipv4() == ip.is_ipv4() && s.first <= ip && ip <= s.last)
}

/// A neighbour that was heard to hear the node before its risky steps.
pub struct Witness {
    /// The neighbour's name.
    pub node: NodeName,
    session: Session,
    probe: Probe,
}

impl Witness {
    /// The first of `candidates` that hears the node now; none where none does.
    pub async fn find(context: &Context, candidates: Vec<Candidate>) -> Option<Self> {
        for Candidate { node, target, probe } in candidates {
            let open = Session::open(&context.dialer, &context.agents, &target, &node);
            let Ok(session) = open.await else { continue };
            let mut witness = Self { node, session, probe };
            let heard = {
                let _turn = context.asking.lock().await;
                witness.hears().await
            };
            if heard == Some(true) {
                return Some(witness);
            }
            witness.session.close().await;
        }
        None
    }

    /// Whether the node answers it; none when the neighbour itself cannot be asked.
    pub async fn hears(&mut self) -> Option<bool> {
        let probe = vec![self.probe.clone()];
        let probed = self.session.ask(async |agent| agent.probe(probe).await).await.ok()?;
        heard(probed.first()?)
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.session.close().await;
    }
}

/// Whether somebody answered. An address that is only sought is one that nobody answered for.
fn heard(probed: &Probed) -> Option<bool> {
    probed.trouble.is_none().then(|| probed.answers.iter().any(Answer::is_claimed))
}

#[cfg(test)]
mod tests {
    use rackwright_proto::link::Mac;

    use super::*;

    #[test]
    fn only_a_claim_is_an_answer() {
        let mac = vec![Mac([2, 0, 0, 0, 0, 1])];
        let ip = IpAddr::from([192, 0, 2, 2]);
        let probed = |answers: Vec<Answer>, trouble: Option<&str>| {
            let link = "eth0".parse().unwrap();
            heard(&Probed { link, answers, asked: 1, trouble: trouble.map(str::to_owned) })
        };
        let claimed = Answer { ip, macs: mac.clone(), seekers: Vec::new() };
        let sought = Answer { ip, macs: Vec::new(), seekers: mac };
        assert_eq!(probed(vec![claimed.clone()], None), Some(true));
        assert_eq!(probed(vec![sought], None), Some(false));
        assert_eq!(probed(vec![], None), Some(false));
        assert_eq!(probed(vec![claimed], Some("eth0 is down")), None);
    }
}
