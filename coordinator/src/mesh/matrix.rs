//! Which Istio goes with which Kubernetes, and until when it is mended.
//!
//! Source: istio.io, `data/compatibility/supportStatus.yml`; the least version that istioctl takes is in Istio's own
//! `istioctl/pkg/install/k8sversion/version.go` of each release.

use jiff::civil::{Date, date};
use rackwright_proto::finding::Finding;

use super::names;
use super::release::Minor;
use crate::findings::Check;

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
    /// The oldest that its `istioctl` takes without a warning; it goes on all the same.
    pub least: u32,
}

/// From this one on, ends are estimates of their publisher.
const ESTIMATED: Minor = Minor(1, 29);

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
    let within = |(oldest, newest): (u32, u32)| (oldest..=newest).contains(&minor);
    if within(row.supported) {
        return Support::Supported;
    }
    if row.tested.is_some_and(within) {
        return Support::Tested;
    }
    let instead = ROWS.iter().rev().find(|row| within(row.supported)).map(|row| row.istio);
    Support::Outside { instead }
}

/// Findings about an Istio on a Kubernetes (`None` where its version is not known) on a day. None of them is an error:
/// istioctl itself installs below its least version, with a warning.
pub fn findings(istio: Minor, kubernetes: Option<Minor>, today: Date) -> Vec<Finding> {
    let support = kubernetes.map(|kubernetes| support(istio, kubernetes));
    support.into_iter().chain(life(istio, today)).collect()
}

fn span((oldest, newest): (u32, u32)) -> String {
    format!("1.{oldest} to 1.{newest}")
}

fn support(istio: Minor, kubernetes: Minor) -> Finding {
    let row = row_of(istio);
    let checked = format!("whether Istio {istio} was made for Kubernetes {kubernetes}");
    let expected = row.map_or_else(
        || "an Istio that this build knows".to_owned(),
        |row| format!("Kubernetes {}", span(row.supported)),
    );
    let check = Check::new(names::MESH_OUTSIDE_SUPPORT, &[], istio.to_string(), checked, expected);
    let choose = |instead: Option<Minor>| match instead {
        Some(instead) => format!("use Istio {instead}, the newest that supports Kubernetes {kubernetes}"),
        None => format!(
            "no Istio up to {} supports Kubernetes {kubernetes}: try it in a cluster that may break first",
            ROWS.last().map_or(istio, |row| row.istio),
        ),
    };
    match judge(istio, kubernetes) {
        Support::Supported => check.pass("it was"),
        Support::Tested => {
            let newest = ROWS.iter().rev().find(|row| judge(row.istio, kubernetes) == Support::Supported);
            check.warning("its makers tried it, but do not support it", choose(newest.map(|row| row.istio)))
        }
        Support::Outside { instead } => {
            let below = row.is_some_and(|row| kubernetes < Minor(1, row.least));
            let said = if below { "; istioctl says so, too, and goes on" } else { "" };
            check.warning(format!("its makers neither support nor tried it{said}"), choose(instead))
        }
        Support::Unknown => check.warning(
            "this build knows nothing about the two",
            "look at Istio's own table of supported versions; a newer rackwright may know them",
        ),
    }
}

/// From when on nobody mends it, at the latest: where a day was not published, that of the next one that was.
fn end_of(istio: Minor) -> Option<Date> {
    row_of(istio)?;
    ROWS.iter().filter(|row| row.istio >= istio).find_map(|row| row.end)
}

fn life(istio: Minor, today: Date) -> Option<Finding> {
    let end = end_of(istio)?;
    let expected = "a version that still is mended";
    let checked = format!("whether somebody mends Istio {istio}");
    let check = Check::new(names::MESH_PAST_ITS_LIFE, &[], istio.to_string(), checked, expected);
    let about = if istio >= ESTIMATED { "about " } else { "" };
    Some(match today < end {
        true => check.pass(format!("until {about}{end}")),
        false => check.warning(
            format!("not since {about}{end}: holes found after that stay open"),
            "plan the way to a version that is mended, one minor version at a time, by `revision`",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Date = date(2026, 5, 20);

    #[test]
    fn rows_are_in_order_and_make_sense() {
        assert!(ROWS.is_sorted_by_key(|row| row.istio));
        let ends: Vec<Date> = ROWS.iter().filter_map(|row| row.end).collect();
        assert!(ends.is_sorted());
        for row in ROWS {
            assert!(row.supported.0 <= row.supported.1, "{row:?}");
            assert!(row.tested.is_none_or(|(_, newest)| newest < row.supported.0 + 1), "{row:?}");
        }
    }

    #[test]
    fn the_matrix_is_read_in_all_its_columns() {
        assert_eq!(judge(Minor(1, 17), Minor(1, 26)), Support::Supported);
        assert_eq!(judge(Minor(1, 17), Minor(1, 22)), Support::Tested);
        assert_eq!(judge(Minor(1, 17), Minor(1, 30)), Support::Outside { instead: Some(Minor(1, 28)) });
        assert_eq!(judge(Minor(1, 29), Minor(1, 35)), Support::Supported);
        assert_eq!(judge(Minor(1, 29), Minor(1, 37)), Support::Outside { instead: None });
        assert_eq!(judge(Minor(1, 99), Minor(1, 30)), Support::Unknown);
        assert_eq!(judge(Minor(1, 29), Minor(2, 0)), Support::Unknown);
    }

    #[test]
    fn nothing_of_it_blocks() {
        for row in ROWS {
            for minor in 10..60 {
                let found = findings(row.istio, Some(Minor(1, minor)), TODAY);
                assert!(found.iter().all(|finding| !finding.blocks()), "{found:?}");
                assert_eq!(found.len(), 2);
            }
        }
    }

    #[test]
    fn what_is_past_its_life_says_since_when() {
        let said = |istio| findings(istio, None, TODAY).pop().map(|finding| finding.observed);
        assert_eq!(said(Minor(1, 17)).unwrap(), "not since 2023-10-27: holes found after that stay open");
        // Not published for 1.21 and 1.22: not later than the end of 1.23.
        assert_eq!(said(Minor(1, 21)).unwrap(), "not since 2025-04-16: holes found after that stay open");
        assert_eq!(said(Minor(1, 29)).unwrap(), "until about 2026-08-31");
        assert_eq!(said(Minor(1, 99)), None);
    }
}
