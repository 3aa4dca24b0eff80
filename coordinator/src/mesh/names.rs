//! The names of all findings of this room. A name never changes its meaning.

/// Every name with what it is about, in one line.
pub const NAMES: &[(&str, &str)] = &[
    (MESH_ALREADY_THERE, "Istio of the wanted revision was installed by somebody else, or in another way."),
    (MESH_BEHIND_ITS_PROXIES, "Sidecars or gateways are newer than their control plane."),
    (MESH_DEFAULT_TAG_DANGLES, "Injection's default leads to a revision that is not there."),
    (MESH_DOWNGRADE, "The cluster has a newer Istio than the rack wants."),
    (MESH_OUTSIDE_SUPPORT, "This Istio was not made for this Kubernetes."),
    (MESH_PAST_ITS_LIFE, "Nobody mends this minor version of Istio any more."),
    (MESH_PROFILE_STRAY, "An IstioOperator in the cluster has its `profile` where nobody reads it."),
    (MESH_PROFILE_UNKNOWN, "This version of Istio has no such profile."),
    (MESH_PROXIES_TOO_OLD, "Sidecars or gateways are more than one minor version behind the control plane."),
    (MESH_SECOND_OWNER, "Somebody else looks after Istio on this cluster, too, and undoes what is done."),
    (MESH_STEP_TOO_LARGE, "An upgrade of Istio past a minor version."),
    (MESH_UPGRADE_IN_PLACE, "An upgrade to the next minor version replaces the running control plane."),
];

pub(super) const MESH_ALREADY_THERE: &str = "mesh-already-there";
pub(super) const MESH_BEHIND_ITS_PROXIES: &str = "mesh-behind-its-proxies";
pub(super) const MESH_DEFAULT_TAG_DANGLES: &str = "mesh-default-tag-dangles";
pub(super) const MESH_DOWNGRADE: &str = "mesh-downgrade";
pub(super) const MESH_OUTSIDE_SUPPORT: &str = "mesh-outside-support";
pub(super) const MESH_PAST_ITS_LIFE: &str = "mesh-past-its-life";
pub(super) const MESH_PROFILE_STRAY: &str = "mesh-profile-stray";
pub(super) const MESH_PROFILE_UNKNOWN: &str = "mesh-profile-unknown";
pub(super) const MESH_PROXIES_TOO_OLD: &str = "mesh-proxies-too-old";
pub(super) const MESH_SECOND_OWNER: &str = "mesh-second-owner";
pub(super) const MESH_STEP_TOO_LARGE: &str = "mesh-step-too-large";
pub(super) const MESH_UPGRADE_IN_PLACE: &str = "mesh-upgrade-in-place";
