//! Running programs: by argv, with a deadline, and never outliving the lab by accident.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Doing, LabError, Result};
use crate::sys;
use crate::talk::say;

/// More than any program of the lab says; the rest is dropped.
const OUTPUT_LIMIT: u64 = 64 << 20;

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code, or -1 when a signal ended it.
    pub code: i32,
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
}

impl Output {
    /// Whether the program ended with 0.
    pub fn success(&self) -> bool {
        self.code == 0
    }

    /// Standard output without white space at its ends.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }
}

/// A command that also finds the programs of `/usr/sbin`, and speaks English.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin:/usr/bin:/bin")).env("LC_ALL", "C.UTF-8");
    command
}

/// Runs to the end or to the deadline. Standard input is `input`, or empty.
pub fn run(mut command: Command, input: Option<&[u8]>, limit: Duration) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    sys::die_with_parent(&mut command);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().doing(|| format!("start `{name}`"))?;
    feed(&mut child, input);
    let stdout = child.stdout.take().map(drain);
    let stderr = child.stderr.take().map(drain);
    let deadline = Instant::now() + limit;
    let Some(status) = wait(&mut child, deadline).doing(|| format!("wait for `{name}`"))? else {
        let _ = child.kill();
        let _ = child.wait();
        let last = collect(stderr, Instant::now());
        return Err(LabError::Deadline { what: format!("`{name}` ends"), limit, last });
    };
    let code = status.code().unwrap_or(-1);
    Ok(Output { code, stdout: collect(stdout, deadline), stderr: collect(stderr, deadline) })
}

/// Runs and insists on success; `doing` completes the sentence "cannot …".
pub fn must(command: Command, doing: &str, limit: Duration) -> Result<Output> {
    must_with(command, None, doing, limit)
}

/// The same with something to read on standard input.
pub(crate) fn must_with(
    command: Command,
    input: Option<&[u8]>,
    doing: &str,
    limit: Duration,
) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = run(command, input, limit)?;
    if output.success() {
        return Ok(output);
    }
    Err(LabError::Program {
        doing: doing.to_owned(),
        program,
        code: output.code,
        said: last_lines(&output.stderr),
    })
}

/// The last lines of a long text: the reason is usually there.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(6)..].join("\n  ")
}

/// Applies `work` to every item, at most `width` at a time, and returns the results in order.
pub fn each<T: Sync, R: Send>(items: &[T], width: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let results = std::sync::Mutex::new(Vec::with_capacity(items.len()));
    thread::scope(|scope| {
        for _ in 0..width.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = work(item);
                    results.lock().expect("no worker panics while it holds the lock").push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("all workers have ended");
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Asks again and again until `probe` says yes; `Err` of the probe is what was seen instead. A long wait is
/// explained on stderr.
pub fn await_until<T>(
    what: &str,
    limit: Duration,
    probe: impl Fn() -> std::result::Result<T, String>,
) -> Result<T> {
    let started = Instant::now();
    let mut explain_after = Duration::from_secs(5);
    loop {
        let last = match probe() {
            Ok(found) => return Ok(found),
            Err(last) => last,
        };
        let waited = started.elapsed();
        if waited >= limit {
            return Err(LabError::Deadline { what: what.to_owned(), limit, last });
        }
        if waited >= explain_after {
            say(format_args!("waiting since {} s until {what}: {last}", waited.as_secs()));
            explain_after += Duration::from_secs(10);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn feed(child: &mut Child, input: Option<&[u8]>) {
    let (Some(mut pipe), Some(bytes)) = (child.stdin.take(), input) else { return };
    let bytes = bytes.to_vec();
    // In a thread of its own: a program that writes before it reads would block us both.
    thread::spawn(move || pipe.write_all(&bytes));
}

fn drain(pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut pipe = pipe.take(OUTPUT_LIMIT);
        let mut chunk = [0; 16 * 1024];
        while let Ok(count @ 1..) = pipe.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..count]);
        }
        let _ = send.send(bytes);
    });
    receive
}

fn collect(pipe: Option<Receiver<Vec<u8>>>, deadline: Instant) -> String {
    // A grandchild may hold the pipe open after the program ended.
    let patience = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(200));
    let bytes = pipe.and_then(|pipe| pipe.recv_timeout(patience).ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn wait(child: &mut Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}
