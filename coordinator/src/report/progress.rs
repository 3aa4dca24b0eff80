//! What happens right now, node by node: bars on a terminal, plain lines anywhere else.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rackwright_proto::name::NodeName;

use super::words;

/// Above this many nodes, one bar tells of all of them.
const BARS: usize = 16;

/// Tells of a run while it goes on. Never fails: an operator's closed stderr must not stop a run.
pub struct Progress {
    how: How,
}

enum How {
    Quiet,
    Lines(Mutex<Box<dyn Write + Send>>),
    Bars { all: MultiProgress, total: ProgressBar, each: Mutex<HashMap<NodeName, ProgressBar>>, single: bool },
}

/// What a node does now.
#[derive(Debug, Clone, Copy)]
pub struct Now<'a> {
    /// From 1.
    pub number: usize,
    /// How many steps there are.
    pub of: usize,
    /// The step's title.
    pub title: &'a str,
    /// Why the rack leads to it; empty where only the host knows the plan.
    pub why: &'a str,
}

impl Now<'_> {
    fn line(&self) -> String {
        let (title, Self { number, of, why, .. }) = (words::plain(self.title), self);
        let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
        format!("[{number}/{of}] {title}{why}")
    }
}

impl Progress {
    /// Says nothing.
    pub fn quiet() -> Self {
        Self { how: How::Quiet }
    }

    /// One line for each thing that happens, into `out`.
    pub fn lines(out: impl Write + Send + 'static) -> Self {
        Self { how: How::Lines(Mutex::new(Box::new(out))) }
    }

    /// Bars on standard error, which must be a terminal. indicatif heeds `NO_COLOR` by itself.
    pub fn bars(nodes: usize) -> Self {
        Self::bars_on(nodes, ProgressDrawTarget::stderr())
    }

    pub(super) fn bars_on(nodes: usize, target: ProgressDrawTarget) -> Self {
        let all = MultiProgress::with_draw_target(target);
        let total =
            all.add(ProgressBar::new(nodes as u64).with_style(style("{pos}/{len} nodes [{bar:24}] {msg}")));
        total.enable_steady_tick(Duration::from_millis(250));
        Self { how: How::Bars { all, total, each: Mutex::default(), single: nodes > BARS } }
    }

    /// A node starts a step.
    pub fn step(&self, node: &NodeName, now: Now<'_>) {
        let title = words::plain(now.title);
        match &self.how {
            How::Quiet => {}
            How::Lines(_) => self.say(node, &now.line()),
            How::Bars { total, single: true, .. } => total.set_message(format!("{node}: {title}")),
            How::Bars { .. } => self.bar(node, |bar| bar.set_message(now.line())),
        }
    }

    /// Something worth a line that stays: a failure, a roll-back, a wait for somebody's lock.
    pub fn say(&self, node: &NodeName, text: &str) {
        let text = words::plain(text);
        match &self.how {
            How::Quiet => {}
            How::Lines(out) => {
                let _ = writeln!(locked(out), "{node}: {text}");
            }
            How::Bars { all, .. } => {
                let _ = all.println(format!("{node}: {text}"));
            }
        }
    }

    /// A node is done with all of its steps, in few words.
    pub fn done(&self, node: &NodeName, words: &str) {
        if let How::Bars { total, each, .. } = &self.how {
            total.inc(1);
            if let Some(bar) = locked(each).remove(node) {
                bar.finish_and_clear();
            }
        } else {
            self.say(node, words);
        }
    }

    /// No more will come: the terminal is given back.
    pub fn end(&self) {
        if let How::Bars { all, total, .. } = &self.how {
            total.finish_and_clear();
            let _ = all.clear();
        }
    }

    fn bar(&self, node: &NodeName, act: impl FnOnce(&ProgressBar)) {
        let How::Bars { all, each, .. } = &self.how else { return };
        let mut each = locked(each);
        let bar = each.entry(node.clone()).or_insert_with(|| {
            let bar = ProgressBar::new_spinner().with_style(style("  {prefix} {msg}"));
            all.add(bar.with_prefix(node.to_string()))
        });
        act(bar);
    }
}

/// A thread that panicked while it wrote left nothing that the next one must not see.
fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
