//! Who got which answers from whom.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rackwright_proto::reach::{Asked, Rcode, Reach, Reached, Transport};

use super::is_outside;

/// An answer, whatever it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) rcode: Rcode,
    pub(super) records: BTreeSet<String>,
    pub(super) micros: u64,
}

impl Answer {
    /// Whether it has an address.
    pub(super) fn has_address(&self) -> bool {
        self.rcode == Rcode::NOERROR && self.records.iter().any(|record| record.parse::<IpAddr>().is_ok())
    }

    /// What it says where it has none: `no address`, `SERVFAIL`.
    pub(super) fn said(&self) -> String {
        if self.rcode == Rcode::NOERROR { "no address".to_owned() } else { self.rcode.to_string() }
    }
}

/// Why there is none.
pub(super) type Got = Result<Answer, String>;

/// What one node got from one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) node: String,
    pub(super) server: IpAddr,
    pub(super) udp: Got,
    pub(super) tcp: Got,
    pub(super) outside: Got,
}

impl Row {
    fn new(node: &str, server: IpAddr) -> Self {
        let nothing = || Err("not asked".to_owned());
        Self { node: node.to_owned(), server, udp: nothing(), tcp: nothing(), outside: nothing() }
    }

    /// Whether it answers at all.
    pub(super) fn answers(&self) -> bool {
        self.udp.is_ok() || self.tcp.is_ok()
    }

    /// The answers for the cluster's name.
    pub(super) fn inside(&self) -> impl Iterator<Item = &Answer> {
        [&self.udp, &self.tcp].into_iter().filter_map(|got| got.as_ref().ok())
    }

    /// Whether the server reached an upstream, whatever that said; or why not.
    pub(super) fn upstream(&self) -> Result<(), String> {
        match &self.outside {
            Ok(answer) if answer.rcode == Rcode::SERVFAIL => Err("SERVFAIL".into()),
            Ok(_) => Ok(()),
            Err(why) => Err(why.clone()),
        }
    }

    fn take(&mut self, transport: Transport, name: &str, got: Got) {
        match (name, transport) {
            _ if is_outside(name) => self.outside = got,
            (_, Transport::Udp) => self.udp = got,
            (_, Transport::Tcp) => self.tcp = got,
        }
    }
}

/// One row for each node that reported and each server that it was to ask.
pub(super) fn rows(
    asked: &BTreeMap<String, Vec<Asked>>,
    reached: &BTreeMap<String, Vec<Reached>>,
) -> Vec<Row> {
    let mut rows = BTreeMap::<(&str, IpAddr), Row>::new();
    for (node, questions) in asked {
        let Some(answers) = reached.get(node).filter(|answers| !answers.is_empty()) else { continue };
        for (at, question) in questions.iter().enumerate() {
            let Reach::Dns { server, transport, name, .. } = &question.reach else { continue };
            let row = rows.entry((node, server.ip())).or_insert_with(|| Row::new(node, server.ip()));
            row.take(*transport, name, got(answers.get(at)));
        }
    }
    rows.into_values().collect()
}

fn got(reached: Option<&Reached>) -> Got {
    match reached {
        Some(Reached::Dns { rcode, answers, micros, .. }) => {
            Ok(Answer { rcode: *rcode, records: answers.iter().cloned().collect(), micros: *micros })
        }
        Some(Reached::Failed { why }) => Err(why.clone()),
        Some(_) => Err("the node answered another question".into()),
        None => Err("the node did not report".into()),
    }
}
