//! Releases of MetalLB, and what each of them knows.

use std::fmt;

use crate::rack::words::Version;

/// A release: `0.13.10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u32, pub u32, pub u32);

impl Release {
    /// Pools that do not hold an address in use are taken, and the address is taken away.
    pub(super) const TAKES_ADDRESSES_AWAY: Self = Self(0, 14, 0);
    /// Labels of excluded nodes count in layer 2 mode.
    pub(super) const EXCLUDES_NODES: Self = Self(0, 14, 0);
    /// Nobody reads `AddressPool` any more.
    pub(super) const WITHOUT_ADDRESS_POOL: Self = Self(0, 14, 2);
    /// Annotations of Services begin with `metallb.io/` too.
    pub(super) const NEW_ANNOTATIONS: Self = Self(0, 14, 9);
    /// Advertisements have `serviceSelectors`.
    pub(super) const SERVICE_SELECTORS: Self = Self(0, 16, 0);

    /// Of a text such as `v0.13.10` or `0.16.1-rc.0`.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<Version>().ok().map(|version| Self::of(&version))
    }

    /// Of a rack's version.
    pub fn of(version: &Version) -> Self {
        Self(version.major, version.minor, version.patch.unwrap_or(0))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The tag of an image, without a `v`: `quay.io/metallb/speaker:v0.16.1` is `0.16.1`.
pub(super) fn tag(image: &str) -> Option<&str> {
    let image = image.split('@').next()?;
    let (name, tag) = image.rsplit_once(':')?;
    // A colon before a slash is that of a port.
    (!tag.contains('/') && !name.is_empty()).then(|| tag.strip_prefix('v').unwrap_or(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_out_of_images() {
        assert_eq!(tag("quay.io/metallb/speaker:v0.16.1"), Some("0.16.1"));
        assert_eq!(tag("localhost:5000/metallb/speaker:v0.13.10@sha256:00"), Some("0.13.10"));
        assert_eq!(tag("localhost:5000/metallb/speaker"), None);
    }

    #[test]
    fn releases_have_an_order() {
        let [old, new] = ["v0.13.10", "0.14.9"].map(|text| Release::parse(text).unwrap());
        assert!(old < Release::EXCLUDES_NODES && Release::EXCLUDES_NODES < new);
        assert_eq!(old.to_string(), "0.13.10");
        assert_eq!(Release::parse("main"), None);
    }
}
