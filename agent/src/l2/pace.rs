//! When each frame goes out.

use std::ops::RangeInclusive;
use std::time::Duration;

use rackwright_proto::l2::Patience;

/// Frames go out in batches of at most this many ...
pub(super) const BATCH: usize = 10;
/// ... no closer than this: at most 1000 frames a second.
pub(super) const TICK: Duration = Duration::from_millis(10);
/// How often each address is asked for (`PROBE_NUM`, RFC 5227 section 1.1).
pub(super) const ROUNDS: usize = 3;

/// The times of one probe run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Timing {
    /// The first question waits a random while up to this (`PROBE_WAIT`).
    delay: Duration,
    /// Between two questions for one address (`PROBE_MIN` to `PROBE_MAX`).
    spacing: RangeInclusive<Duration>,
    /// After the last question (`ANNOUNCE_WAIT`).
    pub(super) listen: Duration,
    /// After every address was answered for, to hear whether somebody else does too.
    pub(super) grace: Duration,
}

impl Timing {
    pub(super) fn of(patience: Patience, as_ourselves: bool) -> Self {
        let ms = Duration::from_millis;
        match patience {
            // The random delay keeps machines apart that boot together. An ordinary request need not wait.
            Patience::Rfc5227 => Self {
                delay: if as_ourselves { ms(0) } else { ms(1000) },
                spacing: ms(1000)..=ms(2000),
                listen: ms(2000),
                grace: ms(500),
            },
            Patience::Quick => {
                Self { delay: ms(0), spacing: ms(200)..=ms(200), listen: ms(300), grace: ms(200) }
            }
        }
    }
}

/// When the frames of one survey are due, counted from the start of the run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Schedule {
    count: usize,
    rounds: [Duration; ROUNDS],
    /// When the last answer can be expected.
    pub(super) end: Duration,
}

impl Schedule {
    /// Plans for `count` addresses that come after `before` others of `total` in all. `chance` is any number
    /// from 0 to 1 at each call.
    pub(super) fn new(
        timing: &Timing,
        count: usize,
        before: usize,
        total: usize,
        mut chance: impl FnMut() -> f64,
    ) -> Self {
        let sweep = ticks(total);
        let (least, most) = (*timing.spacing.start(), *timing.spacing.end());
        let mut at = timing.delay.mul_f64(chance()) + ticks(before);
        let rounds = std::array::from_fn(|_| {
            let this = at;
            at += (least + (most - least).mul_f64(chance())).max(sweep);
            this
        });
        Self { count, rounds, end: rounds[ROUNDS - 1] + sweep + timing.listen }
    }

    /// When a frame is due: the first `count` frames are the first round, and so on. `None` after the last.
    pub(super) fn due(&self, frame: usize) -> Option<Duration> {
        let round = frame.checked_div(self.count)?;
        let within = u32::try_from(frame % self.count / BATCH).ok()?;
        Some(*self.rounds.get(round)? + TICK * within)
    }
}

/// How long that many frames take.
fn ticks(frames: usize) -> Duration {
    TICK * u32::try_from(frames.div_ceil(BATCH)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn patience() -> impl Strategy<Value = Patience> {
        prop_oneof![Just(Patience::Rfc5227), Just(Patience::Quick)]
    }

    proptest! {
        #[test]
        fn no_address_is_asked_for_sooner_than_patience_says(
            patience in patience(),
            count in 1..600usize,
            others in 0..600usize,
            chances in prop::collection::vec(0.0..=1.0f64, 4),
        ) {
            let timing = Timing::of(patience, false);
            let mut chances = chances.into_iter();
            let schedule = Schedule::new(&timing, count, others, count + others, || chances.next().unwrap());
            for address in 0..count {
                let asked: Vec<_> =
                    (0..ROUNDS).map(|round| schedule.due(round * count + address).unwrap()).collect();
                prop_assert!(asked.windows(2).all(|two| two[1] - two[0] >= *timing.spacing.start()));
                prop_assert!(asked[ROUNDS - 1] + timing.listen <= schedule.end);
            }
            prop_assert_eq!(schedule.due(ROUNDS * count), None);
        }

        #[test]
        fn no_tick_of_a_survey_has_more_than_a_batch(count in 1..2000usize) {
            let schedule = Schedule::new(&Timing::of(Patience::Quick, false), count, 0, count, || 0.5);
            let due: Vec<_> = (0..ROUNDS * count).map(|frame| schedule.due(frame).unwrap()).collect();
            prop_assert!(due.is_sorted());
            prop_assert!(due.windows(BATCH + 1).all(|w| w[BATCH] - w[0] >= TICK));
        }
    }

    #[test]
    fn a_whole_24_takes_little_longer_than_one_address() {
        let timing = Timing::of(Patience::Rfc5227, false);
        let one = Schedule::new(&timing, 1, 0, 1, || 1.0);
        let many = Schedule::new(&timing, 254, 0, 254, || 1.0);
        assert_eq!(one.end, Duration::from_millis(7010));
        assert_eq!(many.end, Duration::from_millis(7260));
    }

    #[test]
    fn nothing_is_due_where_nothing_is_asked() {
        assert_eq!(Schedule::default().due(0), None);
    }
}
