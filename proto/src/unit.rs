//! systemd units.

use serde::{Deserialize, Serialize};

use crate::name::UnitName;
use crate::step::Decision;

/// A unit and how it shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitStep {
    /// The unit.
    pub name: UnitName,
    /// How it shall be at boot.
    pub at_boot: AtBoot,
    /// Running now, or not; `None` leaves that alone.
    #[serde(default)]
    pub active: Option<bool>,
}

/// How a unit is treated at boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtBoot {
    /// Started by its install section.
    Enabled,
    /// Not started by itself.
    Disabled,
    /// Cannot be started at all.
    Masked,
}

/// What systemd says of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitSeen {
    /// How it is treated at boot; `None` when there is no such unit, or no systemd.
    pub at_boot: Option<AtBoot>,
    /// Running now.
    pub active: bool,
    /// systemd is PID 1 here.
    #[serde(default)]
    pub systemd: bool,
}

impl UnitStep {
    pub(crate) fn title(&self) -> String {
        let verb = match self.at_boot {
            AtBoot::Enabled => "enable",
            AtBoot::Disabled => "disable",
            AtBoot::Masked => "mask",
        };
        format!("{verb} {}", self.name)
    }

    pub(crate) fn decide(&self, seen: &UnitSeen) -> Decision {
        if !seen.systemd {
            return Decision::Unsupported { why: "systemd is not PID 1 on this host".into() };
        }
        let boot_ok = match (self.at_boot, seen.at_boot) {
            (AtBoot::Disabled, None) => true,
            (want, have) => have == Some(want),
        };
        if boot_ok && self.active.is_none_or(|want| want == seen.active) {
            return Decision::Keep;
        }
        let wanted = UnitSeen {
            at_boot: Some(self.at_boot),
            active: self.active.unwrap_or(seen.active),
            systemd: true,
        };
        Decision::change(seen.words(), wanted.words())
    }

    pub(crate) fn inverse(&self, before: &UnitSeen) -> Option<UnitStep> {
        let inverse = UnitStep {
            name: self.name.clone(),
            at_boot: before.at_boot.unwrap_or(AtBoot::Disabled),
            active: self.active.map(|_| before.active),
        };
        (inverse != *self).then_some(inverse)
    }
}

impl UnitSeen {
    /// One line for people: `enabled, running`.
    pub fn words(&self) -> String {
        let boot = match self.at_boot {
            None => "absent",
            Some(AtBoot::Enabled) => "enabled",
            Some(AtBoot::Disabled) => "disabled",
            Some(AtBoot::Masked) => "masked",
        };
        format!("{boot}, {}", if self.active { "running" } else { "stopped" })
    }

    /// Absent when planned may be disabled now: an earlier file step of the plan brought the unit.
    pub(crate) fn still(&self, now: &UnitSeen) -> bool {
        self == now || (self.at_boot.is_none() && now.at_boot == Some(AtBoot::Disabled) && !now.active)
    }
}
