//! Images without a registry: one layer from programs of the lab, in the docker-archive form that
//! `ctr images import` reads.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::build;
use super::release::Component;
use crate::error::{Doing, Result};
use crate::run::{command, must, must_with};

const LIMIT: Duration = Duration::from_secs(300);
/// Copies programs and the libraries that they need out of a Debian tree; links are followed, because a link
/// without its target is "no such file" inside the image.
const TOOLS_SCRIPT: &str = include_str!("tools.sh");

/// An image to be.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// As manifests name it.
    pub(crate) name: String,
    /// The component, its program, and the path inside the image.
    program: Option<(&'static Component, String, String)>,
    /// Programs that it calls, by the names that `tools.sh` knows.
    tools: &'static [&'static str],
    /// Files and directories of the machine that it has besides, and their paths inside.
    files: Vec<(PathBuf, String)>,
    /// Numbers of user and group that it runs as; root's when left out.
    user: Option<&'static str>,
}

impl Image {
    fn bare(name: String) -> Self {
        Self { name, program: None, tools: &[], files: Vec::new(), user: None }
    }

    /// An image of one static program.
    pub(crate) fn of(name: String, component: &'static Component, program: &str, path: &str) -> Self {
        Self { program: Some((component, program.to_owned(), path.to_owned())), ..Self::bare(name) }
    }

    /// An image of busybox, for workloads.
    pub(crate) fn busybox(name: &str) -> Self {
        Self { tools: &["busybox"], ..Self::bare(name.to_owned()) }
    }

    /// The same with tools of Debian in it.
    pub(crate) fn with_tools(self, tools: &'static [&'static str]) -> Self {
        Self { tools, ..self }
    }

    /// The same with a file or a directory of the machine in it; links are followed.
    pub(crate) fn with_file(mut self, from: PathBuf, to: &str) -> Self {
        self.files.push((from, to.to_owned()));
        self
    }

    /// The same, to be run as somebody else than root.
    pub(crate) fn of_user(self, user: &'static str) -> Self {
        Self { user: Some(user), ..self }
    }

    /// What decides how the image looks inside; `base` is the tree that tools come from.
    pub(crate) fn recipe(&self, base: &Path) -> Result<String> {
        let program = match &self.program {
            Some((component, program, path)) => {
                format!("{}/bin/{program} at {path}", build::ensure(component)?.display())
            }
            None => String::new(),
        };
        let more = match (&self.files[..], self.user) {
            ([], None) => String::new(),
            (files, user) => format!("{files:?} as {user:?}"),
        };
        let tools = format!("{:?} of {}", self.tools, base.display());
        Ok(format!("{}: {program} and {tools}\n{TOOLS_SCRIPT}{more}", self.name))
    }

    /// Writes the archive to `into`; `work` is an empty directory for what lies between.
    pub(crate) fn write(&self, base: &Path, work: &Path, into: &Path) -> Result<()> {
        let (layer, root) = (work.join("layer.tar"), work.join("root"));
        // As in every distribution: anybody may write there.
        fs::create_dir_all(root.join("tmp")).doing(|| format!("create {}", root.display()))?;
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))
            .doing(|| "open /tmp of an image".to_owned())?;
        self.fill(base, &root)?;
        tar(&root, &layer, &["."])?;
        let digest = digest(&layer)?;
        let manifest = self.manifest();
        for (file, text) in [("config.json", self.config(&digest)), ("manifest.json", manifest)] {
            let path = work.join(file);
            fs::write(&path, text).doing(|| format!("write {}", path.display()))?;
        }
        tar(work, into, &["manifest.json", "config.json", "layer.tar"])
    }

    fn fill(&self, base: &Path, root: &Path) -> Result<()> {
        if let Some((component, program, path)) = &self.program {
            let (from, to) = (build::ensure(component)?.join("bin").join(program), root.join(path));
            let parent = to.parent().unwrap_or(root);
            fs::create_dir_all(parent).doing(|| format!("create {}", parent.display()))?;
            fs::hard_link(&from, &to).doing(|| format!("put {} into an image", from.display()))?;
        }
        for (from, to) in &self.files {
            copy(from, &root.join(to))?;
        }
        if self.tools.is_empty() {
            return Ok(());
        }
        let mut script = command("sh");
        script.arg("-s").arg(base).arg(root).args(self.tools);
        must_with(script, Some(TOOLS_SCRIPT.as_bytes()), &format!("fill {}", self.name), LIMIT).map(drop)
    }

    /// See the image specification of Docker 1.2, "Image JSON description".
    fn config(&self, layer: &str) -> String {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let entry: Vec<String> = self.program.iter().map(|(_, _, path)| format!("/{path}")).collect();
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let mut config = serde_json::json!({"Env": [path], "Entrypoint": entry});
        if let Some(user) = self.user {
            config["User"] = user.into();
        }
        serde_json::json!({
            "architecture": architecture,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
        })
        .to_string()
    }

    fn manifest(&self) -> String {
        serde_json::json!([{"Config": "config.json", "RepoTags": [self.name], "Layers": ["layer.tar"]}])
            .to_string()
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().unwrap_or(to);
    fs::create_dir_all(parent).doing(|| format!("create {}", parent.display()))?;
    let mut copy = command("cp");
    copy.args(["--recursive", "--dereference", "--no-target-directory"]).arg(from).arg(to);
    must(copy, &format!("put {} into an image", from.display()), LIMIT).map(drop)
}

/// The same files make the same archive, whoever packs them and when.
fn tar(directory: &Path, into: &Path, members: &[&str]) -> Result<()> {
    let mut tar = command("tar");
    tar.args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg("-C").arg(directory).arg("-cf").arg(into).args(members);
    must(tar, &format!("pack {}", into.display()), LIMIT).map(drop)
}

/// The SHA-256 of a file, in hexadecimal digits.
pub(super) fn digest(path: &Path) -> Result<String> {
    let doing = || format!("read {}", path.display());
    let mut file = File::open(path).doing(doing)?;
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut chunk).doing(doing)? {
            0 => break,
            count => hash.update(&chunk[..count]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_its_layer_under_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let image = Image::bare("example.test/empty:1".to_owned());
        let (work, archive) = (dir.path().join("work"), dir.path().join("image.tar"));
        fs::create_dir(&work).unwrap();
        image.write(Path::new("/"), &work, &archive).unwrap();
        let config: serde_json::Value =
            serde_json::from_slice(&fs::read(work.join("config.json")).unwrap()).unwrap();
        let layer = format!("sha256:{}", digest(&work.join("layer.tar")).unwrap());
        assert_eq!(config["rootfs"]["diff_ids"][0], layer.as_str());
        let mut list = command("tar");
        list.arg("-tf").arg(&archive);
        let listed = must(list, "list", LIMIT).unwrap();
        assert_eq!(listed.text(), "manifest.json\nconfig.json\nlayer.tar");
    }
}
