//! What a host says between the exec and the agent's first line: start-up noise, sudo's prompt, sudo's refusals.
//! Pure: bytes in, meaning out.

use super::error::Fault;
use super::process::{Exit, printable};
use rackwright_proto::wire::MAGIC;

/// The most noise of shell start-up files before the first line that is ours, in bytes.
pub const MAX_NOISE: usize = 64 * 1024;
/// The line that says that no agent of ours is there; the machine (`uname -m`) follows on it.
pub const MISSING: &[u8] = b"RACKWRIGHT-MISSING ";
/// The line that says that a delivery may begin.
pub const READY: &[u8] = b"RACKWRIGHT-READY\n";

/// What became clear from the bytes so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Nothing yet.
    Nothing,
    /// The agent speaks; these of its bytes came along.
    Agent(Vec<u8>),
    /// No agent; the host's machine as `uname -m` names it.
    Missing(String),
    /// The host is ready to receive the agent.
    Ready,
    /// sudo asks for the password, for the first time.
    Prompt,
    /// sudo asks again: the password was wrong.
    Again,
    /// More than [`MAX_NOISE`] and still nothing.
    Noise,
}

/// The state of listening.
#[derive(Debug)]
pub struct Greeting {
    /// The end of stdout; what was looked through is not kept, so that no host makes us look again and again.
    out: Vec<u8>,
    err: Vec<u8>,
    noise: usize,
    prompt: Option<Vec<u8>>,
    prompts: usize,
}

impl Greeting {
    /// `prompt` is sudo's prompt, if it may ask.
    pub fn new(prompt: Option<&str>) -> Self {
        let prompt = prompt.map(|text| text.as_bytes().to_vec());
        Self { out: Vec::new(), err: Vec::new(), noise: 0, prompt, prompts: 0 }
    }

    /// Takes bytes of standard output.
    pub fn stdout(&mut self, bytes: &[u8]) -> Heard {
        self.out.extend_from_slice(bytes);
        self.noise += bytes.len();
        if let Some(at) = find(&self.out, MAGIC) {
            return Heard::Agent(self.out.split_off(at + MAGIC.len()));
        }
        if find(&self.out, READY).is_some() {
            return Heard::Ready;
        }
        if let Some(machine) = self.missing() {
            return Heard::Missing(machine);
        }
        keep_end(&mut self.out);
        if self.noise > MAX_NOISE { Heard::Noise } else { Heard::Nothing }
    }

    fn missing(&self) -> Option<String> {
        let rest = &self.out[find(&self.out, MISSING)? + MISSING.len()..];
        let end = rest.iter().position(|&b| b == b'\n')?;
        Some(printable(&rest[..end.min(64)]))
    }

    /// Takes bytes of standard error.
    pub fn stderr(&mut self, bytes: &[u8]) -> Heard {
        self.err.extend_from_slice(bytes);
        let asked = self.prompt.as_ref().and_then(|prompt| {
            let at = find(&self.err, prompt)?;
            Some(at + prompt.len())
        });
        if let Some(end) = asked {
            self.err.drain(..end);
            self.prompts += 1;
            return if self.prompts == 1 { Heard::Prompt } else { Heard::Again };
        }
        keep_end(&mut self.err);
        Heard::Nothing
    }

    /// The end of what standard error said.
    pub fn stderr_text(&self) -> String {
        printable(&self.err)
    }

    /// Why the exec ended before anything was heard.
    pub fn ended(&self, exit: &Exit, user: &str) -> Fault {
        let err = self.stderr_text();
        let user = user.to_owned();
        let says = |texts: &[&str]| texts.iter().any(|text| err.contains(text));
        if says(&["you must have a tty", "no tty present", "a terminal is required"]) && !says(&["askpass"]) {
            return Fault::SudoTty { user };
        }
        if says(&["a password is required", "no password was provided", "a terminal is required"]) {
            return Fault::SudoPassword { user };
        }
        if says(&["incorrect password attempt", "Sorry, try again", "Authentication failure"]) {
            return Fault::SudoWrong { user };
        }
        if says(&[
            "not in the sudoers file",
            "is not allowed to execute",
            "may not run sudo",
            "not allowed to run sudo",
        ]) {
            return Fault::SudoDenied { user };
        }
        if says(&[
            "sudo: command not found",
            "sudo: not found",
            "sudo: No such file",
            "Unknown command: sudo",
        ]) {
            return Fault::SudoMissing;
        }
        Fault::Start { exit: exit.to_string(), said: said(&err, &printable(&self.out)) }
    }
}

