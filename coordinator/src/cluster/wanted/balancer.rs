//! MetalLB: its manifest, then pools and advertisements.

use rackwright_proto::finding::Finding;

use super::{Scene, WantedStep};
use crate::balancer::{self, Context, members};
use crate::rack::model::kubernetes::Metallb;
use crate::scene;

fn wanted(scene: Scene<'_>) -> Option<&Metallb> {
    scene.rack.kubernetes()?.metallb.as_ref()
}

pub(super) fn steps(scene: Scene<'_>) -> Vec<WantedStep> {
    let (Some(metallb), Some(manifest)) = (wanted(scene), &scene.sight.manifest) else { return Vec::new() };
    let segments = scene::of(scene.rack, scene.hosts, Some(scene.sight.facts.served()));
    let context = Context {
        scene: &segments,
        members: members(scene.rack, &segments, &scene.sight.facts.nodes),
        advertisements: scene.sight.facts.balancer.advertisements.as_deref().unwrap_or_default(),
    };
    let steps = balancer::wanted(metallb, manifest, &context);
    steps.into_iter().map(|(step, why)| WantedStep { step, why }).collect()
}

pub(super) fn gates(scene: Scene<'_>) -> Vec<Finding> {
    let _ = scene;
    Vec::new()
}
