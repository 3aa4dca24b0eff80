//! Following a run: its records, those that are there and those that come.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::time::{Duration, Instant};

use rackwright_proto::event::{Event, Record};

use crate::host::fs::FsError;
use crate::host::watch::Watch;
use crate::host::{Host, now_ms};
use crate::journal::{RunDir, parse};
use crate::lock;

/// How long a run that was started may take to write its first record: it may wait for the lock.
const BEGIN: Duration = Duration::from_secs(20);

/// How often to look without being told: inotify and the death of a process are not one event.
const TICK: Duration = Duration::from_secs(2);

/// How long after the deadline of a dead run's risky steps its watchdog may take to undo them.
const WATCHDOG_MS: u64 = 90_000;

/// What a follower hears.
#[derive(Debug)]
pub enum Heard {
    /// The next record.
    Event(Box<Event>),
    /// The last record was told before.
    Finished,
    /// The run died: nobody will write another record.
    Died,
    /// The run did not begin in time.
    NeverBegan,
}

/// Reads a run's journal along.
#[derive(Debug)]
pub struct Follower {
    host: Host,
    dir: RunDir,
    watch: Watch,
    file: Option<File>,
    torn: Vec<u8>,
    told: VecDeque<Event>,
    from_seq: u64,
    since: Instant,
    begun: bool,
    finished: bool,
    undone_by_ms: Option<u64>,
}

impl Follower {
    /// Follows a run from a sequence number on.
    pub fn new(host: &Host, dir: &RunDir, from_seq: u64) -> Result<Self, FsError> {
        let watch = Watch::on(&[&host.path(dir.inside("")), &host.path(lock::LOCK)])?;
        Ok(Self {
            host: host.clone(),
            dir: dir.clone(),
            watch,
            file: None,
            torn: Vec::new(),
            told: VecDeque::new(),
            from_seq,
            since: Instant::now(),
            begun: false,
            finished: false,
            undone_by_ms: None,
        })
    }

    /// The next record, or why there is none. Safe to drop while it waits.
    pub async fn next(&mut self) -> Result<Heard, FsError> {
        loop {
            if let Some(event) = self.told.pop_front() {
                return Ok(Heard::Event(Box::new(event)));
            }
            if self.finished {
                return Ok(Heard::Finished);
            }
            // Asked before reading: a run writes its last record before it lets go of the lock.
            let held = lock::is_held(&self.host);
            if self.read_more()? {
                continue;
            }
            if let Some(end) = self.end(held) {
                return Ok(end);
            }
            self.watch.changed(TICK).await;
        }
    }

    fn end(&self, held: bool) -> Option<Heard> {
        let awaited = self.undone_by_ms.is_some_and(|until| now_ms() < until + WATCHDOG_MS);
        match self.begun {
            true if !held && !awaited => Some(Heard::Died),
            false if self.since.elapsed() > BEGIN => Some(Heard::NeverBegan),
            _ => None,
        }
    }

    /// Reads what was written since; whether there was a whole record.
    fn read_more(&mut self) -> Result<bool, FsError> {
        let real = self.host.path(self.dir.inside("journal.jsonl"));
        if self.file.is_none() {
            self.file = match File::open(&real) {
                Ok(file) => Some(file),
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
                Err(e) => return Err(FsError::of("open", &real)(e)),
            };
        }
        let Some(file) = &mut self.file else { return Ok(false) };
        file.read_to_end(&mut self.torn).map_err(FsError::of("read", &real))?;
        let (events, whole) = parse(&self.torn);
        self.torn.drain(..whole);
        for event in &events {
            self.note(event);
        }
        let any = !events.is_empty();
        self.told.extend(events.into_iter().filter(|e| e.seq >= self.from_seq));
        Ok(any)
    }

    fn note(&mut self, event: &Event) {
        self.begun = true;
        match &event.record {
            Record::Armed { until_ms } => self.undone_by_ms = Some(*until_ms),
            Record::Confirmed | Record::RolledBack { .. } => self.undone_by_ms = None,
            Record::Finished { .. } => self.finished = true,
            _ => {}
        }
    }
}
