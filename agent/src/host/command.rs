//! Other programs: by argv, never through a shell, with a deadline and bounded output.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::Host;

/// The most bytes kept of each of a program's streams.
const KEEP: u64 = 256 * 1024;

/// What a program printed and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output, lossily as UTF-8, cut at 256 KiB.
    pub stdout: String,
    /// Its standard error, likewise.
    pub stderr: String,
}

/// Why a program gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("start `{command}`")]
    Start {
        /// Program and arguments.
        command: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It did not end in time and was killed.
    #[error("`{command}` did not end within {seconds} s")]
    Deadline {
        /// Program and arguments.
        command: String,
        /// The deadline.
        seconds: u64,
    },
    /// It ended with another code than 0.
    #[error("`{command}` ended with {code}: {stderr}")]
    Failed {
        /// Program and arguments.
        command: String,
        /// `code 1` or `a signal`.
        code: String,
        /// The end of what it said.
        stderr: String,
    },
}

impl CommandError {
    /// Whether the program does not exist on this host.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Start { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

impl Host {
    /// Runs a program and waits for it, at most `deadline`. Its standard input is empty; it is killed with us.
    pub async fn run(&self, argv: &[&str], deadline: Duration) -> Result<Output, CommandError> {
        let command = argv.join(" ");
        let start = |source| CommandError::Start { command: command.clone(), source };
        let mut child = Command::new(argv[0])
            .args(&argv[1..])
            .env("LC_ALL", "C")
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(start)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let work = async { tokio::join!(read_all(stdout), read_all(stderr), child.wait()) };
        let Ok((stdout, stderr, status)) = tokio::time::timeout(deadline, work).await else {
            return Err(CommandError::Deadline { command, seconds: deadline.as_secs() });
        };
        Ok(Output { code: status.map_err(start)?.code(), stdout, stderr })
    }

    /// The same, where anything but exit code 0 is an error.
    pub async fn run_ok(&self, argv: &[&str], deadline: Duration) -> Result<Output, CommandError> {
        let output = self.run(argv, deadline).await?;
        if output.code == Some(0) {
            return Ok(output);
        }
        let code = output.code.map_or("a signal".into(), |c| format!("code {c}"));
        let said = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
        let stderr = said.trim().lines().last().unwrap_or("it said nothing").to_owned();
        Err(CommandError::Failed { command: argv.join(" "), code, stderr })
    }
}

async fn read_all(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut bytes = Vec::new();
    // A stream that breaks off still yields what came before; the exit code tells the rest.
    let _ = (&mut stream).take(KEEP).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}
