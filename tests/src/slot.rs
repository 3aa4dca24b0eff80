//! How many of the costly racks of tests stand at once: a cluster takes about a GiB and its start a core, an emulated
//! machine a core for as long as it works.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use crate::error::{Doing, Result};
use crate::run::await_until;

/// Others hold theirs for a whole test.
const PATIENCE: Duration = Duration::from_secs(3600);

/// The right to have one; the kernel drops it with its holder.
pub(crate) type Slot = Flock<File>;

/// A kind of rack of which only so many fit.
struct Places {
    directory: &'static str,
    /// How many cores one takes.
    cores: u64,
    kib: u64,
    what: &'static str,
}

const CLUSTERS: Places = Places {
    directory: "/run/rackwright-lab-clusters",
    cores: 1,
    kib: 3 << 20,
    what: "another test's cluster goes down",
};
const MACHINES: Places = Places {
    directory: "/run/rackwright-lab-machines",
    cores: 2,
    kib: 6 << 20,
    what: "another test's virtual machines go down",
};

/// Waits for the right to have a cluster.
pub(crate) fn of_cluster() -> Result<Slot> {
    CLUSTERS.take()
}

/// Waits for the right to have a rack with virtual machines. Who wants both takes the cluster's first.
pub(crate) fn of_machines() -> Result<Slot> {
    MACHINES.take()
}

impl Places {
    fn take(&self) -> Result<Slot> {
        fs::create_dir_all(self.directory).doing(|| format!("create {}", self.directory))?;
        let count = self.fit();
        await_until(self.what, PATIENCE, || {
            let place = |number: u64| Path::new(self.directory).join(number.to_string());
            let mut places = (0..count).filter_map(|number| try_take(&place(number)));
            places.next().ok_or_else(|| format!("{count} stand"))
        })
    }

    /// One per so many cores, as far as memory goes.
    fn fit(&self) -> u64 {
        let cores = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total =
            memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
        let total: u64 = total.and_then(|text| text.parse().ok()).unwrap_or(0);
        (cores / self.cores).min(total / self.kib).max(1)
    }
}

fn try_take(place: &Path) -> Option<Slot> {
    let file = File::options().create(true).append(true).open(place).ok()?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()
}
