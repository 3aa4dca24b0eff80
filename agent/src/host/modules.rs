//! Kernel modules: what is loaded, built in, loadable, held back or missing, and modprobe.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::kernel::ModuleSeen;
use rackwright_proto::name::ModuleName;

use super::Host;
use super::command::CommandError;
use super::read::{LARGE, SMALL};
use crate::fault::chain;

/// How long modprobe may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Where kmod looks for configuration, first wins (modprobe.d(5)).
const MODPROBE_D: [&str; 5] = [
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
];

/// Features that show that a module's code is in the kernel, for kernels that do not name all that is built in:
/// neither `/sys/module` (only modules with parameters or a version) nor a missing `/lib/modules` does.
const FEATURES: [(&str, Feature); 11] = [
    ("overlay", Feature::FileSystem("overlay")),
    ("br_netfilter", Feature::Path("/proc/sys/net/bridge")),
    ("nf_conntrack", Feature::Path("/proc/sys/net/netfilter/nf_conntrack_max")),
    ("ip_vs", Feature::Path("/proc/net/ip_vs")),
    ("ip_tables", Feature::Path("/proc/net/ip_tables_names")),
    ("ip6_tables", Feature::Path("/proc/net/ip6_tables_names")),
    ("iptable_filter", Feature::Line("/proc/net/ip_tables_names", "filter")),
    ("iptable_nat", Feature::Line("/proc/net/ip_tables_names", "nat")),
    ("iptable_mangle", Feature::Line("/proc/net/ip_tables_names", "mangle")),
    ("8021q", Feature::Path("/proc/net/vlan")),
    ("bonding", Feature::Path("/sys/class/net/bonding_masters")),
];

/// Something that the kernel shows when the code of a module is there.
#[derive(Clone, Copy)]
enum Feature {
    /// A file system type of `/proc/filesystems`.
    FileSystem(&'static str),
    /// A path.
    Path(&'static str),
    /// A line of a file.
    Line(&'static str, &'static str),
}

/// One observation of the host's modules. Each file is read when it is first needed, and once.
#[derive(Debug)]
pub struct Modules<'a> {
    host: &'a Host,
    release: String,
    /// Use counts by name; `None` on a kernel without loadable modules.
    loaded: Option<BTreeMap<String, u32>>,
    built_in: OnceLock<BTreeSet<String>>,
    loadable: OnceLock<BTreeSet<String>>,
    held: OnceLock<BTreeMap<String, (String, u32)>>,
}

impl<'a> Modules<'a> {
    /// Looks at `/proc/modules` and the kernel's release. Changes nothing.
    pub fn read(host: &'a Host) -> Result<Self, Fault> {
        let text = host.read_text("/proc/modules", LARGE).map_err(|e| {
            Fault::new(FaultKind::Host, "read /proc/modules", e.to_string())
                .next("run the agent as root on a host with /proc mounted")
        })?;
        Ok(Self {
            host,
            release: host.word("/proc/sys/kernel/osrelease").unwrap_or_default(),
            loaded: text.as_deref().map(parse_loaded),
            built_in: OnceLock::new(),
            loadable: OnceLock::new(),
            held: OnceLock::new(),
        })
    }

    /// What the host has of one module. Loaded wins over held back: what is there is there.
    pub fn seen(&self, name: &ModuleName) -> ModuleSeen {
        if let Some(users) = self.loaded.as_ref().and_then(|loaded| loaded.get(name.as_str())) {
            return ModuleSeen::Loaded { users: *users };
        }
        if self.is_built_in(name.as_str()) {
            return ModuleSeen::BuiltIn;
        }
        if self.loaded.is_none() {
            return ModuleSeen::NoModules;
        }
        if !self.loadable().contains(name.as_str()) {
            return ModuleSeen::Missing { release: self.release.clone() };
        }
        match self.held().get(name.as_str()) {
            Some((file, line)) => ModuleSeen::Blacklisted { file: file.clone(), line: *line },
            None => ModuleSeen::Loadable,
        }
    }

    /// Whether programs that open a kernel interface cannot make the kernel load `name` by doing so: the code is
    /// there already, or nothing can be loaded at all.
    pub(crate) fn cannot_autoload(&self, name: &str) -> bool {
        self.loaded.as_ref().is_none_or(|loaded| loaded.contains_key(name)) || self.is_built_in(name)
    }

    fn is_built_in(&self, name: &str) -> bool {
        let sys = format!("/sys/module/{name}");
        // A module that was loaded has `initstate`; what has no such file came with the kernel image.
        (self.host.exists(&sys) && !self.host.exists(format!("{sys}/initstate")))
            || FEATURES.iter().any(|(module, feature)| *module == name && feature.is_there(self.host))
            || self.built_in().contains(name)
    }

