//! What is said, word by word.

use super::shown;
use super::trouble::TROUBLES;
use super::world::World;

#[test]
fn every_trouble_as_people_read_it() {
    let mut all = format!("=== well\n{}", shown(&World::well()));
    for trouble in TROUBLES {
        let said = shown(&World::with(&[*trouble]));
        // What was ruled out is told with the first: it differs in little.
        let until = said.find("\nruled out").unwrap_or(said.len());
        all.push_str(&format!("\n=== {trouble:?}\n{}", &said[..until]));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn what_cannot_be_told_is_said_to_be_so() {
    let mut deaf = World::well();
    deaf.deaf("w1");
    let mut odd = World::well();
    odd.lose(|way| way.host == "w2" && way.from_pod && way.to == world_dns());
    let all =
        [("a host that is not reached", deaf), ("a pod that is not answered, and nothing says why", odd)];
    let told: Vec<String> = all.iter().map(|(what, world)| format!("=== {what}\n{}", shown(world))).collect();
    insta::assert_snapshot!(told.join("\n"));
}

fn world_dns() -> std::net::IpAddr {
    "10.96.0.10".parse().unwrap()
}
