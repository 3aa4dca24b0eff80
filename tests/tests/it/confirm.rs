//! A change that cuts the node off comes back by itself; one that does not, stays.

use std::fs;

use nix::sys::signal::Signal;
use rackwright_lab::{Host, Lab, Spec, must, need_lab};
use rackwright_proto::event::{Event, Record, RunResult};

use crate::operator::{
    Held, LIMIT, Rack, Working, coded, expect, journals, process, rackwright, says, until, until_begun,
    until_finished,
};

/// Steps before the risky ones: time to stop the coordinator before it can confirm anything.
const FILES: usize = 60;
const WITHIN: &str = "limits: {confirm: 10s}";
/// Longer than anything here takes: not this deadline undoes it.
const WITHIN_AN_HOUR: &str = "limits: {confirm: 1h}";
/// A known way to cut a node off, refused unless somebody insists.
const DEAF: &str = "net.ipv4.conf.all.arp_ignore: 8";
const INSISTS: &str = "waive: [{finding: arp-ignore-all, reason: to see it come back}]";

fn rack(lab: &Lab, sysctl: &str) {
    rack_within(lab, sysctl, WITHIN);
}

fn rack_within(lab: &Lab, sysctl: &str, within: &str) {
    let rack = Rack::new(lab).hosts(&format!("sysctls: {{{sysctl}}}"));
    let rack = if sysctl.contains(DEAF) { rack.hosts(INSISTS) } else { rack };
    rack.files(FILES, "text").line(within).write();
}

/// A command in the operator's network.
#[track_caller]
fn operator(lab: &Lab, program: &str, arguments: &[&str]) {
    let mut command = lab.op_command(program).unwrap();
    command.args(arguments);
    must(command, "prepare the operator's network", LIMIT).unwrap();
}

/// From now on the operator reaches the host only if the host answers ARP. Else a question from the host's side
/// would teach the operator the way there, and chance would decide.
fn only_by_arp(lab: &Lab, host: &Host) {
    let nic = &lab.layout().operator.nics[0];
    host.read(&format!("ip neigh replace {} lladdr {} nud permanent dev eth0", nic.address.addr(), nic.mac))
        .unwrap();
    operator(lab, "sysctl", &["-qw", "net.ipv4.conf.all.arp_ignore=8"]);
}

/// What time does: the operator's entry for the host is forgotten.
fn forget(lab: &Lab, host: &Host) {
    operator(lab, "ip", &["neigh", "flush", "to", &host.address().to_string()]);
}

/// An apply whose risky steps are done, and whose coordinator is stopped before it could confirm them.
fn unconfirmed(lab: &Lab, host: &Host, arguments: &[&str]) -> (Working, String) {
    let known: Vec<String> = journals(host).into_keys().collect();
    let mut apply = Working::start(lab, rackwright(lab, arguments));
    let run = until_begun(&mut apply, host, &known);
    apply.signal(Signal::SIGSTOP);
    until(host, &run, "awaits its confirmation", |record| matches!(record, Record::AwaitingConfirm));
    (apply, run)
}

fn live(host: &Host, key: &str) -> String {
    host.read(&format!("sysctl -n net.ipv4.conf.all.{key}")).unwrap()
}

fn written(host: &Host) -> String {
    host.read("cat /etc/sysctl.d/90-rackwright.conf 2>/dev/null || true").unwrap()
}

/// The risky steps are undone, the others stay.
#[track_caller]
fn assert_rolled_back(host: &Host, run: &str, key: &str) {
    assert_eq!(live(host, key), "0");
    assert!(!written(host).contains(key), "it would be back at the next boot: {}", written(host));
    assert_eq!(host.read("cat /etc/many/000").unwrap(), "text-0");
    let last = journals(host)[run].last().cloned().map(|event| event.record);
    assert_eq!(last, Some(Record::Finished { result: RunResult::RolledBack }));
    assert_eq!(host.read("systemctl list-units --no-legend 'rackwright-watchdog-*'").unwrap(), "");
}

#[test]
fn a_node_that_stops_answering_arp_undoes_it_by_itself() {
    need_lab!();
    let lab = Lab::up(Spec::test(1)).unwrap();
    let host = lab.host("cp1");
    only_by_arp(&lab, &host);
    Rack::new(&lab).hosts(&format!("sysctls: {{{DEAF}}}")).write();
    says(&expect(&lab, &["apply", "--yes"], 3), "error: arp-ignore-all");
    rack(&lab, DEAF);
    let (apply, run) = unconfirmed(&lab, &host, &["apply", "--yes"]);
    assert_eq!(live(&host, "arp_ignore"), "8");
    assert!(written(&host).contains("arp_ignore"));
    forget(&lab, &host);
    apply.signal(Signal::SIGCONT);

    assert_eq!(until_finished(&host), run);
    let output = coded(apply.end(), 1);
    says(&output, "cannot confirm yet");
    says(&output, "rolled back");
    says(&output, "nobody confirmed in time");
    assert_rolled_back(&host, &run, "arp_ignore");

    // The way is free for a value that the node can be reached with.
    rack(&lab, "net.ipv4.conf.all.arp_ignore: 1");
    expect(&lab, &["apply", "--yes"], 0);
    assert_eq!(live(&host, "arp_ignore"), "1");
    expect(&lab, &["status"], 0);
}

