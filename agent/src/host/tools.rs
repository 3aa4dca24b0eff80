//! Programs of a cluster that are on the node, and their versions.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;

use super::Host;
use crate::fault::chain;

/// How long a program may take to say its version.
const DEADLINE: Duration = Duration::from_secs(5);

/// Where they lie, first wins.
const DIRECTORIES: [&str; 8] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/opt/bin",
    "/var/lib/rancher/rke2/bin",
];

/// Their names, and how they are asked without a server, a configuration or a trace.
const TOOLS: [(&str, &[&str]); 10] = [
    ("containerd", &["--version"]),
    ("runc", &["--version"]),
    ("crio", &["--version"]),
    ("docker", &["--version"]),
    ("kubelet", &["--version"]),
    ("kubeadm", &["version", "-o", "short"]),
    ("kubectl", &["version", "--client"]),
    ("k3s", &["--version"]),
    ("rke2", &["--version"]),
    ("k0s", &["version"]),
];

impl Host {
    /// Each program that is there, with its version and path: `v1.7.24 (/usr/bin/containerd)`.
    /// Only at [`rackwright_proto::facts::Depth::Full`]: it runs them.
    pub async fn tools(&self) -> BTreeMap<String, String> {
        let asked = TOOLS.iter().map(|(name, arguments)| async move {
            let path = self.find_tool(name)?;
            let answer = match self.part_of(name, &path) {
                Some(whole) => format!("part of {whole} ({path})"),
                None => self.tool(path, arguments).await,
            };
            Some(((*name).to_owned(), answer))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    fn find_tool(&self, name: &str) -> Option<String> {
        DIRECTORIES
            .iter()
            .map(|directory| format!("{directory}/{name}"))
            .find(|path| self.path(path).is_file())
    }

    /// The other program that a link leads to: `kubectl` can be k3s, which unpacks itself onto the disk when it is
    /// run by that name. A check changes nothing, so such a program is only asked by its own name.
    fn part_of(&self, name: &str, path: &str) -> Option<String> {
        let real = self.path(path).canonicalize().ok()?;
        let file = real.file_name()?.to_str()?;
        let other = |(tool, _): &(&str, _)| *tool == file && *tool != name;
        TOOLS.iter().any(other).then(|| file.to_owned())
    }

    async fn tool(&self, path: String, arguments: &[&str]) -> String {
        let real = self.path(&path).to_string_lossy().into_owned();
        let argv: Vec<&str> = std::iter::once(real.as_str()).chain(arguments.iter().copied()).collect();
        match self.run_ok(&argv, DEADLINE).await {
            Ok(output) => {
                let version = version_in(&output.stdout).unwrap_or("a version that it does not tell");
                format!("{version} ({path})")
            }
            Err(e) => format!("does not run: {} ({path})", chain(&e)),
        }
    }
}

/// The first word that looks like a version: `1.7.24`, `v1.31.2+k3s1`.
fn version_in(text: &str) -> Option<&str> {
    let words = text.split_whitespace().map(|word| word.trim_matches([',', '"', '(', ')']));
    words.into_iter().find(|word| {
        let digits = word.strip_prefix('v').unwrap_or(word);
        let mut parts = digits.split('.');
        let number =
            |part: Option<&str>| part.is_some_and(|p| p.bytes().next().is_some_and(|b| b.is_ascii_digit()));
        number(parts.next()) && number(parts.next()) && word.len() <= 64
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn versions_are_found_in_what_the_programs_print() {
        for (text, version) in [
            ("containerd github.com/containerd/containerd/v2 v2.0.0 207ad711\n", "v2.0.0"),
            ("containerd containerd.io 1.7.24 88bf19b\n", "1.7.24"),
            ("runc version 1.1.12\ncommit: v1.1.12-0-g51d5e946\nspec: 1.0.2-dev\n", "1.1.12"),
            ("crio version 1.31.0\nVersion: 1.31.0\n", "1.31.0"),
            ("Docker version 20.10.24+dfsg1, build 297e128\n", "20.10.24+dfsg1"),
            ("Kubernetes v1.31.2\n", "v1.31.2"),
            ("v1.31.2\n", "v1.31.2"),
            ("Client Version: v1.31.2\nKustomize Version: v5.4.2\n", "v1.31.2"),
            ("k3s version v1.30.4+k3s1 (98262b5d)\ngo version go1.22.5\n", "v1.30.4+k3s1"),
        ] {
            assert_eq!(version_in(text), Some(version), "{text}");
        }
        assert_eq!(version_in("no version at all"), None);
    }

    #[tokio::test]
    async fn a_program_is_named_with_version_and_path_and_a_broken_one_says_so() {
        let tree = tempfile::tempdir().unwrap();
        let bin = tree.path().join("usr/local/bin");
        std::fs::create_dir_all(&bin).unwrap();
        for (name, text) in
            [("kubelet", "#!/bin/sh\necho Kubernetes v1.31.2\n"), ("k0s", "#!/bin/sh\nexit 3\n")]
        {
            std::fs::write(bin.join(name), text).unwrap();
            std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::os::unix::fs::symlink("k0s", bin.join("kubectl")).unwrap();
        let tools = Host::at(tree.path()).tools().await;
        assert_eq!(tools["kubectl"], "part of k0s (/usr/local/bin/kubectl)");
        assert_eq!(tools["kubelet"], "v1.31.2 (/usr/local/bin/kubelet)");
        assert!(tools["k0s"].starts_with("does not run: "), "{tools:?}");
        assert_eq!(tools.len(), 3);
    }
}
