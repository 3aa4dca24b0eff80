//! The names of all findings of this room, by which a rack can waive them. A name never changes its meaning.

/// Every finding's name with what it is about, in one line.
pub const NAMES: &[(&str, &str)] = &[
    (DNS_ANSWERS, "CoreDNS answers every host over UDP and TCP, for names of the cluster and of the world."),
    (
        DNS_FROM_PODS,
        "CoreDNS does not answer a pod, over UDP or TCP, at its Service's address or at a pod's.",
    ),
    (DNS_NO_PODS, "No pod of CoreDNS is ready."),
    (DNS_NOT_ASKED, "A host could not be asked about DNS."),
    (DNS_POD_SILENT, "A ready pod of CoreDNS does not answer a host."),
    (DNS_SERVICE_SILENT, "The address of the DNS Service does not answer a host, though a pod does."),
    (DNS_SLOW, "CoreDNS takes longer than a second to answer."),
    (DNS_TCP_SILENT, "CoreDNS answers over UDP and not over TCP, which long answers need."),
    (DNS_UDP_SILENT, "CoreDNS answers over TCP and not over UDP."),
    (
        DNS_UPSTREAM_SILENT,
        "CoreDNS knows names of the cluster, but not those outside: its upstream does not answer.",
    ),
    (DNS_WRONG_ANSWER, "CoreDNS does not know the name of the API server's Service, or its pods disagree."),
    (
        GATEWAY_ANSWERS,
        "HTTP through a gateway's address reaches a workload, asked for from outside of the cluster.",
    ),
    (GATEWAY_FROM_INSIDE_ONLY, "A gateway answers a node of the cluster, and nobody outside could ask."),
    (GATEWAY_NO_ROUTE, "A gateway answers, and has no route for the name and path that the rack asks for."),
    (GATEWAY_NO_WORKLOAD, "A gateway has a route, and no workload behind it answers."),
    (GATEWAY_NOT_ASKED, "Nobody could ask a gateway."),
    (GATEWAY_OTHER_ANSWER, "HTTP through a gateway ends in another status than the rack expects."),
    (GATEWAY_SILENT, "A gateway's address gives no HTTP answer."),
    (SERVICE_ANSWER_DETOURS, "A Service's answer comes from another MAC address than the question went to."),
    (
        SERVICE_ANSWERED_BY_FOREIGNER,
        "A machine that is no node of the cluster answers for a Service's address.",
    ),
    (SERVICE_ANSWERED_TWICE, "More than one MAC address answers for a Service's address."),
    (SERVICE_EXTERNAL_IPS, "A Service has externalIPs, for which MetalLB does not answer."),
    (SERVICE_HEARD_BY_SOME, "Only some hosts of the segment hear who answers for a Service's address."),
    (SERVICE_MISSING, "A Service that the rack names is not on the cluster."),
    (
        SERVICE_MOVES,
        "A Service's address was answered for by one node, and some seconds later by another or none.",
    ),
    (
        SERVICE_NOT_ASKED,
        "A Service's address could not be proven: no host could ask, or not everything was asked.",
    ),
    (SERVICE_PORT_CLOSED, "A Service's port refuses connections, though its address is answered for."),
    (SERVICE_PORT_SILENT, "A Service's port does not answer, though its address is answered for."),
    (
        SERVICE_REACHABLE,
        "A Service is reachable: one node answers for its address, and its TCP ports open there.",
    ),
    (SERVICE_UNANNOUNCED, "Nobody answers for a Service's address."),
    (
        SERVICE_UNREACHABLE_FROM_HERE,
        "A Service's port opens for hosts of its segment, but not for the coordinator.",
    ),
    (
        SERVICE_WRONG_INTERFACE,
        "A node answers for a Service's address on an interface that is not the announced one.",
    ),
    (SERVICE_WRONG_NODE, "Another node answers for a Service's address than MetalLB says."),
];

pub(super) const DNS_ANSWERS: &str = "dns-answers";
pub(super) const DNS_FROM_PODS: &str = "dns-from-pods";
pub(super) const DNS_NO_PODS: &str = "dns-no-pods";
pub(super) const DNS_NOT_ASKED: &str = "dns-not-asked";
pub(super) const DNS_POD_SILENT: &str = "dns-pod-silent";
pub(super) const DNS_SERVICE_SILENT: &str = "dns-service-silent";
pub(super) const DNS_SLOW: &str = "dns-slow";
pub(super) const DNS_TCP_SILENT: &str = "dns-tcp-silent";
pub(super) const DNS_UDP_SILENT: &str = "dns-udp-silent";
pub(super) const DNS_UPSTREAM_SILENT: &str = "dns-upstream-silent";
pub(super) const DNS_WRONG_ANSWER: &str = "dns-wrong-answer";
pub(super) const GATEWAY_ANSWERS: &str = "gateway-answers";
pub(super) const GATEWAY_FROM_INSIDE_ONLY: &str = "gateway-from-inside-only";
pub(super) const GATEWAY_NO_ROUTE: &str = "gateway-no-route";
pub(super) const GATEWAY_NO_WORKLOAD: &str = "gateway-no-workload";
pub(super) const GATEWAY_NOT_ASKED: &str = "gateway-not-asked";
pub(super) const GATEWAY_OTHER_ANSWER: &str = "gateway-other-answer";
pub(super) const GATEWAY_SILENT: &str = "gateway-silent";
pub(super) const SERVICE_ANSWER_DETOURS: &str = "service-answer-detours";
pub(super) const SERVICE_ANSWERED_BY_FOREIGNER: &str = "service-answered-by-foreigner";
pub(super) const SERVICE_ANSWERED_TWICE: &str = "service-answered-twice";
pub(super) const SERVICE_EXTERNAL_IPS: &str = "service-external-ips";
pub(super) const SERVICE_HEARD_BY_SOME: &str = "service-heard-by-some";
pub(super) const SERVICE_MISSING: &str = "service-missing";
pub(super) const SERVICE_MOVES: &str = "service-moves";
pub(super) const SERVICE_NOT_ASKED: &str = "service-not-asked";
pub(super) const SERVICE_PORT_CLOSED: &str = "service-port-closed";
pub(super) const SERVICE_PORT_SILENT: &str = "service-port-silent";
pub(super) const SERVICE_REACHABLE: &str = "service-reachable";
pub(super) const SERVICE_UNANNOUNCED: &str = "service-unannounced";
pub(super) const SERVICE_UNREACHABLE_FROM_HERE: &str = "service-unreachable-from-here";
pub(super) const SERVICE_WRONG_INTERFACE: &str = "service-wrong-interface";
pub(super) const SERVICE_WRONG_NODE: &str = "service-wrong-node";
