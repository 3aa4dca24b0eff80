//! Which answers came to which questions.

use std::net::IpAddr;

use rackwright_proto::examine::{Echo, Echoed, Examined};
use rackwright_proto::reach::{Asked, Rcode, Reach, Reached, Transport};

use super::ask::SMALL;
use super::case::{Case, Host};
use crate::proof::dns::is_outside;

/// From where it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum From {
    /// From the host itself.
    Host,
    /// From a pod on it.
    Pod,
}

/// One question for a name of the cluster, and what came of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    pub(super) host: &'a Host,
    pub(super) from: From,
    pub(super) server: IpAddr,
    pub(super) transport: Transport,
    pub(super) answer: Result<(Rcode, &'a [String]), &'a str>,
}

impl Name<'_> {
    /// Whether it came with an address.
    pub(super) fn good(&self) -> bool {
        self.answer.is_ok_and(|(rcode, records)| rcode == Rcode::NOERROR && !records.is_empty())
    }
}

/// One connection, and what came of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Door<'a> {
    pub(super) host: &'a Host,
    pub(super) from: From,
    pub(super) to: std::net::SocketAddr,
    pub(super) answer: Result<(), &'a str>,
}

fn pairs<'a>(host: &'a Host, said: &'a Examined) -> impl Iterator<Item = (From, &'a Asked, &'a Reached)> {
    let own = host.asked.questions.iter().zip(&said.reached).map(|(asked, got)| (From::Host, asked, got));
    own.chain(
        host.asked.from_pod.iter().zip(&said.from_pod.reached).map(|(asked, got)| (From::Pod, asked, got)),
    )
}

fn why(reached: &Reached) -> &str {
    match reached {
        Reached::Failed { why } => why,
        _ => "the host answered another question",
    }
}

impl Case {
    /// Questions for the cluster's own name.
    pub(super) fn names(&self) -> impl Iterator<Item = Name<'_>> {
        self.dns_questions().filter(|(name, _)| !is_outside(name)).map(|(_, name)| name)
    }

    /// Questions for a name outside.
    pub(super) fn outside(&self) -> impl Iterator<Item = Name<'_>> {
        self.dns_questions().filter(|(name, _)| is_outside(name)).map(|(_, name)| name)
    }

    fn dns_questions(&self) -> impl Iterator<Item = (&str, Name<'_>)> {
        self.heard().flat_map(|(host, said)| {
            pairs(host, said).filter_map(move |(from, asked, got)| {
                let Reach::Dns { server, transport, name, .. } = &asked.reach else { return None };
                let answer = match got {
                    Reached::Dns { rcode, answers, .. } => Ok((*rcode, answers.as_slice())),
                    other => Err(why(other)),
                };
                Some((name.as_str(), Name { host, from, server: server.ip(), transport: *transport, answer }))
            })
        })
    }

    /// Connections.
    pub(super) fn doors(&self) -> impl Iterator<Item = Door<'_>> {
        self.heard().flat_map(|(host, said)| {
            pairs(host, said).filter_map(move |(from, asked, got)| {
                let Reach::Tcp { address } = &asked.reach else { return None };
                let answer = match got {
                    Reached::Tcp { .. } => Ok(()),
                    other => Err(why(other)),
                };
                Some(Door { host, from, to: *address, answer })
            })
        })
    }

    /// Echoes of one host to an address: what came of the small one, and of the large one with its size.
    pub(super) fn echoes<'a>(&'a self, from: &'a Host, to: IpAddr) -> Option<Echoes<'a>> {
        let said = from.examined.as_ref().ok()?;
        both(&from.asked.echoes, &said.echoed, to)
    }

    /// The same of a pod on that host.
    pub(super) fn pod_echoes<'a>(&'a self, from: &'a Host, to: IpAddr) -> Option<Echoes<'a>> {
        let said = from.examined.as_ref().ok()?;
        both(&from.asked.pod_echoes, &said.from_pod.echoed, to)
    }
}

fn both<'a>(asked: &'a [Echo], echoed: &'a [Echoed], to: IpAddr) -> Option<Echoes<'a>> {
    let mut of = asked.iter().zip(echoed).filter(|(echo, _)| echo.to == to);
    let (_, small) = of.clone().find(|(echo, _)| echo.bytes == SMALL)?;
    let large = of.find(|(echo, _)| echo.bytes != SMALL).map(|(echo, echoed)| (echo.bytes, echoed));
    Some(Echoes { small, large })
}

/// What came of the echoes to one address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Echoes<'a> {
    pub(super) small: &'a Echoed,
    pub(super) large: Option<(u16, &'a Echoed)>,
}
