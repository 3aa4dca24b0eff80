//! Swap areas.

use rackwright_proto::fault::Fault;
use rackwright_proto::memory::{SwapSeen, SwapStep};

use crate::host::Host;

/// Whether the host swaps to the area. Changes nothing.
pub async fn observe(step: &SwapStep, host: &Host) -> Result<SwapSeen, Fault> {
    let areas = host.swap_areas()?;
    let area = areas.iter().find(|area| area.device == step.device);
    Ok(SwapSeen { active: area.is_some(), used_bytes: area.map_or(0, |area| area.used_bytes) })
}

/// Does what `step` says.
pub async fn act(step: &SwapStep, host: &Host) -> Result<(), Fault> {
    if step.active { host.swap_on(&step.device).await } else { host.swap_off(&step.device).await }
}
