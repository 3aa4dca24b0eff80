//! A client outside of a cluster that asks for a Service again and again while kube-proxy's mode changes, and what it
//! saw in whose turn.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rackwright_lab::talk::say;
use rackwright_lab::{Lab, run};

use crate::operator::Working;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(300);
/// More than any change takes on a busy machine, unless it hangs.
const LIMIT: Duration = Duration::from_secs(1200);

/// One try: a connection, and a broadcast for the address.
#[derive(Debug)]
pub(super) struct Look {
    /// Since the watch began.
    at: Duration,
    answered: bool,
    /// Who answered ARP.
    macs: BTreeSet<String>,
    /// The node that had its turn when the try began.
    turn: Option<String>,
}

/// Looks until the coordinator ends.
pub(super) fn watch(lab: &Lab, address: &str, coordinator: &mut Working) -> Vec<Look> {
    let (mut looks, begun) = (Vec::new(), Instant::now());
    while coordinator.works() {
        assert!(begun.elapsed() < LIMIT, "it hangs:\n{}", coordinator.talk());
        looks.push(look(lab, address, begun, turn(&coordinator.talk())));
        std::thread::sleep(PAUSE);
    }
    looks.push(look(lab, address, begun, None));
    looks
}

/// Whose turn it is, by the last that was said of one; none between the turns.
fn turn(talk: &str) -> Option<String> {
    let last =
        talk.lines().rev().find(|l| l.contains(" has its turn ") || l.contains(": proven in mode "))?;
    let (node, _) = last.split_once(" has its turn ")?;
    node.split(' ').next_back().map(str::to_owned)
}

fn look(lab: &Lab, address: &str, begun: Instant, turn: Option<String>) -> Look {
    let ask = |program: &str, arguments: &[&str]| {
        let mut command = lab.op_command(program).unwrap();
        command.args(arguments);
        run(command, None, Duration::from_secs(10))
    };
    let url = format!("http://{address}/");
    let answer = ask("curl", &["--silent", "--fail", "--max-time", "2", &url]);
    let arping = ask("arping", &["-I", "eth0", "-b", "-c", "1", "-w", "1", address]);
    let said = arping.map(|output| output.stdout.to_lowercase()).unwrap_or_default();
    let macs = said.split(['[', ']']).filter(|word| word.matches(':').count() == 5).map(str::to_owned);
    let answered = answer.is_ok_and(|output| output.success());
    Look { at: begun.elapsed(), answered, macs: macs.collect(), turn }
}

/// Nobody ever shared the address with another. Wherever nobody was reached, the node that answers for the address had
/// its turn, in which its kube-proxy is replaced and it reboots; or another took over. It begins and ends with answers.
#[track_caller]
pub(super) fn assert_went_on(lab: &Lab, looks: &[Look]) {
    let doubled: Vec<_> = looks.iter().filter(|look| look.macs.len() > 1).collect();
    assert!(doubled.is_empty(), "{doubled:#?}");
    let good: Vec<usize> = (0..looks.len()).filter(|at| looks[*at].answered).collect();
    assert!(good.first() == Some(&0) && good.last() == Some(&(looks.len() - 1)), "{looks:#?}");
    let owner = |look: &Look| look.macs.first().and_then(|mac| node_of(lab, mac));
    let mut told = Vec::new();
    for pair in good.windows(2).filter(|pair| pair[1] > pair[0] + 1) {
        let silent = &looks[pair[0] + 1..pair[1]];
        let before = looks[..=pair[0]].iter().rev().find_map(owner);
        let after = looks[pair[1]..].iter().find_map(owner);
        let lasted = (looks[pair[1]].at - looks[pair[0]].at).as_secs_f64();
        let own_turn = before.is_some() && silent.iter().all(|look| look.turn == before);
        assert!(own_turn || before != after, "{lasted:.1} s of {before:?}, then {after:?}: {silent:#?}");
        told.push(format!("{lasted:.1} s ({before:?}, then {after:?})"));
    }
    say(format_args!("{} of {} tries were answered; not for {}", good.len(), looks.len(), told.join(", ")));
}

fn node_of(lab: &Lab, mac: &str) -> Option<String> {
    let layout = lab.layout();
    let mut hosts = layout.hosts.iter();
    hosts.find(|(_, station)| station.nics[0].mac == mac).map(|(name, _)| name.clone())
}

#[test]
fn a_turn_ends_when_its_node_is_proven() {
    let begun = "cluster: w1 has its turn (1 of 2)\ncluster: w1: draining\n";
    assert_eq!(turn(begun).as_deref(), Some("w1"));
    assert_eq!(turn(&format!("{begun}cluster: w1: proven in mode nftables\n")), None);
    assert_eq!(turn("nothing yet"), None);
}
