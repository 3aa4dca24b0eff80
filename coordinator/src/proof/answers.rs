//! What the answers for one address mean.

use std::collections::{BTreeMap, BTreeSet};

use rackwright_proto::finding::Finding;
use rackwright_proto::link::Mac;

use super::case::Case;
use super::cause::{self, Cause};
use super::hearing::Heard;
use super::nics::Nics;
use super::service::{Owner, Seen};
use super::{Why, names};
use crate::network::NodeInput;
use crate::network::say::{Say as _, error, list, warning};

/// The MAC addresses that answered, each with the hosts that heard it.
type Macs<'a> = BTreeMap<Mac, BTreeSet<&'a str>>;

/// One round of questions for one address.
#[derive(Default)]
struct Round<'a> {
    macs: Macs<'a>,
    /// Hosts that heard nobody.
    silent: BTreeSet<&'a str>,
    /// Hosts that could not ask, and why.
    failed: BTreeMap<&'a str, &'a str>,
}

impl<'a> Round<'a> {
    fn of(heard: Option<&'a BTreeMap<String, Heard>>) -> Self {
        let mut round = Self::default();
        for (host, heard) in heard.into_iter().flatten() {
            match heard {
                Heard::Failed(why) => _ = round.failed.insert(host, why),
                Heard::Macs(macs) if macs.is_empty() => _ = round.silent.insert(host),
                Heard::Macs(macs) => macs.keys().for_each(|mac| {
                    round.macs.entry(*mac).or_default().insert(host);
                }),
            }
        }
        round
    }

    /// The hosts that did ask.
    fn listeners(&self) -> BTreeSet<&'a str> {
        self.macs.values().flatten().chain(&self.silent).copied().collect()
    }
}

/// All answers for one address.
pub(super) struct Answers<'a> {
    case: &'a Case,
    nics: Nics<'a>,
    hosts: BTreeSet<&'a str>,
    first: Round<'a>,
    again: Round<'a>,
}

impl<'a> Answers<'a> {
    pub(super) fn new(case: &'a Case, hosts: &'a [NodeInput], seen: &'a Seen) -> Self {
        Self {
            case,
            nics: Nics(hosts),
            hosts: hosts.iter().map(|host| host.name.as_str()).collect(),
            first: Round::of(seen.first.get(&case.address)),
            again: Round::of(seen.again.get(&case.address)),
        }
    }

    fn rounds(&self) -> [&Round<'a>; 2] {
        [&self.first, &self.again]
    }

