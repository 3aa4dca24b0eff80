//! `cargo lab vm`: racks of virtual machines, with kernels and disks of their own.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Subcommand};
use rackwright_lab::talk::say;
use rackwright_lab::{Host, Lab, LabError, Login, RackName, Result, Spec, sweep};

use super::become_command;

/// A rack of virtual machines has this name, unless another is given.
const NAME: &str = "vm";

/// Virtual machines: hosts with a kernel and a disk of their own
#[derive(Args)]
pub(crate) struct Vm {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Up(Up),
    Ssh(Ssh),
    Reboot(Reboot),
    Cut(Cut),
    Down(Down),
}

/// Bring a rack of virtual machines up; the first time, this builds what they boot from
#[derive(Args)]
struct Up {
    /// How many virtual machines
    #[arg(value_name = "N", default_value_t = 1)]
    count: usize,
    /// So many hosts of the host rack besides, before them on the same segment
    #[arg(long, value_name = "N", default_value_t = 0)]
    hosts: usize,
    /// As whom the rack's file tells to log in
    #[arg(long, value_enum, default_value_t = Login::Sudo)]
    login: Login,
    #[command(flatten)]
    which: Which,
}

/// Log in to a machine, or run a command there
#[derive(Args)]
struct Ssh {
    #[command(flatten)]
    which: Which,
    /// The machine's name
    node: String,
    /// What to run instead of a login shell
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Reboot a machine from inside, or boot one that was cut off, and wait until it is up
#[derive(Args)]
struct Reboot {
    #[command(flatten)]
    which: Which,
    /// The machine's name
    node: String,
}

/// Cut a machine's power: what it did not flush to its disk is lost
#[derive(Args)]
struct Cut {
    #[command(flatten)]
    which: Which,
    /// The machine's name
    node: String,
}

/// Take the rack down, and everything that is left of it
#[derive(Args)]
struct Down {
    #[command(flatten)]
    which: Which,
}

/// Which rack a command is about.
#[derive(Args)]
struct Which {
    /// The rack's name
    #[arg(long, default_value = NAME)]
    name: RackName,
}

impl Which {
    fn machine(&self, node: &str) -> Result<Host> {
        let host = Lab::open(&self.name)?.find(node)?;
        if host.is_vm() {
            return Ok(host);
        }
        Err(LabError::Refused(format!(
            "{node} of rack `{}` is no virtual machine: `cargo lab kill` ends it",
            self.name
        )))
    }
}

impl Vm {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Up(up) => up.run()?,
            Command::Ssh(Ssh { which, node, command }) => {
                let lab = Lab::open(&which.name)?;
                let mut ssh = lab.ssh(lab.find(&node)?.name())?;
                ssh.args(command);
                return Err(become_command(ssh));
            }
            Command::Reboot(Reboot { which, node }) => {
                let (host, started) = (Lab::open(&which.name)?.find(&node)?, Instant::now());
                host.reboot()?;
                say(format_args!("{node} is up again after {:.1} s", started.elapsed().as_secs_f64()));
            }
            Command::Cut(Cut { which, node }) => {
                which.machine(&node)?.kill()?;
                let flag = flag(&which.name);
                say(format_args!("{node} has no power; `cargo lab vm reboot{flag} {node}` boots it"));
            }
            Command::Down(Down { which }) => {
                let found = sweep::down(&which.name)?;
                say(format_args!(
                    "rack `{}` {}",
                    which.name,
                    if found { "is down" } else { "was not there" }
                ));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Up {
    fn run(self) -> Result<()> {
        let mut spec = Spec::new(self.which.name, self.hosts + self.count).login(self.login);
        spec.vms = spec.hosts.iter().skip(self.hosts).cloned().collect();
        let lab = Lab::up(spec)?;
        super::up::describe(&lab)?;
        let (flag, vm) = (flag(&lab.spec().name), lab.spec().vms.first().cloned().unwrap_or_default());
        say(format_args!("and: `cargo lab vm reboot{flag} {vm}`, `cargo lab vm cut{flag} {vm}`"));
        lab.keep();
        Ok(())
    }
}

fn flag(name: &RackName) -> String {
    if name.to_string() == NAME { String::new() } else { format!(" --name {name}") }
}
