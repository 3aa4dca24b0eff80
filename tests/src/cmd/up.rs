//! `cargo lab up`: brings a rack up.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use rackwright_lab::talk::{say, show};
use rackwright_lab::{Defect, Kind, Lab, Login, Order, Result, Spec};

use super::Which;

/// Bring a rack of hosts up
#[derive(Args)]
pub(crate) struct Up {
    /// How many hosts
    #[arg(value_name = "N", default_value_t = 3)]
    count: usize,
    #[command(flatten)]
    which: Which,
    /// Only sshd in namespaces instead of whole hosts with systemd: for fleets
    #[arg(long)]
    light: bool,
    /// As whom the rack's file tells to log in
    #[arg(long, value_enum, default_value_t = Login::Sudo)]
    login: Login,
    /// What shall be wrong with a host: swap-fstab, sysctl-wins-later, pool-neighbour,
    /// duplicate-machine-id, second-nic, proxy-arp, wrong-mtu
    #[arg(long = "defect", value_name = "NODE=KIND", value_parser = order)]
    defects: Vec<Order>,
    /// How many L2 segments every host is on
    #[arg(long, value_name = "N", default_value_t = 1)]
    segments: usize,
    /// Put the hosts behind a bastion
    #[arg(long)]
    bastion: bool,
}

pub(super) fn order(text: &str) -> std::result::Result<Order, String> {
    let (host, kind) = text.split_once('=').ok_or("say NODE=KIND, as in w1=swap-fstab")?;
    let kinds = || Defect::value_variants().iter().filter_map(Defect::to_possible_value);
    let unknown = || {
        let names: Vec<String> = kinds().map(|kind| kind.get_name().to_owned()).collect();
        format!("no defect `{kind}`; there are {}", names.join(", "))
    };
    let defect = Defect::from_str(kind, false).map_err(|_| unknown())?;
    Ok(Order { host: host.to_owned(), defect })
}

impl Up {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let spec = Spec {
            kind: if self.light { Kind::Light } else { Kind::Systemd },
            login: self.login,
            segments: self.segments,
            bastion: self.bastion,
            defects: self.defects,
            ..Spec::new(self.which.name, self.count)
        };
        let lab = Lab::up(spec)?;
        describe(&lab)?;
        lab.keep();
        Ok(ExitCode::SUCCESS)
    }
}

/// Where everything is, and what to type next.
pub(super) fn describe(lab: &Lab) -> Result<()> {
    for host in lab.hosts().iter().take(12) {
        let defects: Vec<String> = lab
            .spec()
            .defects_of(host.name())
            .filter_map(|defect| Some(defect.to_possible_value()?.get_name().to_owned()))
            .collect();
        show(
            format_args!("{:<8} {:<15} {}", host.name(), host.address(), defects.join(", "))
                .to_string()
                .trim_end(),
        );
    }
    if lab.hosts().len() > 12 {
        show(format_args!("… and {} more", lab.hosts().len() - 12));
    }
    let name = &lab.spec().name;
    let flag = if name.to_string() == "lab" { String::new() } else { format!(" --name {name}") };
    say(format_args!("rack file: {}", lab.rack_yaml().display()));
    say(format_args!(
        "next: `cargo lab rackwright{flag} check`, `cargo lab ssh{flag} cp1`, `cargo lab down {name}`"
    ));
    Ok(())
}
