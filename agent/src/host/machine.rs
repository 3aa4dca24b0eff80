//! What the node is: its system, processors, memory, control groups and resolver.

use rackwright_proto::facts::{Basics, Machine, ResolvConf};

use super::Host;

/// The address of systemd-resolved's stub, which a pod cannot reach.
const STUB: &str = "127.0.0.53";

/// Where systemd-resolved keeps what it really asks.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

impl Host {
    /// Who the host is. What cannot be read is empty.
    pub fn basics(&self) -> Basics {
        let word = |path| self.word(path).unwrap_or_default();
        let arch = nix::sys::utsname::uname().map(|u| u.machine().to_string_lossy().into_owned());
        Basics {
            hostname: word("/proc/sys/kernel/hostname"),
            // machine-id(5): the other word is there until the first boot is over.
            machine_id: self.word("/etc/machine-id").filter(|id| id != "uninitialized").unwrap_or_default(),
            boot_id: word("/proc/sys/kernel/random/boot_id"),
            kernel: word("/proc/sys/kernel/osrelease"),
            arch: arch.unwrap_or_default(),
            // As sd_booted(3) tells it.
            systemd: self.exists("/run/systemd/system"),
            euid: nix::unistd::geteuid().as_raw(),
        }
    }

    /// What the host is made of. What cannot be read is empty or 0.
    pub fn machine(&self) -> Machine {
        let release = self.word("/etc/os-release").or_else(|| self.word("/usr/lib/os-release"));
        let release = release.unwrap_or_default();
        let field = |name| os_release(&release, name).unwrap_or_default();
        Machine {
            os_id: field("ID"),
            os_version: field("VERSION_ID"),
            os_name: field("PRETTY_NAME"),
            product_uuid: self.word("/sys/class/dmi/id/product_uuid"),
            cpus: count_list(&self.word("/sys/devices/system/cpu/online").unwrap_or_default()),
            memory_bytes: memory_total(&self.word("/proc/meminfo").unwrap_or_default()),
            cgroup: self.cgroup(),
            resolv_conf: self.resolv_conf(),
        }
    }

    /// In a hybrid layout version 2 is mounted too, but without controllers: then version 1 does the work.
    fn cgroup(&self) -> u8 {
        let unified = self.word("/sys/fs/cgroup/cgroup.controllers").is_some();
        let legacy = ["memory", "cpu", "cpu,cpuacct", "cpuset"];
        match unified {
            true => 2,
            false if legacy.iter().any(|c| self.exists(format!("/sys/fs/cgroup/{c}/cgroup.procs"))) => 1,
            false => 0,
        }
    }

    /// kubeadm points kubelet at systemd-resolved's own file where the stub is in use; so do we.
    fn resolv_conf(&self) -> ResolvConf {
        let read = |path: &str| Some(parse_resolv_conf(self.real_path(path), &self.word(path)?));
        let plain = read("/etc/resolv.conf").unwrap_or_default();
        let stub = plain.nameservers.iter().any(|server| server == STUB);
        if stub { read(RESOLVED).unwrap_or(plain) } else { plain }
    }

    /// The node's path of a file, links followed.
    fn real_path(&self, path: &str) -> String {
        let real = self.path(path).canonicalize().unwrap_or_else(|_| path.into());
        let inside = real.strip_prefix(self.path("/")).unwrap_or(&real);
        std::path::Path::new("/").join(inside).to_string_lossy().into_owned()
    }
}

/// A field of os-release(5): shell assignments, quoted or not.
fn os_release(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))?.trim();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let Some(inner) = quote.and_then(|q| value.strip_prefix(q)?.strip_suffix(q)) else {
        return Some(value.to_owned());
    };
    let mut out = String::new();
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        out.extend(if c == '\\' && quote == Some('"') { characters.next() } else { Some(c) });
    }
    Some(out)
}

/// How many numbers a kernel list like `0-3,8` holds.
fn count_list(text: &str) -> u32 {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    text.split(',').filter_map(count).fold(0, u32::saturating_add)
}

/// `MemTotal` of `/proc/meminfo` in bytes.
fn memory_total(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// resolv.conf(5): the last `search` or `domain` wins.
fn parse_resolv_conf(path: String, text: &str) -> ResolvConf {
    let mut found = ResolvConf { path, ..ResolvConf::default() };
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => found.nameservers.extend(words.next().map(str::to_owned)),
            Some("search" | "domain") => found.search = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stub_resolver_is_replaced_by_what_it_asks() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("etc")).unwrap();
        fs::create_dir_all(tree.path().join("run/systemd/resolve")).unwrap();
        let stub = "# stub\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch example.org\n";
        fs::write(tree.path().join("run/systemd/resolve/stub-resolv.conf"), stub).unwrap();
        symlink("../run/systemd/resolve/stub-resolv.conf", tree.path().join("etc/resolv.conf")).unwrap();
        let host = Host::at(tree.path().canonicalize().unwrap());
        assert_eq!(host.resolv_conf().path, "/run/systemd/resolve/stub-resolv.conf");
        let real = "nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch a.example b.example\n";
        fs::write(tree.path().join("run/systemd/resolve/resolv.conf"), real).unwrap();
        let wanted = ResolvConf {
            path: RESOLVED.into(),
            nameservers: vec!["192.0.2.53".into(), "2001:db8::53".into()],
            search: vec!["a.example".into(), "b.example".into()],
        };
        assert_eq!(host.resolv_conf(), wanted);
    }

    #[test]
    fn os_release_fields_lose_their_quotes() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\nX='a b'\nY=\"a \\\"b\\\"\"\n";
        assert_eq!(os_release(text, "PRETTY_NAME").unwrap(), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(os_release(text, "ID").unwrap(), "debian");
        assert_eq!(os_release(text, "X").unwrap(), "a b");
        assert_eq!(os_release(text, "Y").unwrap(), "a \"b\"");
        assert_eq!(os_release(text, "NAME"), None);
    }

    #[test]
    fn this_machine_has_processors_and_memory() {
        let machine = Host::this().machine();
        assert!(machine.cpus >= 1 && machine.memory_bytes > 0, "{machine:?}");
        let basics = Host::this().basics();
        assert_eq!(basics.kernel, nix::sys::utsname::uname().unwrap().release().to_str().unwrap());
    }

    proptest! {
        #[test]
        fn a_list_of_ranges_counts_its_members(ranges in prop::collection::vec((0u32..1000, 0u32..64), 1..8)) {
            let text: Vec<_> = ranges.iter().map(|(a, n)| format!("{a}-{}", a + n)).collect();
            prop_assert_eq!(count_list(&text.join(",")), ranges.iter().map(|(_, n)| n + 1).sum::<u32>());
        }

        #[test]
        fn no_text_breaks_a_parser(text in "([a-zA-Z=\"' 0-9,-]|\\\\|\n){0,100}|\\PC*") {
            os_release(&text, "ID");
            count_list(&text);
            memory_total(&text);
            parse_resolv_conf(String::new(), &text);
        }
    }
}
