//! Running `rackwright` where the operator sits, and looking at hosts with their own tools.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rackwright_lab::{Host, Lab, Output, Spec, agents, must, run};
use serde_json::Value;

/// Generous: the machine may be busy with other racks.
const LIMIT: Duration = Duration::from_secs(180);
const BUILD_LIMIT: Duration = Duration::from_secs(1800);

/// A rack with its operator.
pub(crate) struct Rack {
    lab: Lab,
}

impl Deref for Rack {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Rack {
    /// Brings hosts up. Nothing of ours is on them yet.
    pub(crate) fn up(spec: Spec) -> Self {
        Self { lab: Lab::up(spec).unwrap() }
    }

    /// A `rackwright` in the folder of the rack's file.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let (program, agents) = programs();
        let mut command = self.lab.op_command(program).unwrap();
        command.args(arguments).current_dir(self.lab.dir());
        command.env("RACKWRIGHT_AGENTS", agents).env("HOME", self.lab.dir()).env("USER", "operator");
        command.env_remove("SSH_AUTH_SOCK").env_remove("RACKWRIGHT_LOG");
        command
    }

    /// Runs `rackwright` and insists on how it ends.
    #[track_caller]
    pub(crate) fn ends(&self, code: i32, arguments: &[&str]) -> Output {
        let output = run(self.command(arguments), None, LIMIT).unwrap();
        assert_eq!(
            output.code, code,
            "rackwright {arguments:?}\n--- stdout\n{}\n--- stderr\n{}",
            output.stdout, output.stderr
        );
        output
    }

    /// The same with `--json`; what standard output holds must be one JSON value of that kind.
    #[track_caller]
    pub(crate) fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let output = self.ends(code, &[arguments, &["--json"]].concat());
        let value = serde_json::from_str(&output.stdout);
        value.unwrap_or_else(|error| panic!("{arguments:?} --json: {error}\n{}", output.stdout))
    }

    /// Applies without asking; the rack must be fine with it.
    #[track_caller]
    pub(crate) fn apply(&self) -> Output {
        self.ends(0, &["apply", "--yes"])
    }

    /// Edits the rack's file; what is replaced must be there.
    #[track_caller]
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.rack_yaml()).unwrap();
        assert!(text.contains(from), "no {from:?} in\n{text}");
        fs::write(self.rack_yaml(), text.replacen(from, to, 1)).unwrap();
    }

    /// All hosts as they are now.
    pub(crate) fn states(&self) -> Vec<State> {
        self.hosts().iter().map(State::of).collect()
    }
}

/// The coordinator, fresh, and the folder of the agents that it delivers.
fn programs() -> &'static (PathBuf, PathBuf) {
    static PROGRAMS: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let mut cargo = agents::cargo();
        cargo.args(["build", "--quiet", "--package", "rackwright"]);
        must(cargo, "build rackwright", BUILD_LIMIT).unwrap();
        let here = std::env::current_exe().unwrap();
        let target = here.parent().and_then(Path::parent).unwrap();
        let agents = std::env::var_os("RACKWRIGHT_AGENTS").map(PathBuf::from);
        (target.join("rackwright"), agents.unwrap_or_else(|| agents::build(false).unwrap()))
    })
}

/// A host as its own tools show it, but for what changes by itself or by every login.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct State(BTreeMap<String, String>);

/// Every file with type, mode, owner and target; content where hosts keep what is their own, else size and time.
const TREE: &str = r"
find / -xdev \( -path /var/log -o -path /var/lib/systemd -o -path /var/cache -o -path /var/tmp \
  -o -name .sudo_as_admin_successful \) -prune -o -printf '%p\t%y %m %U:%G %l\n'
find /usr /boot /srv /opt -xdev -path /usr/local -prune -o -type f -printf 'size and time of %p\t%s %T@\n'
find /etc /root /home /usr/local /var -xdev \( -path /var/log -o -path /var/lib/systemd -o -path /var/cache \
  -o -path /var/tmp \) -prune -o -type f ! -name .sudo_as_admin_successful -exec sha256sum {} + |
  sed 's/^\([^ ]*\)  \(.*\)/content of \2\t\1/'
";

/// Units and what systemd would do with them at the next boot; links and addresses.
const RUNNING: &str = r"
systemctl list-unit-files --no-legend --plain | sed 's/^\([^ ]*\) */unit file \1\t/'
systemctl list-units --all --no-legend --plain --type=service,timer,socket,path,mount,swap |
  sed 's/^\([^ ]*\) */unit \1\t/; s/\(\t[^ ]* *[^ ]* *[^ ]*\).*/\1/'
