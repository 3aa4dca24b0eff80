//! Swap: areas in use, what turns them on at boot, and swapoff and swapon.

use std::collections::BTreeSet;
use std::time::Duration;

use rackwright_proto::facts::{Swap, SwapArea};
use rackwright_proto::fault::{Fault, FaultKind};

use super::Host;
use super::command::CommandError;
use super::read::SMALL;
use crate::fault::chain;

/// How long the kernel may take to bring back what was swapped out.
const DEADLINE: Duration = Duration::from_secs(300);

/// Where systemd looks for units, in its order (systemd.unit(5)), without what generators write.
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Where generators write units.
const GENERATED: [&str; 3] =
    ["/run/systemd/generator.early", "/run/systemd/generator", "/run/systemd/generator.late"];

/// Services of distributions that make swap at boot.
const MAKERS: [&str; 6] = [
    "zramswap.service",
    "zram-config.service",
    "zram-swap.service",
    "armbian-zram-config.service",
    "dphys-swapfile.service",
    "swapspace.service",
];

/// Where zram-generator's configuration lies (zram-generator.conf(5)); drop-ins are below `NAME.d/`.
const ZRAM: [&str; 4] = [
    "/etc/systemd/zram-generator.conf",
    "/run/systemd/zram-generator.conf",
    "/usr/local/lib/systemd/zram-generator.conf",
    "/usr/lib/systemd/zram-generator.conf",
];

/// zram-generator itself: without it its configuration does nothing.
const ZRAM_GENERATOR: [&str; 2] =
    ["/usr/lib/systemd/system-generators/zram-generator", "/lib/systemd/system-generators/zram-generator"];

impl Host {
    /// Swap now and at the next boot, and what could not be read.
    pub fn swap(&self) -> (Swap, Vec<String>) {
        let mut troubles = Vec::new();
        let active = self.swap_areas().unwrap_or_else(|e| {
            troubles.push(e.to_string());
            Vec::new()
        });
        let fstab = self.look("/etc/fstab").map_err(|e| troubles.push(chain(&e))).ok();
        (Swap { active, fstab, units: self.swap_units() }, troubles)
    }

    /// The areas in use. None on a kernel without swap.
    pub fn swap_areas(&self) -> Result<Vec<SwapArea>, Fault> {
        let text = self.read_text("/proc/swaps", SMALL);
        let text = text.map_err(|e| Fault::new(FaultKind::Host, "read /proc/swaps", e.to_string()))?;
        Ok(parse_swaps(&text.unwrap_or_default()))
    }

    /// Stops using an area, by swapoff(8).
    pub async fn swap_off(&self, device: &str) -> Result<(), Fault> {
        self.swap_command("swapoff", device).await
    }

    /// Uses an area again, by swapon(8).
    pub async fn swap_on(&self, device: &str) -> Result<(), Fault> {
        self.swap_command("swapon", device).await
    }

    async fn swap_command(&self, program: &str, device: &str) -> Result<(), Fault> {
        let run = self.run_ok(&[program, "--", device], DEADLINE).await;
        run.map(drop).map_err(|e| swap_fault(program, device, &e))
    }

    /// Units that would turn swap on at the next boot, apart from those that systemd makes of fstab.
    fn swap_units(&self) -> Vec<String> {
        let mut units = BTreeSet::new();
        for directory in self.wanting() {
            let wanted = self.names(directory).into_iter();
            units.extend(wanted.filter(|n| n.ends_with(".swap") || MAKERS.contains(&n.as_str())));
        }
        for directory in GENERATED {
            let swaps = self.names(directory).into_iter().filter(|name| name.ends_with(".swap"));
            units.extend(swaps.filter(|name| !self.is_of_fstab(&format!("{directory}/{name}"))));
        }
        units.extend(self.zram_devices().iter().map(|device| format!("systemd-zram-setup@{device}.service")));
        units.into_iter().filter(|unit| !self.is_masked(unit)).collect()
    }

