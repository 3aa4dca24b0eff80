//! The order in which people count: `w2` before `w10`.

use std::cmp::Ordering;
use std::fmt;

/// A name that sorts by its numbers where it has some, else as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Natural<'a>(pub &'a str);

impl Ord for Natural<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        // `w01` and `w1` count as one number, but are two names.
        parts(self.0).cmp(parts(other.0)).then_with(|| self.0.cmp(other.0))
    }
}

impl PartialOrd for Natural<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Natural<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    /// Of any length, without leading zeros: the longer is the larger.
    Number(usize, &'a [u8]),
    Text(&'a [u8]),
}

fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    let runs = text.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
    runs.map(|run| match run {
        [first, ..] if first.is_ascii_digit() => {
            let zeros = run.iter().take_while(|digit| **digit == b'0').count();
            Part::Number(run.len() - zeros, &run[zeros..])
        }
        run => Part::Text(run),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_and_all_else_is_text() {
        let mut names =
            ["w10", "w2", "cp1", "w02", "w", "2", "w1-b", "w1", "10", "w1.a3", "w99999999999999999999"];
        names.sort_by_key(|name| Natural(name));
        let wanted =
            ["2", "10", "cp1", "w", "w1", "w1-b", "w1.a3", "w02", "w2", "w10", "w99999999999999999999"];
        assert_eq!(names, wanted);
    }
}
