//! Gets MetalLB's manifest: from a file, from the operator's cache, or from its publisher. The one door of this room.
//!
//! Nothing is used, or kept, before its SHA-256 was found to be the one that the rack or `KNOWN` says.

use std::path::PathBuf;

use super::manifest::{LARGEST, Manifest, ManifestError};
use super::release::Release;
pub use crate::fetch::{DownloadError, Places, cache_folder};
use crate::fetch::{download, keep, read};
use crate::rack::model::kubernetes::{Artifact, Metallb};

/// The SHA-256 of `config/manifests/metallb-native.yaml` of releases, from the publisher's Go modules.
const KNOWN: &[(&str, &str)] = &[
    ("0.13.10", "1ef6537179ee2517f4e3bcc2e59454510051275ff751ba00983962f15746665c"),
    ("0.13.12", "a5e3b65e073ba8236cc36c283fb33260e764977c7e460d6a462347ccaa91683d"),
    ("0.14.9", "951065e85692aa106f1bb5d5a487d9306154923a794ab1d82122881cbaf588e4"),
    ("0.15.3", "84b4e102f2b65f5d69085f5816c29362b74641873d8ac3de996e5f86a8219176"),
    ("0.16.1", "bf25feebb7582ca7df845efd52ffbc2960d6cbf4cfc972f47fded9f788b67f0b"),
];

/// Why there is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A version without a known checksum.
    #[error(
        "the manifest of MetalLB {version} has no known checksum; if you trust what this prints, put it into the rack as \
         kubernetes.metallb.manifest.sha256: curl -fsSL {url} | sha256sum"
    )]
    UnknownChecksum {
        /// The rack's version.
        version: String,
        /// Where the publisher has it.
        url: String,
    },
    /// The file cannot be read.
    #[error("read MetalLB's manifest {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The download failed.
    #[error(
        "download MetalLB's manifest from {url}; where there is no way to it, write `manifest: {{path: FILE, sha256: …}}` \
         under kubernetes.metallb"
    )]
    Download {
        /// From where.
        url: String,
        /// Why not.
        source: DownloadError,
    },
    /// Not what was expected; nothing of it was kept.
    #[error(
        "MetalLB's manifest from {from} has the SHA-256 {found}, but {expected} was expected; it was not used"
    )]
    Checksum {
        /// The file or address.
        from: String,
        /// What it has.
        found: String,
        /// What it should have.
        expected: String,
    },
    /// It has the right checksum, and is no manifest.
    #[error("use MetalLB's manifest from {from}")]
    Manifest {
        /// The file or address.
        from: String,
        /// Why not.
        source: ManifestError,
    },
    /// It is of another version.
    #[error(
        "MetalLB's manifest from {from} is of version {found}, but the rack says {wanted}; change one of the two"
    )]
    Version {
        /// The file or address.
        from: String,
        /// What it is.
        found: String,
        /// What the rack says.
        wanted: String,
    },
}

/// MetalLB's manifest as the rack wants it.
///
/// # Errors
/// When it cannot be had, or is not what the rack or `KNOWN` says it is.
pub async fn manifest(metallb: &Metallb, places: &Places<'_>) -> Result<Manifest, FetchError> {
    let wanted = metallb.version.to_string();
    let (bytes, from) = bytes(metallb, places).await?;
    let manifest = Manifest::parse(&bytes, metallb.namespace.as_str())
        .map_err(|source| FetchError::Manifest { from: from.clone(), source })?;
    match manifest.version().filter(|found| Release::parse(found) != Some(Release::of(&metallb.version))) {
        Some(found) => Err(FetchError::Version { from, found: found.to_owned(), wanted }),
        None => Ok(manifest),
    }
}

async fn bytes(metallb: &Metallb, places: &Places<'_>) -> Result<(Vec<u8>, String), FetchError> {
    let source = metallb.manifest.as_ref();
    if let Some((path, sha256)) = source.and_then(|s: &Artifact| Some((s.path.as_ref()?, &s.sha256))) {
        let path = path.resolve(places.folder, places.home);
        let bytes =
            read(&path, LARGEST).await.map_err(|source| FetchError::Read { path: path.clone(), source })?;
        let from = path.display().to_string();
        return Ok((verified(bytes, sha256.as_str(), &from)?, from));
    }
    let version = metallb.version.to_string();
    let publisher = || {
        format!(
            "https://raw.githubusercontent.com/metallb/metallb/v{version}/config/manifests/metallb-native.yaml"
        )
    };
    let url = source.and_then(|s| s.url.as_ref()).map_or_else(publisher, ToString::to_string);
    let known = || KNOWN.iter().find(|(known, _)| *known == version).map(|(_, sha256)| *sha256);
    let sha256 = source.map(|s| s.sha256.as_str()).or_else(known);
    let Some(sha256) = sha256 else { return Err(FetchError::UnknownChecksum { version, url }) };
    Ok((cached(&url, sha256, places).await?, url))
}

fn verified(bytes: Vec<u8>, expected: &str, from: &str) -> Result<Vec<u8>, FetchError> {
    let found = crate::fetch::sha256(&bytes);
    match found == expected {
        true => Ok(bytes),
        false => Err(FetchError::Checksum { from: from.to_owned(), found, expected: expected.to_owned() }),
    }
}

/// A file of the cache counts only where its checksum is right; a cache that cannot be written does no harm.
async fn cached(url: &str, sha256: &str, places: &Places<'_>) -> Result<Vec<u8>, FetchError> {
    let kept = places.cache.as_ref().map(|folder| folder.join(format!("{sha256}.yaml")));
    if let Some(path) = &kept
        && let Ok(bytes) = read(path, LARGEST).await
        && let Ok(bytes) = verified(bytes, sha256, url)
    {
        return Ok(bytes);
    }
    let bytes = download(url, LARGEST)
        .await
        .map_err(|source| FetchError::Download { url: url.to_owned(), source })?;
    let bytes = verified(bytes, sha256, url)?;
    if let Some(path) = &kept
        && let Err(error) = keep(path, &bytes)
    {
        tracing::debug!(path = %path.display(), %error, "the manifest is not kept");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
