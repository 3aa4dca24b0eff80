//! The names of all findings and reasons of this room. A name never changes its meaning.

/// Every name with what it is about, in one line.
pub const NAMES: &[(&str, &str)] = &[
    (
        ADVERTISEMENT_MISSING_POOL,
        "An advertisement names a pool that does not exist, which MetalLB ignores silently.",
    ),
    (ADVERTISEMENT_NO_NODE, "No node may announce a pool, or no node that may has the interface."),
    (ADVERTISEMENT_NOT_FILLED, "A node was not heard, so an advertisement's interfaces stay as they are."),
    (
        ADVERTISEMENT_OVERRULED,
        "Another advertisement announces a pool more widely than the rack's own, and MetalLB takes both.",
    ),
    (
        BALANCER_ADDRESS_POOL_OLD,
        "Pools of the old kind AddressPool, which MetalLB forgot from 0.14 on, are on the cluster.",
    ),
    (BALANCER_ANOTHER, "Another program hands out addresses for Services of type LoadBalancer."),
    (
        BALANCER_CONFIGURATION_INVALID,
        "MetalLB says that its configuration is invalid, and goes on with an earlier one.",
    ),
    (BALANCER_DOWNGRADE, "The cluster has a newer MetalLB than the rack wants."),
    (
        BALANCER_EXCLUDES_INTERFACE,
        "The live exclusion list of MetalLB matches an interface that carries a pool.",
    ),
    (BALANCER_OBJECT_SHARED, "A pool or advertisement of ours has fields that somebody else set."),
    (BALANCER_OWNED_BY_OTHERS, "MetalLB was installed by Helm, an operator or somebody else."),
    (BALANCER_VERSION_IGNORES, "The version of MetalLB does not know something that is asked of it."),
    (NODES_EXCLUDED, "Every node that may announce has the label exclude-from-external-load-balancers."),
    (POOL_ALLOCATION_MATCHES_NOTHING, "No Service matches a pool's serviceAllocation."),
    (POOL_FOREIGN_HOST_BITS, "A pool of others is written with host bits, so it is larger than it looks."),
    (
        POOL_NOT_ADVERTISED,
        "No advertisement carries a pool: its addresses are given out, but nobody answers for them.",
    ),
    (POOL_OVERLAPS_FOREIGN, "A pool of the rack overlaps one of others, which MetalLB refuses."),
    (POOL_SHRINKS_IN_USE, "A pool loses addresses that Services have."),
    (SERVICE_CLASS_OTHER, "A Service is meant for another class of load balancer."),
    (SERVICE_FAMILY_UNSERVED, "No pool has addresses of the family that a Service wants."),
    (SERVICE_NO_CLUSTER_ADDRESS, "A Service has no cluster address, and so gets none from outside."),
    (SERVICE_NO_CONTROLLER, "MetalLB's controller does not run, so nobody hands out addresses."),
    (SERVICE_NO_POOL, "There is no address pool."),
    (SERVICE_NOT_LOAD_BALANCER, "A Service is not of type LoadBalancer."),
    (SERVICE_PENDING, "A Service has no address yet, and nothing seen says why."),
    (SERVICE_POOL_EXHAUSTED, "All addresses of the pools that may serve a Service are taken."),
    (
        SERVICE_POOL_NOT_FOR_IT,
        "No pool gives a Service an address by itself: autoAssign is off or serviceAllocation does not match.",
    ),
    (SERVICE_POOL_UNKNOWN, "A Service asks for a pool that does not exist."),
    (
        SERVICE_POOLS_NOT_TAKEN,
        "MetalLB 0.13 does not take changed pools while a Service has an address of none.",
    ),
    (
        SERVICE_REQUEST_IGNORED,
        "A Service asks with an annotation that this version of MetalLB does not read.",
    ),
    (SERVICE_REQUEST_OUTSIDE, "A Service asks for an address that lies in no pool."),
    (SERVICE_REQUEST_TAKEN, "A Service asks for an address that another has and does not share."),
    (SERVICE_REQUEST_TWICE, "A Service asks for an address both by annotation and by loadBalancerIP."),
    (SERVICE_REQUEST_UNREADABLE, "A Service asks for something that is no address."),
    (SERVICE_SILENT, "Nobody answers for a Service's address, and nothing seen says why."),
    (SILENT_ANNOUNCER_EXCLUDED, "Every node that could announce an address is excluded by its label."),
    (SILENT_LOCAL_POLICY, "externalTrafficPolicy Local, and no node that may announce has an endpoint."),
    (SILENT_NETWORK_UNAVAILABLE, "A node's network is unavailable, so MetalLB does not announce from it."),
    (SILENT_NO_ADVERTISEMENT, "No advertisement covers the pool that an address is of."),
    (SILENT_NO_ENDPOINTS, "A Service has no ready endpoint, so MetalLB does not announce its address."),
    (SILENT_NO_MATCH, "The advertisements of an address select no node."),
    (SILENT_SPEAKER_NOT_READY, "MetalLB's speaker is not ready on nodes that may announce."),
];

