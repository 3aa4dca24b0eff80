//! systemd: what its directories and its socket say of a unit, and `systemctl` for what is to be done.

use std::path::Path;
use std::time::Duration;

use rackwright_proto::file::FileSeen;
use rackwright_proto::name::UnitName;
use rackwright_proto::unit::AtBoot;

use super::Host;
use super::command::CommandError;
use super::fs::FsError;

const DEADLINE: Duration = Duration::from_secs(50);

/// Where systemd looks for units, the winner first (systemd.unit(5), "Unit File Load Path").
const LOAD_PATH: [&str; 9] = [
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];

/// Whether a change of this file makes systemd's own copy of its units stale.
pub fn is_unit_file(path: &str) -> bool {
    LOAD_PATH.iter().any(|dir| path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/')))
}

impl Host {
    /// Whether systemd is PID 1 here (sd_booted(3)).
    pub fn has_systemd(&self) -> bool {
        self.path("/run/systemd/system").is_dir()
    }

    /// How a unit is treated at boot, from the same links that `systemctl is-enabled` reads; `None` when there is
    /// no such unit. A unit that the distribution or a generator hooks up by itself counts as disabled: there is
    /// nothing that `systemctl disable` could undo.
    pub fn unit_at_boot(&self, name: &UnitName) -> Result<Option<AtBoot>, FsError> {
        let Some(found) = self.find_unit(name.as_str())?.or(self.find_template(name.as_str())?) else {
            return Ok(None);
        };
        if matches!(found, FileSeen::Link { target } if target == "/dev/null") {
            return Ok(Some(AtBoot::Masked));
        }
        let enabled = self.is_hooked_up("/etc/systemd/system", name.as_str())?;
        Ok(Some(if enabled { AtBoot::Enabled } else { AtBoot::Disabled }))
    }

    fn find_unit(&self, name: &str) -> Result<Option<FileSeen>, FsError> {
        for dir in LOAD_PATH {
            let path = Path::new(dir).join(name);
            if self.path(&path).symlink_metadata().is_ok() {
                return self.look(path).map(Some);
            }
        }
        Ok(None)
    }

    fn find_template(&self, name: &str) -> Result<Option<FileSeen>, FsError> {
        match (name.find('@'), name.rfind('.')) {
            (Some(at), Some(dot)) if at < dot => self.find_unit(&format!("{}@{}", &name[..at], &name[dot..])),
            _ => Ok(None),
        }
    }

    /// Whether `enable` linked the unit into a target's `.wants` or `.requires`.
    fn is_hooked_up(&self, dir: &str, name: &str) -> Result<bool, FsError> {
        let hooks =
            self.names_in(dir)?.into_iter().filter(|n| n.ends_with(".wants") || n.ends_with(".requires"));
        Ok(hooks.map(|hook| Path::new(dir).join(hook).join(name)).any(|link| self.path(link).is_symlink()))
    }

    /// Which of these units run now, in their order.
    pub async fn units_active(&self, names: &[&UnitName]) -> Result<Vec<bool>, CommandError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = names.iter().map(|n| n.as_str()).collect();
        let states = match self.active_states(&names).await {
            Ok(states) => states,
            Err(_) => self.ask_systemctl(&names).await?,
        };
        let runs = |state: &String| matches!(state.as_str(), "active" | "activating" | "reloading");
        Ok(states.iter().map(runs).collect())
    }

    async fn ask_systemctl(&self, names: &[&str]) -> Result<Vec<String>, CommandError> {
        let argv: Vec<&str> = ["systemctl", "is-active"].iter().chain(names).copied().collect();
        // It ends with 3 as soon as one unit is not active; the lines tell.
        let output = self.run(&argv, DEADLINE).await?;
        let mut states = output.stdout.lines().map(str::to_owned);
        Ok(names.iter().map(|_| states.next().unwrap_or_default()).collect())
    }

    /// Reboots, units stopped first. It has only begun when this returns.
    pub async fn reboot(&self) -> Result<(), CommandError> {
        self.run_ok(&["systemctl", "--no-ask-password", "reboot"], DEADLINE).await.map(|_| ())
    }

    /// `systemctl VERB UNIT`, or `systemctl daemon-reload` without one.
    pub async fn systemctl(&self, verb: &str, unit: Option<&UnitName>) -> Result<(), CommandError> {
        let mut argv = vec!["systemctl", "--quiet", "--no-ask-password", verb];
        argv.extend(unit.map(UnitName::as_str));
        self.run_ok(&argv, DEADLINE).await.map(|_| ())
    }
}
