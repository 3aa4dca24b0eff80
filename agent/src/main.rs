//! `rackwright-agent`: a thin binary over the library. Operators do not start it by hand.
#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use rackwright_agent::host::Host;
use rackwright_agent::{drift, fault, restore, run, session};
use rackwright_proto::name::RunId;
use rackwright_proto::wire::BUILD;

/// Bad usage, or a coordinator that broke the protocol.
const USAGE: u8 = 2;

/// Bytes of standard input to read at once; most frames are shorter.
const INPUT: usize = 64 * 1024;

const HELP: &str = "usage: rackwright-agent COMMAND
  session             talk with a coordinator over stdin and stdout
  run ID              execute the run whose plan is on disk
  watchdog ID         undo the run's risky steps unless they were confirmed
  restore             at boot: put back what receipts answer for
  drift [--textfile DIR]  compare the host with its receipts
  version             print the build
";

type Outcome = Result<ExitCode, Box<dyn Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    let code = runtime.block_on(command(&args)).unwrap_or_else(|e| {
        say_error(&fault::chain(e.as_ref()));
        let protocol = e.downcast_ref::<session::SessionError>().is_some_and(|e| e.is_protocol());
        ExitCode::from(if protocol { USAGE } else { 1 })
    });
    // A thread may still wait for standard input; it ends with the process.
    runtime.shutdown_background();
    code
}

async fn command(args: &[String]) -> Outcome {
    let (host, args) = host(args)?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["session"] => {
            // Each read of it goes through a thread: few large ones.
            let input = tokio::io::BufReader::with_capacity(INPUT, tokio::io::stdin());
            session::serve(&host, input, tokio::io::stdout()).await?;
            Ok(ExitCode::SUCCESS)
        }
        ["run", id] => {
            run::execute(&host, &id.parse()?).await?;
            Ok(ExitCode::SUCCESS)
        }
        ["watchdog", id] => {
            run::watchdog(&host, &id.parse()?).await?;
            Ok(ExitCode::SUCCESS)
        }
        ["detach", task @ ("run" | "watchdog"), id] => {
            host.become_orphan(task, &id.parse()?)?;
            Ok(ExitCode::SUCCESS)
        }
        ["restore"] => restore_at_boot(&host).await,
        ["drift"] => check_drift(&host, None).await,
        ["drift", "--textfile", dir] => check_drift(&host, Some(dir)).await,
        ["version" | "--version"] => {
            say(BUILD);
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            let _ = std::io::stderr().write_all(HELP.as_bytes());
            Ok(ExitCode::from(USAGE))
        }
    }
}

async fn restore_at_boot(host: &Host) -> Outcome {
    let id: RunId = "restore".parse()?;
    let restored = restore::restore(host, &id).await?;
    restored.lines.iter().for_each(|line| say(line));
    Ok(if restored.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn check_drift(host: &Host, textfile: Option<&str>) -> Outcome {
    // An empty value is an unset variable of the unit.
    let dir = textfile.filter(|dir| !dir.is_empty()).map(Path::new);
    drift::check(host, dir).await?.iter().for_each(|line| say(line));
    Ok(ExitCode::SUCCESS)
}

/// Whoever reads may be gone; that is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn say_error(line: &str) {
    let _ = writeln!(std::io::stderr(), "rackwright-agent: {line}");
}

#[cfg(not(feature = "fault-injection"))]
fn host(args: &[String]) -> Result<(Host, &[String]), Box<dyn Error>> {
    Ok((Host::this(), args))
}

/// Tests put `--root DIR` and `--die-at N` in front of the command.
#[cfg(feature = "fault-injection")]
fn host(mut args: &[String]) -> Result<(Host, &[String]), Box<dyn Error>> {
    let mut host = Host::this();
    while let [option, value, rest @ ..] = args {
        match option.as_str() {
            "--root" => host = Host::at(value),
            "--die-at" => host = host.dying_at(value.parse()?),
            _ => break,
        }
        args = rest;
    }
    Ok((host, args))
}
