//! What was seen, in words; times in UTC.

use rackwright_proto::kernel::{KernelSeen, ModuleSeen, SysctlSeen, normalised};
use rackwright_proto::step::{HostStep, Seen};

/// What was seen, in one line.
pub fn seen(seen: &Seen) -> String {
    match seen {
        Seen::Kernel(KernelSeen::Module(seen)) => module(seen),
        Seen::Kernel(KernelSeen::Sysctl(SysctlSeen::Value { value })) => normalised(value),
        Seen::Kernel(KernelSeen::Sysctl(SysctlSeen::Absent)) => "absent".into(),
        Seen::Memory(seen) => if seen.active { "on" } else { "off" }.into(),
        Seen::File(seen) => seen.words(),
        Seen::Unit(seen) => seen.words(),
        Seen::Tool(seen) => seen.words(),
    }
}

/// What was seen of a module, in one line.
pub fn module(seen: &ModuleSeen) -> String {
    match seen {
        ModuleSeen::Loaded { .. } => "loaded".into(),
        ModuleSeen::BuiltIn => "built in".into(),
        ModuleSeen::Loadable => "loadable".into(),
        ModuleSeen::Missing { release } => format!("not in the tree of kernel {release}"),
        ModuleSeen::Blacklisted { file, line } => format!("held back by {file}:{line}"),
        ModuleSeen::NoModules => "this kernel loads no modules".into(),
    }
}

/// What a step speaks of, without its family: `net.ipv4.ip_forward`, `/etc/fstab`.
pub fn subject(step: &HostStep) -> String {
    of_key(&step.key()).to_owned()
}

/// The same from a step's key.
pub fn of_key(key: &str) -> &str {
    let parts = if key.starts_with("kernel/") || key.starts_with("memory/") { 3 } else { 2 };
    key.splitn(parts, '/').last().unwrap_or(key)
}

/// A time in UTC, ISO 8601 to the second: `2026-11-23T14:22:33Z`.
pub fn utc(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("{unix_ms} ms"), |time| time.to_string())
}

/// One line of text that a host sent, fit for the operator's terminal: control characters must not steer it.
pub fn plain(line: &str) -> String {
    let line = line.trim_end_matches(['\n', '\r']);
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}
