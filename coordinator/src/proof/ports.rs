//! Whether a Service's TCP ports open where its address is answered for: asked past the hosts' own service tables,
//! since on a node of the cluster kube-proxy answers locally; and from the coordinator's own place.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use rackwright_proto::link::Mac;
use rackwright_proto::reach::{Asked, Knocked, Reach, Reached};

use super::case::Case;
use super::hearing::{Heard, Hearing};
use super::nics::Nics;
use crate::network::NodeInput;

/// How long a port may take to answer, in milliseconds: a lost SYN, and time for another.
const WITHIN_MS: u32 = 3_000;

/// What one host found at one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knock {
    /// The host.
    pub host: String,
    /// Where it knocked.
    pub at: SocketAddr,
    /// The MAC address that it knocked at.
    pub mac: Mac,
    /// What came back, or why it could not knock.
    pub outcome: Result<Knocked, String>,
}

/// What the coordinator found at one port, through its own network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Here {
    /// Where it connected to.
    pub at: SocketAddr,
    /// Whether the connection opened, or why not.
    pub outcome: Result<(), String>,
}

/// What each host is to ask: every TCP port, at the one MAC address that it heard. Who heard several, or has that
/// MAC address itself, asks nothing; nobody asks more than [`Asked::MOST`] in all.
pub fn ask(hosts: &[NodeInput], cases: &[Case], hearing: &Hearing) -> BTreeMap<String, Vec<Asked>> {
    let mut asked = BTreeMap::<String, Vec<Asked>>::new();
    for case in cases {
        for (host, heard) in hearing.get(&case.address).into_iter().flatten() {
            let Heard::Macs(macs) = heard else { continue };
            let (Some((mac, link)), 1) = (macs.first_key_value(), macs.len()) else { continue };
            if Nics(hosts).nodes(*mac).contains(host.as_str()) {
                continue;
            }
            let knock = |port: &u16| {
                let (link, address) = (link.clone(), case.address);
                Asked::new(Reach::Knock { link, address, mac: *mac, port: *port }, WITHIN_MS)
            };
            let of = asked.entry(host.clone()).or_default();
            of.extend(case.tcp.iter().map(knock));
            of.truncate(Asked::MOST);
        }
    }
    asked.retain(|_, questions| !questions.is_empty());
    asked
}

/// What the answers to [`ask`] come to, in the same order; what was not answered says so.
pub fn knocks(asked: &BTreeMap<String, Vec<Asked>>, reached: &BTreeMap<String, Vec<Reached>>) -> Vec<Knock> {
    let mut knocks = Vec::new();
    for (host, questions) in asked {
        let answers = reached.get(host).map(Vec::as_slice).unwrap_or_default();
        for (at, question) in questions.iter().enumerate() {
            let Reach::Knock { address, mac, port, .. } = &question.reach else { continue };
            let outcome = match answers.get(at) {
                Some(Reached::Knock(knocked)) => Ok(knocked.clone()),
                Some(Reached::Failed { why }) => Err(why.clone()),
                Some(_) => Err("the host answered another question".into()),
                None => Err("the host did not report".into()),
            };
            knocks.push(Knock { host: host.clone(), at: (*address, *port).into(), mac: *mac, outcome });
        }
    }
    knocks
}

/// What the coordinator itself is to ask, if it may: a connection to every TCP port. On a node of the cluster that
/// proves nothing.
pub fn ask_from_here(cases: &[Case]) -> Vec<Asked> {
    let to = |ip: IpAddr| move |port: &u16| Asked::new(Reach::Tcp { address: (ip, *port).into() }, WITHIN_MS);
    cases.iter().flat_map(|case| case.tcp.iter().map(to(case.address))).collect()
}

/// What the answers to [`ask_from_here`] come to, in the same order.
pub fn from_here(asked: &[Asked], reached: &[Reached]) -> Vec<Here> {
    let here = asked.iter().enumerate().filter_map(|(n, question)| {
        let Reach::Tcp { address } = question.reach else { return None };
        let outcome = match reached.get(n) {
            Some(Reached::Tcp { .. }) => Ok(()),
            Some(Reached::Failed { why }) => Err(why.clone()),
            _ => Err("not asked".into()),
        };
        Some(Here { at: address, outcome })
    });
    here.collect()
}
