//! Where words go: data to standard output, talk to standard error, questions to the terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write};

pub use rackwright_proto::fault::chain;

use crate::report::paint::Paint;
use crate::report::progress::Progress;

/// The operator's end.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    /// Colour on standard output.
    pub paint: Paint,
    /// `-v`, how often.
    pub verbose: u8,
    /// Whether standard error is a terminal.
    terminal: bool,
}

impl Console {
    /// The process's own streams.
    pub fn new(verbose: u8) -> Self {
        let no_color = std::env::var("NO_COLOR").ok();
        let paint = Paint::new(io::stdout().is_terminal(), no_color.as_deref());
        Self { paint, verbose, terminal: io::stderr().is_terminal() }
    }

    /// Writes data to standard output, all of it or nothing more: a reader that went away is no error.
    pub fn data(&self, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) {
        let mut bytes = Vec::new();
        // Writing into memory does not fail.
        let _ = write(&mut bytes);
        let mut out = io::stdout().lock();
        let _ = out.write_all(&bytes).and_then(|()| out.flush());
    }

    /// One line to standard error.
    pub fn say(&self, text: impl std::fmt::Display) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// An error with its whole chain to standard error.
    pub fn error(&self, error: &dyn std::error::Error) {
        self.say(format_args!("error: {}", chain(error)));
    }

    /// Progress of many nodes, on standard error.
    pub fn progress(&self, nodes: usize) -> Progress {
        if self.terminal { Progress::bars(nodes) } else { Progress::lines(io::stderr()) }
    }

    /// A yes or no question; `None` when there is nobody to ask.
    pub fn ask(&self, question: &str) -> Option<bool> {
        if !io::stdin().is_terminal() {
            return None;
        }
        let _ = write!(io::stderr().lock(), "{question} [y/N] ");
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).ok()?;
        Some(matches!(answer.trim(), "y" | "Y" | "yes"))
    }
}
