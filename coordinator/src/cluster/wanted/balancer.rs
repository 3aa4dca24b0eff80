//! MetalLB: its manifest, then pools and advertisements.

use rackwright_proto::cluster::ClusterStep;
use rackwright_proto::finding::Finding;

use super::{Scene, WantedStep};
use crate::balancer::{self, Context, members, traps};
use crate::rack::model::kubernetes::Metallb;
use crate::scene;

fn wanted(scene: Scene<'_>) -> Option<&Metallb> {
    scene.rack.kubernetes()?.metallb.as_ref()
}

/// The steps, each with the field that leads to it, and what they are filled from.
fn with_all<T>(
    scene: Scene<'_>,
    use_them: impl FnOnce(&Metallb, Vec<(ClusterStep, String)>, &Context<'_>) -> Vec<T>,
) -> Vec<T> {
    let (Some(metallb), Some(manifest)) = (wanted(scene), &scene.sight.manifest) else { return Vec::new() };
    let segments = scene::of(scene.rack, scene.hosts, Some(scene.sight.facts.served()));
    let context = Context {
        scene: &segments,
        members: members(scene.rack, &segments, &scene.sight.facts.nodes),
        advertisements: scene.sight.facts.balancer.advertisements.as_deref().unwrap_or_default(),
    };
    use_them(metallb, balancer::wanted(metallb, manifest, &context), &context)
}

pub(super) fn steps(scene: Scene<'_>) -> Vec<WantedStep> {
    with_all(scene, |_, steps, _| steps.into_iter().map(|(step, why)| WantedStep { step, why }).collect())
}

pub(super) fn gates(scene: Scene<'_>) -> Vec<Finding> {
    with_all(scene, |metallb, steps, context| traps::judge(metallb, &steps, context, &scene.sight.facts))
}
