//! The limits of the machine itself that a large rack needs raised, and their way back.

use std::fs;
use std::path::PathBuf;

use crate::error::{Doing, Result};
use crate::spec::Kind;
use crate::talk::say;

/// A limit that all hosts of the machine share.
struct Limit {
    /// As sysctl(8) names it.
    key: &'static str,
    wanted: u32,
    hosts_that_fit: usize,
}

const LIMITS: [Limit; 3] = [
    // Each systemd takes several; at 128, the kernel's default, the thirteenth host hangs in its boot.
    Limit { key: "fs.inotify.max_user_instances", wanted: 8192, hosts_that_fit: 8 },
    // Neighbours of all namespaces count together: 64 hosts that each hear from 16 others fill the table's 1024.
    Limit { key: "net.ipv4.neigh.default.gc_thresh3", wanted: 65536, hosts_that_fit: 16 },
    Limit { key: "net.ipv6.neigh.default.gc_thresh3", wanted: 65536, hosts_that_fit: 16 },
];

/// Raises the limits for many hosts, and says so.
pub(crate) fn raise_for(hosts: usize, kind: Kind) -> Result<()> {
    // containerd, kubelet and every container take as much again.
    let hosts = if matches!(kind, Kind::Kube(_)) { 4 * hosts } else { hosts };
    LIMITS.iter().filter(|limit| hosts > limit.hosts_that_fit).try_for_each(Limit::raise)
}

/// Sets the limits back once no rack is left.
pub(crate) fn restore_if_last(last: bool) {
    if last {
        LIMITS.iter().for_each(Limit::restore);
    }
}

impl Limit {
    fn raise(&self) -> Result<()> {
        let Some(now) = read(self.path()).filter(|now| *now < self.wanted) else { return Ok(()) };
        let Limit { key, wanted, .. } = self;
        say(format_args!("raising {key} from {now} to {wanted}, until the last rack is down"));
        let before = self.before();
        if !before.exists() {
            fs::write(&before, now.to_string()).doing(|| format!("write {}", before.display()))?;
        }
        fs::write(self.path(), wanted.to_string()).doing(|| format!("set {key}"))
    }

    fn restore(&self) {
        let Some(before) = read(self.before()) else { return };
        if fs::write(self.path(), before.to_string()).is_ok() {
            let _ = fs::remove_file(self.before());
        }
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/sys/{}", self.key.replace('.', "/")))
    }

    /// In `/run`: the limit is back to the machine's own after a reboot anyway.
    fn before(&self) -> PathBuf {
        PathBuf::from(format!("/run/rackwright-lab.{}-before", self.key))
    }
}

fn read(path: PathBuf) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
