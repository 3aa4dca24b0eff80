//! One probe on its way: what is still to be asked on its link, and what was heard.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use rackwright_proto::l2::{Answer, Probe, Probed, Span};
use rackwright_proto::link::Mac;
use rackwright_proto::name::IfName;

use super::pace::{Schedule, Timing};
use crate::host::raw::{Card, Cards, Heard, PacketSocket, Protocol, Question, Said};
use crate::host::{arp, ndp};

/// The most MACs that are kept for one address; more would only repeat that something is very wrong.
const MOST_MACS: usize = 16;
/// The most packets taken in before it is time to look at the clock again.
const GULP: usize = 1024;

/// What was heard of one address.
#[derive(Debug, Default)]
struct Who {
    claims: BTreeSet<Mac>,
    seeks: BTreeSet<Mac>,
}

/// One probe on its way.
#[derive(Debug)]
pub(super) struct Survey {
    link: IfName,
    as_ourselves: bool,
    targets: Vec<IpAddr>,
    who: BTreeMap<IpAddr, Who>,
    ours: BTreeSet<Mac>,
    speaker: Option<(Card, Mac)>,
    sockets: Vec<(Protocol, PacketSocket)>,
    schedule: Schedule,
    listen: Duration,
    grace: Duration,
    next: usize,
    over_at: Option<Duration>,
    troubles: Vec<String>,
}

impl Survey {
    /// Gets ready to ask. Where that fails, the survey has nothing to ask and tells why in the end.
    pub(super) fn open(probe: &Probe, cards: &Cards) -> Self {
        let (targets, troubles) = addresses(&probe.spans);
        let mut survey = Self {
            link: probe.link.clone(),
            as_ourselves: probe.as_ourselves,
            targets: Vec::new(),
            who: targets.iter().map(|ip| (*ip, Who::default())).collect(),
            ours: cards.macs(),
            speaker: None,
            sockets: Vec::new(),
            schedule: Schedule::default(),
            listen: Duration::ZERO,
            grace: Duration::ZERO,
            next: 0,
            over_at: None,
            troubles,
        };
        match survey.open_sockets(cards, &targets) {
            Ok(()) => survey.targets = targets,
            Err(why) => survey.fail(why),
        }
        survey
    }

    fn open_sockets(&mut self, cards: &Cards, targets: &[IpAddr]) -> Result<(), String> {
        let name = self.link.as_str();
        let card = cards.named(name).ok_or_else(|| format!("there is no link {name}"))?;
        let mac = card.speaks_as()?;
        let open = |protocol| {
            PacketSocket::open(card, protocol).map_err(|e| format!("open a packet socket on {name}: {e}"))
        };
        if targets.iter().any(IpAddr::is_ipv4) {
            if self.as_ourselves && card.sender_for(Ipv4Addr::UNSPECIFIED).is_none() {
                return Err(format!("{name} has no IPv4 address to ask from"));
            }
            self.sockets.push((Protocol::Arp, open(Protocol::Arp)?));
        }
        if targets.iter().any(IpAddr::is_ipv6) {
            // Without one the link does not speak IPv6, and advertisements to all nodes may not arrive.
            if card.link_local().is_none() {
                return Err(format!("{name} has no IPv6 link-local address"));
            }
            let mut socket = open(Protocol::Ndp)?;
            socket.join_groups_of(targets.iter().filter_map(|ip| match ip {
                IpAddr::V6(ip) => Some(*ip),
                IpAddr::V4(_) => None,
            }));
            self.sockets.push((Protocol::Ndp, socket));
        }
        self.speaker = Some((card.clone(), mac));
        Ok(())
    }

    /// How many addresses it asks for.
    pub(super) fn count(&self) -> usize {
        self.targets.len()
    }

    /// Plans its frames among those of `total` addresses, of which `before` are another survey's.
    pub(super) fn plan(&mut self, timing: Timing, before: usize, total: usize) {
        self.schedule = Schedule::new(&timing, self.count(), before, total, fastrand::f64);
        (self.listen, self.grace) = (timing.listen, timing.grace);
    }

    /// How long it is meant to take.
    pub(super) fn planned_length(&self) -> Duration {
        self.schedule.end
    }

