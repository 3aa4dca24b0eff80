//! Why a Service of type LoadBalancer has no address: what MetalLB's controller would find, in its own order.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Event, Service};

use super::manifest::text;
use super::names;
use super::reason::Reason;
use super::release::Release;
use super::request::{Request, families, family};
use super::view::{self, Pool, Told, View, given, service_name};
use super::workload;
use crate::cluster::facts::ClusterFacts;
use crate::network::list;

/// Why a Service without an address has none: the first reason that holds, from the most certain on.
pub fn reason(facts: &ClusterFacts, service: &Service) -> Reason {
    let said = said(facts, service);
    let case = Case::of(facts, service);
    let found = case
        .not_meant()
        .or_else(|| no_controller(facts))
        .or_else(|| case.no_cluster_address())
        .or_else(|| invalid(facts))
        .or_else(|| case.no_pool())
        .or_else(|| case.bad_request())
        .or_else(|| case.by_address())
        .or_else(|| case.by_pool())
        .or_else(|| case.by_itself())
        .or_else(|| case.pools_not_taken())
        .or_else(|| by_event(said.as_deref()));
    let reason = found.unwrap_or_else(|| {
        let fix = "see `kubectl describe service` and the log of MetalLB's controller; it may only need another moment";
        Reason::new(names::SERVICE_PENDING, "the Service has no address yet, and nothing seen says why").fix(fix)
    });
    with_event(reason, said)
}

/// A Service and all that decides about its address.
struct Case<'a> {
    facts: &'a ClusterFacts,
    service: &'a Service,
    view: View,
    request: Request,
    release: Option<Release>,
}

impl<'a> Case<'a> {
    fn of(facts: &'a ClusterFacts, service: &'a Service) -> Self {
        let release = view::release(&facts.balancer);
        Self {
            facts,
            service,
            view: View::live(&facts.balancer),
            request: Request::of(service, release),
            release,
        }
    }

    fn not_meant(&self) -> Option<Reason> {
        let spec = self.service.spec.as_ref();
        let kind = spec.and_then(|s| s.type_.as_deref()).unwrap_or("ClusterIP");
        if kind != "LoadBalancer" {
            let reason =
                Reason::new(names::SERVICE_NOT_LOAD_BALANCER, "the Service is not of type LoadBalancer");
            return Some(
                reason.seen(format!("its type is {kind}")).fix("write `type: LoadBalancer` into it"),
            );
        }
        let class = spec.and_then(|s| s.load_balancer_class.as_deref());
        let ours = workload::controller_argument(&self.facts.balancer, "--lb-class");
        if class == ours {
            return None;
        }
        let show =
            |class: Option<&str>| class.map_or_else(|| "none".to_owned(), |class| format!("`{class}`"));
        let words = "the Service is meant for another class of load balancer than MetalLB's";
        let evidence =
            format!("its loadBalancerClass is {}, MetalLB's --lb-class is {}", show(class), show(ours));
        let fix = "make the Service anew with MetalLB's class (the field cannot be changed), or leave it to whom it is meant for";
        Some(Reason::new(names::SERVICE_CLASS_OTHER, words).seen(evidence).fix(fix))
    }

