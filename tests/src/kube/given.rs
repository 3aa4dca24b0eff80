//! Programs that the operator has already: a folder of release binaries, which are used instead of building.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::release::Component;
use crate::run::{command, run};
use crate::talk::say;

/// Ours, and the one that the tests of controllers know.
const VARIABLES: [&str; 2] = ["RACKWRIGHT_KUBE_BINARIES", "KUBEBUILDER_ASSETS"];
const ASK_LIMIT: Duration = Duration::from_secs(30);

/// A program of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    /// What the build calls it.
    pub(super) name: &'static str,
    /// The Go package that it is made of.
    pub(super) package: String,
    /// What releases call it.
    release_name: &'static str,
    /// How it is asked for its version.
    ask: &'static [&'static str],
    /// What the answer contains.
    says: String,
}

/// The programs of a component that releases have too. Components that are published as images only have none.
pub(super) fn programs(component: &Component) -> Vec<Program> {
    let Some((what, version)) = component.name.rsplit_once('-') else { return Vec::new() };
    let program = |name, release_name, package: &str, ask, says| Program {
        name,
        package: package.to_owned(),
        release_name,
        ask,
        says,
    };
    match what {
        "kubernetes" => {
            let version = component.link.first().map_or(version, |(_, version)| version);
            let of = |(name, ask)| {
                program(name, name, &format!("k8s.io/kubernetes/cmd/{name}"), ask, version.to_owned())
            };
            KUBERNETES.map(of).to_vec()
        }
        "etcd" => {
            let says = format!("etcd Version: {version}");
            vec![program("server", "etcd", "go.etcd.io/etcd/server/v3", &["--version"], says)]
        }
        "coredns" => {
            let says = format!("CoreDNS-{version}");
            vec![program("coredns", "coredns", "github.com/coredns/coredns", &["-version"], says)]
        }
        _ => Vec::new(),
    }
}

const KUBERNETES: [(&str, &[&str]); 7] = [
    ("kube-apiserver", &["--version"]),
    ("kube-controller-manager", &["--version"]),
    ("kube-proxy", &["--version"]),
    ("kube-scheduler", &["--version"]),
    ("kubeadm", &["version", "--output=short"]),
    ("kubectl", &["version", "--client"]),
    ("kubelet", &["--version"]),
];

/// Programs of a component that lie in the operator's folder, whatever their version.
pub(super) fn candidates(component: &Component) -> Vec<(Program, PathBuf)> {
    let folder = VARIABLES.into_iter().find_map(std::env::var_os);
    folder.map_or_else(Vec::new, |folder| in_folder(component, Path::new(&folder)))
}

fn in_folder(component: &Component, folder: &Path) -> Vec<(Program, PathBuf)> {
    let found = |program: Program| {
        let path = folder.join(program.release_name);
        path.is_file().then_some((program, path))
    };
    programs(component).into_iter().filter_map(found).collect()
}

/// What tells one folder's programs from another's, without reading them.
pub(super) fn recipe(candidates: &[(Program, PathBuf)]) -> String {
    let stamp = |(_, path): &(Program, PathBuf)| {
        let meta = fs::metadata(path).ok()?;
        Some(format!("{} {} {}\n", path.display(), meta.size(), meta.mtime()))
    };
    candidates.iter().filter_map(stamp).collect()
}

/// Whether a program is of the version that the component is; says so when it is not.
pub(super) fn fits(program: &Program, path: &Path) -> bool {
    let mut ask = command(path);
    ask.args(program.ask);
    let said = match run(ask, None, ASK_LIMIT) {
        Ok(output) => output.stdout + &output.stderr,
        Err(error) => error.to_string(),
    };
    let longer = |c: char| c.is_ascii_digit() || ".-+".contains(c);
    let mut places = said.match_indices(&program.says);
    let fits = places.any(|(at, says)| !said[at + says.len()..].starts_with(longer));
    if !fits {
        let first = said.lines().next().unwrap_or("nothing");
        say(format_args!("{} says `{first}`, not {}: building it", path.display(), program.says));
    }
    fits
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::kube::Release;

    #[test]
    fn only_programs_of_the_right_version_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, says: &str| {
            let path = folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\necho '{says}'\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        put("kube-apiserver", "Kubernetes v1.37.2");
        put("kubelet", "Kubernetes v1.37.20");
        put("kubectl", "Client Version: v1.37.2");
        put("etcd", "etcd Version: 3.7.0");
        let found = in_folder(Release::V1_37.kubernetes(), folder.path());
        let names: Vec<&str> = found.iter().map(|(program, _)| program.name).collect();
        assert_eq!(names, ["kube-apiserver", "kubectl", "kubelet"]);
        let fitting: Vec<bool> = found.iter().map(|(program, path)| fits(program, path)).collect();
        assert_eq!(fitting, [true, true, false]);
    }
}
