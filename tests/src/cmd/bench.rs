//! `cargo lab bench`: how fast it is, beside the same job as a script over ssh.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use rackwright_lab::bench::cluster::{self, ClusterOrder};
use rackwright_lab::bench::{self, Order, Results};
use rackwright_lab::talk::{say, show};
use rackwright_lab::{Doing, RackName, Result, agents, must, sweep};

const BUILD_LIMIT: Duration = Duration::from_secs(3600);

/// Measure rackwright beside the same job as one script over ssh
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: Option<What>,
    /// Numbers of hosts, one rack after the other
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', default_values_t = [1, 8, 32, 64])]
    hosts: Vec<usize>,
    /// First applies per rack; each is followed by three without a change
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// All numbers as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    how: How,
}

/// What is measured, and where.
#[derive(Args)]
struct How {
    /// Measure the debug build: quick to make, and only good to see that the benchmark works
    #[arg(long)]
    debug: bool,
    /// Measure this coordinator, with its agents beside it, instead of building one: to compare versions
    #[arg(long, value_name = "FILE", conflicts_with = "debug")]
    program: Option<PathBuf>,
    /// The rack's name; one of that name is taken down first
    #[arg(long, default_value = "bench")]
    name: RackName,
}

#[derive(Subcommand)]
enum What {
    Cluster(OfCluster),
}

/// Count what runs ask of a real cluster's API server, on clusters of several sizes
#[derive(Args)]
struct OfCluster {
    /// Numbers of nodes, one cluster after the other
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', default_values_t = [2, 3])]
    nodes: Vec<usize>,
    /// All numbers as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    how: How,
}

impl OfCluster {
    fn run(self) -> Result<ExitCode> {
        let program = self.how.program()?;
        let order = ClusterOrder { rack: self.how.name, nodes: self.nodes, program };
        sweep::down(&order.rack)?;
        let measure = |count: &usize| cluster::measure(&order, *count);
        let heats = order.nodes.iter().map(measure).collect::<Result<Vec<_>>>()?;
        if self.json {
            let json = serde_json::to_string_pretty(&heats).map_err(std::io::Error::from);
            show(json.doing(|| "write the results".to_owned())?);
        } else {
            show(cluster::table(&heats).trim_end());
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Bench {
    pub(crate) fn run(self) -> Result<ExitCode> {
        if let Some(What::Cluster(of_cluster)) = self.what {
            return of_cluster.run();
        }
        let order = self.order()?;
        sweep::down(&order.rack)?;
        let mut heats = Vec::new();
        for count in &order.hosts {
            heats.push(bench::race(&order, *count)?);
        }
        let results = Results { heats, agent_bytes: order.agent_bytes };
        if self.json {
            let json = serde_json::to_string_pretty(&results).map_err(std::io::Error::from);
            show(json.doing(|| "write the results".to_owned())?);
        } else {
            show(bench::text(&results).trim_end());
        }
        // A benchmark tells; what to make of a goal that was missed is for people.
        Ok(ExitCode::SUCCESS)
    }

    fn order(&self) -> Result<Order> {
        let program = self.how.program()?;
        let agents = program.with_file_name("agents");
        let agent = agents.join(format!("rackwright-agent-{}", std::env::consts::ARCH));
        let agent_bytes = agent.metadata().doing(|| format!("look at {}", agent.display()))?.len();
        let (rack, hosts) = (self.how.name.clone(), self.hosts.clone());
        Ok(Order { rack, hosts, runs: usize::from(self.runs), program, agent_bytes })
    }
}

impl How {
    fn program(&self) -> Result<PathBuf> {
        match &self.program {
            Some(program) => program.canonicalize().doing(|| format!("find {}", program.display())),
            None => self.build(),
        }
    }

    /// As it is shipped, unless told otherwise.
    fn build(&self) -> Result<PathBuf> {
        say("building rackwright and its agent (the first time takes minutes)");
        let target = agents::checkout().join("target");
        let mut cargo = agents::cargo();
        cargo.args(["build", "--quiet", "--package", "rackwright", "--target-dir"]).arg(&target);
        if !self.debug {
            cargo.arg("--release");
        }
        must(cargo, "build rackwright", BUILD_LIMIT)?;
        agents::build(false)?;
        Ok(target.join(if self.debug { "debug/rackwright" } else { "release/rackwright" }))
    }
}