ip -o link show | sed 's/^\([0-9]*: [^:]*\): /link \1\t/'
ip -o address show | sed 's/^\([0-9]*: *[^ ]* *[^ ]* *[^ ]*\) /address \1\t/; s/[0-9]*sec//g; s/ tentative//; s/ dadfailed//'
ip route show | sed 's/^/route /; s/$/\there/'
find /run/rackwright /run/systemd/transient /run/systemd/system -mindepth 1 ! -name 'session-*' \
  -printf '%p\t%y %m\n' 2>/dev/null || true
";

/// Units that come and go with logins, idle timeouts and questions to systemd, without anybody's doing.
const COMES_AND_GOES: [&str; 8] = [
    "user@",
    "user-",
    "session-",
    "run-user",
    "ssh",
    "systemd-hostnamed",
    "systemd-tmpfiles-clean",
    "systemd-oomd",
];

/// Counters, chances and the machine's own affairs: no settings of the host.
const NO_SETTINGS: [&str; 17] = [
    // Of the machine, not of the host: the lab raises them while racks that need it stand.
    "fs.inotify.max_user_instances",
    "user.max_inotify_instances",
    "net.ipv4.neigh.default.gc_thresh3",
    "net.ipv6.neigh.default.gc_thresh3",
    "kernel.random.",
    "kernel.ns_last_pid",
    "kernel.pty.nr",
    "kernel.tainted",
    "kernel.sched_domain",
    "fs.inode-nr",
    "fs.inode-state",
    "fs.file-nr",
    "fs.dentry-state",
    "fs.aio-nr",
    "fs.quota",
    "net.netfilter.nf_conntrack_count",
    "vm.nr_",
];

impl State {
    /// As the host is now.
    pub(crate) fn of(host: &Host) -> Self {
        let mut all = Self::tree(host).0;
        all.extend(pairs(&host.read(RUNNING).unwrap(), '\t').filter(|(key, _)| {
            let name = key.strip_prefix("unit ").unwrap_or_default();
            !COMES_AND_GOES.iter().any(|start| name.starts_with(start))
        }));
        all.extend(Self::sysctls(host).0);
        Self(all)
    }

    /// Its files alone.
    pub(crate) fn tree(host: &Host) -> Self {
        Self(pairs(&host.read(TREE).unwrap(), '\t').collect())
    }

    /// Its sysctls alone: all that can be read.
    pub(crate) fn sysctls(host: &Host) -> Self {
        let text = host.read("sysctl -a 2>/dev/null || true").unwrap();
        let kept = |(key, _): &(String, String)| !NO_SETTINGS.iter().any(|start| key.starts_with(start));
        Self(pairs(&text, '=').filter(kept).map(|(key, value)| (format!("sysctl {key}"), value)).collect())
    }

    /// What differs, in lines: `- ` was, `+ ` is now.
    pub(crate) fn changes(&self, now: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (key, value) in &self.0 {
            if now.0.get(key) != Some(value) {
                lines.push(format!("- {key}: {value}"));
            }
        }
        for (key, value) in &now.0 {
            if self.0.get(key) != Some(value) {
                lines.push(format!("+ {key}: {value}"));
            }
        }
        lines
    }
}

fn pairs(text: &str, between: char) -> impl Iterator<Item = (String, String)> + '_ {
    text.lines().filter_map(move |line| {
        let (key, value) = line.split_once(between)?;
        Some((key.trim().to_owned(), value.trim().to_owned()))
    })
}

/// Insists that nothing changed, on any host.
#[track_caller]
pub(crate) fn assert_same(before: &[State], after: &[State], what: &str) {
    assert_eq!(before.len(), after.len());
    let changes: Vec<String> = before.iter().zip(after).flat_map(|(b, a)| b.changes(a)).collect();
    assert!(changes.is_empty(), "{what} changed something:\n{}", changes.join("\n"));
}

/// Text with what differs from run to run replaced: hashes of agents and files, ids of runs, times.
pub(crate) fn redacted(text: &str, rack: &Rack) -> String {
    let text = text.replace(&rack.dir().display().to_string(), "[rack]");
    let mut out = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let (body, end) = match word.chars().last() {
            Some(last) if !last.is_ascii_alphanumeric() => word.split_at(word.len() - last.len_utf8()),
            _ => (word, ""),
        };
        let hex = body.len() >= 12 && body.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        out.push_str(if hex { "[hash]" } else { body });
        out.push_str(end);
    }
    out
}
