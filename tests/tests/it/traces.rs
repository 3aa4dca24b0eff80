//! What a rack leaves on the machine, as the machine's own tools tell it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use rackwright_lab::{RackName, await_until};

/// Every trace of a rack: namespaces, mounts, control groups, processes, directories.
pub(crate) fn of(rack: &RackName) -> Vec<String> {
    let (prefix, dir) = (rack.prefix(), rack.dir().display().to_string());
    let namespaces = said("ip", &["netns", "list"]);
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let groups = said("find", &["/sys/fs/cgroup", "-maxdepth", "3", "-name", "rwl-*"]);
    let processes = said("ps", &["-ww", "-eo", "pid,args"]);
    let directories = said("find", &["/run/systemd/nspawn", "/var/lib/rackwright-lab", "-maxdepth", "2"]);
    let sources = [
        ("netns", namespaces),
        ("mount", mounts),
        ("cgroup", groups),
        ("ps", processes),
        ("find", directories),
    ];
    let mut traces = Vec::new();
    for (source, text) in sources {
        let mine = text.lines().filter(|line| line.contains(&prefix) || line.contains(&dir));
        traces.extend(mine.map(|line| format!("{source}: {line}")));
    }
    traces
}

/// Insists that nothing is left. Waits a little: PID 1 of the machine still has to bury the dead.
#[track_caller]
pub(crate) fn assert_none(rack: &RackName) {
    let gone = await_until("nothing of the rack is left", Duration::from_secs(10), || {
        let left = of(rack);
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
    gone.unwrap();
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