    /// Takes in all that has arrived.
    pub(super) fn listen(&mut self, now: Duration) {
        for at in 0..self.sockets.len() {
            for _ in 0..GULP {
                match self.sockets[at].1.hear() {
                    Ok(Some(heard)) => self.note(heard),
                    Ok(None) => break,
                    Err(error) => return self.fail(format!("listen on {}: {error}", self.link)),
                }
            }
        }
        if self.as_ourselves && self.over_at.is_none_or(|at| at > now + self.grace) && self.all_answered() {
            self.over_at = Some(now + self.grace);
        }
    }

    fn note(&mut self, heard: Heard) {
        if self.ours.contains(&heard.mac) {
            return;
        }
        let claimed = match heard.said {
            Said::Sought => false,
            // Whoever only speaks may be deaf: what was asked as ourselves is answered by an answer to us.
            Said::Claimed if self.as_ourselves => return,
            Said::Answered(to) if self.as_ourselves && !self.is_ours(to) => return,
            Said::Claimed | Said::Answered(_) => true,
        };
        let Some(who) = self.who.get_mut(&heard.ip) else { return };
        let macs = if claimed { &mut who.claims } else { &mut who.seeks };
        if macs.len() < MOST_MACS {
            macs.insert(heard.mac);
        }
    }

    fn is_ours(&self, ip: IpAddr) -> bool {
        self.speaker.as_ref().is_some_and(|(card, _)| card.has(ip))
    }

    fn all_answered(&self) -> bool {
        self.all_asked() && self.who.values().all(|who| !who.claims.is_empty())
    }

    /// Whether every address was asked for once. Who was heard asking something itself must be asked, too: only
    /// then do all answer who have its address.
    fn all_asked(&self) -> bool {
        self.next >= self.targets.len()
    }

    /// Sends frames that are due, at most `most`, and returns how many.
    pub(super) fn send(&mut self, now: Duration, most: usize) -> usize {
        let mut sent = 0;
        while sent < most
            && self.over_at.is_none()
            && self.schedule.due(self.next).is_some_and(|at| at <= now)
        {
            let target = self.targets[self.next % self.targets.len()];
            if !self.all_asked() || !self.is_answered(target) {
                match self.ask(target) {
                    Ok(()) => sent += 1,
                    Err(error) if is_passing(&error) => break,
                    Err(error) => self.fail(format!("send on {}: {error}", self.link)),
                }
            }
            self.next += 1;
            if self.schedule.due(self.next).is_none() {
                self.over_at.get_or_insert(now + self.listen);
            }
        }
        sent
    }

    /// A neighbour that answered need not be asked again; a conflict is worth hearing from twice.
    fn is_answered(&self, target: IpAddr) -> bool {
        self.as_ourselves && self.who.get(&target).is_some_and(|who| !who.claims.is_empty())
    }

    fn ask(&self, target: IpAddr) -> io::Result<()> {
        let Some((card, mac)) = &self.speaker else { return Ok(()) };
        let (protocol, question) = match target {
            IpAddr::V4(ip) => {
                let from = card.sender_for(ip).filter(|_| self.as_ourselves).unwrap_or(Ipv4Addr::UNSPECIFIED);
                (Protocol::Arp, Question::Arp(arp::Packet::question(*mac, from, ip)))
            }
            IpAddr::V6(ip) => {
                let ourselves = card.link_local().filter(|_| self.as_ourselves).map(|ours| (ours, *mac));
                (Protocol::Ndp, Question::Ndp(ndp::Packet::question(ourselves, ip)))
            }
        };
        let socket = self.sockets.iter().find(|(spoken, _)| *spoken == protocol);
        socket.map_or(Ok(()), |(_, socket)| socket.ask(&question))
    }