#[test]
fn a_confirmed_change_stays() {
    need_lab!();
    let lab = Lab::up(Spec::test(1)).unwrap();
    let host = lab.host("cp1");
    rack(&lab, "net.ipv4.conf.all.arp_ignore: 1, net.ipv4.conf.all.rp_filter: 2");
    let output = expect(&lab, &["apply", "--yes"], 0);
    says(&output, "confirming over a new connection");
    let run = until_finished(&host);
    let records: Vec<Record> = journals(&host)[&run].iter().map(|event| event.record.clone()).collect();
    let armed = records.iter().position(|r| matches!(r, Record::Armed { .. })).unwrap();
    let risky = records[armed..].iter().filter(|r| matches!(r, Record::Intent { .. })).count();
    assert!(risky >= 3, "two values and the file that sets them at boot: {records:?}");
    assert!(records.contains(&Record::Confirmed));
    assert_eq!(host.read("systemctl list-units --all --no-legend 'rackwright-watchdog-*'").unwrap(), "");
    host.reboot().unwrap();
    assert_eq!((live(&host, "arp_ignore"), live(&host, "rp_filter")), ("1".to_owned(), "2".to_owned()));
    expect(&lab, &["status"], 0);
}

/// cp1 hears the operator directly and answers through w1, as on a segment with two routers: strict filtering of
/// the reverse path drops all that the operator says.
#[test]
fn a_node_that_filters_the_reverse_path_undoes_it_by_itself() {
    need_lab!();
    let lab = Lab::up(Spec::test(2).segments(2)).unwrap();
    let host = lab.host("cp1");
    lab.host("w1").read("sysctl -qw net.ipv4.ip_forward=1").unwrap();
    let way_back = lab.layout().host("w1").unwrap().nics[1].address.addr();
    host.read(&format!("ip route add 192.0.2.1 via {way_back} dev eth1")).unwrap();
    rack(&lab, "net.ipv4.conf.all.rp_filter: 1");
    let output = expect(&lab, &["apply", "--yes", "--node", "cp1"], 1);
    says(&output, "rolled back");
    let run = until_finished(&host);
    assert_rolled_back(&host, &run, "rp_filter");
}

#[test]
fn a_killed_run_is_undone_by_its_watchdog() {
    need_lab!();
    let lab = Lab::up(Spec::test(1)).unwrap();
    let host = lab.host("cp1");
    only_by_arp(&lab, &host);
    // The kernel itself sets these two with ip_forward.
    host.read("sysctl -qw net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.eth0.forwarding=1").unwrap();
    rack(&lab, &format!("{DEAF}, net.ipv4.ip_forward: 1"));
    let (apply, run) = unconfirmed(&lab, &host, &["apply", "--yes"]);
    assert_eq!(live(&host, "forwarding"), "1");
    let pid = process(&host, &["run", &run]).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    forget(&lab, &host);
    apply.signal(Signal::SIGCONT);
    assert_eq!(until_finished(&host), run);
    says(&coded(apply.end(), 1), "rolled back");
    assert_rolled_back(&host, &run, "arp_ignore");
    assert_eq!(
        (live(&host, "forwarding"), live(&host, "accept_redirects")),
        ("0".to_owned(), "0".to_owned())
    );
    assert_eq!(host.read("sysctl -n net.ipv4.conf.eth0.forwarding").unwrap(), "1");
}

/// The restore unit, at boot, before anybody could ask for it: after a power cut and after a reboot in good order.
#[test]
fn an_unconfirmed_change_does_not_survive_a_boot() {
    need_lab!();
    let lab = Lab::up(Spec::test(1)).unwrap();
    unconfirmed_changes_do_not_survive_boots(&lab);
}

