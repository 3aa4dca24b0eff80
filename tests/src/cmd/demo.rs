//! `cargo lab demo`: the whole story on a rack of its own.

use std::process::ExitCode;

use clap::Args;
use rackwright_lab::talk::{say, show};
use rackwright_lab::{Lab, RackName, Result, Spec, sweep};

use super::rackwright::{build, coordinator};
use super::{attend, code};

/// Show rackwright at work: three untouched hosts, prepared, and prepared again
#[derive(Args)]
pub(crate) struct Demo {
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

impl Demo {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let program = build()?;
        let name: RackName = "demo".parse()?;
        if sweep::down(&name)? {
            say("took down the rack of an earlier demo");
        }
        let lab = Lab::up(Spec::new(name, 3))?;
        show_host(&lab, "before");
        for (arguments, shows) in STORY {
            show(format_args!("\n$ rackwright {}", arguments.join(" ")));
            let mut command = coordinator(&lab, &program)?;
            command.args(*arguments);
            let status = attend(command)?;
            // `check` fails when it has findings, and untouched hosts have some.
            if !status.success() && *arguments != ["check"] {
                say(format_args!("`rackwright {}` ended with {status}", arguments.join(" ")));
                return self.end(lab, code(status));
            }
            if *shows {
                show_host(&lab, "after");
            }
        }
        self.end(lab, ExitCode::SUCCESS)
    }

    fn end(self, lab: Lab, code: ExitCode) -> Result<ExitCode> {
        if self.keep {
            super::up::describe(&lab)?;
            lab.keep();
        } else {
            lab.down()?;
        }
        Ok(code)
    }
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
