//! The names of all findings of this room, by which a rack can waive them. A name never changes its meaning.

/// Every finding's name with what it checks, in one line.
pub const NAMES: &[(&str, &str)] = &[
    (ARP_EFFECTIVE, "the ARP and rp_filter values that an interface really has are the wanted ones"),
    (ARP_IGNORE_ALL, "no interface that carries a pool ignores all ARP requests (arp_ignore 8)"),
    (MTU_DIFFERS, "links of one subnet have one MTU"),
    (NEIGHBOUR_UNHEARD, "nodes that share a subnet answer each other's ARP or neighbour solicitation"),
    (NEIGHBOURS_HEARD, "every node that was asked for by its neighbours answered"),
    (NEIGHBOURS_NOT_PROBED, "every node could ask for its neighbours"),
    (NODE_ADDRESS_ELSEWHERE, "only the node itself answers for a node's address"),
    (NODE_ADDRESS_TWICE, "one MAC address answers for a node's address"),
    (POOL_ADDRESS_IN_USE, "no other machine answers for an address of a pool"),
    (POOL_ADDRESS_SOUGHT, "no other machine is about to take an address of a pool"),
    (POOL_HOLDS_BROADCAST_ADDRESS, "no pool holds a subnet's broadcast address"),
    (POOL_HOLDS_GATEWAY, "no pool holds a gateway"),
    (POOL_HOLDS_NEIGHBOUR, "no pool holds an address that a node knows another machine by"),
    (POOL_HOLDS_NETWORK_ADDRESS, "no pool holds a subnet's network address"),
    (POOL_HOLDS_NODE_ADDRESS, "no pool holds an address of a node"),
    (POOL_HOLDS_RESERVED, "no pool holds addresses that have another use in the rack"),
    (POOL_IN_DHCP_SUBNET, "no pool lies in a subnet where a DHCP server hands out addresses"),
    (POOL_INTERFACE, "an interface carries the pool"),
    (POOL_INTERFACE_BOND, "the bond that carries a pool does not rewrite ARP"),
    (POOL_INTERFACE_DOWN, "the interface that carries a pool is up and connected"),
    (POOL_INTERFACE_ENSLAVED, "the interface that carries a pool is no port of a bond or bridge"),
    (POOL_INTERFACE_EXCLUDED, "MetalLB does not skip the interface that carries a pool"),
    (POOL_INTERFACE_NO_ARP, "the interface that carries a pool takes part in ARP"),
    (POOL_INTERFACE_NO_LINK_LOCAL, "the interface that carries an IPv6 pool has a link-local address"),
    (POOL_INTERFACE_WIRELESS, "the interface that carries a pool is wired"),
    (POOL_NO_CONFLICT_SEEN, "nobody was heard to use an address of a pool"),
    (POOL_NOT_PROBED, "every address of a pool was asked for"),
    (POOL_OFF_LINK, "a pool lies in a subnet of each node that announces it"),
    (POOLS_OVERLAP, "no address is in two pools, or in one pool twice"),
    (PROXY_ARP, "a node does not answer ARP for others on an interface that carries a pool"),
    (TWO_INTERFACES_ONE_SUBNET, "no node has two interfaces in one subnet"),
    (VIP_ANSWERED_TWICE, "one MAC address answers for an external address"),
    (VIP_SERVED, "an address of a pool that a node answers for is the cluster's own"),
];

pub(super) const ARP_EFFECTIVE: &str = "arp-effective";
pub(super) const ARP_IGNORE_ALL: &str = "arp-ignore-all";
pub(super) const MTU_DIFFERS: &str = "mtu-differs";
pub(super) const NEIGHBOUR_UNHEARD: &str = "neighbour-unheard";
pub(super) const NEIGHBOURS_HEARD: &str = "neighbours-heard";
pub(super) const NEIGHBOURS_NOT_PROBED: &str = "neighbours-not-probed";
pub(super) const NODE_ADDRESS_ELSEWHERE: &str = "node-address-elsewhere";
pub(super) const NODE_ADDRESS_TWICE: &str = "node-address-twice";
pub(super) const POOL_ADDRESS_IN_USE: &str = "pool-address-in-use";
pub(super) const POOL_ADDRESS_SOUGHT: &str = "pool-address-sought";
pub(super) const POOL_HOLDS_BROADCAST_ADDRESS: &str = "pool-holds-broadcast-address";
pub(super) const POOL_HOLDS_GATEWAY: &str = "pool-holds-gateway";
pub(super) const POOL_HOLDS_NEIGHBOUR: &str = "pool-holds-neighbour";
pub(super) const POOL_HOLDS_NETWORK_ADDRESS: &str = "pool-holds-network-address";
pub(super) const POOL_HOLDS_NODE_ADDRESS: &str = "pool-holds-node-address";
pub(super) const POOL_HOLDS_RESERVED: &str = "pool-holds-reserved";
pub(super) const POOL_IN_DHCP_SUBNET: &str = "pool-in-dhcp-subnet";
pub(super) const POOL_INTERFACE: &str = "pool-interface";
pub(super) const POOL_INTERFACE_BOND: &str = "pool-interface-bond";
pub(super) const POOL_INTERFACE_DOWN: &str = "pool-interface-down";
pub(super) const POOL_INTERFACE_ENSLAVED: &str = "pool-interface-enslaved";
pub(super) const POOL_INTERFACE_EXCLUDED: &str = "pool-interface-excluded";
pub(super) const POOL_INTERFACE_NO_ARP: &str = "pool-interface-no-arp";
pub(super) const POOL_INTERFACE_NO_LINK_LOCAL: &str = "pool-interface-no-link-local";
pub(super) const POOL_INTERFACE_WIRELESS: &str = "pool-interface-wireless";
pub(super) const POOL_NO_CONFLICT_SEEN: &str = "pool-no-conflict-seen";
pub(super) const POOL_NOT_PROBED: &str = "pool-not-probed";
pub(super) const POOL_OFF_LINK: &str = "pool-off-link";
pub(super) const POOLS_OVERLAP: &str = "pools-overlap";
pub(super) const PROXY_ARP: &str = "proxy-arp";
pub(super) const TWO_INTERFACES_ONE_SUBNET: &str = "two-interfaces-one-subnet";
pub(super) const VIP_ANSWERED_TWICE: &str = "vip-answered-twice";
pub(super) const VIP_SERVED: &str = "vip-served";
