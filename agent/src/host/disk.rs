//! Space and speed of the file system where Kubernetes keeps its state.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::statvfs::statvfs;
use rackwright_proto::facts::Disk;

use super::Host;

/// How long the timing may take in all.
const DEADLINE: Duration = Duration::from_secs(5);

/// What etcd's write-ahead log writes between two syncs, about.
const BLOCK: [u8; 2048] = [0x5a; 2048];

/// How often it is written.
const WRITES: usize = 10;

impl Host {
    /// Space of `/var/lib`, and how long a small synced write takes there.
    /// Nothing is left behind, and nothing ever had a name: the file is an `O_TMPFILE` (open(2)).
    pub async fn disk(&self) -> io::Result<Disk> {
        let directory = self.path("/var/lib");
        let space = statvfs(&directory)?;
        let bytes = |blocks| blocks * space.fragment_size();
        Ok(Disk {
            total_bytes: bytes(space.blocks()),
            free_bytes: bytes(space.blocks_free()),
            fsync_us: sync_time(directory).await,
        })
    }
}

/// The second slowest of ten writes. A thread of its own, which a hanging disk can keep without keeping us.
async fn sync_time(directory: PathBuf) -> Option<u64> {
    let (done, time) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("disk".into()).spawn(move || done.send(time_writes(&directory))).ok()?;
    let times = tokio::time::timeout(DEADLINE, time).await.ok()?.ok()?;
    let mut times = times.ok().filter(|times| times.len() == WRITES)?;
    times.sort_unstable();
    u64::try_from(times[WRITES - 2].as_micros()).ok()
}

fn time_writes(directory: &Path) -> io::Result<Vec<Duration>> {
    let mut file = nameless(directory)?;
    let begin = Instant::now();
    let mut times = Vec::with_capacity(WRITES);
    while times.len() < WRITES && begin.elapsed() < DEADLINE {
        let start = Instant::now();
        file.write_all(&BLOCK)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    Ok(times)
}

/// A file system that cannot do this is not measured: a file with a name would be a change.
fn nameless(directory: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).mode(0o600).custom_flags(OFlag::O_TMPFILE.bits()).open(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn timing_leaves_nothing_in_the_tree() {
        let tree = tempfile::tempdir().unwrap();
        let library = tree.path().join("var/lib");
        std::fs::create_dir_all(&library).unwrap();
        let before = std::fs::metadata(&library).unwrap().modified().unwrap();
        let disk = Host::at(tree.path()).disk().await.unwrap();
        assert!(disk.total_bytes >= disk.free_bytes && disk.total_bytes > 0);
        assert_eq!(std::fs::read_dir(&library).unwrap().count(), 0);
        assert_eq!(std::fs::metadata(&library).unwrap().modified().unwrap(), before);
    }
}