pub(super) const ADVERTISEMENT_MISSING_POOL: &str = "advertisement-missing-pool";
pub(super) const ADVERTISEMENT_NO_NODE: &str = "advertisement-no-node";
pub(super) const ADVERTISEMENT_NOT_FILLED: &str = "advertisement-not-filled";
pub(super) const ADVERTISEMENT_OVERRULED: &str = "advertisement-overruled";
pub(super) const BALANCER_ADDRESS_POOL_OLD: &str = "balancer-address-pool-old";
pub(super) const BALANCER_ANOTHER: &str = "balancer-another";
pub(super) const BALANCER_CONFIGURATION_INVALID: &str = "balancer-configuration-invalid";
pub(super) const BALANCER_DOWNGRADE: &str = "balancer-downgrade";
pub(super) const BALANCER_EXCLUDES_INTERFACE: &str = "balancer-excludes-interface";
pub(super) const BALANCER_OBJECT_SHARED: &str = "balancer-object-shared";
pub(super) const BALANCER_OWNED_BY_OTHERS: &str = "balancer-owned-by-others";
pub(super) const BALANCER_VERSION_IGNORES: &str = "balancer-version-ignores";
pub(super) const NODES_EXCLUDED: &str = "nodes-excluded";
pub(super) const POOL_ALLOCATION_MATCHES_NOTHING: &str = "pool-allocation-matches-nothing";
pub(super) const POOL_FOREIGN_HOST_BITS: &str = "pool-foreign-host-bits";
pub(super) const POOL_NOT_ADVERTISED: &str = "pool-not-advertised";
pub(super) const POOL_OVERLAPS_FOREIGN: &str = "pool-overlaps-foreign";
pub(super) const POOL_SHRINKS_IN_USE: &str = "pool-shrinks-in-use";
pub(super) const SERVICE_CLASS_OTHER: &str = "service-class-other";
pub(super) const SERVICE_FAMILY_UNSERVED: &str = "service-family-unserved";
pub(super) const SERVICE_NO_CLUSTER_ADDRESS: &str = "service-no-cluster-address";
pub(super) const SERVICE_NO_CONTROLLER: &str = "service-no-controller";
pub(super) const SERVICE_NO_POOL: &str = "service-no-pool";
pub(super) const SERVICE_NOT_LOAD_BALANCER: &str = "service-not-load-balancer";
pub(super) const SERVICE_PENDING: &str = "service-pending";
pub(super) const SERVICE_POOL_EXHAUSTED: &str = "service-pool-exhausted";
pub(super) const SERVICE_POOL_NOT_FOR_IT: &str = "service-pool-not-for-it";
pub(super) const SERVICE_POOL_UNKNOWN: &str = "service-pool-unknown";
pub(super) const SERVICE_POOLS_NOT_TAKEN: &str = "service-pools-not-taken";
pub(super) const SERVICE_REQUEST_IGNORED: &str = "service-request-ignored";
pub(super) const SERVICE_REQUEST_OUTSIDE: &str = "service-request-outside";
pub(super) const SERVICE_REQUEST_TAKEN: &str = "service-request-taken";
pub(super) const SERVICE_REQUEST_TWICE: &str = "service-request-twice";
pub(super) const SERVICE_REQUEST_UNREADABLE: &str = "service-request-unreadable";
pub(super) const SERVICE_SILENT: &str = "service-silent";
pub(super) const SILENT_ANNOUNCER_EXCLUDED: &str = "silent-announcer-excluded";
pub(super) const SILENT_LOCAL_POLICY: &str = "silent-local-policy";
pub(super) const SILENT_NETWORK_UNAVAILABLE: &str = "silent-network-unavailable";
pub(super) const SILENT_NO_ADVERTISEMENT: &str = "silent-no-advertisement";
pub(super) const SILENT_NO_ENDPOINTS: &str = "silent-no-endpoints";
pub(super) const SILENT_NO_MATCH: &str = "silent-no-match";
pub(super) const SILENT_SPEAKER_NOT_READY: &str = "silent-speaker-not-ready";
