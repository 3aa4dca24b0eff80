//! Sysctls: live values in `/proc/sys`, and the files that systemd-sysctl applies at boot.

use std::fs::OpenOptions;
use std::io::{self, Write as _};

use nix::errno::Errno;
use rackwright_proto::facts::{SysctlFile, SysctlLine};
use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::kernel::{SysctlSeen, normalised};
use rackwright_proto::name::SysctlKey;

use super::Host;
use super::read::SMALL;

/// Where systemd-sysctl looks, first wins (sysctl.d(5)). `/etc/sysctl.conf` counts only by way of a link here.
const SYSCTL_D: [&str; 5] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];

impl Host {
    /// The live value of a key.
    pub fn sysctl(&self, key: &SysctlKey) -> Result<SysctlSeen, Fault> {
        match self.read_text(path(key), SMALL) {
            Ok(Some(text)) => {
                Ok(SysctlSeen::Value { value: text.strip_suffix('\n').unwrap_or(&text).to_owned() })
            }
            Ok(None) => Ok(SysctlSeen::Absent),
            Err(e) => Err(fault(format!("read sysctl {key}"), key, &e)),
        }
    }

    /// Sets a live value, and reads it back: the kernel may take a value and keep another.
    pub fn set_sysctl(&self, key: &SysctlKey, value: &str) -> Result<(), Fault> {
        let doing = || format!("set sysctl {key} = {value}");
        let written = OpenOptions::new().write(true).open(self.path(path(key))).and_then(|mut file| {
            // One write: the kernel takes each write as a whole value.
            file.write_all(format!("{value}\n").as_bytes())
        });
        written.map_err(|e| fault(doing(), key, &e))?;
        match self.sysctl(key)? {
            SysctlSeen::Value { value: now } if normalised(&now) == normalised(value) => Ok(()),
            SysctlSeen::Value { value: now } => {
                Err(Fault::new(FaultKind::Diverged, doing(), format!("the kernel made `{}` of it", normalised(&now)))
                    .next("look for the key in the kernel's documentation (Documentation/admin-guide/sysctl), or for a program that sets it too"))
            }
            SysctlSeen::Absent => Err(Fault::new(FaultKind::Diverged, doing(), "the key went away")),
        }
    }

    /// Every assignment that systemd-sysctl would make at boot, in its order, and what could not be read.
    pub fn sysctl_files(&self) -> (Vec<SysctlFile>, Vec<String>) {
        let (mut files, mut troubles) = (Vec::new(), Vec::new());
        for path in self.drop_ins(&SYSCTL_D) {
            match self.read_text(&path, SMALL) {
                // A link to /dev/null reads as empty: the name is hidden.
                Ok(text) => files.push(SysctlFile { lines: parse(&text.unwrap_or_default()), path }),
                Err(e) => troubles.push(format!("read {path}: {e}")),
            }
        }
        files.retain(|file| !file.lines.is_empty());
        (files, troubles)
    }
}

fn path(key: &SysctlKey) -> String {
    format!("/proc/sys/{}", key.path())
}

fn fault(doing: String, key: &SysctlKey, error: &io::Error) -> Fault {
    let next = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EINVAL | Errno::ERANGE) => {
            format!("the kernel does not accept that value for {key}: correct it in the rack")
        }
        Some(Errno::EROFS) => format!(
            "/proc/sys is mounted read-only, as in a container: set {key} on the machine that carries this one"
        ),
        Some(Errno::EACCES | Errno::EPERM) => format!(
            "run the agent as root; if it is, {key} is read-only, or belongs to the machine that carries this container"
        ),
        Some(Errno::ENOENT) => {
            format!("this kernel has no {key} now: the module that brings it may not be loaded")
        }
        _ => String::new(),
    };
    Fault::new(FaultKind::Host, doing, error.to_string()).next(next)
}

/// One file of sysctl.d(5), as systemd-sysctl reads it.
fn parse(text: &str) -> Vec<SysctlLine> {
    (1u32..).zip(text.lines()).filter_map(|(line, text)| parse_line(line, text.trim())).collect()
}

fn parse_line(line: u32, text: &str) -> Option<SysctlLine> {
    if text.is_empty() || text.starts_with(['#', ';']) {
        return None;
    }
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key.strip_prefix('-').unwrap_or(key), Some(value.trim().to_owned())),
        // Without a value only an exclusion means something; systemd-sysctl skips the rest with a warning.
        None => (text.strip_prefix('-')?, None),
    };
    let key = dotted(key.trim());
    (!key.is_empty()).then_some(SysctlLine { line, key, value })
}

