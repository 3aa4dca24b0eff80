//! Stopping a run on its node at one sync of its journal, to the system call, so that the power can be cut there. The
//! agent is the one that everybody has: strace(1) holds it, started by systemd in the agent's place.

use std::time::{Duration, Instant};

use rackwright_lab::Host;

use crate::operator::{LIMIT, Working};

/// A side of a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// All that came before was asked of the disk, this was not yet.
    Before,
    /// The disk took it, and nobody knows yet.
    After,
}

/// A place where a run is stopped. The syncs of journals are counted from 1; a run makes no other fdatasync(2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) sync: usize,
    pub(crate) side: Side,
}

/// `-D`: the agent stays the unit's main process, and goes on when strace ends. The delay is in microseconds; nothing
/// here takes ten minutes.
const RUNNER: &str = r#"#!/bin/sh
# Carries out a run of the agent: under strace, with what /run/lab-cut says, if that is there.
id=${1#rackwright-run-}
id=${id%.service}
agent=$(ls -t /usr/local/lib/rackwright/agent-* | head -n 1)
test -e /run/lab-cut || exec "$agent" run "$id"
exec strace -D -f --seccomp-bpf -qqq -e signal=none -o /run/lab-cut.trace -e trace=fdatasync \
    $(cat /run/lab-cut) -- "$agent" run "$id"
"#;

/// Units of runs are made anew for each, but systemd looks for files that change them as it does for others.
const INSTALL: &str = r"
umask 022
cat > /usr/local/sbin/lab-run
chmod 755 /usr/local/sbin/lab-run
mkdir -p /etc/systemd/system/rackwright-run-.service.d
printf '[Service]\nExecStart=\nExecStart=/usr/local/sbin/lab-run %%n\n' > /etc/systemd/system/rackwright-run-.service.d/lab.conf
systemctl daemon-reload
sync
";

/// Runs of this host can be stopped from now on, also after its power was cut.
#[track_caller]
pub(crate) fn install(host: &Host) {
    let installed = host.sh_with(INSTALL, Some(RUNNER.as_bytes()), LIMIT).unwrap();
    assert!(installed.success(), "{}", installed.stderr);
    host.read("command -v strace").expect("the host has strace");
}

/// The next runs are stopped there, or, without a place, only their syncs are counted. A boot forgets it.
#[track_caller]
pub(crate) fn set(host: &Host, place: Option<Place>) {
    let inject = match place {
        None => String::new(),
        Some(Place { sync, side: Side::Before }) => {
            format!("-e inject=fdatasync:delay_enter=600000000:when={sync}")
        }
        Some(Place { sync, side: Side::After }) => {
            format!("-e inject=fdatasync:delay_exit=600000000:when={sync}")
        }
    };
    host.read(&format!("rm -f /run/lab-cut.trace; echo '{inject}' > /run/lab-cut")).unwrap();
}

/// Runs are left alone again; one that is stopped goes on.
#[track_caller]
pub(crate) fn release(host: &Host) {
    host.read("rm -f /run/lab-cut; pkill -TERM -x strace || true").unwrap();
}

/// How many syncs the last run made.
#[track_caller]
pub(crate) fn syncs(host: &Host) -> usize {
    host.read("grep -c '= 0' /run/lab-cut.trace").unwrap().parse().unwrap()
}

/// Waits until the run is stopped there. strace tells of a call before it delays it, with the line's end yet to come,
/// and afterwards that it delayed it.
#[track_caller]
pub(crate) fn await_stop(host: &Host, place: Place, by: &mut Working) {
    let stopped = match place.side {
        Side::Before => format!(
            "test $(grep -c '= 0' $trace) -eq {} && tail -n 1 $trace | grep -q 'fdatasync([0-9]*$'",
            place.sync - 1
        ),
        Side::After => "grep -q DELAYED $trace".to_owned(),
    };
    let question = format!(
        "trace=/run/lab-cut.trace; for n in $(seq 50); do \
         {stopped} && echo stopped && exit; sleep 0.1; done 2>/dev/null; cat $trace 2>/dev/null; true"
    );
    let deadline = Instant::now() + LIMIT;
    loop {
        let told = host.read(&question).unwrap();
        if told == "stopped" {
            return;
        }
        by.assert_works();
        assert!(Instant::now() < deadline, "{place:?} was not met: {told}\n{}", by.talk());
        std::thread::sleep(Duration::from_millis(10));
    }
}
