//! The node's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use rackwright_proto::facts::Clock;

use super::{Host, sys};

impl Host {
    /// The time, and whether the kernel holds it for synchronised: an NTP daemon says so by adjtimex(2).
    pub fn clock(&self) -> Clock {
        let synchronised = sys::clock_is_synchronised().ok();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX), synchronised }
    }
}