/// On the rack's only host, whatever it is made of.
pub(crate) fn unconfirmed_changes_do_not_survive_boots(lab: &Lab) {
    let host = lab.host("cp1");
    for power_cut in [true, false] {
        rack_within(lab, DEAF, WITHIN_AN_HOUR);
        let (apply, run) = unconfirmed(lab, &host, &["apply", "--yes"]);
        assert!(written(&host).contains("arp_ignore"));
        apply.signal(Signal::SIGKILL);
        apply.end();
        if power_cut {
            host.kill().unwrap();
        }
        host.reboot().unwrap();
        assert_rolled_back(&host, &run, "arp_ignore");
        let died = "the run died before anybody confirmed";
        let by_restore = |record: &Record| matches!(record, Record::RolledBack { why, .. } if why == died);
        assert!(journals(&host)[&run].iter().any(|event| by_restore(&event.record)));
        Rack::new(lab).files(FILES, "text").line(WITHIN).write();
        expect(lab, &["apply", "--yes"], 0);
        expect(lab, &["revert", "--yes"], 0);
    }
}

/// A revert takes the restore unit away last, so the unit settles it at boot as it settles an apply.
#[test]
fn an_unconfirmed_undo_does_not_survive_a_boot_either() {
    need_lab!();
    let lab = Lab::up(Spec::test(1)).unwrap();
    let host = lab.host("cp1");
    rack_within(&lab, "net.ipv4.conf.all.arp_ignore: 1", WITHIN_AN_HOUR);
    for command in ["apply", "revert"] {
        expect(&lab, &["apply", "--yes"], 0);
        let (revert, run) = unconfirmed(&lab, &host, &["revert", "--yes"]);
        assert_eq!(live(&host, "arp_ignore"), "0");
        revert.kill();
        host.kill().unwrap();
        host.boot().unwrap();
        assert_eq!(live(&host, "arp_ignore"), "1");
        assert!(written(&host).contains("arp_ignore"), "{}", written(&host));
        let last = journals(&host)[&run].last().cloned().map(|event| event.record);
        assert_eq!(last, Some(Record::Finished { result: RunResult::RolledBack }));
        expect(&lab, &[command, "--yes"], 0);
        expect(&lab, &["revert", "--yes"], 0);
        assert_eq!((live(&host, "arp_ignore"), written(&host)), ("0".to_owned(), String::new()));
        assert_eq!(host.read("ls /etc/systemd/system | grep -c rackwright || true").unwrap(), "0");
    }
}

/// Nothing is forgotten here: the operator still knows the way to both, and only a neighbour notices.
#[test]
fn a_neighbour_bears_witness_against_a_node_that_went_deaf() {
    need_lab!();
    let lab = Lab::up(Spec::test(2)).unwrap();
    let sysctls = format!("sysctls: {{{DEAF}}}");
    Rack::new(&lab).hosts(&sysctls).hosts(INSISTS).line(WITHIN).line("network: {probe: quick}").write();
    let output = expect(&lab, &["apply", "--yes"], 1);
    says(&output, "cannot confirm yet");
    says(&output, "asks for it and gets no answer any more");
    for host in [lab.host("cp1"), lab.host("w1")] {
        until_finished(&host);
        assert_eq!(live(&host, "arp_ignore"), "0", "{}{}", output.stdout, output.stderr);
        assert!(!written(&host).contains("arp_ignore"));
    }
}

#[test]
fn a_gateway_that_answered_before_must_answer_after() {
    need_lab!();
    let lab = Lab::up(Spec::test(1)).unwrap();
    let host = lab.host("cp1");
    // Many risky steps, so that the run can be met between the first and the last.
    let risky = (0..60).fold("files:\n".to_owned(), |text, number| {
        text + &format!("    - {{path: /etc/sysctl.d/{number:02}.conf, content: \"net.ipv4.conf.all.rp_filter = 0\\n\"}}\n")
    });
    Rack::new(&lab).hosts(&risky).hosts("sysctls: {net.ipv4.conf.all.arp_ignore: 1}").line(WITHIN).write();
    let mut apply = Working::start(&lab, rackwright(&lab, &["apply", "--yes"]));
    let armed = |events: &[Event]| events.iter().any(|e| matches!(e.record, Record::Armed { .. }));
    let held = Held::when(&mut apply, &host, &[], armed);
    operator(&lab, "sysctl", &["-qw", "net.ipv4.conf.all.arp_ignore=8"]);
    held.go_on();
    let output = coded(apply.end(), 1);
    says(&output, "rolled back");
    says(&output, "192.0.2.1 on eth0 answered before and no longer does");
    let records = &journals(&host)[&held.run];
    assert!(!records.iter().any(|e| matches!(e.record, Record::AwaitingConfirm)), "nobody had to wait");
    assert_eq!(live(&host, "arp_ignore"), "0");
    assert_eq!(host.read("ls /etc/sysctl.d | grep -c '^[0-9][0-9].conf' || true").unwrap(), "0");
    assert!(fs::read_dir(host.root().unwrap().join("etc/sysctl.d")).is_ok());
}
