//! `cargo lab demo`: the whole story on a rack of its own, to an address that answers from outside.

use std::process::ExitCode;

use clap::Args;
use rackwright_lab::talk::{say, show};
use rackwright_lab::{Cluster, Lab, LabError, RackName, Release, Result, Spec, clusters, must, sweep};
use serde_json::Value;

use super::rackwright::{build, coordinator};
use super::{attend, code};

/// Show rackwright at work: three hosts and a cluster, from untouched to an address that answers from outside
#[derive(Args)]
pub(crate) struct Demo {
    /// Only prepare hosts, without a cluster: the quick one
    #[arg(long)]
    hosts: bool,
    /// Leave the rack standing
    #[arg(long)]
    keep: bool,
}

/// What the operator types, and whether the host is looked at afterwards.
const STORY: &[(&[&str], bool)] = &[
    (&["check"], false),
    (&["plan"], false),
    (&["apply", "--yes"], true),
    (&["apply", "--yes"], false),
    (&["status"], false),
];

/// What the host itself says: not our own reader.
const SHOWN: &[&str] = &[
    "sysctl net.ipv4.ip_forward net.ipv4.conf.all.arp_ignore net.ipv4.conf.all.arp_announce",
    "cat /etc/sysctl.d/90-rackwright.conf",
    "cat /etc/modules-load.d/*rackwright*",
];

/// The Service that the rack of a cluster names.
const SERVICE: &str = "web";

impl Demo {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let program = build()?;
        let name: RackName = "demo".parse()?;
        if sweep::down(&name)? {
            say("took down the rack of an earlier demo");
        }
        let spec = Spec::new(name, 3);
        if self.hosts {
            return self.on_hosts(spec, &program);
        }
        match clusters::lack() {
            Some(reason) => Err(LabError::Refused(format!(
                "no cluster can be made here: {reason}; `cargo lab demo --hosts` needs none"
            ))),
            None => self.on_cluster(spec, &program),
        }
    }

    fn on_hosts(&self, spec: Spec, program: &std::path::Path) -> Result<ExitCode> {
        let lab = Lab::up(spec)?;
        let ended = told(&lab, program)?;
        if self.keep {
            super::up::describe(&lab)?;
            lab.keep();
        } else {
            lab.down()?;
        }
        Ok(ended)
    }

    fn on_cluster(&self, spec: Spec, program: &std::path::Path) -> Result<ExitCode> {
        let cluster = Cluster::up(spec.kube(Release::V1_37))?;
        cluster.deploy_web(SERVICE, 2)?;
        show("\nkubectl get service web: nobody gives it an address yet");
        show(cluster.kube(&["get", "service", SERVICE], None)?.text());
        let ended = told(cluster.lab(), program)?;
        if ended == ExitCode::SUCCESS {
            from_outside(&cluster, program)?;
        }
        if self.keep {
            super::up::describe(cluster.lab())?;
            cluster.keep();
        } else {
            cluster.down()?;
        }
        Ok(ended)
    }
}

/// Types the story's commands.
fn told(lab: &Lab, program: &std::path::Path) -> Result<ExitCode> {
    show_host(lab, "before");
    for (arguments, shows) in STORY {
        show(format_args!("\n$ rackwright {}", arguments.join(" ")));
        let mut command = coordinator(lab, program)?;
        command.args(*arguments);
        let status = attend(command)?;
        // `check` fails when it has findings, and untouched hosts have some.
        if !status.success() && *arguments != ["check"] {
            say(format_args!("`rackwright {}` ended with {status}", arguments.join(" ")));
            return Ok(code(status));
        }
        if *shows {
            show_host(lab, "after");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The address as the machine outside of the cluster sees it, by its own tools, beside what rackwright says of it.
fn from_outside(cluster: &Cluster, program: &std::path::Path) -> Result<()> {
    let mut status = coordinator(cluster.lab(), program)?;
    status.args(["status", "--json"]);
    let said = must(status, "run `rackwright status --json`", std::time::Duration::from_secs(60))?;
    let said: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
    let proven = &said["proof"]["services"][0];
    let text = |key: &str| proven[key].as_str().unwrap_or("?").to_owned();
    let address = cluster.address_of(SERVICE)?;
    let macs: Vec<String> = cluster.outside().answering(&address)?.into_iter().collect();
    let page = cluster.outside().get(&format!("http://{address}/"))?;
    show(format_args!("\noutside$ arping {address}: {}", macs.join(", ")));
    show(format_args!("outside$ curl http://{address}/: {}", page.trim()));
    show(format_args!(
        "\n{address} answers: {} is {} of {}, and HTTP goes through it to a pod on {}.",
        text("mac"),
        text("link"),
        text("node"),
        page.trim()
    ));
    Ok(())
}

fn show_host(lab: &Lab, when: &str) {
    for command in SHOWN {
        show(format_args!("\ncp1 {when}$ {command}"));
        match lab.host("cp1").sh(command) {
            Ok(output) => show(format_args!("{}{}", output.stdout, output.stderr).to_string().trim_end()),
            Err(error) => say(error),
        }
    }
}
