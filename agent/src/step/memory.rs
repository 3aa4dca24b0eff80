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

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a made-up tree needs its files")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_area_is_seen_by_its_device() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("proc")).unwrap();
        let swaps = "Filename Type Size Used Priority\n/dev/sda2 partition 8 4 -2\n";
        std::fs::write(tree.path().join("proc/swaps"), swaps).unwrap();
        let host = Host::at(tree.path());
        let step = |device: &str| SwapStep { device: device.into(), active: false };
        let seen = observe(&step("/dev/sda2"), &host).await.unwrap();
        assert_eq!(seen, SwapSeen { active: true, used_bytes: 4096 });
        let seen = observe(&step("/dev/sda"), &host).await.unwrap();
        assert_eq!(seen, SwapSeen { active: false, used_bytes: 0 });
    }
}