    /// Whether nothing more is to be sent or heard.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        self.targets.is_empty() || self.over_at.is_some_and(|at| at <= now)
    }

    /// When there is something to do again, where no frame may go before `gate`.
    pub(super) fn wakes(&self, now: Duration, gate: Duration) -> Option<Duration> {
        if self.is_over(now) {
            return None;
        }
        self.over_at.or_else(|| self.schedule.due(self.next).map(|at| at.max(gate)))
    }

    /// The sockets to wait for.
    pub(super) fn sockets(&self) -> impl Iterator<Item = &PacketSocket> {
        self.sockets.iter().map(|(_, socket)| socket)
    }

    /// Ends it early because of a trouble. What was heard until then is kept.
    pub(super) fn fail(&mut self, why: String) {
        self.troubles.push(why);
        self.over_at = Some(Duration::ZERO);
        self.sockets.clear();
    }

    /// Ends it early, unless it was over anyway.
    pub(super) fn break_off(&mut self, now: Duration) {
        if !self.is_over(now) {
            self.fail(format!("broken off after {} s", now.as_secs()));
        }
    }

    /// Its outcome.
    pub(super) fn finish(self) -> Probed {
        let answers = self.who.into_iter().filter_map(|(ip, who)| {
            let answer = Answer { ip, macs: Vec::from_iter(who.claims), seekers: Vec::from_iter(who.seeks) };
            (!answer.macs.is_empty() || !answer.seekers.is_empty()).then_some(answer)
        });
        Probed {
            link: self.link,
            answers: answers.collect(),
            asked: self.next.min(self.targets.len()) as u32,
            trouble: (!self.troubles.is_empty()).then(|| self.troubles.join("; ")),
        }
    }
}

/// The driver's queue is full for now.
fn is_passing(error: &io::Error) -> bool {
    const ENOBUFS: i32 = nix::libc::ENOBUFS;
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
        || error.raw_os_error() == Some(ENOBUFS)
}

/// All addresses of the spans, each once, at most [`Probe::MOST`]; and what is wrong with the spans.
fn addresses(spans: &[Span]) -> (Vec<IpAddr>, Vec<String>) {
    let (mut found, mut troubles) = (BTreeSet::new(), Vec::new());
    let mut left_out = 0u128;
    for span in spans {
        let Some(all) = unfold(span) else {
            troubles.push(format!("{} to {} is no range of addresses", span.first, span.last));
            continue;
        };
        let before = found.len();
        let room = Probe::MOST - before;
        found.extend(all.take(room));
        left_out = left_out.saturating_add(length(span).saturating_sub(room as u128));
    }
    if left_out > 0 {
        troubles.push(format!("{left_out} addresses were not asked for: {} is the most", Probe::MOST));
    }
    (found.into_iter().collect(), troubles)
}

fn unfold(span: &Span) -> Option<Box<dyn Iterator<Item = IpAddr>>> {
    match (span.first, span.last) {
        (IpAddr::V4(a), IpAddr::V4(b)) if a <= b => {
            Some(Box::new((u32::from(a)..=u32::from(b)).map(|ip| Ipv4Addr::from(ip).into())))
        }
        (IpAddr::V6(a), IpAddr::V6(b)) if a <= b => {
            Some(Box::new((u128::from(a)..=u128::from(b)).map(|ip| Ipv6Addr::from(ip).into())))
        }
        _ => None,
    }
}

fn length(span: &Span) -> u128 {
    let number = |ip| match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    };
    (number(span.last) - number(span.first)).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span(first: &str, last: &str) -> Span {
        Span { first: first.parse().unwrap(), last: last.parse().unwrap() }
    }

    #[test]
    fn spans_that_overlap_ask_for_each_address_once() {
        let (all, troubles) = addresses(&[span("192.0.2.1", "192.0.2.3"), span("192.0.2.2", "192.0.2.4")]);
        assert_eq!(all.len(), 4);
        assert_eq!(troubles, Vec::<String>::new());
    }

    #[test]
    fn a_whole_64_is_asked_for_in_part_and_says_so() {
        let (all, troubles) = addresses(&[span("2001:db8::", "2001:db8::ffff:ffff:ffff:ffff")]);
        assert_eq!(all.len(), Probe::MOST);
        assert_eq!(troubles, ["18446744073709547520 addresses were not asked for: 4096 is the most"]);
    }

    #[test]
    fn what_is_no_range_is_told_not_asked() {
        let (all, troubles) = addresses(&[span("192.0.2.9", "192.0.2.1"), span("192.0.2.1", "2001:db8::")]);
        assert!(all.is_empty());
        assert_eq!(troubles.len(), 2);
    }

    proptest! {
        #[test]
        fn no_spans_make_it_panic_or_exceed_the_most(
            ends in prop::collection::vec((any::<std::net::IpAddr>(), any::<std::net::IpAddr>()), 0..8),
        ) {
            let spans: Vec<_> = ends.into_iter().map(|(first, last)| Span { first, last }).collect();
            prop_assert!(addresses(&spans).0.len() <= Probe::MOST);
        }
    }
}
