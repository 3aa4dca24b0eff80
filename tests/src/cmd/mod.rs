//! The commands of `cargo lab`, one file each.

mod agents;
mod bench;
mod cluster;
mod demo;
mod down;
mod exec;
mod host;
mod list;
mod rackwright;
mod report;
mod test;
mod up;
mod vm;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, ExitStatus};

use clap::{Args, Parser, Subcommand};
use rackwright_lab::{LabError, RackName, Result};

/// Racks of real hosts on this machine: to try rackwright, and to test it.
#[derive(Parser)]
#[command(name = "cargo lab", bin_name = "cargo lab", version, max_term_width = 100)]
pub(crate) struct Lab {
    #[command(subcommand)]
    command: Command_,
}

#[derive(Subcommand)]
enum Command_ {
    Up(up::Up),
    Down(down::Down),
    List(list::List),
    Ssh(host::Ssh),
    Reboot(host::Reboot),
    Kill(host::Kill),
    Exec(exec::Exec),
    Rackwright(rackwright::Rackwright),
    Cluster(cluster::Cluster),
    Vm(vm::Vm),
    Demo(demo::Demo),
    Test(test::Test),
    Bench(bench::Bench),
    Agents(agents::Agents),
}

impl Lab {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command_::Up(up) => up.run(),
            Command_::Down(down) => down.run(),
            Command_::List(list) => list.run(),
            Command_::Ssh(ssh) => ssh.run(),
            Command_::Reboot(reboot) => reboot.run(),
            Command_::Kill(kill) => kill.run(),
            Command_::Exec(exec) => exec.run(),
            Command_::Rackwright(rackwright) => rackwright.run(),
            Command_::Cluster(cluster) => cluster.run(),
            Command_::Vm(vm) => vm.run(),
            Command_::Demo(demo) => demo.run(),
            Command_::Test(test) => test.run(),
            Command_::Bench(bench) => bench.run(),
            Command_::Agents(agents) => agents.run(),
        }
    }
}

/// Which rack a command is about.
#[derive(Args)]
struct Which {
    /// The rack's name
    #[arg(long, default_value = "lab")]
    name: RackName,
}

impl Which {
    fn open(&self) -> Result<rackwright_lab::Lab> {
        rackwright_lab::Lab::open(&self.name)
    }
}

/// Becomes the command: its exit code, its terminal and its signals are then its own.
fn become_command(mut command: Command) -> LabError {
    let source = command.exec();
    LabError::Io { doing: format!("run `{}`", command.get_program().to_string_lossy()), source }
}

/// Runs a command on our terminal and waits for it.
fn attend(mut command: Command) -> Result<ExitStatus> {
    let doing = format!("run `{}`", command.get_program().to_string_lossy());
    command.status().map_err(|source| LabError::Io { doing, source })
}

/// The exit code of a command, as our own.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}
