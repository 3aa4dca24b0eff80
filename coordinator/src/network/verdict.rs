//! What the answers to the pools' probes mean.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rackwright_proto::finding::{Finding, Severity};
use rackwright_proto::l2::{Patience, Probe, Probed, Span};
use rackwright_proto::link::Mac;

use super::holdings::{IPVS_LINK, is_own_address};
use super::owners::Owners;
use super::say::{self, Say as _, addresses, error, list, pass, warning};
use super::{PoolInput, Scene, names, range};
use crate::natural::Natural;

/// Judges the answers to [`super::pool_probes`]: `asked` is what it returned, `probed` the answers of each node,
/// in the same order. A node without answers counts as one that did not ask.
pub fn judge_pool_probes(
    scene: &Scene,
    asked: &BTreeMap<String, Vec<Probe>>,
    probed: &BTreeMap<String, Vec<Probed>>,
) -> Vec<Finding> {
    let heard = heard(probed);
    let owners = Owners::among(&scene.nodes);
    let mut findings = Vec::new();
    for pool in &scene.pools {
        let mut verdicts = Verdicts::default();
        for (ip, who) in
            heard.iter().filter(|(ip, _)| pool.ranges.iter().any(|span| range::holds(span, **ip)))
        {
            verdicts.add(scene, &owners, *ip, who);
        }
        let conflicts = verdicts.into_findings(pool, &unreached(scene, pool));
        let clean = conflicts.iter().all(|finding| finding.severity == Severity::Pass);
        findings.extend(conflicts);
        findings.extend(coverage(scene, pool, asked, probed, clean));
    }
    findings.extend(troubles(probed));
    say::merge(findings)
}

/// All that was heard of one address, by all who asked.
#[derive(Default)]
struct Who {
    claims: BTreeSet<Mac>,
    seeks: BTreeSet<Mac>,
}

fn heard(probed: &BTreeMap<String, Vec<Probed>>) -> BTreeMap<IpAddr, Who> {
    let mut heard = BTreeMap::<_, Who>::new();
    for answer in probed.values().flatten().flat_map(|probed| &probed.answers) {
        let who = heard.entry(answer.ip).or_default();
        who.claims.extend(&answer.macs);
        who.seeks.extend(&answer.seekers);
    }
    heard
}

/// A hint at nodes whose MAC addresses are not known, because they were not heard from.
fn unreached(scene: &Scene, pool: &PoolInput) -> String {
    let reached: BTreeSet<_> = scene.nodes.iter().map(|node| &node.name).collect();
    let missing: Vec<_> = pool.nodes.iter().filter(|name| !reached.contains(name)).collect();
    if missing.is_empty() {
        String::new()
    } else {
        format!("; it may be a node that was not reached ({}): bring that back first", list(missing))
    }
}

/// What an address's answers amount to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// A machine that is no node answers.
    Foreign,
    /// Several MACs answer, all of nodes.
    Twice,
    /// Several nodes answer because of `kube-ipvs0`, and what the plan sets silences all but the one that announces it.
    Silenced,
    /// One node answers, and has the address itself.
    NodeAddress,
    /// One node answers, but the cluster has no Service with the address.
    Unserved,
    /// One node answers, as it should.
    Served,
    /// Somebody else is about to take it.
    Sought,
}

/// Addresses by verdict and by who it is, so that equal ones are told once.
#[derive(Default)]
struct Verdicts(BTreeMap<(Verdict, Vec<String>, BTreeSet<String>), Vec<IpAddr>>);

impl Verdicts {
    fn add(&mut self, scene: &Scene, owners: &Owners, ip: IpAddr, who: &Who) {
        // Nodes probe for each other's pools at the same time; that is no sign of a conflict.
        let seekers: Vec<_> = who.seeks.iter().filter(|mac| !owners.knows(**mac)).collect();
        if !seekers.is_empty() {
            let words = seekers.into_iter().map(|mac| owners.describe(*mac)).collect();
            self.0.entry((Verdict::Sought, words, BTreeSet::new())).or_default().push(ip);
        }
        if who.claims.is_empty() {
            return;
        }
        let words = who.claims.iter().map(|mac| owners.describe(*mac)).collect();
        let nodes: BTreeSet<_> =
            who.claims.iter().flat_map(|mac| owners.of(*mac)).map(str::to_owned).collect();
        let verdict = judge(scene, owners, ip, who, &nodes);
        self.0.entry((verdict, words, nodes)).or_default().push(ip);
    }

