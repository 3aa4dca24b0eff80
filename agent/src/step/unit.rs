//! systemd units.

use rackwright_proto::fault::Fault;
use rackwright_proto::unit::{AtBoot, UnitSeen, UnitStep};

use crate::fault::host_fault;
use crate::host::Host;

const NO_SYSTEMD: UnitSeen = UnitSeen { at_boot: None, active: false, systemd: false };

/// What systemd has of one unit.
pub(super) async fn observe(step: &UnitStep, host: &Host) -> Result<UnitSeen, Fault> {
    observe_all(&[step], host).await.pop().unwrap_or(Ok(NO_SYSTEMD))
}

/// What systemd has of many units, in their order, with one question to it for all together.
pub(super) async fn observe_all(steps: &[&UnitStep], host: &Host) -> Vec<Result<UnitSeen, Fault>> {
    if !host.has_systemd() {
        return steps.iter().map(|_| Ok(NO_SYSTEMD)).collect();
    }
    let names: Vec<_> = steps.iter().map(|s| &s.name).collect();
    let active = host.units_active(&names).await;
    let one = |(i, step): (usize, &&UnitStep)| {
        let doing = format!("observe unit {}", step.name);
        let at_boot = host.unit_at_boot(&step.name).map_err(|e| host_fault(doing.clone(), &e))?;
        let active = active.as_ref().map_err(|e| host_fault(doing, e))?;
        Ok(UnitSeen { at_boot, active: active[i], systemd: true })
    };
    steps.iter().enumerate().map(one).collect()
}

/// Makes the unit as wanted at boot, then now. systemd reads its unit files again first: an earlier step may
/// have written them.
pub(super) async fn act(step: &UnitStep, before: &UnitSeen, host: &Host) -> Result<(), Fault> {
    for verb in verbs(step, before) {
        let unit = (verb != "daemon-reload").then_some(&step.name);
        let fault = |e| host_fault(format!("{verb} {}", step.name), &e);
        host.systemctl(verb, unit).await.map_err(fault)?;
    }
    Ok(())
}

/// What `systemctl` is to do, in order.
fn verbs(step: &UnitStep, before: &UnitSeen) -> Vec<&'static str> {
    let mut verbs = vec!["daemon-reload"];
    if before.at_boot == Some(AtBoot::Masked) && step.at_boot != AtBoot::Masked {
        verbs.push("unmask");
    }
    match (step.at_boot, before.at_boot) {
        (AtBoot::Enabled, Some(AtBoot::Enabled)) => {}
        (AtBoot::Enabled, _) => verbs.push("enable"),
        // Only what `enable` linked can be disabled; an unmasked unit of a generator cannot.
        (AtBoot::Disabled, Some(AtBoot::Enabled)) => verbs.push("disable"),
        (AtBoot::Disabled, _) => {}
        (AtBoot::Masked, Some(AtBoot::Masked)) => {}
        (AtBoot::Masked, _) => verbs.push("mask"),
    }
    match step.active {
        Some(true) if !before.active => verbs.push("start"),
        Some(false) if before.active => verbs.push("stop"),
        _ => {}
    }
    verbs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(at_boot: AtBoot, active: Option<bool>) -> UnitStep {
        UnitStep { name: "a.timer".parse().unwrap(), at_boot, active }
    }

    fn seen(at_boot: Option<AtBoot>, active: bool) -> UnitSeen {
        UnitSeen { at_boot, active, systemd: true }
    }

    #[test]
    fn only_what_is_missing_is_done() {
        let enable = step(AtBoot::Enabled, Some(true));
        assert_eq!(
            verbs(&enable, &seen(Some(AtBoot::Disabled), false)),
            ["daemon-reload", "enable", "start"]
        );
        assert_eq!(verbs(&enable, &seen(Some(AtBoot::Enabled), false)), ["daemon-reload", "start"]);
        let unmasked = ["daemon-reload", "unmask", "enable", "start"];
        assert_eq!(verbs(&enable, &seen(Some(AtBoot::Masked), false)), unmasked);
    }

    #[test]
    fn a_generated_unit_is_unmasked_but_not_disabled() {
        let back = step(AtBoot::Disabled, None);
        assert_eq!(verbs(&back, &seen(Some(AtBoot::Masked), false)), ["daemon-reload", "unmask"]);
        assert_eq!(verbs(&back, &seen(Some(AtBoot::Enabled), true)), ["daemon-reload", "disable"]);
    }

    #[test]
    fn links_tell_how_a_unit_is_treated_at_boot() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let name = "a.timer".parse().unwrap();
        assert_eq!(host.unit_at_boot(&name).unwrap(), None);
        host.make_dirs("/etc/systemd/system/timers.target.wants", 0o755).unwrap();
        host.replace("/etc/systemd/system/a.timer", b"[Timer]\n", crate::host::fs::Access::PUBLIC).unwrap();
        assert_eq!(host.unit_at_boot(&name).unwrap(), Some(AtBoot::Disabled));
        host.replace_by_link("/etc/systemd/system/timers.target.wants/a.timer", "../a.timer").unwrap();
        assert_eq!(host.unit_at_boot(&name).unwrap(), Some(AtBoot::Enabled));
        host.replace_by_link("/etc/systemd/system/a.timer", "/dev/null").unwrap();
        assert_eq!(host.unit_at_boot(&name).unwrap(), Some(AtBoot::Masked));
    }
}
