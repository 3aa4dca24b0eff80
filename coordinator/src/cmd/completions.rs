//! `rackwright completions SHELL`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::console::Console;
use crate::exit::Exit;

/// Runs the command.
pub fn run(console: Console, shell: Shell) -> Exit {
    console.data(|out| {
        clap_complete::generate(shell, &mut Cli::command(), "rackwright", out);
        Ok(())
    });
    Exit::Done
}