    fn built_in(&self) -> &BTreeSet<String> {
        self.built_in.get_or_init(|| {
            let list = self.table("modules.builtin");
            if list.is_empty() {
                parse_modinfo(&self.table("modules.builtin.modinfo"))
            } else {
                parse_paths(&list)
            }
        })
    }

    fn loadable(&self) -> &BTreeSet<String> {
        self.loadable.get_or_init(|| parse_paths(&self.table("modules.dep")))
    }

    fn table(&self, file: &str) -> String {
        let path = format!("/lib/modules/{}/{file}", self.release);
        self.host.read_text(path, LARGE).ok().flatten().unwrap_or_default()
    }

    fn held(&self) -> &BTreeMap<String, (String, u32)> {
        self.held.get_or_init(|| {
            let mut held = parse_command_line(&self.host.word("/proc/cmdline").unwrap_or_default());
            for file in self.host.drop_ins(&MODPROBE_D) {
                let text = self.host.read_text(&file, SMALL).ok().flatten().unwrap_or_default();
                for (module, line) in parse_modprobe(&text) {
                    held.entry(module).or_insert_with(|| (file.clone(), line));
                }
            }
            held
        })
    }
}

impl Feature {
    fn is_there(self, host: &Host) -> bool {
        let lines = |path| host.word(path).unwrap_or_default();
        match self {
            Self::Path(path) => host.exists(path),
            Self::Line(path, wanted) => lines(path).lines().any(|line| line == wanted),
            Self::FileSystem(kind) => {
                lines("/proc/filesystems").lines().any(|line| line.split_whitespace().last() == Some(kind))
            }
        }
    }
}

impl Host {
    /// What this host has of one module; for several, make one [`Modules`] and ask it.
    pub fn module(&self, name: &ModuleName) -> Result<ModuleSeen, Fault> {
        Ok(Modules::read(self)?.seen(name))
    }

    /// Loads a module, with what it depends on, by modprobe(8).
    pub async fn load_module(&self, name: &ModuleName) -> Result<(), Fault> {
        self.modprobe(&["modprobe", "--", name.as_str()], format!("load kernel module {name}")).await
    }

    /// Unloads a module, and what only it needed, by modprobe(8).
    pub async fn unload_module(&self, name: &ModuleName) -> Result<(), Fault> {
        self.modprobe(&["modprobe", "-r", "--", name.as_str()], format!("unload kernel module {name}")).await
    }

    async fn modprobe(&self, argv: &[&str], doing: String) -> Result<(), Fault> {
        self.run_ok(argv, DEADLINE).await.map(drop).map_err(|e| modprobe_fault(doing, &e))
    }
}

fn modprobe_fault(doing: String, error: &CommandError) -> Fault {
    let kind = match error {
        CommandError::Deadline { .. } => FaultKind::Deadline,
        _ => FaultKind::Host,
    };
    let next = if error.is_missing() { "install the package kmod" } else { advice(&error.to_string()) };
    Fault::new(kind, doing, chain(error)).next(next)
}

/// What helps, by what the kernel says through modprobe (its errno texts).
fn advice(said: &str) -> &'static str {
    const ADVICE: [(&str, &str); 8] = [
        (
            "Key was rejected by service",
            "Secure Boot accepts signed modules only: install the distribution's own module package, or enrol the key that signed this one with mokutil",
        ),
        (
            "Required key not available",
            "Secure Boot accepts signed modules only: install the distribution's own module package, or enrol the key that signed this one with mokutil",
        ),
        (
            "Exec format error",
            "the module was built for another kernel: reinstall the kernel's package, or reboot into the kernel that is installed",
        ),
        (
            "Operation not permitted",
            "check that the host is no container, that `sysctl kernel.modules_disabled` is 0 and that the kernel is not locked down (`cat /sys/kernel/security/lockdown`)",
        ),
        (
            "Unknown symbol",
            "the module does not fit the running kernel: run `depmod -a`, or reboot into the kernel that is installed",
        ),
        ("not found", "reinstall the kernel's package, or reboot if it was upgraded since the host booted"),
        ("is in use", "something still uses it; it goes at the next reboot"),
        (
            "Invalid argument",
            "look at `dmesg` for the option that the module refuses, and at /etc/modprobe.d",
        ),
    ];
    let found = ADVICE.iter().find(|(words, _)| said.contains(words));
    found.map_or("look at the end of `dmesg` for the kernel's own words", |(_, advice)| advice)
}

/// `/proc/modules`: name, size, use count (`-` when the kernel cannot unload), dependants, state, address.
fn parse_loaded(text: &str) -> BTreeMap<String, u32> {
    let entry = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (name, _size, users) = (fields.next()?, fields.next()?, fields.next()?);
        Some((name.to_owned(), users.parse().unwrap_or(0)))
    };
    text.lines().filter_map(entry).collect()
}