    fn no_cluster_address(&self) -> Option<Reason> {
        let address = self.service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()).unwrap_or_default();
        let words = "the Service has no cluster address, and MetalLB gives none from outside to such a one";
        matches!(address, "" | "None").then(|| {
            let reason = Reason::new(names::SERVICE_NO_CLUSTER_ADDRESS, words)
                .seen(format!("clusterIP is `{address}`"));
            reason.fix("make the Service anew without `clusterIP: None`")
        })
    }

    fn no_pool(&self) -> Option<Reason> {
        let reason = Reason::new(names::SERVICE_NO_POOL, "there is no address pool");
        let fix = "add one to kubernetes.metallb.pools, then `rackwright apply`";
        self.view.pools.is_empty().then(|| reason.seen("MetalLB's namespace has no IPAddressPool").fix(fix))
    }

    fn bad_request(&self) -> Option<Reason> {
        if self.request.twice {
            let words = "the Service asks for an address twice, which MetalLB refuses";
            let reason = Reason::new(names::SERVICE_REQUEST_TWICE, words);
            let evidence = "it has both the annotation loadBalancerIPs and spec.loadBalancerIP";
            return Some(
                reason.seen(evidence).fix("remove spec.loadBalancerIP, which Kubernetes has deprecated"),
            );
        }
        let unreadable = &self.request.unreadable;
        (!unreadable.is_empty()).then(|| {
            let words = "the Service asks for something that is no address";
            let reason = Reason::new(names::SERVICE_REQUEST_UNREADABLE, words).seen(list(unreadable));
            reason.fix("write addresses, with commas between them")
        })
    }

    /// Of the addresses that are asked for.
    fn by_address(&self) -> Option<Reason> {
        self.request.addresses.iter().find_map(|address| self.address(*address))
    }

    fn address(&self, address: IpAddr) -> Option<Reason> {
        let (wanted, _) = families(self.service);
        if !wanted.contains(&address.is_ipv4()) {
            let words = "the Service asks for an address of another family than its own";
            let evidence =
                format!("{address} is {}; its ipFamilies are {}", family(address.is_ipv4()), named(&wanted));
            let fix = "ask for an address of that family, or change `ipFamilies` of the Service";
            return Some(Reason::new(names::SERVICE_FAMILY_UNSERVED, words).seen(evidence).fix(fix));
        }
        let Some(pool) = self.view.pool_of(address) else {
            let words = format!("the Service asks for {address}, which lies in no pool");
            let reason = Reason::new(names::SERVICE_REQUEST_OUTSIDE, words).seen(self.pools());
            return Some(reason.fix("ask for an address of a pool, or add this one to a pool"));
        };
        if let Some(asked) = self.request.pool.as_ref().filter(|asked| **asked != pool.name) {
            let words =
                format!("the Service asks for {address} of pool {asked}, but it is of pool {}", pool.name);
            let reason = Reason::new(names::SERVICE_REQUEST_OUTSIDE, words).seen(self.pools());
            return Some(reason.fix("take one of the two annotations away"));
        }
        self.not_for_it(pool).or_else(|| self.taken(address))
    }

    fn taken(&self, address: IpAddr) -> Option<Reason> {
        let name = service_name(self.service);
        let others =
            self.facts.services.iter().filter(|s| service_name(s) != name && given(s).contains(&address));
        let key = self.request.sharing.as_ref();
        let shares =
            |other: &&Service| key.is_some() && Request::of(other, self.release).sharing.as_ref() == key;
        let holder = others.into_iter().find(|other| !shares(other))?;
        let words = format!("{address} is taken");
        let evidence = format!("Service {} has it, and they do not share a key", service_name(holder));
        let fix = "ask for another address, or give both the same annotation allow-shared-ip (other ports, same policy)";
        Some(Reason::new(names::SERVICE_REQUEST_TAKEN, words).seen(evidence).fix(fix))
    }

    /// Of the pool that is asked for.
    fn by_pool(&self) -> Option<Reason> {
        let asked = self.request.pool.as_ref()?;
        let Some(pool) = self.view.pool(asked) else {
            let reason = Reason::new(
                names::SERVICE_POOL_UNKNOWN,
                format!("the Service asks for pool {asked}, which does not exist"),
            );
            return Some(
                reason.seen(self.pools()).fix("correct the annotation address-pool, or make the pool"),
            );
        };
        self.not_for_it(pool).or_else(|| self.no_family(&[pool])).or_else(|| self.exhausted(&[pool]))
    }

    fn not_for_it(&self, pool: &Pool) -> Option<Reason> {
        (pool.is_for(self.service) == Told::No).then(|| {
            let words = format!("pool {} is not for this Service", pool.name);
            let evidence =
                format!("its serviceAllocation is {}", pool.allocation().cloned().unwrap_or_default());
            let fix = "widen serviceAllocation of the pool, or label the Service so that it matches";
            Reason::new(names::SERVICE_POOL_NOT_FOR_IT, words).seen(evidence).fix(fix)
        })
    }

    /// Of the pools that serve whoever asks for nothing.
    fn by_itself(&self) -> Option<Reason> {
        if self.request.pool.is_some() || !self.request.addresses.is_empty() {
            return None;
        }
        let fits = |pool: &&Pool| pool.auto_assign() && pool.is_for(self.service) != Told::No;
        let pools: Vec<&Pool> = self.view.pools.iter().filter(fits).collect();
        let found = match pools.is_empty() {
            true => Some(self.nothing_by_itself()),
            false => self.no_family(&pools).or_else(|| self.exhausted(&pools)),
        }?;
        match self.request.ignored.is_empty() {
            true => Some(found),
            false => Some(self.ignored(&found)),
        }
    }

    fn nothing_by_itself(&self) -> Reason {
        let why = |pool: &Pool| match pool.auto_assign() {
            false => format!("pool {} has autoAssign: false", pool.name),
            true => format!("serviceAllocation of pool {} does not match", pool.name),
        };
        let words = "no pool gives this Service an address by itself";
        let reason = Reason::new(names::SERVICE_POOL_NOT_FOR_IT, words);
        let fix = "ask for a pool with the annotation metallb.universe.tf/address-pool, or change the pools";
        reason.seen(list(self.view.pools.iter().map(why))).fix(fix)
    }

    fn ignored(&self, otherwise: &Reason) -> Reason {
        let release = self.release.map(|r| r.to_string()).unwrap_or_default();
        let words = format!("MetalLB {release} does not read what the Service asks for");
        let evidence = format!("{}; without it, {}", list(&self.request.ignored), otherwise.words);
        let fix =
            "write the annotations with the prefix `metallb.universe.tf/`, or use MetalLB 0.14.9 or newer";
        Reason::new(names::SERVICE_REQUEST_IGNORED, words).seen(evidence).fix(fix)
    }

    fn no_family(&self, pools: &[&Pool]) -> Option<Reason> {
        let (wanted, both) = families(self.service);
        let serves = |pool: &&&Pool| {
            let mut has = wanted.iter().map(|four| pool.size(*four) > 0);
            if both { has.all(|has| has) } else { has.any(|has| has) }
        };
        pools.iter().find(serves).is_none().then(|| {
            let words = format!("no pool that may serve it has addresses of {}", named(&wanted));
            let evidence = list(pools.iter().map(|p| format!("pool {} has {}", p.name, list(&p.ranges))));
            let fix = "add such addresses to a pool (for dual stack, both families to one pool), or change `ipFamilies`";
            Reason::new(names::SERVICE_FAMILY_UNSERVED, words).seen(evidence).fix(fix)
        })
    }

    fn exhausted(&self, pools: &[&Pool]) -> Option<Reason> {
        let (wanted, _) = families(self.service);
        let full =
            |pool: &&&Pool| wanted.iter().any(|four| pool.size(*four) > 0 && self.free(pool, *four) == 0);
        let served = |pool: &&&Pool| wanted.iter().any(|four| pool.size(*four) > 0);
        let may: Vec<&&Pool> = pools.iter().filter(served).collect();
        (!may.is_empty() && may.iter().all(full)).then(|| {
            let count = |pool: &&&Pool| {
                let buggy = if avoids_buggy(pool) { ", without those that end in .0 or .255" } else { "" };
                let size = self.size(pool);
                let of = if size == 1 { "address" } else { "addresses" };
                format!("pool {} has {size} {of}{buggy}, and {} taken", pool.name, self.used(pool).len())
            };
            let reason =
                Reason::new(names::SERVICE_POOL_EXHAUSTED, "all addresses that it could have are taken");
            let fix = "add addresses to a pool, or delete Services of type LoadBalancer that nobody needs";
            reason.seen(list(may.iter().map(count))).fix(fix)
        })
    }

    /// Up to 0.13 the controller refuses all of a new configuration in which an address in use has no pool.
    fn pools_not_taken(&self) -> Option<Reason> {
        let release = self.release.filter(|release| *release < Release::TAKES_ADDRESSES_AWAY)?;
        let mut given = self.facts.services.iter().flat_map(|s| given(s).into_iter().map(move |ip| (s, ip)));
        let (service, address) = given.find(|(_, address)| self.view.pool_of(*address).is_none())?;
        let words = format!("MetalLB {release} goes on with its former pools");
        let evidence =
            format!("Service {} has {address}, which no pool holds any more", service_name(service));
        let fix = "put that address back into a pool, or delete that Service; then the present pools count";
        Some(Reason::new(names::SERVICE_POOLS_NOT_TAKEN, words).seen(evidence).fix(fix))
    }

    fn size(&self, pool: &Pool) -> u128 {
        families(self.service).0.into_iter().map(|four| pool.size(four)).fold(0, u128::saturating_add)
    }

    fn used(&self, pool: &Pool) -> BTreeSet<IpAddr> {
        self.facts.services.iter().flat_map(given).filter(|address| pool.holds(*address)).collect()
    }

    /// How many addresses of a family a pool still has; `avoidBuggyIPs` is heeded where few are left.
    fn free(&self, pool: &Pool, four: bool) -> u128 {
        let used = self.used(pool);
        let free =
            pool.size(four).saturating_sub(used.iter().filter(|ip| ip.is_ipv4() == four).count() as u128);
        if !avoids_buggy(pool) || !four || free > 64 {
            return free;
        }
        let good = |ip: &IpAddr| {
            matches!(ip, IpAddr::V4(ip) if !matches!(ip.octets()[3], 0 | 255)) && !used.contains(ip)
        };
        pool.ranges.iter().flat_map(|range| range.iter(1 << 16)).filter(good).count() as u128
    }

    fn pools(&self) -> String {
        format!(
            "the pools are {}",
            list(self.view.pools.iter().map(|p| format!("{} ({})", p.name, list(&p.ranges))))
        )
    }
}