    /// The directories whose units start at boot. Those of packages are many and hold few surprises, and listing
    /// them would cost more than all else: there, only those that swap could be in.
    fn wanting(&self) -> Vec<String> {
        let (own, packaged) = UNITS.split_at(2);
        let wants = |name: &String| name.ends_with(".wants") || name.ends_with(".requires");
        let all = |directory: &&str| {
            let names = self.names(directory).into_iter().filter(wants);
            names.map(|name| format!("{directory}/{name}")).collect::<Vec<_>>()
        };
        let targets = ["swap.target.wants", "multi-user.target.wants"];
        let few = packaged.iter().flat_map(|directory| targets.map(|target| format!("{directory}/{target}")));
        own.iter().flat_map(all).chain(few).collect()
    }

    fn is_of_fstab(&self, unit: &str) -> bool {
        self.word(unit).is_some_and(|text| text.lines().any(|line| line == "SourcePath=/etc/fstab"))
    }

    fn is_masked(&self, unit: &str) -> bool {
        let first = UNITS.iter().map(|directory| format!("{directory}/{unit}"));
        let mut targets = first.filter_map(|path| self.path(&path).symlink_metadata().ok().map(|_| path));
        targets
            .next()
            .is_some_and(|path| self.link_target(path).is_some_and(|t| t.as_os_str() == "/dev/null"))
    }

    /// Devices for which zram-generator would make swap.
    fn zram_devices(&self) -> BTreeSet<String> {
        if !ZRAM_GENERATOR.iter().any(|path| self.exists(path)) {
            return BTreeSet::new();
        }
        let main = ZRAM.iter().find(|path| self.exists(path)).map(|path| (*path).to_owned());
        let drop_ins = ZRAM.map(|path| format!("{path}.d"));
        let drop_ins = self.drop_ins(&drop_ins.each_ref().map(String::as_str));
        let texts = main.into_iter().chain(drop_ins).filter_map(|path| self.word(path));
        texts.flat_map(|text| parse_zram(&text)).collect()
    }
}

fn swap_fault(program: &str, device: &str, error: &CommandError) -> Fault {
    let kind = match error {
        CommandError::Deadline { .. } => FaultKind::Deadline,
        _ => FaultKind::Host,
    };
    let said = chain(error);
    let next = if error.is_missing() {
        "install the package util-linux"
    } else if said.contains("Cannot allocate memory") {
        "what is swapped out does not fit into memory: stop something on the host, then try again"
    } else {
        ""
    };
    Fault::new(kind, format!("{program} {device}"), said).next(next)
}

/// `/proc/swaps`: a heading, then device, kind, KiB in all, KiB in use, priority. Blanks in names are `\040`.
fn parse_swaps(text: &str) -> Vec<SwapArea> {
    let area = |line: &str| {
        let mut fields = line.split_whitespace();
        let device = unescape(fields.next()?);
        let kind = fields.next()?.to_owned();
        let bytes = |field: Option<&str>| field?.parse::<u64>().ok()?.checked_mul(1024);
        let (size_bytes, used_bytes) = (bytes(fields.next())?, bytes(fields.next())?);
        let zram = device.strip_prefix("/dev/").is_some_and(|name| name.starts_with("zram"));
        Some(SwapArea { device, kind, size_bytes, used_bytes, zram })
    };
    text.lines().skip(1).filter_map(area).collect()
}

/// Undoes the kernel's `mangle_path`: a backslash and three octal digits are a byte.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        match after.get(..3).filter(|_| *first == b'\\').and_then(octal) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn octal(digits: &[u8]) -> Option<u8> {
    let number =
        digits.iter().try_fold(0u16, |n, d| (b'0'..=b'7').contains(d).then(|| n * 8 + u16::from(d - b'0')));
    number.and_then(|n| u8::try_from(n).ok())
}

