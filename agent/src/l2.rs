//! Who has these addresses? Many questions at once, on one thread: frames go out at a bounded rate, and all that
//! is heard meanwhile is collected per address.

mod pace;
mod survey;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rackwright_proto::l2::{Probe, Probed};

use crate::host::raw::{self, Cards};
use pace::{BATCH, TICK, Timing};
use survey::Survey;

/// The most probes of one call; each takes a socket or two.
const MOST_PROBES: usize = 256;
/// How much longer than planned the whole may take on a busy host before it is broken off.
const SLACK: Duration = Duration::from_secs(10);
/// How long to sleep at most, so that nobody waits long for a caller who has gone.
const NAP: Duration = Duration::from_millis(200);

/// Asks all at once and returns one outcome per probe, in order. Never fails as a whole: what cannot be asked
/// says why in [`Probed::trouble`]. Sends at most 1000 frames a second in all, and ends by itself: after the
/// patience of its most patient probe, plus the time that its frames take at that rate.
pub async fn probe(probes: &[Probe]) -> Vec<Probed> {
    ask(probes, After::Grace).await
}

/// The same where only the first answer of each neighbour counts: ends as soon as all have answered.
pub async fn reach(probes: &[Probe]) -> Vec<Probed> {
    ask(probes, After::Nothing).await
}

/// What to wait for when every neighbour that was asked as ourselves has answered.
#[derive(Clone, Copy, PartialEq)]
enum After {
    /// Whether somebody else answers for one of them too.
    Grace,
    /// Nothing.
    Nothing,
}

async fn ask(probes: &[Probe], after: After) -> Vec<Probed> {
    let wanted = probes.to_vec();
    let gone = StopOnDrop(Arc::new(AtomicBool::new(false)));
    let stop = Arc::clone(&gone.0);
    let asked = tokio::task::spawn_blocking(move || probe_all(&wanted, after, &stop)).await;
    asked.unwrap_or_else(|error| probes.iter().map(|p| refused(p, format!("probe: {error}"))).collect())
}

/// Tells the thread to stop when the caller is no longer interested.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn refused(probe: &Probe, why: String) -> Probed {
    Probed { link: probe.link.clone(), answers: Vec::new(), asked: 0, trouble: Some(why) }
}

fn probe_all(probes: &[Probe], after: After, stop: &AtomicBool) -> Vec<Probed> {
    let cards = match Cards::look() {
        Ok(cards) => cards,
        Err(error) => return probes.iter().map(|p| refused(p, format!("list the links: {error}"))).collect(),
    };
    let (taken, left) = probes.split_at(probes.len().min(MOST_PROBES));
    let mut surveys: Vec<_> = taken.iter().map(|probe| Survey::open(probe, &cards)).collect();
    schedule(taken, after, &mut surveys);
    run(&mut surveys, stop);
    let over = left.iter().map(|p| refused(p, format!("only {MOST_PROBES} probes are made at once")));
    surveys.into_iter().map(Survey::finish).chain(over).collect()
}

/// Interleaves the frames of all surveys, so that together they keep to the rate.
fn schedule(probes: &[Probe], after: After, surveys: &mut [Survey]) {
    let total = surveys.iter().map(Survey::count).sum();
    let mut before = 0;
    for (probe, survey) in probes.iter().zip(surveys) {
        let mut timing = Timing::of(probe.patience, probe.as_ourselves);
        if after == After::Nothing {
            timing.grace = Duration::ZERO;
        }
        survey.plan(timing, before, total);
        before += survey.count();
    }
}

fn run(surveys: &mut [Survey], stop: &AtomicBool) {
    let began = Instant::now();
    let planned = surveys.iter().map(Survey::planned_length).max().unwrap_or_default();
    let mut gate = Duration::ZERO;
    loop {
        let now = began.elapsed();
        surveys.iter_mut().for_each(|survey| survey.listen(now));
        if now >= gate && send_due(surveys, now) > 0 {
            gate = now + TICK;
        }
        if surveys.iter().all(|survey| survey.is_over(now)) {
            return;
        }
        if stop.load(Ordering::Relaxed) || now > planned + SLACK {
            return surveys.iter_mut().for_each(|survey| survey.break_off(now));
        }
        let wake = surveys.iter().filter_map(|survey| survey.wakes(now, gate)).min().unwrap_or(now);
        let sockets = surveys.iter().flat_map(Survey::sockets);
        if let Err(error) = raw::wait(sockets, wake.saturating_sub(now).min(NAP)) {
            return surveys.iter_mut().for_each(|survey| survey.fail(format!("wait for answers: {error}")));
        }
    }
}

/// Sends what is due, a batch at most, and returns how many frames that was.
fn send_due(surveys: &mut [Survey], now: Duration) -> usize {
    let mut left = BATCH;
    for survey in surveys {
        left -= survey.send(now, left);
    }
    BATCH - left
}
