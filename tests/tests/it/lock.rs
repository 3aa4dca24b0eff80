//! One run at a time on a host, whoever asks.

use nix::sys::signal::Signal;
use rackwright_lab::{Host, Lab, Spec, need_lab};

use crate::operator::{
    Held, Rack, Working, arguments, as_bob, coded, expect, journals, rackwright, says, until_finished,
};

const FILES: usize = 300;

fn rack(lab: &Lab, text: &str) {
    Rack::new(lab).files(FILES, text).write();
}

/// The processes that carry out runs.
fn runs(host: &Host) -> Vec<Vec<String>> {
    let all = host.processes().into_iter().map(arguments);
    all.filter(|a| a.first().is_some_and(|p| p.contains("agent-")) && a.get(1).is_some_and(|c| c == "run"))
        .collect()
}

/// Starts an apply of alice's and stops its run in the middle.
fn held(lab: &Lab, host: &Host) -> (Working, Held) {
    let known: Vec<String> = journals(host).into_keys().collect();
    let mut apply = Working::start(lab, rackwright(lab, &["apply", "--yes"]));
    let held = Held::at(&mut apply, host, &known, FILES);
    (apply, held)
}

#[test]
fn a_held_host_tells_by_whom_since_when_and_what_to_do() {
    need_lab!();
    let lab = Lab::up(Spec::test(1)).unwrap();
    rack(&lab, "text");
    let host = lab.host("cp1");
    let (apply, held) = held(&lab, &host);
    for arguments in [&["apply", "--yes"][..], &["revert", "--yes"]] {
        let refused = coded(as_bob(&lab, arguments), 3);
        says(&refused, "alice@");
        says(&refused, &format!("(run {})", held.run));
        // A run's id begins with the day; the lock was taken on that day, or just after.
        says(&refused, &format!("since {}-{}-", &held.run[..4], &held.run[4..6]));
        says(&refused, "`rackwright attach --node cp1`");
        assert_eq!(runs(&host).len(), 1, "two runs at once");
        assert_eq!(journals(&host).len(), 1);
    }
    // Looking is allowed.
    for arguments in [&["check"][..], &["plan"], &["status"]] {
        let output = as_bob(&lab, arguments);
        assert!([0, 4].contains(&output.code), "{arguments:?}: {}", output.stderr);
    }
    held.go_on();
    coded(apply.end(), 0);
    says(&coded(as_bob(&lab, &["apply", "--yes"]), 0), "1 unchanged");
}

#[test]
fn the_same_operator_waits_for_the_own_run() {
    need_lab!();
    let lab = Lab::up(Spec::test(1)).unwrap();
    rack(&lab, "text");
    let host = lab.host("cp1");
    let (first, held) = held(&lab, &host);
    let second = Working::start(&lab, rackwright(&lab, &["apply", "--yes"]));
    second.until_it_says(&format!("run {} is still on", held.run));
    assert_eq!(runs(&host).len(), 1, "two runs at once");
    held.go_on();
    coded(first.end(), 0);
    says(&coded(second.end(), 0), "1 unchanged");
    assert_eq!(journals(&host).len(), 1);
}

#[test]
fn a_killed_holder_frees_the_host() {
    need_lab!();
    let lab = Lab::up(Spec::test(1)).unwrap();
    rack(&lab, "text");
    let host = lab.host("cp1");
    let (apply, held) = held(&lab, &host);
    says(&coded(as_bob(&lab, &["apply", "--yes"]), 3), &held.run);
    held.signal(Signal::SIGKILL);
    coded(apply.end(), 1);
    let next = coded(as_bob(&lab, &["apply", "--yes"]), 0);
    says(&next, "1 changed");
    assert_ne!(until_finished(&host), held.run);
    expect(&lab, &["status"], 0);
}
