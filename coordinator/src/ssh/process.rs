//! One exec on a server: its streams, the end of its stderr, and how it ended.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::connect::Connection;
use super::error::{Fault, SshError};

/// How much of the end of stderr is kept, in bytes.
const STDERR_TAIL: usize = 8 * 1024;
/// The most that a command run by [`Connection::exec`] may write to either stream, in bytes.
const MAX_OUTPUT: usize = 16 * 1024 * 1024;

/// How a remote process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Status(u32),
    /// By this signal, as `KILL`.
    Signal(String),
    /// The connection or the channel ended first.
    Lost,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => write!(f, "killed by SIG{signal}"),
            Self::Lost => f.write_str("the connection was lost"),
        }
    }
}

/// What a command wrote, and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// A piece of output.
pub(super) enum Piece {
    Out(Vec<u8>),
    Err(Vec<u8>),
    /// The other side writes no more.
    End,
}

/// How a process ends: shared by its two streams, readable at any time.
#[derive(Debug, Clone)]
pub struct Ending {
    exit: watch::Receiver<Option<Exit>>,
    stderr: Arc<Mutex<VecDeque<u8>>>,
}

impl Ending {
    /// Waits for the end. Bound it: a process may run for ever.
    pub async fn wait(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        ended.ok().and_then(|exit| exit.clone()).unwrap_or(Exit::Lost)
    }

    /// The last 8 KiB of stderr so far, with control characters removed. All of it once the process has ended.
    pub fn stderr(&self) -> String {
        let tail: Vec<u8> = self.tail().iter().copied().collect();
        printable(&tail)
    }

    fn tail(&self) -> std::sync::MutexGuard<'_, VecDeque<u8>> {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what stderr said so far.
    pub(super) fn forget(&self) {
        self.tail().clear();
    }

    fn keep(&self, bytes: &[u8]) {
        let mut tail = self.tail();
        tail.extend(bytes);
        let excess = tail.len().saturating_sub(STDERR_TAIL);
        tail.drain(..excess);
    }
}

/// Text of a host as it may be shown: no control characters but line ends.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text: String =
        String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control() || *c == '\n').collect();
    text.trim().to_owned()
}

/// A running process.
pub(super) struct Process {
    pub(super) writer: ChannelWriter,
    pub(super) ending: Ending,
    pieces: mpsc::Receiver<Piece>,
}

impl Process {
    /// Runs `command` in the user's login shell.
    pub(super) async fn start(connection: &Connection, command: String) -> Result<Self, Fault> {
        let channel = connection
            .handle
            .channel_open_session()
            .await
            .map_err(|e| connection.channel_fault(e, "a session".to_owned()))?;
        // The reply is not waited for: output, or a refusal, arrives as soon.
        let started = channel.exec(true, command).await;
        let process = Self::over(channel);
        started.map_err(|e| connection.broken("starting a command", Some(e)))?;
        Ok(process)
    }

    /// Watches over an open channel of any kind, so that it is closed in the end.
    pub(super) fn over(channel: Channel<Msg>) -> Self {
        let (read, write) = channel.split();
        let inner = Box::pin(write.make_writer());
        let (send, pieces) = mpsc::channel(4);
        let (report, exit) = watch::channel(None);
        let mut ended = exit.clone();
        let ending = Ending { exit, stderr: Arc::default() };
        tokio::spawn(pump(read, write, send, report, ending.clone()));
        let dead = Box::pin(async move {
            let _ = ended.wait_for(Option::is_some).await;
        });
        Self { writer: ChannelWriter { inner, dead: Some(dead) }, ending, pieces }
    }

    /// The next piece of output; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Piece> {
        self.pieces.recv().await
    }

    /// Reads both streams to their end, `limit` bytes of each at the most.
    pub(super) async fn rest(&mut self, limit: usize) -> Result<(Vec<u8>, Vec<u8>), Fault> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while let Some(piece) = self.next().await {
            match piece {
                Piece::Out(bytes) => out.extend(bytes),
                Piece::Err(bytes) => err.extend(bytes),
                Piece::End => {}
            }
            if out.len() > limit || err.len() > limit {
                return Err(Fault::TooMuch { limit });
            }
        }
        Ok((out, err))
    }

    /// Goes on as a stream, whose first bytes were read already.
    pub(super) fn into_streams(self, first: Vec<u8>) -> (ChannelReader, ChannelWriter) {
        let reader = ChannelReader { current: first, taken: 0, ended: false, pieces: self.pieces };
        (reader, self.writer)
    }
}

