//! From the rack's mesh to the tools that control planes need for it: which archives, from where, with which hash.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rackwright_proto::name::{NodeName, Sha256, ToolName, ToolVersion};
use rackwright_proto::tool::{Archive, ArchiveFormat, ArchiveSource, LARGEST_ARTIFACT};
use tokio::sync::{Mutex, OnceCell};

use crate::console::chain;
use crate::fetch;
use crate::plan::{NoArchive, ToolWanted};
use crate::rack::model::kubernetes::{Artifact, Istio, IstioMethod};
use crate::rack::{Loaded, Node};

/// The largest file of checksums.
const LARGEST_CHECKSUM: usize = 64 * 1024;

/// A tool, before it is known whether its archive can be had.
struct Wish {
    name: &'static str,
    /// Where in the rack it is asked for.
    at: &'static str,
    version: String,
    /// The one folder in the archive.
    folder: String,
    /// Links with the programs that they lead to.
    programs: Vec<(&'static str, &'static str)>,
    /// What the rack says of the archive.
    archive: Option<Artifact>,
    /// Where the publisher has it.
    publisher: Option<String>,
}

/// The publisher's word for an architecture that `uname -m` names.
pub fn architecture(machine: &str) -> Option<&'static str> {
    match machine {
        "x86_64" => Some("amd64"),
        "aarch64" | "arm64" => Some("arm64"),
        machine if machine.starts_with("armv7") => Some("armv7"),
        _ => None,
    }
}

fn wishes(istio: &Istio, arch: &str) -> Vec<Wish> {
    let version = istio.version.to_string();
    let publisher = format!(
        "https://github.com/istio/istio/releases/download/{version}/istio-{version}-linux-{arch}.tar.gz"
    );
    let mut wishes = vec![Wish {
        name: "istio",
        at: "kubernetes.istio.archive",
        folder: format!("istio-{version}"),
        programs: vec![("istioctl", "bin/istioctl")],
        archive: istio.archive.clone(),
        publisher: Some(publisher),
        version,
    }];
    if let (IstioMethod::Helm, Some(helm)) = (istio.method, &istio.helm) {
        let file = file_name(helm).unwrap_or_default();
        let named = file.strip_prefix("helm-v").and_then(|rest| rest.split("-linux-").next());
        wishes.push(Wish {
            name: "helm",
            at: "kubernetes.istio.helm",
            // Nothing else tells it; side by side they must lie.
            version: named.filter(|v| !v.is_empty()).unwrap_or(&helm.sha256.as_str()[..12]).to_owned(),
            folder: format!("linux-{arch}"),
            programs: vec![("helm", "helm")],
            archive: Some(helm.clone()),
            publisher: None,
        });
    }
    wishes
}

fn file_name(artifact: &Artifact) -> Option<String> {
    let path = artifact.path.as_ref().map(ToString::to_string);
    let named = path.or_else(|| artifact.url.as_ref().map(ToString::to_string))?;
    Some(named.rsplit('/').next().unwrap_or_default().to_owned())
}

/// What the rack's archive is for, where its name says so and it is another architecture.
fn for_another(artifact: &Artifact, arch: &str) -> Option<String> {
    let file = file_name(artifact)?;
    let named = ["amd64", "arm64", "armv7"].into_iter().find(|a| file.contains(&format!("-{a}.")))?;
    (named != arch).then(|| format!("{file} is for {named}, and this host is {arch}"))
}

/// What a publisher says, once it was asked.
type Published = Arc<OnceCell<Result<Sha256, String>>>;

/// Tools of control planes, with what is asked of the publisher only once for all of them.
pub struct Tools<'a> {
    loaded: &'a Loaded,
    cache: Option<PathBuf>,
    asked: Mutex<BTreeMap<String, Published>>,
}

impl<'a> Tools<'a> {
    /// Of a rack. `cache` is where checksums of publishers are kept.
    pub fn new(loaded: &'a Loaded, cache: Option<PathBuf>) -> Self {
        Self { loaded, cache, asked: Mutex::default() }
    }

    /// The tools that a node is to have: control planes only, those that work on the cluster.
    pub async fn of(&self, node: &Node, machine: &str) -> Vec<ToolWanted> {
        let istio = self.loaded.rack.kubernetes().and_then(|k| k.istio.as_ref());
        let Some(istio) = istio.filter(|_| node.is_control_plane()) else { return Vec::new() };
        let mut tools = Vec::new();
        for wish in wishes(istio, architecture(machine).unwrap_or(machine)) {
            tools.extend(self.wanted(wish, machine).await);
        }
        tools
    }