fn avoids_buggy(pool: &Pool) -> bool {
    pool.object.pointer("/spec/avoidBuggyIPs").and_then(serde_json::Value::as_bool).unwrap_or(false)
}

fn named(families: &[bool]) -> String {
    list(families.iter().map(|four| family(*four)))
}

fn no_controller(facts: &ClusterFacts) -> Option<Reason> {
    let reason = |words: &str| Reason::new(names::SERVICE_NO_CONTROLLER, words);
    let Some(controller) = workload::controller(&facts.balancer) else {
        let missing =
            reason("MetalLB is not installed: there is no controller, so nobody hands out addresses");
        return Some(missing.seen("no Deployment of it in its namespace").fix("`rackwright apply`"));
    };
    let ready = controller.status.as_ref().and_then(|s| s.ready_replicas).unwrap_or(0);
    (ready == 0).then(|| {
        let metadata = &controller.metadata;
        let name = metadata.name.as_deref().unwrap_or_default();
        let namespace = metadata.namespace.as_deref().unwrap_or("metallb-system");
        let troubles = workload::troubles(&facts.balancer, "controller");
        let troubles = if troubles.is_empty() { vec!["no pod of it was made".to_owned()] } else { troubles };
        let evidence = format!("Deployment {name} has no ready pod: {}", list(troubles));
        let fix = format!("kubectl -n {namespace} describe deployment,pods -l component=controller");
        reason("MetalLB's controller is not ready, so nobody hands out addresses").seen(evidence).fix(fix)
    })
}