/// The module names in `modules.builtin` and `modules.dep`: one path a line, up to a `:`.
fn parse_paths(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| module_of_path(line.split(':').next()?)).collect()
}

/// `kernel/net/netfilter/ip-vs.ko.zst` is `ip_vs`.
fn module_of_path(path: &str) -> Option<String> {
    let file = path.trim().rsplit('/').next()?;
    let (name, suffix) = file.split_once(".ko")?;
    (!name.is_empty() && (suffix.is_empty() || suffix.starts_with('.'))).then(|| name.replace('-', "_"))
}

/// `modules.builtin.modinfo`: entries `name.key=value`, each ended by a NUL.
fn parse_modinfo(text: &str) -> BTreeSet<String> {
    text.split('\0')
        .filter_map(|entry| entry.split_once('.').map(|(name, _)| name.replace('-', "_")))
        .collect()
}

/// What modprobe.d(5) holds back in one file: `blacklist NAME`, and `install NAME` by a program that does nothing.
fn parse_modprobe(text: &str) -> Vec<(String, u32)> {
    let mut held = Vec::new();
    let mut lines = (1u32..).zip(text.lines());
    while let Some((number, first)) = lines.next() {
        let mut line = first.to_owned();
        while let Some(start) = line.strip_suffix('\\') {
            let Some((_, more)) = lines.next() else { break };
            line = format!("{start}{more}");
        }
        held.extend(held_by(&line).map(|module| (module, number)));
    }
    held
}

fn held_by(line: &str) -> Option<String> {
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    let does_nothing = |program: &str| matches!(program.rsplit('/').next(), Some("true" | "false"));
    match words.as_slice() {
        ["blacklist", module, ..] => Some(module.replace('-', "_")),
        ["install", module, program] if does_nothing(program) => Some(module.replace('-', "_")),
        ["install", module, program, comment, ..] if does_nothing(program) && comment.starts_with('#') => {
            Some(module.replace('-', "_"))
        }
        _ => None,
    }
}

