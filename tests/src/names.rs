//! Names. Everything of a rack that the machine can see carries the rack's name, so that `down` finds it
//! without any record: `rwl-RACK-op`, `rwl-RACK-sw`, `rwl-RACK-n-HOST`, `rwl-RACK-x-NEIGHBOUR`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{LabError, Result};

/// Where racks live.
pub const RACKS: &str = "/var/lib/rackwright-lab/racks";
/// Where named network namespaces live (ip-netns(8)).
pub(crate) const NETNS: &str = "/run/netns";
const PREFIX: &str = "rwl-";

/// The name of a rack: a lower-case letter, then letters and digits; at most 20. No hyphen, because a
/// hyphen ends the rack's part of every name on the machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RackName(String);

impl RackName {
    /// The network namespace where the operator sits.
    pub fn operator(&self) -> String {
        format!("{PREFIX}{}-op", self.0)
    }

    /// The network namespace that holds the bridges.
    pub fn switch(&self) -> String {
        format!("{PREFIX}{}-sw", self.0)
    }

    /// The name of a host's network namespace, control group and machine.
    pub fn host(&self, host: &str) -> String {
        format!("{PREFIX}{}-n-{host}", self.0)
    }

    /// The network namespace of a device that is no node.
    pub fn neighbour(&self, device: &str) -> String {
        format!("{PREFIX}{}-x-{device}", self.0)
    }

    /// What every name of this rack on the machine begins with.
    pub fn prefix(&self) -> String {
        format!("{PREFIX}{}-", self.0)
    }

    /// The rack's own directory.
    pub fn dir(&self) -> PathBuf {
        Path::new(RACKS).join(&self.0)
    }

    /// The rack that a name on the machine belongs to, if it is one of the lab's.
    pub fn owner_of(name: &str) -> Option<Self> {
        let (rack, rest) = name.strip_prefix(PREFIX)?.split_once('-')?;
        if rest.is_empty() { None } else { rack.parse().ok() }
    }

    /// A name for a rack of a test: unique while the process lives, and tells which process that is.
    pub fn of_test() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(1);
        Self(format!("t{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The process whose test made this rack, if a test did.
    pub fn test_process(&self) -> Option<u32> {
        let (process, count) = self.0.strip_prefix('t')?.split_once('x')?;
        count.parse::<u32>().ok()?;
        process.parse().ok()
    }
}

impl fmt::Display for RackName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl From<RackName> for String {
    fn from(name: RackName) -> Self {
        name.0
    }
}

impl TryFrom<String> for RackName {
    type Error = LabError;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl FromStr for RackName {
    type Err = LabError;

    fn from_str(name: &str) -> Result<Self> {
        let letter_first = name.starts_with(|c: char| c.is_ascii_lowercase());
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if letter_first && plain && name.len() <= 20 {
            return Ok(Self(name.to_owned()));
        }
        Err(LabError::Refused(format!(
            "`{name}` cannot name a rack: a lower-case letter, then lower-case letters and digits, at most 20"
        )))
    }
}

/// The path of a named network namespace.
pub fn netns_path(name: &str) -> PathBuf {
    Path::new(NETNS).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_with_hyphens_are_refused() {
        for bad in ["", "a-b", "1a", "A", "a_b", "aaaaaaaaaaaaaaaaaaaaa", "a/b"] {
            assert!(bad.parse::<RackName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn other_peoples_namespaces_are_left_alone() {
        for other in ["lab", "rwl-", "rwl-lab", "rwl-lab-", "rwl-A-op", "xrwl-lab-op"] {
            assert_eq!(RackName::owner_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_tests_rack_names_its_process() {
        assert_eq!(RackName::of_test().test_process(), Some(std::process::id()));
        assert_eq!("lab".parse::<RackName>().unwrap().test_process(), None);
        assert_eq!("t12".parse::<RackName>().unwrap().test_process(), None);
    }

    proptest! {
        #[test]
        fn every_name_leads_back_to_its_rack(rack in "[a-z][a-z0-9]{0,19}", host in "[a-z][a-z0-9-]{0,20}[a-z0-9]") {
            let rack: RackName = rack.parse().unwrap();
            for name in [rack.operator(), rack.switch(), rack.host(&host), rack.neighbour(&host)] {
                prop_assert_eq!(RackName::owner_of(&name), Some(rack.clone()));
                prop_assert!(name.starts_with(&rack.prefix()));
            }
        }
    }
}
