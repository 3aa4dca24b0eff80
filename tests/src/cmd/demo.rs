//! `cargo lab demo`: the whole story on a rack of its own, to a gateway that answers from outside.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use rackwright_lab::talk::{say, show};
use rackwright_lab::{
    Cluster, Doing as _, Istio, Lab, LabError, RackName, Release, Result, Spec, clusters, must, sweep,
};
use serde_json::Value;

use super::rackwright::{build, coordinator};
use super::{attend, code};

/// Show rackwright at work: three hosts and a cluster, from untouched to a gateway that answers from outside
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
/// What the gateway is asked for.
const HOST: &str = "shop.lab.test";
/// Goes on in `kubernetes.istio`: a shop that is there already gets sidecars, and is reached through the gateway.
const SHOP: &str =
    "    injection: {namespaces: [shop], restart: true}\n    gateways: [{host: shop.lab.test}]\n";

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
        let cluster = Cluster::up(spec.kube(Release::V1_37).istio(Istio::V1_29))?;
        cluster.deploy_web(SERVICE, 2)?;
        cluster.deploy_shop()?;
        let rack = cluster.lab().rack_yaml();
        let mut file =
            OpenOptions::new().append(true).open(&rack).doing(|| format!("open {}", rack.display()))?;
        file.write_all(SHOP.as_bytes()).doing(|| format!("write {}", rack.display()))?;
        show(
            "\nkubectl get services,ingresses,pods --all-namespaces: nothing has an address from outside, or a sidecar",
        );
        let listed = "services,ingresses,pods";
        show(cluster.kube(&["get", listed, "--all-namespaces"], None)?.text());
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

/// The addresses as the machine outside of the cluster sees them, by its own tools, beside what rackwright says of them.
fn from_outside(cluster: &Cluster, program: &std::path::Path) -> Result<()> {
    let mut status = coordinator(cluster.lab(), program)?;
    status.args(["status", "--json"]);
    let said = must(status, "run `rackwright status --json`", std::time::Duration::from_secs(60))?;
    let said: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
    let services = [(cluster.address_of(SERVICE)?, None), (cluster.gateway_address()?, Some(HOST))];
    for (address, host) in services {
        let mut proven = said["proof"]["services"].as_array().into_iter().flatten();
        let proven = proven.find(|one| one["address"] == address.as_str()).cloned().unwrap_or_default();
        let text = |key: &str| proven[key].as_str().unwrap_or("?").to_owned();
        let macs: Vec<String> = cluster.outside().answering(&address)?.into_iter().collect();
        let url = format!("http://{address}/");
        let (asked, page) = match host {
            None => (format!("curl {url}"), cluster.outside().get(&url)?),
            Some(host) => (format!("curl -H 'Host: {host}' {url}"), cluster.outside().get_as(host, &url)?),
        };
        let page = page.trim();
        show(format_args!("\noutside$ arping {address}: {}", macs.join(", ")));
        show(format_args!("outside$ {asked}: {page}"));
        let (mac, link, node) = (text("mac"), text("link"), text("node"));
        let pod = page.lines().last().unwrap_or_default();
        show(format_args!(
            "\n{address} answers: {mac} is {link} of {node}, and HTTP goes through it to a pod on {pod}."
        ));
    }
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