    async fn wanted(&self, wish: Wish, machine: &str) -> Option<ToolWanted> {
        let name: ToolName = wish.name.parse().ok()?;
        let version: ToolVersion = wish.version.parse().ok()?;
        let archive = self.archive(&wish, machine).await;
        let programs =
            wish.programs.iter().filter_map(|(link, to)| Some((link.parse().ok()?, (*to).to_owned())));
        let why = "kubernetes.istio".to_owned();
        Some(ToolWanted { name, version, archive, programs: programs.collect(), why })
    }

    async fn archive(&self, wish: &Wish, machine: &str) -> Result<Archive, NoArchive> {
        let arch = architecture(machine);
        if let (Some(artifact), Some(arch)) = (&wish.archive, arch)
            && let Some(why) = for_another(artifact, arch)
        {
            let next = format!("give the archive for {arch} as {}", wish.at);
            return Err(NoArchive { why, next });
        }
        let known = |sha256: &crate::rack::words::Sha256| sha256.as_str().parse::<Sha256>().ok();
        let (from, sha256) = match &wish.archive {
            Some(Artifact { path: Some(_), sha256, .. }) => (ArchiveSource::Pushed, known(sha256)),
            Some(Artifact { url: Some(url), sha256, .. }) => {
                (ArchiveSource::Url(url.to_string()), known(sha256))
            }
            other => {
                let url = publisher(wish, arch, machine)?;
                let sha256 = match other {
                    Some(artifact) => known(&artifact.sha256),
                    None => Some(self.published(&url).await.map_err(|why| unknown(wish, &url, why))?),
                };
                (ArchiveSource::Url(url), sha256)
            }
        };
        let invalid =
            || NoArchive { why: "its SHA-256 is none".into(), next: format!("correct {}", wish.at) };
        let sha256 = sha256.ok_or_else(invalid)?;
        Ok(Archive { sha256, format: ArchiveFormat::TarGz, folder: wish.folder.clone(), from })
    }

    /// The publisher's own word for the hash of what it has at `url`; asked for once, and kept.
    async fn published(&self, url: &str) -> Result<Sha256, String> {
        let cell = self.asked.lock().await.entry(url.to_owned()).or_default().clone();
        cell.get_or_init(|| self.ask(url)).await.clone()
    }

    async fn ask(&self, url: &str) -> Result<Sha256, String> {
        let file = url.rsplit('/').next().unwrap_or_default();
        let kept = self.cache.as_ref().map(|folder| folder.join(format!("{file}.sha256")));
        if let Some(path) = &kept
            && let Ok(bytes) = fetch::read(path, LARGEST_CHECKSUM).await
            && let Ok(sha256) = checksum(&String::from_utf8_lossy(&bytes), file)
        {
            return Ok(sha256);
        }
        let bytes =
            fetch::download(&format!("{url}.sha256"), LARGEST_CHECKSUM).await.map_err(|e| chain(&e))?;
        let sha256 = checksum(&String::from_utf8_lossy(&bytes), file)?;
        if let Some(path) = &kept
            && let Err(error) = fetch::keep(path, &bytes)
        {
            tracing::debug!(path = %path.display(), %error, "the checksum is not kept");
        }
        Ok(sha256)
    }
}

fn publisher(wish: &Wish, arch: Option<&str>, machine: &str) -> Result<String, NoArchive> {
    let no = |why: String| {
        let next = format!("write `path` or `url` and `sha256` of one under {}", wish.at);
        NoArchive { why, next }
    };
    if arch.is_none() {
        return Err(no(format!("the publisher has none for {machine}")));
    }
    wish.publisher.clone().ok_or_else(|| no("the rack says neither `path` nor `url`".into()))
}

fn unknown(wish: &Wish, url: &str, why: String) -> NoArchive {
    NoArchive {
        why: format!("its SHA-256 is unknown: {url}.sha256 cannot be had from here: {why}"),
        next: format!(
            "write `{}: {{path: FILE, sha256: …}}` where there is no way to it, or `sha256` with the one that you trust",
            wish.at
        ),
    }
}

