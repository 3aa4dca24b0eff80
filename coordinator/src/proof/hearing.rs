//! Who answers for an address: every host of its segment asks, as itself, like any client would.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rackwright_proto::l2::{Answer, Patience, Probe, Probed};
use rackwright_proto::link::Mac;
use rackwright_proto::name::IfName;

use super::case::Case;
use super::nics::carries;
use crate::network::{NodeInput, gather};

/// What the hosts heard of each address, by address and host. A host that was not asked is not in it.
pub type Hearing = BTreeMap<IpAddr, BTreeMap<String, Heard>>;

/// What one host heard of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// These MAC addresses answered, each on that link; none of them is silence.
    Macs(BTreeMap<Mac, IfName>),
    /// It could not ask, and why.
    Failed(String),
}

/// What each host is to ask. All hosts with a link on an address's segment ask, also the one that answers for it:
/// it never hears itself, so what it hears is somebody else.
pub fn ask(hosts: &[NodeInput], cases: &[Case], patience: Patience) -> BTreeMap<String, Vec<Probe>> {
    let mut asked = BTreeMap::<_, Vec<_>>::new();
    for host in hosts {
        for link in &host.network.links {
            let ips = cases.iter().map(|case| case.address).filter(|ip| carries(host.network, link, *ip));
            let spans = gather(ips);
            // A link whose name is no name cannot be asked on.
            let Ok(name) = link.name.parse() else { continue };
            if !spans.is_empty() {
                let probe = Probe { link: name, spans, patience, as_ourselves: true };
                asked.entry(host.name.clone()).or_default().push(probe);
            }
        }
    }
    asked
}

/// What the answers to [`ask`] come to: `asked` is what it returned, `probed` the answers of each host in the same
/// order.
pub fn hear(
    cases: &[Case],
    asked: &BTreeMap<String, Vec<Probe>>,
    probed: &BTreeMap<String, Vec<Probed>>,
) -> Hearing {
    let mut hearing = Hearing::new();
    for case in cases {
        let of = hearing.entry(case.address).or_default();
        for (host, probes) in asked {
            let outcomes = probed.get(host).map(Vec::as_slice).unwrap_or_default();
            let own = probes.iter().enumerate().filter(|(_, probe)| asks_for(probe, case.address));
            let heard = own.map(|(at, probe)| heard(probe, outcomes.get(at), case.address));
            if let Some(heard) = heard.reduce(both) {
                of.insert(host.clone(), heard);
            }
        }
    }
    hearing
}

fn asks_for(probe: &Probe, ip: IpAddr) -> bool {
    probe
        .spans
        .iter()
        .any(|span| span.first.is_ipv4() == ip.is_ipv4() && (span.first..=span.last).contains(&ip))
}

fn heard(probe: &Probe, outcome: Option<&Probed>, ip: IpAddr) -> Heard {
    let Some(outcome) = outcome else { return Heard::Failed("the host did not report".into()) };
    let answers = outcome.answers.iter().filter(|answer: &&Answer| answer.ip == ip);
    let macs: BTreeMap<_, _> = answers.flat_map(|a| &a.macs).map(|mac| (*mac, probe.link.clone())).collect();
    match &outcome.trouble {
        Some(trouble) if macs.is_empty() => Heard::Failed(format!("{}: {trouble}", probe.link)),
        _ => Heard::Macs(macs),
    }
}

/// What two links of one host heard: an answer counts more than trouble, and trouble more than silence.
fn both(one: Heard, other: Heard) -> Heard {
    match (one, other) {
        (Heard::Macs(mut one), Heard::Macs(other)) => {
            one.extend(other);
            Heard::Macs(one)
        }
        (Heard::Macs(macs), Heard::Failed(why)) | (Heard::Failed(why), Heard::Macs(macs)) => {
            if macs.is_empty() { Heard::Failed(why) } else { Heard::Macs(macs) }
        }
        (failed @ Heard::Failed(_), Heard::Failed(_)) => failed,
    }
}
