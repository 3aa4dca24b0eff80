//! A small cluster as it is measured, everything that can be wrong with it, and what the doctor says of each.

mod golden;
mod trouble;
mod world;

use std::collections::BTreeSet;

use proptest::prelude::*;

use self::trouble::TROUBLES;
use self::world::World;
use super::{Cause, NAMES, Verdict, diagnose};
use crate::report::diagnose::{View, json_text, text};
use crate::report::paint::Paint;

fn view() -> View {
    View { paint: Paint::PLAIN, verbose: false, hosts: 3, took_ms: 1234 }
}

fn shown(world: &World) -> String {
    let mut out = Vec::new();
    text(&mut out, &diagnose(&world.case()), view()).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn every_cause_has_a_name_once_and_is_documented() {
    let docs = include_str!("../../../../docs/mesh.md");
    let mut names = BTreeSet::new();
    for (cause, about) in NAMES {
        let row = format!("| `{cause}` | {about} |");
        assert!(docs.contains(&row), "docs/mesh.md lacks this row:\n{row}");
        assert!(names.insert(cause.name()), "{cause}");
    }
}

#[test]
fn every_cause_is_shown_by_a_trouble() {
    let found: BTreeSet<&str> = TROUBLES
        .iter()
        .filter_map(|trouble| match diagnose(&World::with(&[*trouble]).case()).verdict {
            Verdict::Cause(found) => Some(found.cause.name()),
            _ => None,
        })
        .collect();
    let missing: Vec<&str> =
        NAMES.iter().map(|(cause, _)| cause.name()).filter(|name| !found.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_is_well_is_said_to_be_well() {
    assert_eq!(diagnose(&World::well().case()).verdict, Verdict::Well);
}

/// A host that hears no names while its pods do says nothing of CoreDNS's upstream, nor of CoreDNS.
#[test]
fn what_one_host_alone_does_not_hear_is_not_explained() {
    let mut world = World::well();
    world.lose(|way| way.host == "w1" && !way.from_pod && way.port == 53);
    let found = diagnose(&world.case());
    let Verdict::CannotTell { seen, look } = found.verdict else { panic!("{found:?}") };
    assert!(seen[0].starts_with("w1 asks 10.96.0.10 over UDP"), "{seen:?}");
    assert!(!look.is_empty());
}

proptest! {
    /// Whatever comes together, and whatever was not asked: one verdict, and each cause says all that it must.
    #[test]
    fn any_troubles_together_come_to_one_verdict(
        troubles in prop::collection::vec(prop::sample::select(TROUBLES), 0..6),
        deaf in prop::collection::btree_set(0..3usize, 0..3),
        lost in any::<bool>(),
        cut in 0..40usize,
    ) {
        let mut case = World::with(&troubles).case();
        for at in deaf.iter().copied() {
            case.hosts[at].examined = Err("no route to host".into());
        }
        if lost {
            case.cluster = Err("connection refused".into());
        }
        for host in &mut case.hosts {
            if let Ok(said) = &mut host.examined {
                said.reached.truncate(cut);
                said.echoed.truncate(cut);
            }
        }
        let diagnosis = diagnose(&case);
        prop_assert_eq!(&diagnosis, &diagnose(&case));
        let sound = !lost && deaf.is_empty() && troubles.is_empty();
        prop_assert_eq!(diagnosis.verdict == Verdict::Well && cut > 30, sound && cut > 30);
        let main = match &diagnosis.verdict {
            Verdict::Cause(found) => Some(found),
            _ => None,
        };
        prop_assert!(main.is_some() || diagnosis.also.is_empty());
        for found in main.into_iter().chain(&diagnosis.also) {
            prop_assert!(!found.evidence.is_empty() && !found.mend.is_empty() && !found.words.is_empty(), "{found:?}");
        }
        let mut out = Vec::new();
        text(&mut out, &diagnosis, view()).unwrap();
        json_text(&mut out, &diagnosis, view()).unwrap();
    }

    /// A trouble that is alone is found, whoever else does not answer but the API.
    #[test]
    fn a_trouble_that_is_alone_is_the_cause(trouble in prop::sample::select(TROUBLES)) {
        let found = match diagnose(&World::with(&[trouble]).case()).verdict {
            Verdict::Cause(found) => found.cause,
            other => return Err(TestCaseError::fail(format!("{trouble:?}: {other:?}"))),
        };
        let wanted: Cause = trouble.cause();
        prop_assert_eq!(found, wanted, "{:?}", trouble);
    }
}