    fn into_findings(self, pool: &PoolInput, unreached: &str) -> Vec<Finding> {
        let told = self.0.into_iter().map(|((verdict, who, nodes), ips)| {
            let which = list(range::gather(ips).iter().map(range::show));
            tell(pool, &verdict, &which, &list(who), unreached).on(nodes)
        });
        told.collect()
    }
}

fn judge(scene: &Scene, owners: &Owners, ip: IpAddr, who: &Who, nodes: &BTreeSet<String>) -> Verdict {
    if who.claims.iter().any(|mac| !owners.knows(*mac)) {
        Verdict::Foreign
    } else if who.claims.len() > 1 {
        let loud = nodes.iter().filter(|node| !is_silenced(scene, node, ip)).count();
        if loud <= 1 && nodes.len() == who.claims.len() { Verdict::Silenced } else { Verdict::Twice }
    } else if nodes.iter().any(|node| is_own_address(scene, node, ip)) {
        Verdict::NodeAddress
    } else if scene.served.as_ref().is_some_and(|served| !served.contains(&ip)) {
        Verdict::Unserved
    } else {
        Verdict::Served
    }
}

/// Whether a node's kernel answers for an address of `kube-ipvs0`, and no more once the plan has set arp_ignore there.
fn is_silenced(scene: &Scene, node: &str, ip: IpAddr) -> bool {
    let Some(host) = scene.nodes.iter().find(|known| known.name == node) else { return false };
    let mut links = host.network.links.iter().filter(|link| link.name == IPVS_LINK);
    ip.is_ipv4()
        && links.any(|link| link.addresses.iter().any(|address| address.net.addr() == ip))
        && host.network.arp_all.arp_ignore == 0
        && matches!(scene.wanted_of(node).arp_ignore, Some(1 | 2))
}

fn tell(pool: &PoolInput, verdict: &Verdict, which: &str, who: &str, unreached: &str) -> Finding {
    let name = &pool.name;
    let checked = format!("who answers for the addresses of pool {name}");
    let answered = format!("{which}: answered by {who}");
    let finding = match verdict {
        Verdict::Foreign => error(names::POOL_ADDRESS_IN_USE, name)
            .expected("no answer, or that of one node which announces the address")
            .fix(format!("take {which} out of pool {name}, or give that machine another address{unreached}")),
        Verdict::NodeAddress => error(names::POOL_ADDRESS_IN_USE, name)
            .expected("no address of a node in a pool")
            .fix(format!("take {which} out of pool {name}")),
        Verdict::Unserved => error(names::POOL_ADDRESS_IN_USE, name)
            .expected("an answer only for addresses that a Service of the cluster has")
            .fix("look on that node for proxy_arp, for another announcer such as kube-vip or keepalived, and for leftovers of a former cluster"),
        Verdict::Twice => error(names::VIP_ANSWERED_TWICE, name)
            .expected("one MAC address: with two, clients reach now one node, now the other")
            .fix("with kube-proxy in ipvs mode set `strictARP: true`; with two interfaces in the subnet name one under `interfaces` of the advertisement; otherwise see whether the speakers reach each other on port 7946"),
        Verdict::Silenced => warning(names::VIP_ANSWERED_TWICE, name)
            .observed(format!("{answered}: it is on {IPVS_LINK}, and arp_ignore is 0 (kube-proxy in ipvs mode without strictARP)"))
            .expected("one MAC address: with two, clients reach now one node, now the other")
            .fix("`rackwright apply`: the plan sets net.ipv4.conf.all.arp_ignore"),
        Verdict::Served => pass(names::VIP_SERVED, name).expected("an address that this cluster announces already"),
        Verdict::Sought => error(names::POOL_ADDRESS_SOUGHT, name)
            .observed(format!("{which}: probed for at the same time by {who}"))
            .expected("nobody else who is about to take an address of the pool")
            .fix(format!("find that machine; exclude pool {name} from the range of the DHCP server that it asks")),
    };
    let observed = if finding.observed.is_empty() { answered } else { finding.observed.clone() };
    finding.checked(checked).observed(observed)
}

