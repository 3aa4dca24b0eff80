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

/// MetalLB's room at work: with what is wanted, and what that depends on.
fn with<T>(
    scene: Scene<'_>,
    work: impl FnOnce(&Metallb, &[(ClusterStep, String)], &Context<'_>) -> T,
) -> Option<T> {
    let (metallb, manifest) = (wanted(scene)?, scene.sight.manifest.as_ref()?);
    let segments = scene::of(scene.rack, scene.hosts, Some(scene.sight.facts.served()));
    let context = Context {
        scene: &segments,
        members: members(scene.rack, &segments, &scene.sight.facts.nodes),
        advertisements: scene.sight.facts.balancer.advertisements.as_deref().unwrap_or_default(),
    };
    Some(work(metallb, &balancer::wanted(metallb, manifest, &context), &context))
}

pub(super) fn steps(scene: Scene<'_>) -> Vec<WantedStep> {
    let wanted = |(step, why): &(ClusterStep, String)| WantedStep { step: step.clone(), why: why.clone() };
    with(scene, |_, steps, _| steps.iter().map(wanted).collect()).unwrap_or_default()
}

pub(super) fn gates(scene: Scene<'_>) -> Vec<Finding> {
    with(scene, |metallb, steps, context| traps::judge(metallb, steps, context, &scene.sight.facts))
        .unwrap_or_default()
}