/// `modprobe.blacklist=` (kmod) and `module_blacklist=` (the kernel itself) of the kernel's command line.
fn parse_command_line(text: &str) -> BTreeMap<String, (String, u32)> {
    let list = |word: &'_ str| {
        let (key, value) = word.split_once('=')?;
        matches!(key, "modprobe.blacklist" | "module_blacklist").then(|| value.to_owned())
    };
    let lists: Vec<_> = text.split_ascii_whitespace().filter_map(list).collect();
    let names = lists.iter().flat_map(|list| list.split(',')).filter(|name| !name.is_empty());
    names.map(|name| (name.replace('-', "_"), ("/proc/cmdline".to_owned(), 1))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A tree with these files.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        tree
    }

    fn seen(tree: &tempfile::TempDir, name: &str) -> ModuleSeen {
        Host::at(tree.path()).module(&name.parse().unwrap()).unwrap()
    }

    const DEBIAN: &[(&str, &str)] = &[
        ("proc/sys/kernel/osrelease", "6.1.0-28-amd64\n"),
        (
            "proc/modules",
            "nf_conntrack 188416 2 xt_conntrack,nf_nat, Live 0xffffffffc0a4b000\nsoftdog 16384 - - Live 0x0\n",
        ),
        ("proc/cmdline", "BOOT_IMAGE=/vmlinuz quiet modprobe.blacklist=floppy,pcspkr\n"),
        ("proc/filesystems", "nodev\ttmpfs\n"),
        ("sys/module/nf_conntrack/initstate", "live\n"),
        ("sys/module/ipv6/parameters/disable", "0\n"),
        ("lib/modules/6.1.0-28-amd64/modules.builtin", "kernel/fs/unix-like.ko\n"),
        (
            "lib/modules/6.1.0-28-amd64/modules.dep",
            "kernel/net/netfilter/ipvs/ip_vs.ko.xz: kernel/net/netfilter/nf_conntrack.ko.xz\n\
             kernel/net/netfilter/nf_conntrack.ko.xz:\n\
             kernel/drivers/block/floppy.ko:\nkernel/net/sctp/sctp.ko:\nkernel/net/dccp/dccp.ko:\n\
             kernel/net/bridge/br_netfilter.ko:\n",
        ),
        ("usr/lib/modprobe.d/a.conf", "# blacklist ip_vs\nblacklist sctp\n"),
        ("etc/modprobe.d/a.conf", "options ip_vs conn_tab_bits=15\n\ninstall dccp /bin/false\n"),
        ("etc/modprobe.d/notes.txt", "blacklist br_netfilter\n"),
    ];

    #[test]
    fn each_state_of_a_module_is_a_different_answer() {
        let tree = tree(DEBIAN);
        let release = "6.1.0-28-amd64".to_owned();
        let held = |file: &str, line| ModuleSeen::Blacklisted { file: file.into(), line };
        assert_eq!(seen(&tree, "nf-conntrack"), ModuleSeen::Loaded { users: 2 });
        assert_eq!(seen(&tree, "softdog"), ModuleSeen::Loaded { users: 0 });
        assert_eq!(seen(&tree, "ipv6"), ModuleSeen::BuiltIn);
        assert_eq!(seen(&tree, "unix_like"), ModuleSeen::BuiltIn);
        assert_eq!(seen(&tree, "ip_vs"), ModuleSeen::Loadable);
        assert_eq!(seen(&tree, "br_netfilter"), ModuleSeen::Loadable);
        assert_eq!(seen(&tree, "nf_conntrack_ipv4"), ModuleSeen::Missing { release });
        assert_eq!(seen(&tree, "dccp"), held("/etc/modprobe.d/a.conf", 3));
        assert_eq!(seen(&tree, "floppy"), held("/proc/cmdline", 1));
        assert_eq!(seen(&tree, "sctp"), ModuleSeen::Loadable, "a.conf of /etc hides the one of /usr/lib");
    }

    #[test]
    fn a_kernel_without_modules_says_what_is_built_in_by_what_it_shows() {
        let tree = tree(&[
            ("proc/filesystems", "nodev\tproc\n\text4\nnodev\toverlay\n"),
            ("proc/sys/net/bridge/bridge-nf-call-iptables", "1\n"),
        ]);
        assert_eq!(seen(&tree, "overlay"), ModuleSeen::BuiltIn);
        assert_eq!(seen(&tree, "br_netfilter"), ModuleSeen::BuiltIn);
        assert_eq!(seen(&tree, "ip_vs"), ModuleSeen::NoModules);
    }

    #[test]
    fn an_install_line_holds_back_only_when_it_does_nothing() {
        let text = "install a /bin/true\ninstall b /sbin/modprobe --ignore-install b\ninstall c \\\n  /usr/bin/false # no\n\
                    install d /bin/true && /sbin/other\nblacklist e-f # why\nalias g h\n";
        let held = parse_modprobe(text);
        assert_eq!(held, [("a".to_owned(), 1), ("c".to_owned(), 3), ("e_f".to_owned(), 6)]);
    }

    #[test]
    fn built_in_information_serves_where_there_is_no_list() {
        let text = "ext4.license=GPL\0ext4.file=fs/ext4/ext4\0tcp-cubic.license=GPL\0";
        assert_eq!(parse_modinfo(text), ["ext4", "tcp_cubic"].map(str::to_owned).into());
    }

    #[test]
    fn modprobe_faults_say_what_to_do() {
        let said = |stderr: &str| {
            let error = CommandError::Failed {
                command: "modprobe -- ip_vs".into(),
                code: "code 1".into(),
                stderr: format!("modprobe: ERROR: could not insert 'ip_vs': {stderr}"),
            };
            modprobe_fault("load kernel module ip_vs".into(), &error)
        };
        let fault = said("Key was rejected by service");
        assert!(fault.cause.contains("Key was rejected by service"), "{fault}");
        assert!(fault.next.contains("Secure Boot"), "{}", fault.next);
        assert!(said("Exec format error").next.contains("another kernel"));
        assert!(said("Operation not permitted").next.contains("modules_disabled"));
        assert!(said("Something new").next.contains("dmesg"));
    }

    #[tokio::test]
    async fn a_module_that_is_not_there_is_not_loaded_and_the_fault_says_what_to_do() {
        let fault = Host::this().load_module(&"no_such_module_here".parse().unwrap()).await.unwrap_err();
        assert_eq!(fault.doing, "load kernel module no_such_module_here");
        assert!(!fault.next.is_empty(), "{fault:?}");
    }

    proptest! {
        #[test]
        fn every_listed_module_is_found_whatever_its_suffix(
            names in prop::collection::btree_set("[a-z0-9][a-z0-9_-]{0,20}", 1..20),
            suffix in prop::sample::select(vec!["", ".gz", ".xz", ".zst"]),
        ) {
            let text: String = names.iter().map(|n| format!("kernel/x/{n}.ko{suffix}: kernel/y/z.ko\n")).collect();
            let wanted: BTreeSet<_> = names.iter().map(|n| n.replace('-', "_")).collect();
            prop_assert_eq!(parse_paths(&text), wanted);
        }

        #[test]
        fn no_text_breaks_a_parser(text in "\\PC*|([a-z /.:=,\\\\\n#-]|\n){0,200}") {
            let lines = text.lines().count() as u32;
            prop_assert!(parse_modprobe(&text).iter().all(|(_, line)| (1..=lines).contains(line)));
            parse_loaded(&text);
            parse_paths(&text);
            parse_modinfo(&text);
            parse_command_line(&text);
        }
    }
}