/// Which nodes asked, for how many of a pool's addresses, and which addresses nobody asked for.
fn coverage(
    scene: &Scene,
    pool: &PoolInput,
    asked: &BTreeMap<String, Vec<Probe>>,
    probed: &BTreeMap<String, Vec<Probed>>,
    clean: bool,
) -> Vec<Finding> {
    let mut nodes = BTreeSet::new();
    let mut covered = Vec::new();
    for (node, probes) in asked {
        let outcomes = probed.get(node).map(Vec::as_slice).unwrap_or_default();
        for (probe, outcome) in probes.iter().zip(outcomes) {
            let mine = shared(&probe.spans, &pool.ranges);
            if outcome.trouble.is_none() && !mine.is_empty() {
                nodes.insert(node.clone());
                covered.extend(mine);
            }
        }
    }
    let total: u128 = united(&pool.ranges).iter().map(range::count).fold(0, u128::saturating_add);
    let count: u128 = united(&covered).iter().map(range::count).sum();
    let mut findings = Vec::new();
    if clean && count > 0 {
        findings.push(no_conflict_seen(scene, pool, count, &nodes));
    }
    if count < total {
        findings.push(not_probed(pool, count, total));
    }
    findings
}

fn shared(some: &[Span], others: &[Span]) -> Vec<Span> {
    some.iter().flat_map(|a| others.iter().filter_map(move |b| range::common(a, b))).collect()
}

/// The same addresses, in ranges that do not overlap.
fn united(spans: &[Span]) -> Vec<Span> {
    let mut spans = spans.to_vec();
    spans.sort_by_key(|span| (span.first, span.last));
    let mut united: Vec<Span> = Vec::new();
    for span in spans {
        match united.last_mut() {
            Some(last) if range::holds(last, span.first) => last.last = last.last.max(span.last),
            _ => united.push(span),
        }
    }
    united
}

fn no_conflict_seen(scene: &Scene, pool: &PoolInput, count: u128, nodes: &BTreeSet<String>) -> Finding {
    let patience = match scene.patience {
        Patience::Rfc5227 => "three times each, as RFC 5227 says",
        Patience::Quick => "three times each within 0.4 s",
    };
    let alone = if nodes.len() == 1 { "; what that node answers itself was not heard" } else { "" };
    pass(names::POOL_NO_CONFLICT_SEEN, &pool.name)
        .on(nodes)
        .checked(format!("who answers for the addresses of pool {}", pool.name))
        .observed(format!(
            "no conflict seen: asked for {} from {}, {patience}{alone}",
            addresses(count),
            list(nodes.iter().map(|node| Natural(node)).collect::<BTreeSet<_>>())
        ))
        .expected("no answer, or that of one node which announces the address; a machine that is off does not answer")
}

fn not_probed(pool: &PoolInput, count: u128, total: u128) -> Finding {
    warning(names::POOL_NOT_PROBED, &pool.name)
        .checked(format!("whether every address of pool {} was asked for", pool.name))
        .observed(format!("{count} of {} were asked for", addresses(total)))
        .expected("every address asked for by a node on its segment")
        .fix("mend what the other findings name, or make the pool smaller: of a large one only the first addresses are asked for")
}

fn troubles(probed: &BTreeMap<String, Vec<Probed>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (node, outcomes) in probed {
        for (outcome, trouble) in outcomes.iter().filter_map(|o| Some((o, o.trouble.as_ref()?))) {
            findings.push(
                warning(names::POOL_NOT_PROBED, &outcome.link)
                    .on([node])
                    .checked(format!("whether the node can ask on {}", outcome.link))
                    .observed(format!("{trouble} (asked for {})", addresses(outcome.asked.into())))
                    .expected("a link on which the node can ask who has an address")
                    .fix("mend the link and check again"),
            );
        }
    }
    findings
}
