//! Sudo's password: where it goes, and where it must never be.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rackwright_lab::{Host, Lab, Login, Output, Spec, need_lab};

use crate::operator::{LIMIT, Rack, coded, ends, expect, rackwright, says};

fn lab(count: usize) -> Lab {
    let lab = Lab::up(Spec::test(count).login(Login::SudoPassword)).unwrap();
    Rack::new(&lab).hosts("sysctls: {net.ipv4.ip_forward: 1}").files(40, "text").write();
    lab
}

/// Reads the arguments and the environment of every process of the machine, over and over: the hosts' processes are
/// among them, and the coordinator's.
struct Watcher {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    seen: Arc<Mutex<Seen>>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    leaks: BTreeSet<String>,
    /// Programs of interest, as proof that the watch sees what it is to watch.
    programs: BTreeSet<&'static str>,
}

impl Watcher {
    fn start(secret: &str) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (theirs, counted, found, secret) =
            (stop.clone(), rounds.clone(), seen.clone(), secret.to_owned());
        let deadline = Instant::now() + LIMIT;
        let thread = thread::spawn(move || {
            while !theirs.load(Ordering::Relaxed) && Instant::now() < deadline {
                look(&secret, &mut found.lock().unwrap());
                counted.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
        });
        Self { stop, rounds, seen, thread }
    }

    /// Everything that was seen, and how often it looked.
    fn end(self) -> (Seen, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        (std::mem::take(&mut *self.seen.lock().unwrap()), self.rounds.load(Ordering::Relaxed))
    }
}

fn look(secret: &str, seen: &mut Seen) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        if !entry.file_name().as_encoded_bytes()[0].is_ascii_digit() {
            continue;
        }
        for file in ["cmdline", "environ"] {
            let text = fs::read(entry.path().join(file)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).replace('\0', " ");
            if text.contains(secret) {
                seen.leaks.insert(format!("{file}: {text}"));
            }
            for program in ["rackwright apply", "sudo -k -S", "rackwright/agent-"] {
                if file == "cmdline" && text.contains(program) {
                    seen.programs.insert(program);
                }
            }
        }
    }
}

/// Every place on a host where a secret could have been left behind.
#[track_caller]
fn assert_nowhere_on(host: &Host, secret: &str) {
    let journal = format!("journalctl --no-pager --all --output=export | grep -c -e '{secret}' || true");
    assert_eq!(host.read(&journal).unwrap(), "0", "the journal has it");
    let lines = host.read("journalctl --no-pager | grep -c sudo || true").unwrap();
    assert_ne!(lines, "0", "the journal would not show it");
    let files = format!(
        "grep -rlaF -e '{secret}' /var/lib /var/log /run /tmp /etc /root /home /usr/local /opt /srv 2>/dev/null || true"
    );
    assert_eq!(host.read(&files).unwrap(), "", "files have it");
}

#[track_caller]
fn assert_not_said(output: &Output, secret: &str) {
    assert!(!output.stdout.contains(secret), "standard output has it");
    assert!(!output.stderr.contains(secret), "standard error has it:\n{}", output.stderr);
}

#[test]
fn the_password_is_nowhere_but_on_its_way() {
    need_lab!();
    let lab = lab(1);
    let (host, secret) = (lab.host("cp1"), lab.sudo_password().unwrap());
    let watcher = Watcher::start(&secret);
    let mut outputs = Vec::new();
    for arguments in [
        &["check", "--all", "-vv"][..],
        &["plan", "-o", "saved.plan", "-vv"],
        &["apply", "--yes", "-vv"],
        &["apply", "--yes", "--json", "-vv"],
        &["attach", "--json", "-vv"],
        &["status", "--json", "-vv"],
        &["revert", "--yes", "-vv"],
    ] {
        let mut command = rackwright(&lab, arguments);
        // More than -vv says: everything that anybody in the process logs.
        command.env("RACKWRIGHT_LOG", "trace");
        outputs.push(ends(command));
    }
    outputs.push(expect(&lab, &["apply", "--yes", "-vv"], 0));
    let (seen, rounds) = watcher.end();
    assert_eq!(seen.leaks, BTreeSet::new());
    assert_eq!(seen.programs.len(), 3, "watched in vain: {seen:?} in {rounds} rounds");
    for output in outputs {
        assert_not_said(&coded(output, 0), &secret);
    }
    let plan = fs::read_to_string(lab.dir().join("saved.plan")).unwrap();
    assert!(plan.contains("/etc/many/001") && !plan.contains(&secret));
    assert_nowhere_on(&host, &secret);
}

#[test]
fn a_wrong_password_is_told_at_once_and_not_repeated() {
    need_lab!();
    let lab = lab(1);
    let wrong = "not-the-password-0815";
    fs::write(lab.dir().join("sudo-password"), wrong).unwrap();
    let refused = expect(&lab, &["apply", "--yes", "-vv"], 1);
    says(&refused, "sudo does not accept the password of ops");
    assert_not_said(&refused, wrong);
    let host = lab.host("cp1");
    let tried = host.read("journalctl -t sudo | grep -c 'authentication failure' || true").unwrap();
    assert_eq!(tried, "1", "a second try may lock an account");
    assert_nowhere_on(&host, wrong);
    assert!(!host.sh("test -e /usr/local/lib/rackwright").unwrap().success());
}

#[test]
fn a_missing_password_is_told_at_once() {
    need_lab!();
    let lab = lab(1);
    fs::remove_file(lab.dir().join("sudo-password")).unwrap();
    says(&expect(&lab, &["apply", "--yes"], 1), "sudo wants a password from ops; say in the rack where");
    Rack::new(&lab).ssh("becomePassword: prompt").files(1, "text").write();
    says(&expect(&lab, &["apply", "--yes"], 1), "sudo wants a password from ops");
}

#[test]
fn a_host_that_asks_for_none_is_told_none() {
    need_lab!();
    let lab = lab(1);
    lab.host("cp1").read("echo 'ops ALL=(ALL:ALL) NOPASSWD: ALL' > /etc/sudoers.d/ops").unwrap();
    // What does not exist cannot be sent: asking for it would fail, as the test above shows.
    fs::remove_file(lab.dir().join("sudo-password")).unwrap();
    expect(&lab, &["apply", "--yes"], 0);
}

#[test]
fn each_node_has_its_own_password() {
    need_lab!();
    let lab = lab(2);
    let other = "another-password-4711";
    let changed = lab.host("w1").sh_with("chpasswd", Some(format!("ops:{other}\n").as_bytes()), LIMIT);
    assert!(changed.unwrap().success());
    let refused = expect(&lab, &["plan"], 1);
    says(&refused, "w1");
    says(&refused, "sudo does not accept the password of ops");
    fs::write(lab.dir().join("other-password"), other).unwrap();
    Rack::new(&lab).files(1, "text").write_with(|node| match node {
        "w1" => ", ssh: {becomePassword: {file: other-password}}".to_owned(),
        _ => String::new(),
    });
    expect(&lab, &["apply", "--yes"], 0);
}
