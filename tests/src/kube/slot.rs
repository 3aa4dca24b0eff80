//! How many clusters of tests stand at once: each takes about a GiB, and its start a core.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use crate::error::{Doing, Result};
use crate::run::await_until;

const PLACES: &str = "/run/rackwright-lab-clusters";
/// Others hold theirs for a whole test.
const PATIENCE: Duration = Duration::from_secs(3600);
const KIB_PER_CLUSTER: u64 = 3 << 20;

/// The right to have one; the kernel drops it with its holder.
pub(super) type Slot = Flock<File>;

/// Waits for the right to have a cluster.
pub(super) fn take() -> Result<Slot> {
    fs::create_dir_all(PLACES).doing(|| format!("create {PLACES}"))?;
    let count = fit();
    await_until("another test's cluster goes down", PATIENCE, || {
        let mut places =
            (0..count).filter_map(|number| try_take(&Path::new(PLACES).join(number.to_string())));
        places.next().ok_or_else(|| format!("{count} stand"))
    })
}

fn try_take(place: &Path) -> Option<Slot> {
    let file = File::options().create(true).append(true).open(place).ok()?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()
}

/// One per core, as far as memory goes.
fn fit() -> u64 {
    let cores = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    let total: u64 = total.and_then(|text| text.parse().ok()).unwrap_or(0);
    cores.min(total / KIB_PER_CLUSTER).max(1)
}