/// The hash of `file` in a publisher's list: hexadecimal digits, one blank or more, and the file's name, which
/// sha256sum(1) would not take where there is only one blank. A list of one hash may do without the name.
///
/// # Errors
/// Why there is none.
pub fn checksum(text: &str, file: &str) -> Result<Sha256, String> {
    let parsed = |hash: &str| hash.to_ascii_lowercase().parse::<Sha256>().map_err(|e| e.to_string());
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .filter(|l: &Vec<&str>| !l.is_empty())
        .collect();
    if let [line] = &lines[..]
        && let [hash] = line[..]
    {
        return parsed(hash);
    }
    let named = |line: &&Vec<&str>| {
        line.len() == 2 && line[1].trim_start_matches('*').trim_start_matches("./") == file
    };
    match lines.iter().find(named) {
        Some(line) => parsed(line[0]),
        None => Err(format!("what came does not tell the hash of {file}")),
    }
}

/// The archives that lie on the operator's side, by their hash.
pub fn local(loaded: &Loaded, home: Option<&Path>) -> BTreeMap<Sha256, PathBuf> {
    let istio = loaded.rack.kubernetes().and_then(|k| k.istio.as_ref());
    let artifacts = istio.into_iter().flat_map(|istio| [&istio.archive, &istio.helm]).flatten();
    let local = artifacts.filter_map(|artifact| {
        let path = artifact.path.as_ref()?.resolve(&loaded.folder, home);
        Some((artifact.sha256.as_str().parse().ok()?, path))
    });
    local.collect()
}

/// Whether a local archive is what the rack says. Reads all of it.
///
/// # Errors
/// Why it is not.
pub fn check(path: &Path, sha256: &Sha256) -> Result<u64, String> {
    let cannot = |e: std::io::Error| format!("{} cannot be read: {e}", path.display());
    let file = std::fs::File::open(path).map_err(cannot)?;
    let size = file.metadata().map_err(cannot)?.len();
    if size > LARGEST_ARTIFACT || size == 0 {
        let most = LARGEST_ARTIFACT >> 20;
        return Err(format!("{} is empty, or larger than {most} MiB", path.display()));
    }
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut reader = std::io::Read::take(file, LARGEST_ARTIFACT);
    let mut chunk = vec![0; 256 * 1024];
    loop {
        match std::io::Read::read(&mut reader, &mut chunk).map_err(cannot)? {
            0 => break,
            read => context.update(&chunk[..read]),
        }
    }
    let found: String = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    match found == sha256.as_str() {
        true => Ok(size),
        false => Err(format!("{} has the SHA-256 {found}", path.display())),
    }
}

/// Findings for local archives that plans would push and that are not what they should be. Each is read once.
pub fn unusable(
    loaded: &Loaded,
    home: Option<&Path>,
    plans: &[rackwright_proto::plan::NodePlan],
) -> Vec<rackwright_proto::finding::Finding> {
    let local = local(loaded, home);
    let mut wanted: BTreeMap<(Sha256, String), Vec<&NodeName>> = BTreeMap::new();
    for plan in plans {
        for archive in crate::plan::pushed(plan) {
            wanted.entry(archive).or_default().push(&plan.node);
        }
    }
    let judge = |((sha256, title), nodes): ((Sha256, String), Vec<&NodeName>)| {
        let why = match local.get(&sha256) {
            Some(path) => check(path, &sha256).err()?,
            None => "the rack no longer says where it lies".to_owned(),
        };
        Some(crate::findings::tool::unusable(&nodes, &title, why))
    };
    wanted.into_iter().filter_map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publishers_checksum_is_read_with_one_blank_or_two() {
        let hash = "ab".repeat(32);
        for text in [
            format!("{hash} istio-1.29.1-linux-amd64.tar.gz"),
            format!("{hash}  istio-1.29.1-linux-amd64.tar.gz\n"),
            format!("{hash} *./istio-1.29.1-linux-amd64.tar.gz\r\n"),
            format!("{}\n", hash.to_uppercase()),
            format!("{} other.tar.gz\n{hash} istio-1.29.1-linux-amd64.tar.gz\n", "cd".repeat(32)),
        ] {
            assert_eq!(
                checksum(&text, "istio-1.29.1-linux-amd64.tar.gz").unwrap().as_str(),
                hash,
                "{text:?}"
            );
        }
        for text in [
            "",
            "not found",
            &format!("{hash} other.tar.gz"),
            &format!("{} x", &hash[1..]),
            "<html>x y</html>",
        ] {
            assert!(checksum(text, "x").is_err(), "{text:?}");
        }
    }

    #[test]
    fn machines_have_the_publishers_names() {
        let names = ["x86_64", "aarch64", "armv7l", "riscv64"].map(architecture);
        assert_eq!(names, [Some("amd64"), Some("arm64"), Some("armv7"), None]);
    }
}