/// The end of what was said, quoted for a message: stderr, or stdout if there is none.
pub fn said(err: &str, out: &str) -> String {
    let text = if err.is_empty() { out } else { err };
    let skip = text.chars().count().saturating_sub(400);
    let tail: String = text.chars().skip(skip).collect();
    if tail.is_empty() { tail } else { format!("; it said {tail:?}") }
}

/// Longer than any line that matters.
const KEPT: usize = 4096;

fn keep_end(bytes: &mut Vec<u8>) {
    if bytes.len() > 2 * KEPT {
        bytes.drain(..bytes.len() - KEPT);
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_agent_after_noise_in_any_pieces() {
        let text = b"Welcome!\nno newline>RACKWRIGHT/1\n\0\0\0\x02{}";
        for cut in 0..text.len() {
            let mut greeting = Greeting::new(None);
            let mut heard = greeting.stdout(&text[..cut]);
            let mut rest = match heard {
                Heard::Agent(ref rest) => rest.clone(),
                _ => Vec::new(),
            };
            if heard == Heard::Nothing {
                heard = greeting.stdout(&text[cut..]);
                rest = match heard {
                    Heard::Agent(rest) => rest,
                    other => panic!("{other:?}"),
                };
            } else {
                rest.extend(&text[cut..]);
            }
            assert_eq!(rest, b"\0\0\0\x02{}");
        }
    }

    #[test]
    fn a_missing_agent_names_the_machine() {
        let mut greeting = Greeting::new(None);
        assert_eq!(greeting.stdout(b"hi\nRACKWRIGHT-MISSING aar"), Heard::Nothing);
        assert_eq!(greeting.stdout(b"ch64\n"), Heard::Missing("aarch64".into()));
    }

    #[test]
    fn the_password_is_asked_for_once() {
        let mut greeting = Greeting::new(Some("[pw 1f]"));
        assert_eq!(greeting.stderr(b"sudo: unable to resolve host x\n[pw"), Heard::Nothing);
        assert_eq!(greeting.stderr(b" 1f]"), Heard::Prompt);
        assert_eq!(greeting.stderr(b"Sorry, try again.\n"), Heard::Nothing);
        assert_eq!(greeting.stderr(b"[pw 1f]"), Heard::Again);
    }

    #[test]
    fn nobody_is_asked_without_a_prompt() {
        assert_eq!(Greeting::new(None).stderr(b"[sudo] password for ops: "), Heard::Nothing);
    }

    #[test]
    fn noise_is_bounded() {
        let mut greeting = Greeting::new(None);
        assert_eq!(greeting.stdout(&vec![b'x'; MAX_NOISE]), Heard::Nothing);
        assert_eq!(greeting.stdout(b"x"), Heard::Noise);
    }

    #[test]
    fn refusals_of_sudo() {
        for (text, expected) in [
            ("sudo: a password is required\n", "NOPASSWD"),
            ("ops is not in the sudoers file.\n", "may not use sudo"),
            ("bash: line 1: exec: sudo: not found\n", "not installed"),
            ("sudo: sorry, you must have a tty to run sudo\n", "requiretty"),
            ("sudo: 1 incorrect password attempt\n", "does not accept the password"),
            ("Killed\n", "Killed"),
        ] {
            let mut greeting = Greeting::new(None);
            greeting.stderr(text.as_bytes());
            let fault = greeting.ended(&Exit::Status(1), "ops").to_string();
            assert!(fault.contains(expected), "{text} -> {fault}");
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics_and_never_asks(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let mut greeting = Greeting::new(Some("[rackwright 00]"));
            for piece in pieces {
                prop_assert!(!matches!(greeting.stderr(&piece), Heard::Again));
                greeting.stdout(&piece);
            }
        }
    }
}
