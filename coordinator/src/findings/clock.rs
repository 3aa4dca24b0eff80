//! Clocks: certificates and leases fail when they disagree.

use rackwright_proto::facts::Facts;
use rackwright_proto::finding::Finding;
use rackwright_proto::name::NodeName;

use super::Check;

/// One host's clock as it was read over the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The node.
    pub node: NodeName,
    /// Its clock, Unix milliseconds ([`rackwright_proto::facts::Clock::unix_ms`]).
    pub host_ms: u64,
    /// The coordinator's clock when the answer arrived, Unix milliseconds.
    pub here_ms: u64,
    /// Milliseconds from question to answer; the host's clock was read somewhere in between.
    pub round_trip_ms: u64,
}

impl Reading {
    /// How far the host's clock is ahead of ours, give or take [`Reading::doubt_ms`].
    fn offset_ms(&self) -> i64 {
        let here = self.here_ms.saturating_sub(self.round_trip_ms / 2);
        signed(self.host_ms).saturating_sub(signed(here))
    }

    fn doubt_ms(&self) -> i64 {
        signed(self.round_trip_ms.div_ceil(2))
    }
}

const WARNING_MS: i64 = 2_000;
const ERROR_MS: i64 = 30_000;

/// Each clock against the rack's median, and the median against the coordinator's.
pub fn skew(readings: &[Reading]) -> Vec<Finding> {
    let mut offsets: Vec<i64> = readings.iter().map(Reading::offset_ms).collect();
    offsets.sort_unstable();
    // The lower of the two middle ones: with two hosts, one of them is right.
    let Some(&median) = offsets.get(offsets.len().saturating_sub(1) / 2) else { return Vec::new() };
    let mut found: Vec<Finding> = readings.iter().map(|r| against_median(r, median)).collect();
    found.extend(far_from_here(readings, median));
    found
}

fn against_median(reading: &Reading, median: i64) -> Finding {
    let ahead = reading.offset_ms() - median;
    let sure = (ahead.abs() - reading.doubt_ms()).max(0);
    let check =
        Check::new("clock-skew", &[&reading.node], "", "clock against the rack's median", "at most 2 s off");
    let way = if ahead < 0 { "behind" } else { "ahead" };
    let doubt = seconds(reading.doubt_ms());
    let observed = format!("{} s {way} (\u{b1}{doubt} s)", seconds(ahead.abs()));
    let fix = "make the host follow a time server: `timedatectl set-ntp true`, or chrony";
    match sure {
        s if s > ERROR_MS => check.error(observed, fix),
        s if s > WARNING_MS => check.warning(observed, fix),
        _ => check.pass("within 2 s"),
    }
}

fn far_from_here(readings: &[Reading], median: i64) -> Option<Finding> {
    let doubt = readings.iter().map(Reading::doubt_ms).max()?;
    let check = Check::new(
        "clocks-far-from-here",
        &[],
        "",
        "the rack's median clock against this machine's",
        "at most 30 s off",
    );
    let way = if median < 0 { "behind" } else { "ahead of" };
    (median.abs() - doubt > ERROR_MS).then(|| {
        check.warning(
            format!("the rack is {} s {way} this machine", seconds(median.abs())),
            "set this machine's clock, or the rack's: certificates made on one side are not yet valid on the other",
        )
    })
}

/// Whether something keeps each host's clock in time.
pub fn synchronised(node: &NodeName, facts: &Facts) -> Finding {
    let checked = "clock synchronisation (adjtimex)";
    let check = Check::new("clock-unsynchronised", &[node], "", checked, "synchronised");
    match facts.clock.synchronised {
        Some(true) => check.pass("synchronised"),
        Some(false) => {
            check.warning("not synchronised", "enable a time service: `timedatectl set-ntp true`, or chrony")
        }
        None => check.pass("unknown: a container may not ask; its machine keeps the time"),
    }
}

fn seconds(ms: i64) -> String {
    format!("{}.{}", ms / 1000, ms % 1000 / 100)
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
