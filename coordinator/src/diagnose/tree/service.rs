//! Services of type LoadBalancer: whether they have an address, and who answers for it.

use rackwright_proto::link::Mac;

use super::NO_API;
use crate::balancer::Reason;
use crate::diagnose::case::{AddressState, Case, ServiceState};
use crate::diagnose::cause::Cause;
use crate::diagnose::verdict::{Found, Tested};
use crate::network::list;

/// The reason that says that no reason was found.
const UNKNOWN: &str = "service-silent";

fn services(case: &Case) -> Result<&[ServiceState], Tested> {
    match &case.cluster {
        Ok(cluster) if cluster.services.is_empty() => Err(Tested::Beside),
        Ok(cluster) => Ok(&cluster.services),
        Err(_) => Err(Tested::CannotTell(NO_API.into())),
    }
}

fn addresses(services: &[ServiceState]) -> impl Iterator<Item = (&ServiceState, &AddressState)> {
    services.iter().flat_map(|service| service.addresses.iter().map(move |address| (service, address)))
}

fn by_reason(cause: Cause, what: String, reason: &Reason) -> Found {
    let found = Found::new(cause, format!("{what}: {}", reason.words));
    let found = if reason.evidence.is_empty() { found } else { found.seen(reason.evidence.clone()) };
    found.mend(reason.fix.clone())
}

pub(super) fn pending(case: &Case) -> Tested {
    let services = match services(case) {
        Ok(services) => services,
        Err(tested) => return tested,
    };
    if let Some(service) = services.iter().find(|service| !service.exists) {
        let found =
            Found::new(Cause::Pending("service-missing"), format!("there is no Service {}", service.name));
        return Tested::Confirmed(
            found.seen("the API knows none of that name").mend("make it, or take it out of the rack"),
        );
    }
    match services.iter().find_map(|service| Some((service, service.pending.as_ref()?))) {
        Some((service, reason)) => Tested::Confirmed(by_reason(
            Cause::Pending(reason.name),
            format!("Service {} has no address", service.name),
            reason,
        )),
        None => Tested::RuledOut(format!(
            "each that was looked at has one: {}",
            list(services.iter().map(|service| &service.name))
        )),
    }
}

pub(super) fn silent(case: &Case) -> Tested {
    let services = match services(case) {
        Ok(services) => services,
        Err(tested) => return tested,
    };
    if addresses(services).next().is_none() {
        return Tested::Beside;
    }
    let (mut asked, mut unknown) = (Vec::new(), Vec::new());
    for (service, state) in addresses(services) {
        match &state.heard {
            Some(macs) if macs.is_empty() => {}
            Some(_) => {
                asked.push(state.address);
                continue;
            }
            None => continue,
        }
        let what = format!("nobody answers for {} of Service {}", state.address, service.name);
        match state.silent.iter().find(|reason| reason.name != UNKNOWN) {
            Some(reason) => return Tested::Confirmed(by_reason(Cause::Silent(reason.name), what, reason)),
            None => unknown.push(state.address),
        }
    }
    match (unknown.is_empty(), asked.is_empty()) {
        (false, _) => Tested::CannotTell(format!(
            "nobody answers for {}, and nothing of the cluster's objects says why",
            list(unknown)
        )),
        (true, true) => Tested::CannotTell("no two hosts are on the segment of an address".into()),
        (true, false) => Tested::RuledOut(format!("somebody answers for {}", list(asked))),
    }
}

pub(super) fn unexplained(case: &Case) -> Vec<String> {
    let services = case.cluster.iter().flat_map(|cluster| &cluster.services);
    let all =
        services.into_iter().flat_map(|service| service.addresses.iter().map(move |state| (service, state)));
    let silent =
        all.filter(|(_, state)| state.heard.as_ref().is_some_and(std::collections::BTreeSet::is_empty));
    silent
        .map(|(service, state)| format!("nobody answers for {} of Service {}", state.address, service.name))
        .collect()
}

pub(super) fn doubled(case: &Case) -> Tested {
    let services = match services(case) {
        Ok(services) => services,
        Err(tested) => return tested,
    };
    if addresses(services).next().is_none() {
        return Tested::Beside;
    }
    let heard = |state: &AddressState| state.heard.clone().unwrap_or_default();
    let Some((service, state)) = addresses(services).find(|(_, state)| heard(state).len() > 1) else {
        return match addresses(services).any(|(_, state)| !heard(state).is_empty()) {
            true => Tested::RuledOut("one MAC address answers for each".into()),
            false => Tested::CannotTell("nobody answers, or nobody was asked".into()),
        };
    };
    let macs = heard(state);
    let whose = |mac: &Mac| {
        let host =
            case.hosts.iter().find(|host| host.network.links.iter().any(|link| link.mac == Some(*mac)));
        host.map(|host| host.name.clone())
    };
    let strangers: Vec<&Mac> = macs.iter().filter(|mac| whose(mac).is_none()).collect();
    let words = format!(
        "{} machines answer for {} of Service {}: where a client's packets go is chance",
        macs.len(),
        state.address,
        service.name
    );
    let told = macs
        .iter()
        .map(|mac| format!("{mac} ({})", whose(mac).unwrap_or_else(|| "no host of the rack".into())));
    let found = Found::new(Cause::AddressDoubled, words).on(macs.iter().filter_map(whose)).seen(list(told));
    Tested::Confirmed(match strangers.is_empty() {
        false => found
            .mend(format!("find the machine of {} and give it another address, or take {} out of the pool", list(strangers), state.address))
            .mend("`rackwright check` asks for all addresses of the pools"),
        true => found
            .mend("MetalLB's speakers do not see each other: let TCP and UDP port 7946 pass between all nodes, then `kubectl -n metallb-system rollout restart daemonset speaker`")
            .mend("of mode ipvs without strictARP every node answers: `kubernetes.proxy.strictARP: true` in the rack, then `rackwright apply`"),
    })
}
