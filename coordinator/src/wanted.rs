//! From a node of the rack to what planning wants of its host.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use rackwright_proto::file::{Content, FileStep, FileWant};
use rackwright_proto::name::NodeName;

use crate::plan::{self, Because, ProxyMode, ProxyWanted, UnitFile, Wanted, WatchUnits};
use crate::rack::model::hosts::{HostFile, Swap, Watch};
use crate::rack::model::kubernetes::{self, Kubernetes};
use crate::rack::{Loaded, Node};

/// The largest file that a rack may copy to a host, in bytes.
const LARGEST_FILE: u64 = 4 * 1024 * 1024;

/// A file that the rack copies from the operator's side cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("read {}, which the rack copies to {to} on {node}", from.display())]
pub struct SourceError {
    node: NodeName,
    to: String,
    from: PathBuf,
    source: std::io::Error,
}

/// What the rack wants of one host, but for the agent's path and tools, which are known only once it was spoken with.
pub fn of(loaded: &Loaded, node: &Node, home: Option<&Path>) -> Result<Wanted, SourceError> {
    let hosts = &node.hosts;
    let because = |text: &str| text.to_owned();
    let files = hosts.files.values().map(|file| file_step(loaded, node, file, home));
    Ok(Wanted {
        modules: hosts.modules.iter().map(|m| Because::new(m.clone(), because("hosts.modules"))).collect(),
        sysctls: hosts
            .sysctls
            .iter()
            .map(|(key, value)| Because::new((key.clone(), value.to_string()), because("hosts.sysctls")))
            .collect(),
        swap_off: hosts.swap == Swap::Off,
        files: files.collect::<Result<_, _>>()?,
        proxy: loaded.rack.kubernetes().and_then(proxy),
        watch: watch(&hosts.watch),
        tools: Vec::new(),
        tools_in_use: None,
        agent_path: String::new(),
    })
}

fn file_step(
    loaded: &Loaded,
    node: &Node,
    file: &HostFile,
    home: Option<&Path>,
) -> Result<Because<FileStep>, SourceError> {
    let content = match (&file.content, &file.source) {
        _ if file.absent => None,
        (Some(text), _) => Some(Content::Text(text.as_str().to_owned())),
        (None, Some(path)) => {
            let from = path.resolve(&loaded.folder, home);
            let (node, to) = (node.name.clone(), file.path.to_string());
            let read = read(&from).map_err(|source| SourceError { node, to, from, source })?;
            Some(Content::from_bytes(&read))
        }
        (None, None) => None,
    };
    let want = match content {
        Some(content) => FileWant::Content {
            content,
            mode: file.mode.bits(),
            owner: file.owner.to_string(),
            group: file.group.to_string(),
        },
        None => FileWant::Absent,
    };
    Ok(Because::new(FileStep { path: file.path.to_string(), want }, "hosts.files"))
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(std::io::Error::other(format!("it is larger than {} MiB", LARGEST_FILE >> 20)));
    }
    Ok(bytes)
}

fn proxy(kubernetes: &Kubernetes) -> Option<ProxyWanted> {
    let proxy = kubernetes.proxy.as_ref()?;
    let mode = match proxy.mode {
        kubernetes::ProxyMode::Iptables => ProxyMode::Iptables,
        kubernetes::ProxyMode::Nftables => ProxyMode::Nftables,
        kubernetes::ProxyMode::Ipvs => {
            ProxyMode::Ipvs { scheduler: proxy.scheduler.unwrap_or_default().as_str().to_owned() }
        }
    };
    Some(ProxyWanted { mode, strict_arp: proxy.strict_arp })
}

/// The units of `systemd/` that the rack wants, with its interval and textfile folder filled in.
fn watch(watch: &Watch) -> WatchUnits {
    let mut units = Vec::new();
    if watch.restore {
        units.push(UnitFile {
            name: unit(plan::RESTORE_UNIT),
            text: include_str!("../../systemd/rackwright-restore.service").to_owned(),
            enable: true,
            active: None,
            why: "hosts.watch.restore".into(),
        });
    }
    if watch.drift.enabled {
        units.extend(drift(watch));
    }
    WatchUnits { units }
}

fn drift(watch: &Watch) -> [UnitFile; 2] {
    let why = || "hosts.watch.drift".to_owned();
    let service = include_str!("../../systemd/rackwright-drift.service");
    let service = match &watch.drift.textfile {
        // The unit may write nowhere else, so the folder is opened to it; one that is missing fails in plain words.
        Some(dir) => service
            .replace("/agent drift\n", &format!("/agent drift --textfile {dir}\nReadWritePaths=-{dir}\n")),
        None => service.to_owned(),
    };
    let every = format!("OnUnitActiveSec={}s", watch.drift.every.duration().as_secs());
    let timer = include_str!("../../systemd/rackwright-drift.timer").replace("OnUnitActiveSec=15min", &every);
    [
        UnitFile {
            name: unit("rackwright-drift.service"),
            text: service,
            enable: false,
            active: None,
            why: why(),
        },
        UnitFile {
            name: unit("rackwright-drift.timer"),
            text: timer,
            enable: true,
            active: Some(true),
            why: why(),
        },
    ]
}

fn unit(name: &str) -> rackwright_proto::name::UnitName {
    name.parse().expect("a unit name of ours is valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_textfile_folder_is_told_to_the_agent_and_opened_to_it() {
        let mut wanted = Watch::default();
        wanted.drift.textfile = Some("/var/lib/node_exporter".parse().unwrap());
        let unit = &drift(&wanted)[0].text;
        assert!(unit.contains("/agent drift --textfile /var/lib/node_exporter\n"), "{unit}");
        assert!(unit.contains("\nReadWritePaths=-/var/lib/node_exporter\n"), "{unit}");
    }

    #[test]
    fn the_interval_goes_into_the_timer() {
        let mut wanted = Watch::default();
        wanted.drift.every = "1h".parse().unwrap();
        let timer = &drift(&wanted)[1].text;
        assert!(timer.contains("\nOnUnitActiveSec=3600s\n"), "{timer}");
    }
}
