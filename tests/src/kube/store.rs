//! containerd's data with all images of a release in it, made once and shared by all hosts.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::image::Image;
use super::istio::Istio;
use super::release::{Metallb, Release};
use crate::base::{CACHE, lock_cache, short_hash};
use crate::error::{Doing, Result};
use crate::run::{command, must, must_with};
use crate::talk::say;

const IMPORT: &str = include_str!("store.sh");
const IMPORT_LIMIT: Duration = Duration::from_secs(900);
const COPY_LIMIT: Duration = Duration::from_secs(120);

/// The store of a release with its MetalLB, and with Istio above that one; makes it when its recipe was never made
/// here. `base` is the tree that has containerd.
pub(crate) fn ensure(
    release: Release,
    metallb: Metallb,
    istio: Option<Istio>,
    base: &Path,
) -> Result<PathBuf> {
    let images = [release.images(), metallb.images()].concat();
    let plain = ensure_above(None, &images, release, base)?;
    match istio {
        None => Ok(plain),
        Some(istio) => ensure_above(Some(&plain), &istio.images(base)?, release, base),
    }
}

/// The store with these images above what another one has.
fn ensure_above(below: Option<&Path>, images: &[Image], release: Release, base: &Path) -> Result<PathBuf> {
    let mut recipe = vec![IMPORT.to_owned(), base.display().to_string()];
    recipe.extend(below.map(|below| below.display().to_string()));
    for image in images {
        recipe.push(image.recipe(base)?);
    }
    let hash = short_hash(recipe.iter().map(String::as_bytes));
    let place = Path::new(CACHE).join(format!("kube-store-{}-{hash}", release.version()));
    if place.is_dir() {
        return Ok(place);
    }
    let lock = lock_cache()?;
    if !place.is_dir() {
        make(below, images, base, &place)?;
    }
    drop(lock);
    Ok(place)
}

fn make(below: Option<&Path>, images: &[Image], base: &Path, place: &Path) -> Result<()> {
    let started = Instant::now();
    let partial = Path::new(CACHE).join("partial-kube-store");
    if partial.exists() {
        fs::remove_dir_all(&partial).doing(|| format!("remove {}", partial.display()))?;
    }
    let (archives, data) = (partial.join("archives"), partial.join("data"));
    fs::create_dir_all(&archives).doing(|| format!("create {}", archives.display()))?;
    match below {
        Some(below) => give(below, &data)?,
        None => fs::create_dir_all(&data).doing(|| format!("create {}", data.display()))?,
    }
    for (image, number) in images.iter().zip(1..) {
        say(format_args!("packing image {number} of {}: {}", images.len(), image.name));
        let work = partial.join(format!("work{number}"));
        fs::create_dir(&work).doing(|| format!("create {}", work.display()))?;
        image.write(base, &work, &archives.join(format!("{number}.tar")))?;
        fs::remove_dir_all(&work).doing(|| format!("remove {}", work.display()))?;
    }
    say("importing the images into containerd's store");
    import(base, &archives, &data)?;
    fs::rename(&data, place).doing(|| format!("move the store to {}", place.display()))?;
    fs::remove_dir_all(&partial).doing(|| format!("remove {}", partial.display()))?;
    say(format_args!("images ready in {} s: {}", started.elapsed().as_secs(), place.display()));
    Ok(())
}

/// By the containerd that the hosts run, in namespaces of its own: killed, it leaves no mount and no process.
fn import(base: &Path, archives: &Path, data: &Path) -> Result<()> {
    let mut import = command("unshare");
    import.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--net"]);
    import.args(["sh", "-s"]).arg(base).arg(archives).arg(data);
    must_with(import, Some(IMPORT.as_bytes()), "import the images", IMPORT_LIMIT).map(drop)
}

/// Gives a host its own store: what never changes is linked, what containerd writes into is copied.
pub(crate) fn give(store: &Path, to: &Path) -> Result<()> {
    let mut copy = command("sh");
    copy.arg("-euc").arg(include_str!("give.sh")).arg("sh").arg(store).arg(to);
    must(copy, &format!("copy the images to {}", to.display()), COPY_LIMIT).map(drop)
}