/// A key or glob in the dotted form: the first separator tells which form it is in (sysctl.d(5)).
fn dotted(key: &str) -> String {
    let key = key.trim_start_matches('/');
    let swap = |c| match c {
        '/' => '.',
        '.' => '/',
        c => c,
    };
    match key.find(['.', '/']) {
        Some(at) if key[at..].starts_with('/') => key.chars().map(swap).collect(),
        _ => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    fn line(line: u32, key: &str, value: Option<&str>) -> SysctlLine {
        SysctlLine { line, key: key.into(), value: value.map(str::to_owned) }
    }

    #[test]
    fn a_file_is_read_as_systemd_sysctl_reads_it() {
        let text = "# comment\n; comment\n\n net.ipv4.ip_forward = 1 \n-net/ipv4/conf/eth0.100/rp_filter=2\n\
                    net.ipv4.conf.*.arp_ignore=1\n-net.ipv4.conf.lo.arp_ignore\nnot an assignment\n\
                    kernel.core_pattern=|/bin/x a=b # no comment\n=5\n";
        let wanted = [
            line(4, "net.ipv4.ip_forward", Some("1")),
            line(5, "net.ipv4.conf.eth0/100.rp_filter", Some("2")),
            line(6, "net.ipv4.conf.*.arp_ignore", Some("1")),
            line(7, "net.ipv4.conf.lo.arp_ignore", None),
            line(9, "kernel.core_pattern", Some("|/bin/x a=b # no comment")),
        ];
        assert_eq!(parse(text), wanted);
    }

    #[test]
    fn files_come_in_boot_order_and_hide_each_other() {
        let tree = tempfile::tempdir().unwrap();
        let at = |path: &str| {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        fs::write(at("usr/lib/sysctl.d/50-default.conf"), "a.b=1\n").unwrap();
        fs::write(at("usr/lib/sysctl.d/10-hidden.conf"), "a.b=2\n").unwrap();
        fs::write(at("run/sysctl.d/50-default.conf"), "a.b=3\n").unwrap();
        fs::write(at("etc/sysctl.conf"), "a.b=4\n").unwrap();
        fs::write(at("etc/sysctl.d/README"), "a.b=5\n").unwrap();
        symlink("/dev/null", at("etc/sysctl.d/10-hidden.conf")).unwrap();
        symlink("../sysctl.conf", at("etc/sysctl.d/99-sysctl.conf")).unwrap();
        fs::write(at("lib/sysctl.d/60-long.conf"), vec![b'#'; SMALL as usize + 1]).unwrap();
        let (files, troubles) = Host::at(tree.path()).sysctl_files();
        let values: Vec<_> =
            files.iter().map(|f| (f.path.as_str(), f.lines[0].value.as_deref().unwrap())).collect();
        let wanted = [("/run/sysctl.d/50-default.conf", "3"), ("/etc/sysctl.d/99-sysctl.conf", "4")];
        assert_eq!(values, wanted);
        assert_eq!(troubles.len(), 1, "{troubles:?}");
    }

    #[test]
    fn faults_tell_a_bad_value_from_a_read_only_tree() {
        let key: SysctlKey = "net.ipv4.ip_forward".parse().unwrap();
        let next = |errno: Errno| fault("set".into(), &key, &io::Error::from(errno)).next;
        assert!(next(Errno::EINVAL).contains("does not accept"));
        assert!(next(Errno::EROFS).contains("container"));
        assert!(next(Errno::EACCES).contains("read-only"));
        assert!(next(Errno::ENOENT).contains("module"));
    }

    proptest! {
        #[test]
        fn keys_agree_with_the_names_that_plans_use(key in "[a-z0-9_]{1,8}([./][a-z0-9_]{1,8}){1,4}") {
            // Where a key can be a step's, both forms of it are the same step.
            if let Ok(name) = key.parse::<SysctlKey>() {
                prop_assert_eq!(dotted(&key), name.as_str());
            }
        }

        #[test]
        fn assignments_survive_blanks_and_a_dash(
            key in "[a-z]{1,5}(\\.[a-z]{1,5}){1,3}",
            value in "[!-~]{1,10}",
            dash in prop::bool::ANY,
            blank in "[ \t]{0,3}",
        ) {
            let text = format!("{blank}{}{key}{blank}={blank}{value}{blank}\n", if dash { "-" } else { "" });
            prop_assert_eq!(parse(&text), vec![line(1, &key, Some(&value))]);
        }

        #[test]
        fn no_text_breaks_the_parser(text in "([a-z./=#; \t-]|\n){0,100}|\\PC*") {
            prop_assert!(parse(&text).iter().all(|l| !l.key.is_empty() && !l.key.starts_with('/')));
        }
    }
}
