//! Colour, only where a terminal wants it. Nothing is said by colour alone.

use std::fmt;

/// Whether a writer takes colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Paint {
    colour: bool,
}

/// What a colour stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Heading.
    Bold,
    /// Beside the point.
    Dim,
    /// As wished, or new.
    Good,
    /// A change, a warning.
    Warn,
    /// An error, or gone.
    Bad,
}

impl Paint {
    /// No colour.
    pub const PLAIN: Paint = Paint { colour: false };

    /// Colour for a terminal, unless `NO_COLOR` (no-color.org) is set to anything but nothing.
    pub fn new(terminal: bool, no_color: Option<&str>) -> Self {
        Self { colour: terminal && no_color.is_none_or(str::is_empty) }
    }

    /// Whether it takes colour.
    pub fn colour(self) -> bool {
        self.colour
    }

    /// `text` in `ink`.
    pub fn ink<T: fmt::Display>(self, ink: Ink, text: T) -> String {
        let code = match ink {
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Good => "32",
            Ink::Warn => "33",
            Ink::Bad => "31",
        };
        match self.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_string(),
        }
    }
}
