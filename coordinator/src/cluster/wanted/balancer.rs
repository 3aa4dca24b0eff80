//! MetalLB: its manifest, then pools and advertisements.

use rackwright_proto::finding::Finding;

use super::{Scene, WantedStep};

pub(super) fn steps(scene: Scene<'_>) -> Vec<WantedStep> {
    let _ = scene;
    Vec::new()
}

pub(super) fn gates(scene: Scene<'_>) -> Vec<Finding> {
    let _ = scene;
    Vec::new()
}
