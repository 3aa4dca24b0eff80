//! The command line. One variant per command; each command has a file of its own in `cmd/`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use rackwright_proto::name::{NodeName, RunId};

use crate::rack::model::kubernetes::ProxyMode;
use crate::rack::words::Label;

/// From bare servers with Linux and SSH to a Kubernetes edge whose external IP answers.
#[derive(Debug, Parser)]
#[command(name = "rackwright", version, about, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Say more: every step's reason, texts, and what passed; twice for the SSH library's log, too.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// What every exit code means, the same for all commands.
pub const EXIT_CODES: &str = "Exit codes:
  0  done, or nothing to do
  1  something failed, or a node was not reached
  2  bad usage, or a rack that is not valid
  3  refused: a finding blocks, a plan is stale, or a host is held by another run
  4  differences: status found drift, or plan --exit-code found changes
  5  detached: the work goes on at the hosts; `rackwright attach` listens again";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Observe all nodes and report findings; changes nothing anywhere
    Check(CheckArgs),
    /// Find out why something in the cluster does not work: one cause, its evidence, and what mends it; changes nothing
    Diagnose(DiagnoseArgs),
    /// Show what apply would change, and why
    Plan(PlanArgs),
    /// Prepare all nodes: show the plan, ask, apply, verify; RACK may be a plan that `plan -o` saved
    Apply(ApplyArgs),
    /// Tell what is in effect on the nodes, and what drifted since
    Status(CommonArgs),
    /// Undo what was applied, from the receipts on the nodes
    Revert(RevertArgs),
    /// Change kube-proxy's mode to the rack's one node at a time: drain, replace, reboot if allowed, prove
    MigrateProxy(MigrateProxyArgs),
    /// Look for mistakes in manifests that keep Istio's sidecars from pods, or give them to others
    Lint(LintArgs),
    /// Write a manifest with Istio's sidecar put in, as `istioctl kube-inject` does, by the rack's own istioctl
    Inject(InjectArgs),
    /// Print the log of a pod's sidecar, or say why it has none
    Logs(LogsArgs),
    /// Listen to runs that go on, or went on, after this end went away
    Attach(AttachArgs),
    /// Show a node's host key and record it in known_hosts
    Trust(TrustArgs),
    /// Write a commented rack.yaml
    Init(InitArgs),
    /// Print the JSON Schema of rack.yaml
    Schema,
    /// Print a completion script for a shell
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// What all commands that reach nodes take.
#[derive(Debug, Args)]
pub struct CommonArgs {
    /// The rack
    #[arg(default_value = "rack.yaml")]
    pub rack: PathBuf,
    /// Only this node; may be given several times
    #[arg(short, long = "node", value_name = "NAME")]
    pub nodes: Vec<NodeName>,
    /// Print JSON on standard output; that of check holds all facts, too
    #[arg(long)]
    pub json: bool,
    /// How many nodes to speak with at once, instead of the rack's limits.parallel
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub parallel: Option<u16>,
}

/// `rackwright check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// What all commands take.
    #[command(flatten)]
    pub common: CommonArgs,
    /// List what passed, too
    #[arg(long)]
    pub all: bool,
}

/// `rackwright diagnose`: ends with 0 when nothing is wrong, with 1 when a cause was found, with 3 when it cannot tell.
#[derive(Debug, Args)]
#[command(after_help = DIAGNOSE_EXIT_CODES)]
pub struct DiagnoseArgs {
    /// What all commands take.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Why this Service has no address, or why nobody answers for it; without it those of the rack, else all
    #[arg(long, value_name = "[NAMESPACE/]NAME", value_parser = object)]
    pub service: Option<(String, String)>,
    /// Ask from this pod, and look at it, too
    #[arg(long, value_name = "[NAMESPACE/]NAME", value_parser = object)]
    pub pod: Option<(String, String)>,
}

/// What the exit codes of `diagnose` say.
const DIAGNOSE_EXIT_CODES: &str = "Exit codes:
  0  nothing found wrong
  1  a cause was found
  2  bad usage, or a rack that is not valid
  3  it cannot tell: what was asked does not say, or too little could be asked";