/// The sections `[zramN]` of zram-generator.conf(5); those with a mount point carry a file system, not swap.
fn parse_zram(text: &str) -> Vec<String> {
    let mut devices: Vec<String> = Vec::new();
    let mut mine = false;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            mine = section
                .strip_prefix("zram")
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
            devices.extend(mine.then(|| section.to_owned()));
        } else if mine && line.split('=').next().is_some_and(|key| key.trim() == "mount-point") {
            devices.pop();
            mine = false;
        }
    }
    devices
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn proc_swaps_is_read_with_its_escapes() {
        let text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/sda5  partition\t1999868\t\t1024\t\t-2\n\
                    /my\\040swap\\134file file\t4 0 -3\n/dev/zram0 partition 8 0 100\n";
        let area = |device: &str, kind: &str, size: u64, used: u64, zram| SwapArea {
            device: device.into(),
            kind: kind.into(),
            size_bytes: size * 1024,
            used_bytes: used * 1024,
            zram,
        };
        let wanted = [
            area("/dev/sda5", "partition", 1_999_868, 1024, false),
            area("/my swap\\file", "file", 4, 0, false),
            area("/dev/zram0", "partition", 8, 0, true),
        ];
        assert_eq!(parse_swaps(text), wanted);
    }

    #[test]
    fn units_that_swap_at_boot_are_named_and_masked_ones_are_not() {
        let tree = tempfile::tempdir().unwrap();
        let at = |path: &str| {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        let unit = "/lib/systemd/system/x";
        symlink(unit, at("etc/systemd/system/swap.target.wants/my-file.swap")).unwrap();
        symlink(unit, at("etc/systemd/system/multi-user.target.wants/zramswap.service")).unwrap();
        symlink(unit, at("etc/systemd/system/multi-user.target.wants/ssh.service")).unwrap();
        fs::write(at("run/systemd/generator/dev-sda2.swap"), "[Unit]\nSourcePath=/etc/fstab\n").unwrap();
        fs::write(at("run/systemd/generator.late/dev-disk-by\\x2duuid.swap"), "[Unit]\n").unwrap();
        fs::write(at("run/systemd/generator.late/dev-sda3.swap"), "[Unit]\n").unwrap();
        symlink("/dev/null", at("etc/systemd/system/dev-sda3.swap")).unwrap();
        fs::write(at("usr/lib/systemd/zram-generator.conf"), "[zram0]\nzram-size = ram / 2\n").unwrap();
        let host = Host::at(tree.path());
        let mut wanted = vec!["dev-disk-by\\x2duuid.swap", "my-file.swap", "zramswap.service"];
        assert_eq!(host.swap_units(), wanted);
        fs::write(at("usr/lib/systemd/system-generators/zram-generator"), "").unwrap();
        wanted.insert(2, "systemd-zram-setup@zram0.service");
        assert_eq!(host.swap_units(), wanted);
    }

    #[tokio::test]
    async fn a_swap_command_that_fails_says_what_it_was_doing() {
        let fault = Host::this().swap_off("/nonexistent/area").await.unwrap_err();
        assert_eq!(fault.doing, "swapoff /nonexistent/area");
        assert!(!fault.cause.is_empty(), "{fault:?}");
    }

    #[test]
    fn a_zram_section_with_a_mount_point_is_no_swap() {
        let text = "[zram0]\nzram-size=1\n[zram1]\nmount-point = /tmp\n# [zram2]\n[other]\nmount-point=/x\n[zram10]\n";
        assert_eq!(parse_zram(text), ["zram0", "zram10"]);
    }

    proptest! {
        #[test]
        fn a_mangled_path_comes_back(path in "[ -~]{0,30}") {
            let mangled: String = path.chars().map(|c| match c {
                ' ' | '\t' | '\n' | '\\' => format!("\\{:03o}", c as u32),
                c => c.to_string(),
            }).collect();
            prop_assert_eq!(unescape(&mangled), path);
        }

        #[test]
        fn no_text_breaks_a_parser(text in "([a-z0-9 /=\\[\\]-]|\\\\|\n){0,100}|\\PC*") {
            parse_swaps(&text);
            parse_zram(&text);
            unescape(&text);
        }
    }
}
