//! A run owns its work: nobody who goes away takes it along.

use nix::sys::signal::Signal;
use rackwright_lab::{Host, Lab, Login, Spec, need_lab};
use rackwright_proto::event::Record;

use crate::operator::{
    Held, Rack, Working, coded, expect, journals, kill_ssh_sessions, process, rackwright, says, ssh_sessions,
    until_finished,
};

const FILES: usize = 150;

fn lab(spec: Spec) -> Lab {
    let lab = Lab::up(spec).unwrap();
    Rack::new(&lab).files(FILES, "text").write();
    lab
}

/// An apply whose run is stopped in its middle.
fn met(lab: &Lab, host: &Host) -> (Working, Held) {
    let mut apply = Working::start(lab, rackwright(lab, &["apply", "--yes"]));
    let held = Held::at(&mut apply, host, &[], FILES);
    (apply, held)
}

/// `attach`, in a process of its own, tells every step of the run.
#[track_caller]
fn assert_attach_tells_all(lab: &Lab, host: &Host, run: &str) {
    let attached = expect(lab, &["attach", "--json", "--run", run], 0);
    let told: serde_json::Value = serde_json::from_str(&attached.stdout).unwrap();
    let titles: Vec<&str> =
        told["nodes"][0]["steps"].as_array().unwrap().iter().map(|s| s["title"].as_str().unwrap()).collect();
    let journals = journals(host);
    let done = journals[run].iter().filter_map(|event| match &event.record {
        Record::Outcome { step, .. } => Some(step.title()),
        _ => None,
    });
    assert_eq!(titles, done.collect::<Vec<_>>());
    assert!(titles.len() >= FILES);
}

#[track_caller]
fn assert_nothing_left_to_do(lab: &Lab) {
    says(&expect(lab, &["apply", "--yes"], 0), "1 unchanged");
    expect(lab, &["status"], 0);
}

#[test]
fn an_interrupted_coordinator_leaves_the_run_to_itself() {
    need_lab!();
    let lab = lab(Spec::test(1));
    let host = lab.host("cp1");
    let (apply, held) = met(&lab, &host);
    apply.signal(Signal::SIGINT);
    let detached = coded(apply.end(), 5);
    says(&detached, &format!("run {} goes on", held.run));
    says(&detached, "`rackwright attach`");
    assert!(held.is_alive());

    let attached = Working::start(&lab, rackwright(&lab, &["attach"]));
    attached.until_it_says(&format!("run {}", held.run));
    attached.signal(Signal::SIGINT);
    coded(attached.end(), 5);

    let attached = Working::start(&lab, rackwright(&lab, &["attach"]));
    attached.until_it_says(&format!("run {}", held.run));
    held.go_on();
    says(&coded(attached.end(), 0), "1 changed");
    assert_eq!(until_finished(&host), held.run);
    assert_attach_tells_all(&lab, &host, &held.run);
    assert_nothing_left_to_do(&lab);
}

#[test]
fn a_lost_connection_is_made_anew() {
    need_lab!();
    let lab = lab(Spec::test(1));
    let host = lab.host("cp1");
    let (apply, held) = met(&lab, &host);
    lab.unplug("cp1").unwrap();
    // Their farewell does not arrive: the coordinator finds out only by asking, once there is a cable again.
    kill_ssh_sessions(&host);
    held.go_on();
    assert_eq!(until_finished(&host), held.run);
    lab.plug("cp1").unwrap();
    let output = coded(apply.end(), 0);
    says(&output, "connection lost");
    says(&output, "1 changed");
    assert_nothing_left_to_do(&lab);
}

#[test]
#[ignore = "long: three signs of life must be missing, then five connections fail"]
fn a_host_that_stays_away_is_let_go() {
    need_lab!();
    let lab = lab(Spec::test(1));
    let host = lab.host("cp1");
    let (apply, held) = met(&lab, &host);
    lab.unplug("cp1").unwrap();
    held.go_on();
    let output = coded(apply.end(), 5);
    says(&output, "connection lost");
    says(&output, "rackwright attach");
    assert_eq!(until_finished(&host), held.run);
    lab.plug("cp1").unwrap();
    assert_attach_tells_all(&lab, &host, &held.run);
    assert_nothing_left_to_do(&lab);
}

#[test]
fn neither_sshd_nor_logind_reaches_a_run() {
    need_lab!();
    let lab = lab(Spec::test(1));
    let host = lab.host("cp1");
    host.read("mkdir -p /etc/systemd/logind.conf.d; printf '[Login]\\nKillUserProcesses=yes\\n' > /etc/systemd/logind.conf.d/kill.conf; systemctl restart systemd-logind")
        .unwrap();
    let (apply, held) = met(&lab, &host);
    let unit = format!("rackwright-run-{}.service", held.run);
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", held.pid)).unwrap();
    assert!(groups.contains(&format!("/system.slice/{unit}")), "{groups}");
    assert_eq!(host.read(&format!("systemctl is-active {unit}")).unwrap(), "active");

    let before = ssh_sessions(&host);
    host.read("systemctl restart ssh; loginctl terminate-user ops").unwrap();
    apply.until_it_says("connection lost");
    assert!(before.iter().all(|pid| !ssh_sessions(&host).contains(pid)), "logind let the session live");
    assert!(held.is_alive());
    assert_eq!(host.read(&format!("systemctl is-active {unit}")).unwrap(), "active");
    held.go_on();
    says(&coded(apply.end(), 0), "1 changed");
    assert_eq!(journals(&host).len(), 1);
    assert_nothing_left_to_do(&lab);
}

/// The session of a process (proc_pid_stat(5)).
fn session(pid: i32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap().to_owned()
}

#[test]
fn without_systemd_a_run_has_a_session_of_its_own() {
    need_lab!();
    let lab = lab(Spec::test(1).light().login(Login::Root));
    let host = lab.host("cp1");
    let (apply, held) = met(&lab, &host);
    let talks = process(&host, &["session"]).unwrap();
    assert_ne!(session(held.pid), session(talks));
    kill_ssh_sessions(&host);
    apply.until_it_says("connection lost");
    assert!(held.is_alive());
    held.go_on();
    says(&coded(apply.end(), 0), "1 changed");
    assert_nothing_left_to_do(&lab);
}
