//! Versions of Istio.

use std::fmt;

use crate::rack::words::Version;

/// A minor version: `1.29`. Istio moves from one to the next, never past one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minor(pub u32, pub u32);

impl Minor {
    /// The last with an in-cluster operator.
    pub const LAST_WITH_OPERATOR: Self = Self(1, 23);

    /// Of a text such as `1.29.1`, `v1.37.2+k3s1`.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<Version>().ok().map(|version| Self(version.major, version.minor))
    }

    /// The one after it.
    pub fn next(self) -> Self {
        Self(self.0, self.1 + 1)
    }
}

impl fmt::Display for Minor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// A release: `1.29.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release {
    /// Its minor version.
    pub minor: Minor,
    /// Its third number.
    pub patch: u32,
}

impl Release {
    /// Of three numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { minor: Minor(major, minor), patch }
    }

    /// Of a text such as `1.29.1`; what follows the numbers, as in `1.29.1-distroless`, does not count.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<Version>().ok().map(|version| Self::of(&version))
    }

    /// Of a rack's version; without a third number, the first of its minor version.
    pub fn of(version: &Version) -> Self {
        Self { minor: Minor(version.major, version.minor), patch: version.patch.unwrap_or(0) }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.minor, self.patch)
    }
}
