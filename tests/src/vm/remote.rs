//! Commands on a machine: as root by ssh, from where the operator sits, over one connection per machine.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::error::{Doing, LabError, Result};
use crate::host::Host;
use crate::names::netns_path;
use crate::run::command as local;
use crate::sys;

/// Quotes for the shell at the other end what it is given, so that arguments arrive as they are.
const WRAP: &str = r#"
config=$1 socket=$2 name=$3
shift 3
exec ssh -F "$config" -o ControlPath="$socket" -o ControlMaster=no -o BatchMode=yes -o LogLevel=ERROR -l root "$name" \
    "exec env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin $(printf '%q ' "$@")"
"#;

/// A program of the machine, to which arguments can be added.
pub(crate) fn command(host: &Host, program: &str) -> Result<Command> {
    connect(host)?;
    let mut bash = entered(host, "bash")?;
    bash.args(["-c", WRAP, "bash"]).arg(config(host)).arg(socket(host)).args([host.name(), program]);
    Ok(bash)
}

/// Gives the connection up: the machine at its other end is no more, or soon.
pub(crate) fn hang_up(host: &Host) {
    if !socket(host).exists() {
        return;
    }
    let told = control(host, &["-O", "exit"]).and_then(|mut ssh| {
        ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        ssh.status().doing(|| format!("hang up on {}", host.name()))
    });
    if !told.is_ok_and(|status| status.success()) {
        // A dead one's.
        let _ = std::fs::remove_file(socket(host));
    }
}

/// One connection for all commands: a new one costs the emulated machine seconds. It ends with the operator's
/// network namespace.
fn connect(host: &Host) -> Result<()> {
    let quiet = |mut ssh: Command| {
        ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        ssh.status().doing(|| "start `ssh`".to_owned())
    };
    if socket(host).exists() && quiet(control(host, &["-O", "check"])?)?.success() {
        return Ok(());
    }
    let _ = std::fs::remove_file(socket(host));
    let mut master = entered(host, "timeout")?;
    master.args(["60", "ssh", "-F"]).arg(config(host));
    let path = format!("ControlPath={}", socket(host).display());
    let options =
        ["ControlMaster=yes", &path, "BatchMode=yes", "ConnectTimeout=30", "ServerAliveInterval=15"];
    master.args(options.iter().flat_map(|option| ["-o", option]));
    master.args(["-f", "-N", "-l", "root", host.name()]);
    if quiet(master)?.success() {
        return Ok(());
    }
    Err(LabError::Refused(format!("no connection to {} (root by ssh, with the operator's key)", host.name())))
}

fn control(host: &Host, arguments: &[&str]) -> Result<Command> {
    let mut ssh = entered(host, "ssh")?;
    ssh.arg("-F").arg(config(host)).arg("-S").arg(socket(host)).args(arguments).arg(host.name());
    Ok(ssh)
}

fn entered(host: &Host, program: &str) -> Result<Command> {
    let mut command = local(program);
    let path = netns_path(&host.operator);
    sys::enter_network(&mut command, &path).doing(|| format!("open {}", path.display()))?;
    Ok(command)
}

fn config(host: &Host) -> PathBuf {
    host.dir().join("../../ssh_config")
}

fn socket(host: &Host) -> PathBuf {
    host.dir().join("ssh.sock")
}
