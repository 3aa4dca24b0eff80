//! The one exec per node: the agent's session, through sudo where needed, delivered first where missing.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::connect::Connection;
use super::deliver::Agents;
use super::error::{Fault, SshError};
use super::greeting::{Greeting, Heard};
use super::process::{ChannelReader, ChannelWriter, Ending, Piece, Process};
use super::target::Privilege;

/// The agent's session: raw bytes each way, from after its first line.
pub struct AgentChannel {
    /// What the agent says.
    pub reader: ChannelReader,
    /// What it is told.
    pub writer: ChannelWriter,
    /// How it ended, and the end of its stderr.
    pub ending: Ending,
    /// Whether the agent had to be delivered first.
    pub delivered: bool,
}

/// A process that got as far as its first line.
pub(super) struct Greeted {
    pub(super) process: Process,
    pub(super) heard: Heard,
}

impl Connection {
    /// Starts the agent's session; delivers the agent if the host does not have it.
    ///
    /// # Errors
    /// sudo refuses, the agent cannot be delivered or does not start, or a deadline passed.
    pub async fn agent(&self, agents: &Agents) -> Result<AgentChannel, SshError> {
        self.open_agent(agents).await.map_err(|fault| self.error(fault))
    }

    async fn open_agent(&self, agents: &Agents) -> Result<AgentChannel, Fault> {
        let machine = match self.session(agents).await? {
            Greeted { process, heard: Heard::Agent(first) } => return Ok(channel(process, first, false)),
            Greeted { heard: Heard::Missing(machine), .. } => machine,
            Greeted { process, .. } => return Err(unexpected(&process)),
        };
        self.deliver(agents.pick(&machine)?, agents.home()).await?;
        match self.session(agents).await? {
            Greeted { process, heard: Heard::Agent(first) } => Ok(channel(process, first, true)),
            Greeted { process, .. } => Err(unexpected(&process)),
        }
    }

    async fn session(&self, agents: &Agents) -> Result<Greeted, Fault> {
        let prompt = self.prompt();
        let line = session_line(&agents.paths(), self.privilege, &prompt);
        self.greeted(line, &prompt).await
    }

    /// A prompt that nothing else prints.
    pub(super) fn prompt(&self) -> String {
        format!("[rackwright {:016x}]", fastrand::u64(..))
    }

    /// Runs `line` and listens until it is clear what it says; answers sudo's prompt, and only that.
    pub(super) async fn greeted(&self, line: String, prompt: &str) -> Result<Greeted, Fault> {
        let may_ask = self.privilege == Privilege::SudoPassword;
        let mut greeting = Greeting::new(may_ask.then_some(prompt));
        let mut clock = Clock::new(self.deadlines.greeting);
        let mut process = clock.limit(Process::start(self, line)).await??;
        loop {
            let heard = match clock.limit(process.next()).await? {
                Some(Piece::Out(bytes)) => greeting.stdout(&bytes),
                Some(Piece::Err(bytes)) => greeting.stderr(&bytes),
                // What it wrote to standard error may still be on its way.
                Some(Piece::End) => Heard::Nothing,
                None => {
                    let exit = process.ending.wait().await;
                    return Err(if self.is_closed() {
                        self.broken("starting the agent", None)
                    } else {
                        greeting.ended(&exit, self.user())
                    });
                }
            };
            match heard {
                Heard::Nothing => {}
                Heard::Prompt => {
                    process.ending.forget();
                    self.answer_sudo(&mut process).await?;
                    clock = Clock::new(self.deadlines.greeting);
                }
                Heard::Again => return Err(Fault::SudoWrong { user: self.user().to_owned() }),
                Heard::Noise => return Err(Fault::Noise),
                heard => return Ok(Greeted { process, heard }),
            }
        }
    }

    async fn answer_sudo(&self, process: &mut Process) -> Result<(), Fault> {
        let user = || self.user().to_owned();
        let secret = self.sudo_password().await.ok_or_else(|| Fault::SudoPassword { user: user() })?;
        let line = zeroize::Zeroizing::new(format!("{}\n", secret.expose()));
        let sent = timeout(self.deadlines.greeting, async {
            process.writer.write_all(line.as_bytes()).await?;
            process.writer.flush().await
        });
        match sent.await {
            Ok(Ok(())) => Ok(()),
            _ => Err(self.broken("answering sudo", None)),
        }
    }
}

fn channel(process: Process, first: Vec<u8>, delivered: bool) -> AgentChannel {
    let ending = process.ending.clone();
    let (reader, writer) = process.into_streams(first);
    AgentChannel { reader, writer, ending, delivered }
}

fn unexpected(process: &Process) -> Fault {
    let said = super::greeting::said(&process.ending.stderr(), "");
    Fault::Start { exit: "it was delivered and is still not there".to_owned(), said }
}

/// A deadline over several steps.
struct Clock {
    end: Instant,
    after: Duration,
}

impl Clock {
    fn new(after: Duration) -> Self {
        Self { end: Instant::now() + after, after }
    }

    async fn limit<T>(&self, step: impl Future<Output = T>) -> Result<T, Fault> {
        let hint = "look at the login shell's start-up files, and at sudo (a host name that does not resolve slows it)";
        tokio::time::timeout_at(self.end, step).await.map_err(|_| Fault::Timeout {
            doing: "starting the agent",
            after: self.after,
            hint,
        })
    }
}

/// The line that runs the first agent that is there, or says which machine lacks one.
///
/// Quoted so that any login shell (bash, dash, zsh, fish, csh) hands it to `sh` as it is.
pub fn session_line(paths: &[String], privilege: Privilege, prompt: &str) -> String {
    let run = raise(privilege, prompt, "\"$a\" session");
    format!(
        "exec sh -c 'for a in {}; do if test -x \"$a\"; then exec {run}; fi; done; \
         echo \"RACKWRIGHT-MISSING $(uname -m)\"'",
        paths.join(" ")
    )
}

/// `command` with root's rights, to stand within single quotes.
pub(super) fn raise(privilege: Privilege, prompt: &str, command: &str) -> String {
    match privilege {
        Privilege::Login => command.to_owned(),
        Privilege::Sudo => format!("sudo -n -- {command}"),
        // -k: never from sudo's own memory, so that a prompt always means that a password is needed.
        Privilege::SudoPassword => format!("sudo -k -S -p \"{prompt}\" -- {command}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_session() {
        let names =
            ["/usr/local/lib/rackwright/agent-1".to_owned(), "/usr/local/lib/rackwright/agent-2".to_owned()];
        let line = session_line(&names, Privilege::SudoPassword, "[p]");
        assert_eq!(
            line,
            "exec sh -c 'for a in /usr/local/lib/rackwright/agent-1 /usr/local/lib/rackwright/agent-2; \
             do if test -x \"$a\"; then exec sudo -k -S -p \"[p]\" -- \"$a\" session; fi; done; \
             echo \"RACKWRIGHT-MISSING $(uname -m)\"'"
        );
        assert_eq!(line.matches('\'').count(), 2);
        assert!(!line.contains('!'), "csh would expand it");
    }
}
