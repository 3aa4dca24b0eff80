//! The one limit of the machine itself that a large rack needs raised, and its way back.

use std::fs;
use std::path::Path;

use crate::error::{Doing, Result};
use crate::spec::Kind;
use crate::talk::say;

/// Each systemd takes several; at 128, the kernel's default, the thirteenth host hangs in its boot.
const INOTIFY: &str = "/proc/sys/fs/inotify/max_user_instances";
const WANTED: u32 = 8192;
const HOSTS_THAT_FIT: usize = 8;
/// containerd, kubelet and every container take more.
const NODES_THAT_FIT: usize = 2;
/// In `/run`: the limit is back to the machine's own after a reboot anyway.
const BEFORE: &str = "/run/rackwright-lab.inotify-before";

/// Raises the limit for many hosts, and says so.
pub(crate) fn raise_for(hosts: usize, kind: Kind) -> Result<()> {
    let fit = if matches!(kind, Kind::Kube(_)) { NODES_THAT_FIT } else { HOSTS_THAT_FIT };
    let current = read(INOTIFY);
    if hosts <= fit || current.is_none_or(|limit| limit >= WANTED) {
        return Ok(());
    }
    let before = current.unwrap_or_default();
    say(format_args!(
        "raising fs.inotify.max_user_instances from {before} to {WANTED}, until the last rack is down"
    ));
    if !Path::new(BEFORE).exists() {
        fs::write(BEFORE, before.to_string()).doing(|| format!("write {BEFORE}"))?;
    }
    fs::write(INOTIFY, WANTED.to_string()).doing(|| format!("write {INOTIFY}"))
}

/// Sets the limit back once no rack is left.
pub(crate) fn restore_if_last(last: bool) {
    let Some(before) = read(BEFORE).filter(|_| last) else { return };
    if fs::write(INOTIFY, before.to_string()).is_ok() {
        let _ = fs::remove_file(BEFORE);
    }
}

fn read(path: &str) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
