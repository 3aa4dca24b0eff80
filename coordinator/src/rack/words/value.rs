//! Versions, modes and lengths of time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{WordError, qualified};

/// A released version: `1.17.5`, `v0.13.10`, `1.30`, `1.31.0-rc.0`, `1.30.2+k3s1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number, where it is given.
    pub patch: Option<u32>,
    /// What follows, with its `-` or `+`: `-rc.0`, `+k3s1`.
    pub suffix: String,
}

impl FromStr for Version {
    type Err = WordError;
    fn from_str(text: &str) -> Result<Self, WordError> {
        let bad = || WordError::new(format!("`{text}` is not a version"), "write it like 1.17.5");
        let number = |part: &str| -> Result<u32, WordError> {
            let digits = (1..=6).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten().ok_or_else(bad)
        };
        let bare = text.strip_prefix('v').unwrap_or(text);
        let (numbers, suffix) = bare.split_at(bare.find(['-', '+']).unwrap_or(bare.len()));
        if !suffix.is_empty() && !qualified(&suffix[1..]) {
            return Err(bad());
        }
        let parts = numbers.split('.').map(number).collect::<Result<Vec<_>, _>>()?;
        let (major, minor, patch) = match parts[..] {
            [major, minor] => (major, minor, None),
            [major, minor, patch] => (major, minor, Some(patch)),
            _ => return Err(bad()),
        };
        Ok(Self { major, minor, patch, suffix: suffix.to_owned() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if let Some(patch) = self.patch {
            write!(f, ".{patch}")?;
        }
        f.write_str(&self.suffix)
    }
}

/// Permission bits, written in octal: `0644`, `644` or `0o644`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(u32);

impl Mode {
    /// `0644`.
    pub const READABLE: Self = Self(0o644);

    /// The bits, at most `0o7777`.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for Mode {
    type Err = WordError;
    fn from_str(text: &str) -> Result<Self, WordError> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let octal = (3..=4).contains(&digits.len()) && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
        let bits = octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten();
        bits.map(Self).ok_or_else(|| {
            WordError::new(format!("`{text}` is not a file mode"), "three or four octal digits, such as 0644")
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// A length of time: a number and a unit (`ms`, `s`, `min`, `h`, `d`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Period {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// For the standard library.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Period {
    type Err = WordError;
    fn from_str(text: &str) -> Result<Self, WordError> {
        let bad = |help: String| WordError::new(format!("`{text}` is not a length of time"), help);
        let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = (&text[..at], text[at..].trim());
        let Ok(number) = number.parse::<u32>() else { return Err(bad("write it like 15s or 10min".into())) };
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" => return Err(bad(format!("say the unit: {number}s or {number}min"))),
            _ => return Err(bad("the units are ms, s, min, h and d".into())),
        };
        let total = Duration::from_millis(u64::from(number) * milliseconds);
        if total.is_zero() || total > Duration::from_secs(366 * 86_400) {
            return Err(bad("more than nothing, at most 366d".into()));
        }
        Ok(Self(total))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"), (1, "ms")];
        let (size, unit) =
            units.into_iter().find(|(size, _)| milliseconds.is_multiple_of(*size)).unwrap_or((1, "ms"));
        write!(f, "{}{unit}", milliseconds / size)
    }
}

as_text!(Version, Mode, Period);
