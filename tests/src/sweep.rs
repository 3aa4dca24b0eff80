//! Taking racks down, by what is found on the machine: names, not records. So it also works after the lab
//! itself was killed at any moment.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use crate::error::{Doing, Result};
use crate::names::{RACKS, RackName};
use crate::run::each;
use crate::{cgroup, limits, netns};

/// Where systemd-nspawn keeps a directory per machine; one that was killed leaves it.
const NSPAWN: &[&str] = &["/run/systemd/nspawn/propagate", "/run/systemd/nspawn/unix-export"];

/// The kernel waits a grace period per namespace and group: many wait together as long as one.
const WIDTH: usize = 16;

/// Every rack of which something is left on this machine.
pub fn racks() -> BTreeSet<RackName> {
    let groups = cgroup::find("rwl-")
        .into_iter()
        .filter_map(|group| RackName::owner_of(&group.file_name()?.to_string_lossy()));
    let namespaces = netns::find("rwl-");
    let directories = fs::read_dir(RACKS).into_iter().flatten().flatten();
    let named = directories.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    groups.chain(namespaces.iter().filter_map(|name| RackName::owner_of(name))).chain(named).collect()
}

/// Takes a rack down, whatever is left of it; says whether anything was.
pub fn down(rack: &RackName) -> Result<bool> {
    let mut found = false;
    // Again until nothing is found: a launcher that was just starting may make one more namespace.
    while remove_once(rack)? {
        found = true;
    }
    limits::restore_if_last(racks().is_empty());
    Ok(found)
}

/// Takes down the racks of tests whose process is gone.
pub fn down_dead_tests() -> Result<()> {
    for rack in racks() {
        let dead = rack.test_process().is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        if dead {
            down(&rack)?;
        }
    }
    Ok(())
}

fn remove_once(rack: &RackName) -> Result<bool> {
    let prefix = rack.prefix();
    let groups = cgroup::find(&prefix);
    cgroup::remove(&groups)?;
    let namespaces = netns::find(&prefix);
    each(&namespaces, WIDTH, |name| netns::remove(name)).into_iter().collect::<Result<()>>()?;
    unmount_below(&rack.dir());
    let leftovers = nspawn_leftovers(&prefix);
    for path in &leftovers {
        unmount_below(path);
        fs::remove_dir_all(path).doing(|| format!("remove {}", path.display()))?;
    }
    let directory = remove_directory(&rack.dir())?;
    Ok(directory || !(groups.is_empty() && namespaces.is_empty() && leftovers.is_empty()))
}

/// The hosts' mounts live in their own namespaces; this is for what somebody mounted by hand.
fn unmount_below(path: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    let mut below: Vec<PathBuf> = points.filter(|point| point.starts_with(path)).collect();
    below.reverse();
    for point in below {
        let _ = umount2(&point, MntFlags::MNT_DETACH);
    }
}

fn nspawn_leftovers(prefix: &str) -> Vec<PathBuf> {
    let entries = NSPAWN.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect()
}

fn remove_directory(path: &Path) -> Result<bool> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).doing(|| format!("remove {}", path.display())),
    }
}