/// Carries messages from the channel to whoever reads. Ends when the channel does, or when nobody reads any more;
/// then it closes the channel, which the library does not do by itself. The end of stderr is kept as it comes: who
/// finds the process dead wants to tell why, whatever was read until then.
async fn pump(
    mut read: ChannelReadHalf,
    write: ChannelWriteHalf<Msg>,
    send: mpsc::Sender<Piece>,
    report: watch::Sender<Option<Exit>>,
    ending: Ending,
) {
    let mut exit = Exit::Lost;
    loop {
        let message = tokio::select! {
            message = read.wait() => message,
            () = send.closed() => break,
        };
        let piece = match message {
            Some(ChannelMsg::Data { data }) => Piece::Out(data.to_vec()),
            Some(ChannelMsg::ExtendedData { data, .. }) => {
                ending.keep(&data);
                Piece::Err(data.to_vec())
            }
            Some(ChannelMsg::Eof) => Piece::End,
            Some(ChannelMsg::Close | ChannelMsg::Failure) | None => break,
            Some(other) => {
                exit = exit_in(other).unwrap_or(exit);
                continue;
            }
        };
        if send.send(piece).await.is_err() {
            break;
        }
    }
    let _ = write.close().await;
    let _ = report.send(Some(exit));
}

fn exit_in(message: ChannelMsg) -> Option<Exit> {
    match message {
        ChannelMsg::ExitStatus { exit_status } => Some(Exit::Status(exit_status)),
        ChannelMsg::ExitSignal { signal_name, .. } => Some(Exit::Signal(format!("{signal_name:?}"))),
        _ => None,
    }
}

/// A process's standard output. Dropping it closes the channel.
pub struct ChannelReader {
    current: Vec<u8>,
    taken: usize,
    ended: bool,
    pieces: mpsc::Receiver<Piece>,
}

impl AsyncRead for ChannelReader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let reader = self.get_mut();
        while reader.taken == reader.current.len() {
            if reader.ended {
                return Poll::Ready(Ok(()));
            }
            match ready!(reader.pieces.poll_recv(cx)) {
                Some(Piece::Out(bytes)) => (reader.current, reader.taken) = (bytes, 0),
                Some(Piece::Err(_)) => {}
                Some(Piece::End) => reader.ended = true,
                None => {
                    let lost = "the SSH connection was lost";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, lost)));
                }
            }
        }
        let rest = &reader.current[reader.taken..];
        let count = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..count]);
        reader.taken += count;
        Poll::Ready(Ok(()))
    }
}

/// A process's standard input. `shutdown` closes it; after the process's end, writing is a broken pipe.
pub struct ChannelWriter {
    inner: Pin<Box<dyn AsyncWrite + Send>>,
    dead: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl ChannelWriter {
    /// The library waits for window space even when the connection is gone, so the end is watched here.
    fn alive(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(dead) = &mut self.dead {
            if dead.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            self.dead = None;
        }
        Err(io::Error::new(io::ErrorKind::BrokenPipe, "the remote process has ended"))
    }
}

impl AsyncWrite for ChannelWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let writer = self.get_mut();
        writer.alive(cx)?;
        writer.inner.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let writer = self.get_mut();
        writer.alive(cx)?;
        writer.inner.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let writer = self.get_mut();
        if writer.alive(cx).is_err() {
            return Poll::Ready(Ok(()));
        }
        writer.inner.as_mut().poll_shutdown(cx)
    }
}

impl Connection {
    /// Runs a command as the login user, with `stdin`, within the command deadline. A status other than zero is
    /// not an error.
    ///
    /// # Errors
    /// The connection broke, the deadline passed, or the output is longer than 16 MiB.
    pub async fn exec(&self, command: &str, stdin: &[u8]) -> Result<Output, SshError> {
        let after = self.deadlines.command;
        let hint = "the host is slow or hangs; look at its load and disks";
        timeout(after, self.run(command, stdin))
            .await
            .unwrap_or(Err(Fault::Timeout { doing: "a command", after, hint }))
            .map_err(|fault| self.error(fault))
    }

    async fn run(&self, command: &str, stdin: &[u8]) -> Result<Output, Fault> {
        let mut process = Process::start(self, command.to_owned()).await?;
        let mut writer = std::mem::replace(&mut process.writer, ChannelWriter::none());
        let feed = async {
            // A command need not read all of its input; how it ends is what counts.
            let _ = writer.write_all(stdin).await;
            let _ = writer.shutdown().await;
        };
        let ((), streams) = tokio::join!(feed, process.rest(MAX_OUTPUT));
        let (stdout, stderr) = streams?;
        match process.ending.wait().await {
            Exit::Lost => Err(self.broken("running a command", None)),
            exit => Ok(Output { exit, stdout, stderr }),
        }
    }
}

impl ChannelWriter {
    /// A writer to nothing, left behind where the real one was taken.
    pub(super) fn none() -> Self {
        Self { inner: Box::pin(tokio::io::sink()), dead: None }
    }
}
