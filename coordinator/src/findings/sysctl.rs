//! What systemd-sysctl(8) would set at the next boot.

use rackwright_proto::facts::{Facts, SysctlFile};
use rackwright_proto::finding::Finding;
use rackwright_proto::kernel::{KernelStep, normalised};
use rackwright_proto::name::{NodeName, SysctlKey};
use rackwright_proto::step::HostStep;

use super::Check;
use crate::plan::SYSCTLS_FILE;

/// Where an assignment that wins at the next boot stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Winner<'a> {
    /// The file.
    pub path: &'a str,
    /// The line in it, from 1.
    pub line: u32,
    /// The value; `None` when the line says that the key shall not be set.
    pub value: Option<&'a str>,
}

/// One finding per sysctl among `steps` that another file would set otherwise at the next boot, or one pass.
pub fn overridden(node: &NodeName, steps: &[&HostStep], facts: &Facts) -> Vec<Finding> {
    let sysctls = steps.iter().filter_map(|s| match s {
        HostStep::Kernel(KernelStep::Sysctl(s)) => Some(s),
        _ => None,
    });
    let (mut found, mut asked) = (Vec::new(), 0);
    for sysctl in sysctls {
        asked += 1;
        let Some(winner) = winner_over_ours(&facts.sysctl_files, &sysctl.key) else { continue };
        if winner.value.map(normalised).as_deref() == Some(normalised(&sysctl.value).as_str()) {
            continue;
        }
        found.push(finding(node, &sysctl.key, &sysctl.value, &winner));
    }
    if found.is_empty() && asked > 0 {
        found.push(check(node, "", "ours are").pass(format!("{asked} keys, none set otherwise after ours")));
    }
    found
}

fn finding(node: &NodeName, key: &SysctlKey, wanted: &str, winner: &Winner<'_>) -> Finding {
    let Winner { path, line, value } = winner;
    let observed = match value {
        Some(value) => format!("{path}:{line} sets it to {value}, and comes after {SYSCTLS_FILE}"),
        None => format!("{path}:{line} excludes it, and comes after {SYSCTLS_FILE}"),
    };
    let fix = format!("remove {path}:{line}; until then each boot and each `sysctl --system` undoes ours");
    check(node, key.as_str(), wanted).warning(observed, fix)
}

fn check(node: &NodeName, key: &str, wanted: &str) -> Check {
    Check::new("sysctl-overridden", &[node], key, "sysctl.d at the next boot", format!("{wanted} set last"))
}

/// The last explicit assignment of `key` in a file that comes after ours, as sysctl.d(5) orders files: by name,
/// whatever their folder. Globs never win over an explicit setting, and ours is one.
pub fn winner_over_ours<'a>(files: &'a [SysctlFile], key: &SysctlKey) -> Option<Winner<'a>> {
    let later = files.iter().filter(|f| name(&f.path) > name(SYSCTLS_FILE));
    let mut lines = later.flat_map(|f| f.lines.iter().map(move |line| (f, line)));
    let same = |text: &str| text.parse::<SysctlKey>().is_ok_and(|k| crate::plan::same_switch(&k, key));
    let (file, line) = lines.rfind(|(_, line)| same(&line.key))?;
    Some(Winner { path: &file.path, line: line.line, value: line.value.as_deref() })
}

/// `/etc/sysctl.conf` is read through a link `99-sysctl.conf`, where it is read at all.
fn name(path: &str) -> &str {
    match path {
        "/etc/sysctl.conf" => "99-sysctl.conf",
        path => path.rsplit('/').next().unwrap_or(path),
    }
}
