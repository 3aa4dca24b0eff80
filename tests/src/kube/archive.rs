//! Release archives of Istio and Helm in the form that their publishers give them, made of what the lab built.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::istio::{HELM, HELM_VERSION, Istio};
use super::release::Component;
use super::{build, image};
use crate::base::{CACHE, lock_cache, short_hash};
use crate::error::{Doing, Result};
use crate::run::{command, must_with};
use crate::talk::say;

const SCRIPT: &str = include_str!("archive.sh");
const LIMIT: Duration = Duration::from_secs(300);

/// A release archive in the lab's cache. Beside it lies a file with its digest, as publishers have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Where it is.
    pub path: PathBuf,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

impl Archive {
    /// The name of its file.
    pub fn file(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl Istio {
    /// `istio-VERSION-linux-ARCHITECTURE.tar.gz`: `bin/istioctl`, charts and profiles below `istio-VERSION/`; and
    /// beside it a file of the same name and `.sha256`: the digest, one blank, the name. Built when it was never
    /// built here, which takes minutes.
    pub fn archive(self) -> Result<Archive> {
        let name = format!("istio-{}-linux-{}.tar.gz", self.version(), architecture());
        ensure(self.component(), self.version(), &name, (".sha256", " "))
    }
}

/// `helm-vVERSION-linux-ARCHITECTURE.tar.gz` with `linux-ARCHITECTURE/helm`, and its `.sha256sum`.
pub fn helm() -> Result<Archive> {
    let name = format!("helm-{HELM_VERSION}-linux-{}.tar.gz", architecture());
    ensure(&HELM, HELM_VERSION, &name, (".sha256sum", "  "))
}

/// As Go calls it.
fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn ensure(component: &Component, version: &str, name: &str, sum: (&str, &str)) -> Result<Archive> {
    let built = build::ensure(component)?;
    let parts = [built.display().to_string(), format!("{name}{sum:?}{SCRIPT}")];
    let hash = short_hash(parts.iter().map(String::as_bytes));
    let place = Path::new(CACHE).join(format!("kube-archive-{}-{hash}", component.name));
    if !place.is_dir() {
        let lock = lock_cache()?;
        if !place.is_dir() {
            make(&built, version, name, sum, &place)?;
        }
        drop(lock);
    }
    let told = place.join(format!("{name}{}", sum.0));
    let text = fs::read_to_string(&told).doing(|| format!("read {}", told.display()))?;
    let sha256 = text.split_whitespace().next().unwrap_or_default().to_owned();
    Ok(Archive { path: place.join(name), sha256 })
}

fn make(
    built: &Path,
    version: &str,
    name: &str,
    (suffix, between): (&str, &str),
    place: &Path,
) -> Result<()> {
    say(format_args!("packing {name}"));
    let partial = Path::new(CACHE).join("partial-kube-archive");
    if partial.exists() {
        fs::remove_dir_all(&partial).doing(|| format!("remove {}", partial.display()))?;
    }
    fs::create_dir(&partial).doing(|| format!("create {}", partial.display()))?;
    let mut script = command("sh");
    script.arg("-s").arg(built).arg(&partial).args([version, name]);
    must_with(script, Some(SCRIPT.as_bytes()), &format!("pack {name}"), LIMIT)?;
    let digest = image::digest(&partial.join(name))?;
    let sum = partial.join(format!("{name}{suffix}"));
    fs::write(&sum, format!("{digest}{between}{name}\n")).doing(|| format!("write {}", sum.display()))?;
    fs::rename(&partial, place).doing(|| format!("move {name} to {}", place.display()))
}
