//! The hands of each family of steps: `observe` reads only, `act` writes. What follows from what was seen is
//! decided in `rackwright_proto`, by a pure function.

pub mod file;
pub mod kernel;
pub mod memory;
pub mod tool;
pub mod unit;

use std::collections::BTreeMap;

use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::step::{HostStep, Seen};
use rackwright_proto::unit::UnitStep;

use crate::host::Host;
use crate::host::modules::Modules;

/// What the host has where a step would put something.
pub async fn observe(step: &HostStep, host: &Host) -> Result<Seen, Fault> {
    match step {
        HostStep::Kernel(step) => kernel::observe(step, host).await.map(Seen::Kernel),
        HostStep::Memory(step) => memory::observe(step, host).await.map(Seen::Memory),
        HostStep::File(step) => file::observe(step, host).map(Seen::File),
        HostStep::Unit(step) => unit::observe(step, host).await.map(Seen::Unit),
        HostStep::Tool(step) => tool::observe(step, host).map(Seen::Tool),
    }
}

/// Makes the host as the step wants it. `before` is what was seen a moment ago.
pub async fn act(step: &HostStep, before: &Seen, host: &Host) -> Result<(), Fault> {
    match (step, before) {
        (HostStep::Kernel(step), _) => kernel::act(step, host).await,
        (HostStep::Memory(step), _) => memory::act(step, host).await,
        (HostStep::File(step), Seen::File(before)) => file::act(step, before, host),
        (HostStep::Unit(step), Seen::Unit(before)) => unit::act(step, before, host).await,
        (HostStep::Tool(step), Seen::Tool(before)) => tool::act(step, before, host).await,
        _ => Err(Fault::new(FaultKind::Internal, step.title(), "what was seen belongs to another family")),
    }
}

/// Observes many steps. What could not be observed is missing from the map and has a line among the troubles.
pub async fn observe_all(steps: &[HostStep], host: &Host) -> (BTreeMap<String, Seen>, Vec<String>) {
    let mut seen = BTreeMap::new();
    let mut troubles = Vec::new();
    let mut note = |step: &HostStep, result: Result<Seen, Fault>| match result {
        Ok(now) => drop(seen.insert(step.key(), now)),
        Err(fault) => troubles.push(fault.to_string()),
    };
    let (units, others): (Vec<_>, Vec<_>) = steps.iter().partition(|s| matches!(s, HostStep::Unit(_)));
    let modules = Modules::read(host);
    for step in others {
        let result = match (step, &modules) {
            (HostStep::Kernel(kernel), Ok(modules)) => {
                kernel::observe_with(kernel, host, modules).map(Seen::Kernel)
            }
            _ => observe(step, host).await,
        };
        note(step, result);
    }
    let bare: Vec<&UnitStep> =
        units.iter().filter_map(|s| if let HostStep::Unit(unit) = s { Some(unit) } else { None }).collect();
    for (step, result) in units.iter().zip(unit::observe_all(&bare, host).await) {
        note(step, result.map(Seen::Unit));
    }
    (seen, troubles)
}
