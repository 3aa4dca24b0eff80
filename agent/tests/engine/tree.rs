//! A tree that looks like a machine's, and plans for it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rackwright_agent::host::Host;
use rackwright_agent::journal::RunDir;
use rackwright_agent::step;
use rackwright_proto::event::{Event, Record, RunResult};
use rackwright_proto::file::{Content, FileStep, FileWant};
use rackwright_proto::kernel::{KernelStep, SysctlStep};
use rackwright_proto::name::{Sha256, ToolName, ToolVersion};
use rackwright_proto::plan::{Confirm, NodePlan, PlannedStep, Purpose, Run};
use rackwright_proto::step::HostStep;
use rackwright_proto::tool::{Archive, ArchiveFormat, ArchiveSource, LinkStep, ToolStep, TreeStep};

/// A release archive, and its SHA-256.
fn archive() -> (Vec<u8>, Sha256) {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, text) in [("t-1/bin/t", "#!/bin/sh\n"), ("t-1/share/read.me", "read\n")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o755);
        header.set_mtime(1_700_000_000);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    let bytes = tar.into_inner().unwrap().finish().unwrap();
    let sha256 = rackwright_proto::file::sha256_hex(&bytes).parse().unwrap();
    (bytes, sha256)
}

/// That archive unpacked, and its program linked.
pub(crate) fn tool() -> [HostStep; 2] {
    let (name, version): (ToolName, ToolVersion) = ("t".parse().unwrap(), "1".parse().unwrap());
    let (format, from) = (ArchiveFormat::TarGz, ArchiveSource::Pushed);
    let archive = Archive { sha256: archive().1, format, folder: "t-1".into(), from };
    let tree = TreeStep { name: name.clone(), version, archive: Some(archive) };
    let target = Some(format!("{}/bin/t", tree.path()));
    [ToolStep::Tree(tree), ToolStep::Link(LinkStep { name, target })].map(HostStep::Tool)
}

pub(crate) struct Tree {
    dir: tempfile::TempDir,
    pub(crate) host: Host,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = Self { host: Host::at(dir.path()), dir };
        tree.put("etc/passwd", b"root:x:0:0::/root:/bin/sh\n");
        tree.put("etc/group", b"root:x:0:\n");
        tree.put("etc/machine-id", b"0123456789abcdef0123456789abcdef\n");
        tree.put("proc/modules", b"");
        tree.put("proc/sys/vm/overcommit_memory", b"0\n");
        tree.put("proc/sys/net/ipv4/conf/all/rp_filter", b"1\n");
        tree.put("etc/old.conf", b"old \xff bytes, not text");
        fs::set_permissions(tree.at("etc/old.conf"), fs::Permissions::from_mode(0o600)).unwrap();
        tree.put("etc/gone.conf", b"goes away\n");
        symlink("somewhere", tree.at("etc/link")).unwrap();
        fs::create_dir_all(tree.at("etc/sysctl.d")).unwrap();
        let (bytes, sha256) = archive();
        tree.put(&format!("var/lib/rackwright/artifacts/{sha256}"), &bytes);
        tree
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// The agent's binary on this tree.
    pub(crate) fn agent(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rackwright-agent"));
        command.arg("--root").arg(self.dir.path()).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Every file and link but our own state: mode and bytes, or target.
    pub(crate) fn everything(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let mut found = BTreeMap::new();
        self.collect(self.dir.path(), &mut found);
        found
    }

    fn collect(&self, dir: &Path, found: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            if path == self.at("var/lib/rackwright") || path == self.at("run/rackwright") {
                continue;
            }
            if meta.is_dir() {
                self.collect(&path, found);
            } else if meta.is_symlink() {
                let target = fs::read_link(&path).unwrap().to_string_lossy().into_owned();
                found.insert(path, (0, target.into_bytes()));
            } else {
                found.insert(path.clone(), (meta.mode() & 0o7777, fs::read(path).unwrap()));
            }
        }
    }

    /// A plan from what is there now, as the coordinator would make it.
    pub(crate) async fn plan(
        &self,
        id: &str,
        steps: &[(HostStep, Purpose)],
        confirm: Option<Confirm>,
    ) -> Run {
        let mut planned = Vec::new();
        for (step, purpose) in steps {
            let seen = step::observe(step, &self.host).await.unwrap();
            let decision = step.decide(&seen);
            let why = "a test".into();
            planned.push(PlannedStep { step: step.clone(), purpose: *purpose, why, seen, decision });
        }
        let plan = NodePlan {
            node: "w1".parse().unwrap(),
            machine_id: "0123456789abcdef0123456789abcdef".into(),
            steps: planned,
            confirm,
        };
        Run { id: id.parse().unwrap(), operator: "ops@desk".into(), plan }
    }

    /// Plans from now and keeps the plan where a run finds it.
    pub(crate) async fn keep_plan(&self, id: &str, steps: &[(HostStep, Purpose)], confirm: Option<Confirm>) {
        RunDir::create(&self.host, &self.plan(id, steps, confirm).await).unwrap();
    }

    pub(crate) fn events(&self, id: &str) -> Vec<Event> {
        RunDir::of(&self.host, &id.parse().unwrap()).events().unwrap()
    }

    pub(crate) fn result(&self, id: &str) -> Option<RunResult> {
        match self.events(id).last()?.record {
            Record::Finished { result } => Some(result),
            _ => None,
        }
    }
}

pub(crate) fn file(path: &str, text: &str, mode: u32) -> HostStep {
    let content = Content::Text(text.into());
    let owner = nix::unistd::geteuid().to_string();
    let group = nix::unistd::getegid().to_string();
    HostStep::File(FileStep { path: path.into(), want: FileWant::Content { content, mode, owner, group } })
}

pub(crate) fn link(path: &str, target: &str) -> HostStep {
    HostStep::File(FileStep { path: path.into(), want: FileWant::Link { target: target.into() } })
}

pub(crate) fn absent(path: &str) -> HostStep {
    HostStep::File(FileStep { path: path.into(), want: FileWant::Absent })
}

pub(crate) fn sysctl(key: &str, value: &str) -> HostStep {
    let key = key.parse().unwrap();
    HostStep::Kernel(KernelStep::Sysctl(SysctlStep { key, value: value.into(), after_module: None }))
}

pub(crate) fn wanted(steps: Vec<HostStep>) -> Vec<(HostStep, Purpose)> {
    steps.into_iter().map(|step| (step, Purpose::Want)).collect()
}