fn invalid(facts: &ClusterFacts) -> Option<Reason> {
    let mut states = facts.balancer.states.iter().flatten();
    let state = states.find(|s| text(s, "/status/result") == "Invalid")?;
    let words = "MetalLB finds its configuration invalid, and goes on with an earlier one";
    let fix = "mend what it names; an IPAddressPool or L2Advertisement of others may be the cause";
    Some(
        Reason::new(names::BALANCER_CONFIGURATION_INVALID, words)
            .seen(text(state, "/status/errorSummary"))
            .fix(fix),
    )
}

/// The latest warning about a Service.
fn said(facts: &ClusterFacts, service: &Service) -> Option<String> {
    let of = |event: &&Event| {
        let object = &event.involved_object;
        object.kind.as_deref() == Some("Service")
            && object.name == service.metadata.name
            && object.namespace == service.metadata.namespace
            && event.type_.as_deref() != Some("Normal")
    };
    let warnings = facts.events.iter().filter(of);
    let latest = warnings.max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0))?;
    Some(format!(
        "{}: {}",
        latest.reason.as_deref().unwrap_or_default(),
        latest.message.as_deref().unwrap_or_default()
    ))
}

/// What only MetalLB itself can know, by its own words (controller/service.go, internal/allocator/allocator.go).
fn by_event(said: Option<&str>) -> Option<Reason> {
    let said = said?;
    let table = [
        (
            "sharing key",
            names::SERVICE_REQUEST_TAKEN,
            "the address is shared by Services that do not fit together",
        ),
        ("is already in use on", names::SERVICE_REQUEST_TAKEN, "a port of the shared address is taken"),
        (
            "unknown pool",
            names::SERVICE_POOL_UNKNOWN,
            "the Service asks for a pool that MetalLB does not have",
        ),
        (
            "is not allowed in config",
            names::SERVICE_REQUEST_OUTSIDE,
            "the Service asks for an address that MetalLB has in no pool",
        ),
        (
            "not compatible for ip assignment",
            names::SERVICE_POOL_NOT_FOR_IT,
            "the pool is not for this Service",
        ),
        ("IPFamily", names::SERVICE_FAMILY_UNSERVED, "no pool serves the family of the Service"),
        ("no available IPs", names::SERVICE_POOL_EXHAUSTED, "MetalLB has no address left for it"),
    ];
    let (_, name, words) = table.into_iter().find(|(part, _, _)| said.contains(part))?;
    Some(Reason::new(name, words).fix("what MetalLB says names the Service, pool or address to change"))
}

fn with_event(reason: Reason, said: Option<String>) -> Reason {
    let Some(said) = said else { return reason };
    let evidence = match reason.evidence.is_empty() {
        true => format!("MetalLB says {said}"),
        false => format!("{}; MetalLB says {said}", reason.evidence),
    };
    reason.seen(evidence)
}

#[cfg(test)]
mod tests;
