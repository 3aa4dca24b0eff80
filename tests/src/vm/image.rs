//! What machines boot from: a disk with an ext4 of the base tree, a kernel, a small initrd.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::base::{self, CACHE, lock_cache, short_hash};
use crate::error::{Doing, LabError, Result};
use crate::kube::Parts;
use crate::run::{command, must, must_with};
use crate::talk::say;

const SCRIPT: &str = include_str!("image.sh");
const MAKE_LIMIT: Duration = Duration::from_secs(600);
const CHECK_LIMIT: Duration = Duration::from_secs(120);
const PLAIN_SIZE: &str = "2G";
const KUBE_SIZE: &str = "4G";

/// A directory of the cache with `disk.raw`, `vmlinuz`, `initrd`, and their digests in `manifest`.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) dir: PathBuf,
    /// The Debian tree that is on the disk.
    pub(crate) tree: PathBuf,
}

impl Image {
    /// The image of plain machines, or of those that carry the parts of a cluster.
    pub(crate) fn ensure(parts: Option<&Parts>) -> Result<Self> {
        let tree = base::ensure_vm(parts.is_some())?;
        let kernel = kernel_of(&tree)?;
        let recipe = Recipe::of(&tree, parts);
        let hash = short_hash([SCRIPT, &kernel].into_iter().chain(recipe.texts()).map(str::as_bytes));
        let dir = Path::new(CACHE).join(format!("vm-{kernel}-{hash}"));
        let image = Self { dir, tree };
        if !image.dir.is_dir() {
            let lock = lock_cache()?;
            if !image.dir.is_dir() {
                image.make(&recipe)?;
            }
            drop(lock);
        }
        image.check()?;
        Ok(image)
    }

    /// The disk that every machine gets a copy of.
    pub(crate) fn disk(&self) -> PathBuf {
        self.dir.join("disk.raw")
    }

    fn make(&self, recipe: &Recipe) -> Result<()> {
        let started = Instant::now();
        let partial = Path::new(CACHE).join("partial-vm");
        if partial.exists() {
            fs::remove_dir_all(&partial).doing(|| format!("remove {}", partial.display()))?;
        }
        fs::create_dir(&partial).doing(|| format!("create {}", partial.display()))?;
        say("making the disk of virtual machines");
        let mut make = command("unshare");
        make.args(["--mount", "--propagation", "private", "sh", "-s", &recipe.tree]).arg(&partial);
        make.args([recipe.size, &recipe.layers, &recipe.store]);
        must_with(make, Some(SCRIPT.as_bytes()), "make the disk of virtual machines", MAKE_LIMIT)?;
        fs::rename(&partial, &self.dir).doing(|| format!("move the image to {}", self.dir.display()))?;
        say(format_args!("image ready in {} s: {}", started.elapsed().as_secs(), self.dir.display()));
        Ok(())
    }

    /// By the digests of its manifest, once per boot of this machine and whenever a file is another than it was.
    fn check(&self) -> Result<()> {
        let stamp = self.stamp()?;
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        let known = PathBuf::from(format!("/run/rackwright-lab.{name}.checked"));
        if fs::read_to_string(&known).is_ok_and(|checked| checked == stamp) {
            return Ok(());
        }
        let mut check = command("sha256sum");
        check.args(["--check", "--quiet", "--strict", "manifest"]).current_dir(&self.dir);
        if let Err(error) = must(check, "check the image of virtual machines", CHECK_LIMIT) {
            let dir = self.dir.display();
            return Err(LabError::Refused(format!(
                "{dir} is not what was built ({error}): remove it, and the next run builds it anew"
            )));
        }
        fs::write(&known, stamp).doing(|| format!("write {}", known.display()))
    }

    /// What changes when a file does.
    fn stamp(&self) -> Result<String> {
        use std::os::unix::fs::MetadataExt;
        let mut stamp = String::new();
        for file in ["disk.raw", "vmlinuz", "initrd", "manifest"] {
            let path = self.dir.join(file);
            let meta = fs::metadata(&path).doing(|| format!("look at {}", path.display()))?;
            let (inode, size) = (meta.ino(), meta.size());
            stamp += &format!("{file} {inode} {size} {} {}\n", meta.mtime(), meta.ctime());
        }
        Ok(stamp)
    }
}

/// The arguments of `image.sh`.
struct Recipe {
    tree: String,
    size: &'static str,
    layers: String,
    store: String,
}

impl Recipe {
    fn of(tree: &Path, parts: Option<&Parts>) -> Self {
        let text = |path: &PathBuf| path.display().to_string();
        let layers: Vec<String> = parts.iter().flat_map(|parts| &parts.layers).map(text).collect();
        Self {
            tree: tree.display().to_string(),
            size: if parts.is_some() { KUBE_SIZE } else { PLAIN_SIZE },
            layers: layers.join(":"),
            store: parts.map_or_else(String::new, |parts| text(&parts.store)),
        }
    }

    fn texts(&self) -> [&str; 4] {
        [&self.tree, self.size, &self.layers, &self.store]
    }
}

/// The version of the kernel in a tree: whatever Debian had when the tree was built.
fn kernel_of(tree: &Path) -> Result<String> {
    let modules = tree.join("lib/modules");
    let mut names = fs::read_dir(&modules).doing(|| format!("read {}", modules.display()))?.flatten();
    let name = names.next().map(|entry| entry.file_name().to_string_lossy().into_owned());
    name.ok_or_else(|| LabError::Refused(format!("no kernel in {}: remove this tree", tree.display())))
}