/// A namespace and a name; `default` where there is no namespace.
fn object(text: &str) -> Result<(String, String), String> {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    let fits = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
    };
    match fits(namespace) && fits(name) {
        true => Ok((namespace.to_owned(), name.to_owned())),
        false => Err("expected NAMESPACE/NAME, of lower-case letters, digits, `-` and `.`".to_owned()),
    }
}

/// `rackwright plan`
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// What all commands take.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Save the plan here, for `rackwright apply FILE`
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// End with 4 when there are changes
    #[arg(long)]
    pub exit_code: bool,
}

/// `rackwright apply`
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// What all commands take; RACK may also be a plan that `plan -o` saved.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// `rackwright revert`
#[derive(Debug, Args)]
pub struct RevertArgs {
    /// What all commands take.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// `rackwright migrate-proxy`
#[derive(Debug, Args)]
pub struct MigrateProxyArgs {
    /// What all commands take; `-n` gives a turn to these nodes only, and the others come in a later run.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// `rackwright lint`
#[derive(Debug, Args)]
pub struct LintArgs {
    /// Manifests in YAML: any number of documents and Lists each; `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// `rackwright inject`
#[derive(Debug, Args)]
pub struct InjectArgs {
    /// The manifest; `-` for standard input
    pub file: PathBuf,
    /// The rack
    #[arg(default_value = "rack.yaml")]
    pub rack: PathBuf,
    /// This revision's sidecar, instead of the rack's
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<Label>,
}

/// `rackwright logs`
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The pod
    pub pod: String,
    /// The rack
    #[arg(default_value = "rack.yaml")]
    pub rack: PathBuf,
    /// The pod's namespace
    #[arg(short, long, default_value = "default", value_name = "NAMESPACE")]
    pub namespace: Label,
    /// Another container than the sidecar
    #[arg(long, default_value = crate::injection::pods::PROXY, value_name = "NAME")]
    pub container: String,
    /// Of the container's former life
    #[arg(long)]
    pub previous: bool,
    /// The last lines only
    #[arg(long, value_name = "LINES")]
    pub tail: Option<u32>,
    /// Not older than this: 30s, 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub since: Option<u32>,
    /// Print JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// `30s`, `10m`, `2h` in seconds.
fn seconds(text: &str) -> Result<u32, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor = match &text[at..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("it is a number and s, m or h, such as 10m".into()),
    };
    let number: u32 = text[..at].parse().map_err(|_| "there is no number before its unit".to_owned())?;
    number.checked_mul(factor).filter(|n| *n > 0).ok_or_else(|| "it is out of range".into())
}

/// `rackwright attach`
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// What all commands take.
    #[command(flatten)]
    pub common: CommonArgs,
    /// This run; without it the one in progress, else the last
    #[arg(long, value_name = "ID")]
    pub run: Option<RunId>,
}

/// `rackwright trust`
#[derive(Debug, Args)]
pub struct TrustArgs {
    /// The node, or the address of a jump host
    pub node: String,
    /// The rack
    #[arg(default_value = "rack.yaml")]
    pub rack: PathBuf,
    /// The machine was replaced: forget its old key
    #[arg(long)]
    pub replace: bool,
    /// Print JSON on standard output
    #[arg(long)]
    pub json: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// `rackwright init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// A node: `NAME=ADDRESS` or `NAME=ADDRESS:ROLE,ROLE`; may be given several times
    #[arg(long = "node", value_name = "NODE")]
    pub nodes: Vec<String>,
    /// A list of hosts, one per line: `NAME ADDRESS`, `ADDRESS`, or as in /etc/hosts; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub hosts: Option<PathBuf>,
    /// The user to log in as
    #[arg(long, default_value = "root")]
    pub user: String,
    /// Become root by sudo
    #[arg(long)]
    pub sudo: bool,
    /// An address pool: a CIDR or FIRST-LAST
    #[arg(long = "pool", value_name = "RANGE")]
    pub pools: Vec<String>,
    /// kube-proxy's mode: iptables, ipvs or nftables
    #[arg(long, value_enum, value_name = "MODE")]
    pub mode: Option<ProxyMode>,
    /// Write here instead of standard output; an existing file is left alone
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print JSON on standard output: the rack's text, and where it was written
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn times_have_units() {
        assert_eq!(super::seconds("10m"), Ok(600));
        for wrong in ["", "m", "10", "0s", "1d", "-1s", "9999999h", "1\u{661}s"] {
            assert!(super::seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
