//! The one exec per node: the agent's session, through sudo where needed, delivered first where missing.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::connect::Connection;
use super::deliver::{Agents, SCRIPT};
use super::error::{Fault, SshError};
use super::greeting::{Greeting, Heard};
use super::process::{ChannelReader, ChannelWriter, Ending, Exit, Piece, Process};
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

/// What came of listening.
pub(super) enum Turn {
    /// Something that is clear.
    Heard(Heard),
    /// The end.
    Ended(Exit, Greeting),
}

impl Connection {
    /// Starts the agent's session; delivers the agent if the host does not have it. Either way it is one exec.
    ///
    /// # Errors
    /// sudo refuses, the agent cannot be delivered or does not start, or a deadline passed.
    pub async fn agent(&self, agents: &Agents) -> Result<AgentChannel, SshError> {
        self.open_agent(agents).await.map_err(|fault| self.error(fault))
    }

    async fn open_agent(&self, agents: &Agents) -> Result<AgentChannel, Fault> {
        // A prompt that nothing else prints.
        let prompt = format!("[rackwright {:016x}]", fastrand::u64(..));
        let line = session_line(agents.home(), &agents.names(), self.privilege, &prompt);
        let after = self.deadlines.greeting;
        let start = timeout(after, Process::start(self, line)).await;
        let mut process = start.map_err(|_| slow(after))??;
        match self.listen(&mut process, &prompt, after).await? {
            Turn::Heard(Heard::Agent(first)) => Ok(channel(process, first, false)),
            Turn::Heard(Heard::Missing(machine)) => {
                let binary = agents.pick(&machine)?;
                let turn = agents.turn().await;
                let first = self.deliver(&mut process, binary, &prompt).await?;
                drop(turn);
                Ok(channel(process, first, true))
            }
            Turn::Heard(_) => Err(Fault::Noise),
            Turn::Ended(exit, greeting) => Err(greeting.ended(&exit, self.user())),
        }
    }

    /// Listens until it is clear what the host says; answers sudo's prompt, and only that.
    pub(super) async fn listen(
        &self,
        process: &mut Process,
        prompt: &str,
        after: Duration,
    ) -> Result<Turn, Fault> {
        let may_ask = self.privilege == Privilege::SudoPassword;
        let mut greeting = Greeting::new(may_ask.then_some(prompt));
        let mut end = Instant::now() + after;
        loop {
            let heard = match timeout_at(end, process.next()).await.map_err(|_| slow(after))? {
                Some(Piece::Out(bytes)) => greeting.stdout(&bytes),
                Some(Piece::Err(bytes)) => greeting.stderr(&bytes),
                // What it wrote to standard error may still be on its way.
                Some(Piece::End) => Heard::Nothing,
                None if self.is_closed() => return Err(self.broken("starting the agent", None)),
                None => return Ok(Turn::Ended(process.ending.wait().await, greeting)),
            };
            match heard {
                Heard::Nothing => {}
                Heard::Prompt => {
                    process.ending.forget();
                    self.answer_sudo(process).await?;
                    end = Instant::now() + after;
                }
                Heard::Again => return Err(Fault::SudoWrong { user: self.user().to_owned() }),
                Heard::Noise => return Err(Fault::Noise),
                heard => return Ok(Turn::Heard(heard)),
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

fn slow(after: Duration) -> Fault {
    let hint =
        "look at the login shell's start-up files, and at sudo (a host name that does not resolve slows it)";
    Fault::Timeout { doing: "starting the agent", after, hint }
}

/// The line that runs the first agent that is there; else says which machine lacks one, reads what it is to get
/// (`NAME SHA256 SIZE`), and runs the script that receives it.
///
/// Quoted so that any login shell (bash, dash, zsh, fish, csh) hands it to `sh` as it is.
pub fn session_line(home: &str, names: &[String], privilege: Privilege, prompt: &str) -> String {
    let sudo = match privilege {
        Privilege::Login => String::new(),
        Privilege::Sudo => "sudo -n -- ".to_owned(),
        // -k: never from sudo's own memory, so that a prompt always means that a password is needed.
        Privilege::SudoPassword => format!("sudo -k -S -p \"{prompt}\" -- "),
    };
    let (receive, names) = (SCRIPT.replace('\n', " "), names.join(" "));
    format!(
        "exec sh -c 's=$1; d=$2; shift 2; \
         for a do if test -x \"$d/$a\"; then exec {sudo}\"$d/$a\" session; fi; done; \
         echo \"RACKWRIGHT-MISSING $(uname -m)\"; read -r a h n || exit 25; \
         exec {sudo}sh -c \"$s\" sh \"$d\" \"$a\" \"$h\" \"$n\"' sh '{receive}' {home} {names}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_session() {
        let names = ["agent-1".to_owned(), "agent-2".to_owned()];
        let line = session_line("/usr/local/lib/rackwright", &names, Privilege::SudoPassword, "[p]");
        let run =
            "for a do if test -x \"$d/$a\"; then exec sudo -k -S -p \"[p]\" -- \"$d/$a\" session; fi; done;";
        assert!(line.starts_with("exec sh -c 's=$1;") && line.contains(run), "{line}");
        assert!(line.ends_with("' /usr/local/lib/rackwright agent-1 agent-2"), "{line}");
        assert_eq!(line.matches('\'').count(), 4);
        assert!(!line.contains(['!', '\n']), "csh would stumble");
    }
}
