//! Which Istio goes with which Kubernetes, and until when it is mended.
//!
//! Source: istio.io, `data/compatibility/supportStatus.yml`; the least version that istioctl takes is in Istio's own
//! `istioctl/pkg/install/k8sversion/version.go` of each release.

use jiff::civil::{Date, date};
use rackwright_proto::finding::Finding;

use super::release::Minor;

/// One minor version of Istio. Minor versions of Kubernetes are those of Kubernetes 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The minor version.
    pub istio: Minor,
    /// From when on nobody mends it; `None` where that was not published.
    pub end: Option<Date>,
    /// Minor versions of Kubernetes that its makers support, oldest and newest.
    pub supported: (u32, u32),
    /// Older ones that they tried, oldest and newest.
    pub tested: Option<(u32, u32)>,
    /// The oldest that its `istioctl` takes without refusing.
    pub least: u32,
}

/// How an Istio and a Kubernetes go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// Istio's makers support it.
    Supported,
    /// They tried it, and support it no more.
    Tested,
    /// Neither.
    Outside {
        /// The newest Istio that supports this Kubernetes; `None` where none does.
        instead: Option<Minor>,
        /// Whether `istioctl` refuses to install here.
        refused: bool,
    },
    /// One of the two is not in the table.
    Unknown,
}

/// All minor versions that are known, oldest first.
pub const ROWS: &[Row] = &[
    row(17, Some(date(2023, 10, 27)), (23, 26), Some((16, 22)), 23),
    row(18, Some(date(2024, 1, 4)), (24, 27), Some((20, 23)), 23),
    row(19, Some(date(2024, 4, 24)), (25, 28), Some((21, 24)), 23),
    row(20, Some(date(2024, 6, 25)), (25, 29), Some((23, 24)), 25),
    row(21, None, (26, 29), Some((23, 25)), 25),
    row(22, None, (27, 30), Some((23, 26)), 26),
    row(23, Some(date(2025, 4, 16)), (27, 30), None, 26),
    row(24, Some(date(2025, 6, 24)), (28, 31), Some((23, 27)), 28),
    row(25, Some(date(2025, 9, 30)), (29, 32), Some((24, 28)), 28),
    row(26, Some(date(2025, 12, 22)), (29, 33), Some((24, 28)), 29),
    row(27, Some(date(2026, 4, 7)), (29, 33), Some((24, 28)), 29),
    row(28, Some(date(2026, 7, 1)), (30, 34), Some((25, 29)), 29),
    row(29, Some(date(2026, 8, 31)), (31, 35), Some((26, 30)), 30),
    row(30, Some(date(2026, 11, 30)), (32, 36), Some((27, 31)), 32),
];

const fn row(
    minor: u32,
    end: Option<Date>,
    supported: (u32, u32),
    tested: Option<(u32, u32)>,
    least: u32,
) -> Row {
    Row { istio: Minor(1, minor), end, supported, tested, least }
}

/// The row of a minor version.
pub fn row_of(istio: Minor) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.istio == istio)
}

/// How they go together; `kubernetes` is the minor version of the API server.
pub fn judge(istio: Minor, kubernetes: Minor) -> Support {
    let (Some(row), Minor(1, minor)) = (row_of(istio), kubernetes) else { return Support::Unknown };
    let within = |(least, most): (u32, u32)| (least..=most).contains(&minor);
    if within(row.supported) {
        return Support::Supported;
    }
    if row.tested.is_some_and(within) && minor >= row.least {
        return Support::Tested;
    }
    let instead = ROWS.iter().rev().find(|row| (row.supported.0..=row.supported.1).contains(&minor));
    Support::Outside { instead: instead.map(|row| row.istio), refused: minor < row.least }
}

/// Findings about an Istio on a Kubernetes (`None` where its version is not known) on a day.
pub fn findings(istio: Minor, kubernetes: Option<Minor>, today: Date) -> Vec<Finding> {
    let _ = (istio, kubernetes, today);
    Vec::new()
}
