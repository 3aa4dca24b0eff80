//! The verdict against who answers whom, whatever they answer.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rackwright_proto::finding::Severity;
use rackwright_proto::link::Mac;
use rackwright_proto::reach::{Knocked, Reached};

use super::world::*;

/// What each host hears: the four hosts' own MAC addresses, and a stranger's.
type Hears = Vec<BTreeSet<usize>>;

fn machine(at: usize) -> Mac {
    HOSTS.get(at).map(|host| mac(host)).unwrap_or(STRANGER)
}

fn hears() -> impl Strategy<Value = Hears> {
    // Mostly one machine that all hear, so that some worlds are well.
    let wild = prop::collection::vec(prop::collection::btree_set(0..5usize, 0..3), HOSTS.len());
    let one = (0..5usize).prop_map(|owner| vec![BTreeSet::from([owner]); HOSTS.len()]);
    prop_oneof![1 => wild, 2 => one]
}

fn answers(hears: &Hears) -> Answers {
    let hears = hears.clone();
    Box::new(move |host| {
        let at = HOSTS.iter().position(|known| *known == host).unwrap();
        hears[at].iter().filter(|machine| **machine != at).map(|at| machine(*at)).collect()
    })
}

proptest! {
    #[test]
    fn nothing_is_proven_unless_all_hear_the_one_node_that_metallb_says(
        first in hears(),
        again in hears(),
        same in any::<bool>(),
        says in 0..3usize,
        shut in prop::option::of(0..HOSTS.len()),
    ) {
        let again = if same { first.clone() } else { again };
        let mut world = World::new();
        (world.first, world.again) = (answers(&first), Some(answers(&again)));
        world.facts.balancer.announced = Some(vec![status(HOSTS[says], &[])]);
        world.port = Box::new(move |host, _| match shut.is_some_and(|at| HOSTS[at] == host) {
            true => Reached::Knock(Knocked::Silence),
            false => Reached::Knock(Knocked::Open { from: mac("w1"), micros: 1 }),
        });
        let proof = world.proofs().remove(0);
        // By counting: everybody but the node itself hears that node alone, both times, and gets in.
        let well = [&first, &again].iter().all(|hears| {
            hears.iter().enumerate().all(|(at, heard)| {
                let others: Vec<_> = heard.iter().filter(|machine| **machine != at).collect();
                if at == says { others.is_empty() } else { others == [&says] }
            })
        }) && shut.is_none_or(|at| at == says);
        prop_assert_eq!(proof.proven, well, "{:#?}", proof.findings);
        let listed = |severity| proof.findings.iter().filter(|f| f.severity == severity).count();
        prop_assert_eq!(listed(Severity::Pass), usize::from(well));
        prop_assert!(well || listed(Severity::Error) + listed(Severity::Warning) > 0);
        prop_assert_eq!(proof.owner.is_some_and(|owner| owner.node == HOSTS[says]) || !well, true);
    }

    #[test]
    fn nothing_is_proven_where_anybody_heard_a_second_mac(
        who in 0..HOSTS.len(),
        other in 0..5usize,
        later in any::<bool>(),
    ) {
        prop_assume!(who != other && other != 1);
        let extra = move |host: &str| {
            let mut macs = announced(&["w1"])(host);
            macs.extend((HOSTS[who] == host).then(|| machine(other)));
            macs
        };
        let mut world = World::new();
        if later { world.again = Some(Box::new(extra)) } else { world.first = Box::new(extra) }
        let proof = world.proofs().remove(0);
        prop_assert!(!proof.proven && proof.findings.iter().any(|f| f.severity == Severity::Error));
    }
}
