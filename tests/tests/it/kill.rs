//! Killed in mid-run, whoever it is: the next apply converges, nothing is done twice, and revert still knows what
//! was there before.

use nix::sys::signal::Signal;
use rackwright_lab::{Host, Lab, Spec, need_lab};
use rackwright_proto::event::Record;

use crate::operator::{
    Held, Rack, Working, changes, coded, expect, journals, kill_ssh_sessions, rackwright, state,
    until_finished,
};

const FILES: usize = 200;
/// Numbers of journal records to die after: at the first step, in the middle, near the end.
const POINTS: [usize; 3] = [2, 2 * FILES / 2, 2 * FILES - 20];

fn write_rack(lab: &Lab) {
    Rack::new(lab).hosts("sysctls: {net.ipv4.tcp_keepalive_time: 1234}").files(FILES, "text").write();
}

/// A host on which some of the files are there before, with content and modes of their own.
fn used_host(lab: &Lab) -> Host {
    let host = lab.host("cp1");
    host.read("mkdir -m 750 /etc/many; for n in 000 007 199; do echo mine $n > /etc/many/$n; chmod 600 /etc/many/$n; done")
        .unwrap();
    host
}

/// Starts an apply and stops its run after so many records.
fn met_at(lab: &Lab, host: &Host, records: usize) -> (Working, Held) {
    let known: Vec<String> = journals(host).into_keys().collect();
    let mut apply = Working::start(lab, rackwright(lab, &["apply", "--yes"]));
    let held = Held::at(&mut apply, host, &known, records);
    (apply, held)
}

/// The next apply ends well, the one after finds nothing, nothing was done twice, and revert brings all back.
#[track_caller]
fn assert_recovers(lab: &Lab, host: &Host, before: &str, earlier: &[String]) {
    expect(lab, &["apply", "--yes"], 0);
    let text = host.read("cat /etc/many/*").unwrap();
    assert_eq!(text.matches("text-").count(), FILES);
    assert_eq!(host.read("sysctl -n net.ipv4.tcp_keepalive_time").unwrap(), "1234");
    let twice: Vec<_> = changes(host, earlier).into_iter().filter(|(_, count)| *count > 1).collect();
    assert!(twice.is_empty(), "done more than once: {twice:?}");
    expect(lab, &["status"], 0);
    expect(lab, &["plan", "--exit-code"], 0);
    expect(lab, &["revert", "--yes"], 0);
    assert_eq!(state(host), before);
}

/// Kills somebody at each of the points, and recovers from each.
fn at_every_point(victim: impl Fn(&Lab, &Host, Working, &Held)) {
    let lab = Lab::up(Spec::test(1)).unwrap();
    write_rack(&lab);
    let host = used_host(&lab);
    let before = state(&host);
    for records in POINTS {
        let earlier: Vec<String> = journals(&host).into_keys().collect();
        let (apply, held) = met_at(&lab, &host, records);
        victim(&lab, &host, apply, &held);
        assert_recovers(&lab, &host, &before, &earlier);
    }
}

#[test]
fn a_killed_run_is_closed_and_completed_by_the_next() {
    need_lab!();
    at_every_point(|_, host, apply, held| {
        held.signal(Signal::SIGKILL);
        let output = coded(apply.end(), 1);
        assert!(output.stdout.contains("died"), "{}", output.stdout);
        assert!(!journals(host)[&held.run].iter().any(|e| matches!(e.record, Record::Finished { .. })));
    });
}

#[test]
fn a_run_does_not_need_its_coordinator() {
    need_lab!();
    at_every_point(|lab, host, apply, held| {
        apply.signal(Signal::SIGKILL);
        apply.end();
        held.go_on();
        assert_eq!(until_finished(host), held.run);
        let output = expect(lab, &["apply", "--yes"], 0);
        assert!(output.stdout.contains("1 unchanged"), "{}", output.stdout);
    });
}

#[test]
fn a_run_does_not_need_its_ssh_session() {
    need_lab!();
    at_every_point(|_, host, apply, held| {
        kill_ssh_sessions(host);
        apply.until_it_says("connection lost");
        held.go_on();
        let output = coded(apply.end(), 0);
        assert!(output.stdout.contains("1 changed"), "{}", output.stdout);
    });
}

#[test]
fn a_host_that_dies_in_mid_run_is_completed_after_its_boot() {
    need_lab!();
    at_every_point(|_, host, apply, held| {
        host.kill().unwrap();
        apply.signal(Signal::SIGKILL);
        apply.end();
        host.boot().unwrap();
        assert!(!held.is_alive());
    });
}