    /// All that answered, in either round.
    fn macs(&self) -> Macs<'a> {
        let mut macs = Macs::new();
        for (mac, hosts) in self.rounds().iter().flat_map(|round| &round.macs) {
            macs.entry(*mac).or_default().extend(hosts);
        }
        macs
    }

    /// The one MAC address that answered, in any round, if it is one of one node.
    pub(super) fn owner(&self) -> Option<Owner> {
        let macs = self.macs();
        let (mac, 1) = (*macs.keys().next()?, macs.len()) else { return None };
        let nics = self.nics.of(mac, self.case.address);
        let ([nic], false) = (nics.as_slice(), self.is_foreign(mac)) else { return None };
        Some(Owner { node: nic.node.to_owned(), link: nic.link.name.clone(), mac })
    }

    /// The hosts that heard an answer, without the one that gives it.
    pub(super) fn hearers(&self) -> Vec<String> {
        let macs = self.macs();
        let own: BTreeSet<_> = macs.keys().flat_map(|mac| self.nics.nodes(*mac)).collect();
        let all: BTreeSet<_> = macs.values().flatten().filter(|host| !own.contains(**host)).collect();
        all.into_iter().map(|host| (*host).to_owned()).collect()
    }

    /// Whether all hosts that were asked heard the same one MAC address, both times; the owner may hear nobody.
    pub(super) fn agree(&self) -> bool {
        let macs = self.macs();
        let own: BTreeSet<_> = macs.keys().flat_map(|mac| self.nics.nodes(*mac)).collect();
        macs.len() == 1
            && !self.hearers().is_empty()
            && self
                .rounds()
                .iter()
                .all(|round| round.macs.len() == 1 && round.failed.is_empty() && round.silent.is_subset(&own))
    }

    pub(super) fn findings(&self, silent: &[Why]) -> Vec<Finding> {
        let macs = self.macs();
        let mut findings = self.failures();
        if macs.is_empty() {
            findings.extend(self.nobody(silent));
        } else if macs.keys().any(|mac| self.is_foreign(*mac)) {
            findings.push(self.foreigner(&macs));
        } else if self.rounds().iter().any(|round| round.macs.len() > 1) || self.is_shared(&macs) {
            findings.push(self.twice(&macs));
        } else if macs.len() == 1 {
            findings.extend(self.wrong_node());
            findings.extend(self.wrong_interface());
            let itself = format!("nobody else hears who answers for {}", self.case.address);
            findings.extend(self.hearers().is_empty().then(|| self.only_itself(&itself)));
        }
        findings.extend(self.moves());
        findings.extend(self.heard_by_some(&macs));
        findings.into_iter().map(|finding| finding.checked(self.checked())).collect()
    }

    fn checked(&self) -> String {
        format!("who answers for {}", self.case.address)
    }

    /// `192.0.2.200 is answered for by 52:54:00:00:00:01 (eth0 of w1; heard by cp1)`.
    fn told(&self, macs: &Macs) -> String {
        let told = macs.iter().map(|(mac, hosts)| {
            let owner = self.nics.owner(*mac, self.case.address);
            format!("{mac} ({owner}; heard by {})", list(hosts))
        });
        format!("{} is answered for by {}", self.case.address, list(told))
    }

    /// Whether it is of no node of the cluster: of another host of the rack, or of a machine that is not known.
    fn is_foreign(&self, mac: Mac) -> bool {
        !self.nics.nodes(mac).iter().any(|node| self.case.nodes.contains(*node))
    }

    fn is_shared(&self, macs: &Macs) -> bool {
        macs.keys().any(|mac| self.nics.nodes(*mac).len() > 1)
    }

    /// What MetalLB says, in words; nothing where it says nothing.
    fn said(&self) -> String {
        let Some(first) = self.case.announcers.first() else { return String::new() };
        let nodes: BTreeSet<_> = self.case.announcers.iter().map(|said| &said.node).collect();
        format!("MetalLB says that it announces from {} ({})", list(nodes), first.source)
    }

    fn causes(&self, macs: &Macs) -> Vec<Cause> {
        let nics = macs.keys().flat_map(|mac| self.nics.of(*mac, self.case.address));
        nics.flat_map(|nic| cause::causes(nic, self.case.address)).collect()
    }

    fn nobody(&self, silent: &[Why]) -> Vec<Finding> {
        let [first, again] = self.rounds().map(Round::listeners);
        let listeners: BTreeSet<_> = first.union(&again).copied().collect();
        let asked = format!("nobody answers for {} (asked from {})", self.case.address, list(&listeners));
        if listeners.is_empty() {
            Vec::from_iter(self.nobody_asked())
        } else if !silent.is_empty() {
            let subject = self.case.service.to_string();
            let told =
                silent.iter().map(|why| why.finding(&subject, &asked).expected("an answer of one node"));
            told.collect()
        } else if listeners.len() == 1 && listeners.iter().all(|node| self.may_announce(node)) {
            vec![self.only_itself(&asked)]
        } else {
            vec![self.unannounced(asked)]
        }
    }

    /// Whether it may be this node that answers, and does not hear itself.
    fn may_announce(&self, node: &str) -> bool {
        let said = &self.case.announcers;
        self.case.nodes.contains(node) && (said.is_empty() || said.iter().any(|said| said.node == node))
    }

    fn unannounced(&self, asked: String) -> Finding {
        let said = Some(self.said()).filter(|said| !said.is_empty());
        error(names::SERVICE_UNANNOUNCED, &self.case.service)
            .observed([asked].into_iter().chain(said).collect::<Vec<_>>().join("; "))
            .expected("an answer of one node")
            .fix("look at the logs of MetalLB's speakers; where they say that they announce it, look for a filter of ARP between the hosts: port security or the anti-spoofing of a hypervisor")
    }

    /// That no host has a link on the segment; where hosts failed to ask, that is told already.
    fn nobody_asked(&self) -> Option<Finding> {
        let ip = self.case.address;
        self.first.failed.is_empty().then(|| {
            warning(names::SERVICE_NOT_ASKED, &self.case.service)
                .observed(format!("no host that was heard from has a link in the subnet of {ip}"))
                .expected("a host on the segment that can ask")
                .fix("take a pool whose addresses lie in a subnet of the nodes, or put a host of that segment into the rack")
        })
    }

    fn only_itself(&self, asked: &str) -> Finding {
        warning(names::SERVICE_NOT_ASKED, &self.case.service)
            .observed(format!("{asked}; a node does not hear itself"))
            .expected("another host on the segment that can ask")
            .fix("put a second host of that segment into the rack")
    }

    /// The hosts that could not ask, and that nobody asked a second time.
    fn failures(&self) -> Vec<Finding> {
        let mut found = BTreeMap::<&str, &str>::new();
        found.extend(self.rounds().iter().flat_map(|round| &round.failed));
        let mut findings: Vec<_> =
            found.into_iter().map(|(host, why)| self.not_asked(why).on([host])).collect();
        let once = self.again.listeners().is_empty() && self.again.failed.is_empty();
        if once && !self.first.macs.is_empty() {
            findings.push(self.not_asked("nobody asked a second time"));
        }
        findings
    }

    fn not_asked(&self, why: &str) -> Finding {
        warning(names::SERVICE_NOT_ASKED, &self.case.service)
            .observed(why)
            .expected("every host of the segment asks, twice")
            .fix("mend that and try again")
    }

    fn foreigner(&self, macs: &Macs) -> Finding {
        let foreign: Vec<_> = macs.keys().filter(|mac| self.is_foreign(**mac)).collect();
        let unknown: Vec<_> = foreign.iter().filter(|mac| self.nics.nodes(***mac).is_empty()).collect();
        let hosts = foreign.iter().flat_map(|mac| self.nics.nodes(**mac)).collect::<BTreeSet<_>>();
        let missing = self.case.nodes.iter().filter(|node| !self.hosts.contains(node.as_str()));
        let missing: Vec<_> = missing.filter(|_| !unknown.is_empty()).collect();
        let unless = match missing.as_slice() {
            [] => None,
            _ => Some(format!("unless it is {}, which was not heard from", list(missing))),
        };
        let causes = self.causes(macs);
        let find = (!unknown.is_empty()).then(|| {
            format!("find {} in the switch's table of MAC addresses and give that machine another address, or take {} out of the pool", list(&unknown), self.case.address)
        });
        let look = (!hosts.is_empty() && causes.is_empty())
            .then(|| format!("see what answers for it on {}, which is no node of the cluster", list(&hosts)));
        let remedies = Some(cause::fixes(&causes)).filter(|fixes| !fixes.is_empty());
        let seen = [self.told(macs)].into_iter().chain(cause::seen(&causes)).chain(unless);
        error(names::SERVICE_ANSWERED_BY_FOREIGNER, &self.case.service)
            .on(hosts)
            .observed(seen.collect::<Vec<_>>().join("; "))
            .expected("an answer of one node of the cluster and of nobody else")
            .fix([find, look, remedies].into_iter().flatten().collect::<Vec<_>>().join("; "))
    }

    fn twice(&self, macs: &Macs) -> Finding {
        let nodes: BTreeSet<_> = macs.keys().flat_map(|mac| self.nics.nodes(*mac)).collect();
        let causes = self.causes(macs);
        let fix = self.remedy(macs, &nodes, &causes);
        let said = Some(self.said()).filter(|said| !said.is_empty());
        let seen = [self.told(macs)].into_iter().chain(cause::seen(&causes)).chain(said);
        error(names::SERVICE_ANSWERED_TWICE, &self.case.service)
            .on(nodes)
            .observed(seen.collect::<Vec<_>>().join("; "))
            .expected("one MAC address: with two, clients reach now one node, now the other")
            .fix(fix)
    }

    fn remedy(&self, macs: &Macs, nodes: &BTreeSet<&str>, causes: &[Cause]) -> String {
        if self.is_shared(macs) {
            format!("give each of {} a MAC address of its own", list(nodes))
        } else if !causes.is_empty() {
            cause::fixes(causes)
        } else if nodes.len() == 1 {
            "name one interface under `interfaces` of the L2Advertisement, or set arp_ignore to 1 where the node itself has the address".into()
        } else {
            format!(
                "MetalLB's speakers do not see each other, so each thinks itself alone: let {} reach each other on port 7946, TCP and UDP",
                list(nodes)
            )
        }
    }

    fn wrong_node(&self) -> Option<Finding> {
        let (owner, macs) = (self.owner()?, self.macs());
        let said: BTreeSet<_> = self.case.announcers.iter().map(|said| said.node.as_str()).collect();
        if said.is_empty() || said.contains(owner.node.as_str()) {
            return None;
        }
        let causes = self.causes(&macs);
        let fix = match causes.as_slice() {
            [] => format!(
                "see what else answers for it on {}: kube-vip, keepalived, or a speaker of a former cluster; if the address has just moved, ask again",
                owner.node
            ),
            _ => cause::fixes(&causes),
        };
        let seen = [self.told(&macs), self.said()].into_iter().chain(cause::seen(&causes));
        Some(
            error(names::SERVICE_WRONG_NODE, &self.case.service)
                .on([owner.node])
                .observed(seen.collect::<Vec<_>>().join("; "))
                .expected(format!("an answer of {}", list(said)))
                .fix(fix),
        )
    }

    fn wrong_interface(&self) -> Option<Finding> {
        let (owner, macs) = (self.owner()?, self.macs());
        let status = self.case.announcers.iter().find(|said| said.node == owner.node);
        let status = status.map(|said| &said.interfaces).filter(|names| !names.is_empty());
        let (wanted, by) = match (status, &self.case.interfaces) {
            (Some(names), _) => (names, "ServiceL2Status"),
            (None, Some(names)) => (names, "the L2Advertisement"),
            (None, None) => return None,
        };
        // A MAC address may be that of several links: of a bond, its ports, and VLANs on it.
        let host = self.nics.0.iter().find(|host| host.name == owner.node)?;
        let mut own = host.network.links.iter().filter(|link| link.mac == Some(owner.mac));
        if own.any(|link| wanted.contains(&link.name)) {
            return None;
        }
        Some(
            error(names::SERVICE_WRONG_INTERFACE, &self.case.service)
                .on([&owner.node])
                .observed(format!("{}; {by} names {}", self.told(&macs), list(wanted)))
                .expected(format!("an answer on {} of {}", list(wanted), owner.node))
                .fix(match self.causes(&macs).as_slice() {
                    [] => format!(
                        "set arp_ignore to 1 on {}, so that it answers for an address only where it is",
                        owner.node
                    ),
                    causes => cause::fixes(causes),
                }),
        )
    }

    fn moves(&self) -> Option<Finding> {
        let [first, again] = self.rounds().map(|round| round.macs.keys().collect::<BTreeSet<_>>());
        if first == again || self.rounds().iter().any(|round| round.listeners().is_empty()) {
            return None;
        }
        let who = |macs: &BTreeSet<&Mac>| match macs.len() {
            0 => "nobody".to_owned(),
            _ => list(macs.iter().map(|mac| self.nics.describe(**mac, self.case.address))),
        };
        let nodes = first.union(&again).flat_map(|mac| self.nics.nodes(**mac));
        Some(
            error(names::SERVICE_MOVES, &self.case.service)
                .on(nodes)
                .observed(format!(
                    "{} was answered for by {}, and some seconds later by {}",
                    self.case.address,
                    who(&first),
                    who(&again)
                ))
                .expected("the same answer both times")
                .fix("try again once MetalLB's speakers have settled; if it goes on, look for speakers that restart (`kubectl get pods -w` in MetalLB's namespace) or that lose sight of each other on port 7946"),
        )
    }

    /// Hosts that heard nobody, while others did.
    fn heard_by_some(&self, macs: &Macs) -> Option<Finding> {
        let own: BTreeSet<_> = macs.keys().flat_map(|mac| self.nics.nodes(*mac)).collect();
        let mut deaf = BTreeSet::<&str>::new();
        for round in self.rounds().into_iter().filter(|round| !round.macs.is_empty()) {
            deaf.extend(round.silent.difference(&own));
        }
        (!deaf.is_empty()).then(|| {
            error(names::SERVICE_HEARD_BY_SOME, &self.case.service)
                .on(deaf.iter().copied())
                .observed(format!("{}; not heard by {}", self.told(macs), list(&deaf)))
                .expected("an answer to every host of the segment")
                .fix(format!("see what is between {} and the others: port isolation, another VLAN, ARP inspection of the switch, or a filter of ARP on the host", list(&deaf)))
        })
    }
}
