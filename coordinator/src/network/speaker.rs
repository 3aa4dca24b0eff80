//! Which links MetalLB's speaker skips by name. The list is in each release's own manifest
//! (`config/manifests/metallb-native.yaml`, ConfigMap `metallb-excludel2`), and it changed:
//! none before v0.13.10; mostly unanchored in v0.13.10; anchored from v0.13.11; with `lxc` from v0.15.3.

/// The list of v0.13.10. Most of it matches anywhere in a name, so `lo` skips `wlo1` too.
const LOOSE: &[&str] = &[
    "docker.*",
    "cbr.*",
    "dummy.*",
    "virbr.*",
    "lxcbr.*",
    "veth.*",
    "lo",
    "^cali.*",
    "^tunl.*",
    "flannel.*",
    "kube-ipvs.*",
    "cni.*",
    "^nodelocaldns.*",
];

/// The list since v0.13.11; the last since v0.15.3.
const ANCHORED: &[&str] = &[
    "^docker.*",
    "^cbr.*",
    "^dummy.*",
    "^virbr.*",
    "^lxcbr.*",
    "^veth.*",
    "^lo$",
    "^cali.*",
    "^tunl.*",
    "^flannel.*",
    "^kube-ipvs.*",
    "^cni.*",
    "^nodelocaldns.*",
    "^lxc.*",
];

/// The speaker of one MetalLB release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    version: String,
    list: &'static [&'static str],
}

impl Speaker {
    /// Of a version like `0.13.10` or `v0.16.1`. One that cannot be read counts as the newest known.
    pub fn of_version(version: &str) -> Self {
        let version = version.trim().trim_start_matches('v').to_owned();
        let list = match release(&version) {
            Some(release) if release < [0, 13, 10] => &[],
            Some([0, 13, 10]) => LOOSE,
            Some(release) if release < [0, 15, 3] => &ANCHORED[..ANCHORED.len() - 1],
            _ => ANCHORED,
        };
        Self { version, list }
    }

    /// The version, without a `v`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The pattern of its exclusion list that matches a link's name.
    pub fn excludes(&self, link: &str) -> Option<&'static str> {
        self.list.iter().copied().find(|pattern| matches(pattern, link))
    }
}

/// The newest known.
impl Default for Speaker {
    fn default() -> Self {
        Self::of_version("0.16.1")
    }
}

fn release(version: &str) -> Option<[u32; 3]> {
    let mut parts = version.split(['-', '+']).next()?.split('.').map(|part| part.parse().ok());
    let release = [parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?];
    parts.next().is_none().then_some(release)
}

/// The part of regular expressions that the lists use: `^` and `$` at the ends, `.*` at the end.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let (anchored, rest) = pattern.strip_prefix('^').map_or((false, pattern), |rest| (true, rest));
    if let Some(exact) = rest.strip_suffix('$') {
        return name == exact;
    }
    let part = rest.strip_suffix(".*").unwrap_or(rest);
    if anchored { name.starts_with(part) } else { name.contains(part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_release_has_its_own_list() {
        let skips = |version: &str, link: &str| Speaker::of_version(version).excludes(link);
        assert_eq!(skips("0.13.9", "lo"), None);
        assert_eq!(skips("v0.13.10", "wlo1"), Some("lo"));
        assert_eq!(skips("0.13.10", "my-veth0"), Some("veth.*"));
        assert_eq!(skips("0.13.10", "xcali0"), None);
        for version in ["0.13.11", "0.14.9", "0.15.2", "0.16.1", "main"] {
            assert_eq!(skips(version, "wlo1"), None, "{version}");
            assert_eq!(skips(version, "lo"), Some("^lo$"), "{version}");
            assert_eq!(skips(version, "veth1a2b"), Some("^veth.*"), "{version}");
            assert_eq!(skips(version, "eth0"), None, "{version}");
        }
        assert_eq!(skips("0.15.2", "lxc0"), None);
        assert_eq!(skips("0.15.3", "lxc0"), Some("^lxc.*"));
    }

    #[test]
    fn versions_are_read_leniently() {
        assert_eq!(release("0.14"), Some([0, 14, 0]));
        assert_eq!(release("0.14.5-rc1"), Some([0, 14, 5]));
        assert_eq!(release("latest"), None);
        assert_eq!(release("1.2.3.4"), None);
    }
}
