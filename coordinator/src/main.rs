//! `rackwright`, the coordinator's binary: parse, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use rackwright::cli::{Cli, Command};
use rackwright::cmd;
use rackwright::console::Console;
use rackwright::exit::Exit;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let level = ["warn", "info", "russh=debug,info"][usize::from(cli.verbose.min(2))];
    let filter = EnvFilter::try_from_env("RACKWRIGHT_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    let console = Console::new(cli.verbose);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(dispatch(console, cli.command)).into(),
        Err(error) => {
            console.error(&error);
            Exit::Failed.into()
        }
    }
}

async fn dispatch(console: Console, command: Command) -> Exit {
    match command {
        Command::Check(args) => cmd::check::run(console, args).await,
        Command::Diagnose(args) => cmd::diagnose::run(console, args).await,
        Command::Plan(args) => cmd::plan::run(console, args).await,
        Command::Apply(args) => cmd::apply::run(console, args).await,
        Command::Status(args) => cmd::status::run(console, args).await,
        Command::Revert(args) => cmd::revert::run(console, args).await,
        Command::MigrateProxy(args) => cmd::migrate::run(console, args).await,
        Command::Lint(args) => cmd::lint::run(console, &args),
        Command::Inject(args) => cmd::inject::run(console, args).await,
        Command::Logs(args) => cmd::logs::run(console, args).await,
        Command::Attach(args) => cmd::attach::run(console, args).await,
        Command::Trust(args) => cmd::trust::run(console, args).await,
        Command::Init(args) => cmd::init::run(console, &args),
        Command::Schema => cmd::schema::run(console),
        Command::Completions { shell } => cmd::completions::run(console, shell),
    }
}
