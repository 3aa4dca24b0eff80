//! What the tests need of clusters, made before they start: a build inside of a test would be its time-out.

use super::{Cluster, Istio, Metallb, Release, archive, build};
use crate::error::Result;
use crate::need;
use crate::spec::Spec;

/// Why tests of clusters cannot run here, if so.
///
/// # Panics
/// As [`crate::skip::reason`] does: with `CI=true` and something missing that can be installed.
pub fn lack() -> Option<String> {
    if let Some(reason) = crate::skip::reason() {
        return Some(reason);
    }
    let reason = build::lack(Release::V1_37.kubernetes())?.to_string();
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must carry clusters: {reason}");
    Some(reason)
}

/// Builds all that clusters of the tests are made of, and a template of each shape that several tests use; says
/// how far it is. `all` adds the other versions.
pub fn prepare(all: bool) -> Result<()> {
    shapes(all).into_iter().try_for_each(Cluster::prepare)?;
    if all {
        Istio::V1_17.archive()?;
        archive::helm()?;
    }
    Ok(())
}

fn shapes(all: bool) -> Vec<Spec> {
    let shape = |count: usize| Spec::test(count).kube(Release::V1_37);
    let mut shapes = vec![shape(2), shape(3), shape(3).control_planes(2), shape(2).istio(Istio::V1_29)];
    if need::lack_of_vm().is_none() {
        shapes.push(shape(3).vms(["w1", "w2"]));
    }
    if all {
        shapes.push(shape(4).control_planes(3));
        shapes.push(shape(2).metallb(Metallb::V0_16));
        shapes.push(shape(3).metallb(Metallb::V0_16));
        shapes.push(shape(2).istio(Istio::V1_23));
        shapes.push(shape(2).overlay());
        shapes.push(Spec::test(3).kube(Release::V1_30));
        shapes.push(Spec::test(3).kube(Release::V1_30).metallb(Metallb::V0_16));
    }
    shapes
}
