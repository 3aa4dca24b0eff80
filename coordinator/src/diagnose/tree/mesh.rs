//! Webhooks, istiod, gateways, and the pod that was asked about.

use super::{NO_API, kubectl, last_line, line_with, once, pods_in_words, shortened};
use crate::diagnose::answers::{Door, From};
use crate::diagnose::ask::ISTIOD;
use crate::diagnose::case::{Case, Hook, Mesh, Pod};
use crate::diagnose::cause::Cause;
use crate::diagnose::verdict::{Found, Tested};
use crate::network::list;

/// What Envoy and its agent say of a configuration that Envoy does not take.
const REJECTED: [&str; 4] =
    ["rejected:", "Didn't find a registered implementation", "Rejected config", "rejected by Envoy"];
/// What a resolver says, and what that means.
const NAMES: [(&str, &str); 4] = [
    ("i/o timeout", "its question left and nothing came back: it is lost on the way to CoreDNS or back"),
    (
        "connection refused",
        "somebody refused its question: the DNS Service has no endpoints, or CoreDNS does not listen",
    ),
    (
        "no such host",
        "CoreDNS answered that there is no such name: the way is good, and the Service is missing or in another namespace",
    ),
    (
        "server misbehaving",
        "CoreDNS answered that it failed: the way is good, and CoreDNS's own sources are not",
    ),
];

/// `w1 connects to 10.244.1.2:15012: connection refused`
pub(super) fn told(door: &Door) -> String {
    let who = match door.from {
        From::Host => door.host.name.clone(),
        From::Pod => format!("a pod on {}", door.host.name),
    };
    format!("{who} connects to {}: {}", door.to, door.answer.err().unwrap_or("it opens"))
}

fn hooks_of(case: &Case) -> Result<&[Hook], Tested> {
    match &case.cluster {
        Ok(cluster) if cluster.hooks.is_empty() => Err(Tested::RuledOut("no webhook must be asked".into())),
        Ok(cluster) => Ok(&cluster.hooks),
        Err(_) => Err(Tested::CannotTell(NO_API.into())),
    }
}

pub(super) fn hooks(case: &Case) -> Tested {
    let hooks = match hooks_of(case) {
        Ok(hooks) => hooks,
        Err(tested) => return tested,
    };
    let empty: Vec<&Hook> = hooks.iter().filter(|hook| hook.endpoints.is_empty()).collect();
    let Some(first) = empty.first() else {
        return Tested::RuledOut(format!(
            "each has endpoints: {}",
            list(once(hooks.iter().map(|hook| &hook.service)))
        ));
    };
    let (namespace, name) = first.service.split_once('/').unwrap_or(("default", &first.service));
    let mut found = Found::new(
        Cause::WebhookNoEndpoints,
        "a webhook that the API server must ask has nobody behind it, so that what it guards is refused",
    );
    for hook in &empty {
        let lacks = if hook.lacks.is_empty() { "has no ready endpoint" } else { &hook.lacks };
        found = found.seen(format!("{} asks Service {}, which {lacks}", hook.name, hook.service));
    }
    if !first.lacks.is_empty() {
        let named = "what the webhook names (`clientConfig.service`)";
        found =
            found.mend(format!("compare {named} with what is there: `kubectl -n {namespace} get services`"));
    }
    Tested::Confirmed(
        found
            .mend(format!("bring its pods back: `kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={name}`, and `kubectl -n {namespace} get pods`"))
            .mend(format!("where nobody needs it any more: delete its configuration, {}", first.name)),
    )
}

pub(super) fn hooks_reached(case: &Case) -> Tested {
    let hooks = match hooks_of(case) {
        Ok(hooks) => hooks,
        Err(tested) => return tested,
    };
    let of = |hook: &Hook| {
        case.doors()
            .filter(|door| door.from == From::Host && hook.endpoints.contains(&door.to))
            .collect::<Vec<_>>()
    };
    let mut asked = 0;
    for hook in hooks {
        let doors = of(hook);
        asked += doors.len();
        let failed: Vec<&Door> = doors.iter().filter(|door| door.answer.is_err()).collect();
        if let Some(first) = failed.first() {
            let nodes = once(failed.iter().map(|door| door.host.name.as_str()));
            return Tested::Confirmed(
                Found::new(Cause::WebhookUnreachable, "the API server does not reach a webhook that it must ask, so that what it guards is refused")
                    .on(nodes)
                    .seen(format!("{} asks Service {}", hook.name, hook.service))
                    .seen(told(first))
                    .mend(format!("let TCP port {} pass from the control planes to that pod, in firewalls and NetworkPolicies", first.to.port())),
            );
        }
    }
    match asked {
        0 => Tested::CannotTell("no control plane was asked to connect to one".into()),
        _ => Tested::RuledOut("the control planes connect to all that were tried".into()),
    }
}

fn mesh(case: &Case) -> Result<&Mesh, Tested> {
    match &case.cluster {
        Ok(cluster) => cluster.mesh.as_ref().ok_or(Tested::Beside),
        Err(_) => Err(Tested::CannotTell(NO_API.into())),
    }
}

pub(super) fn istiod(case: &Case) -> Tested {
    let mesh = match mesh(case) {
        Ok(mesh) => mesh,
        Err(tested) => return tested,
    };
    let ready = mesh.istiod.iter().filter(|pod| pod.ready).count();
    if ready > 0 {
        return Tested::RuledOut(format!("{ready} of its {} pods are ready", mesh.istiod.len()));
    }
    let found = Found::new(
        Cause::IstiodNotReady,
        "istiod has no ready pod, so that sidecars and gateways get no configuration",
    );
    let Some(pod) = mesh.istiod.first() else {
        return Tested::Confirmed(
            found
                .seen("there is no pod with the label app=istiod")
                .mend("`rackwright apply` installs it where the rack has `kubernetes.istio`")
                .mend("or it is scaled to nothing: `kubectl get deployments -A -l app=istiod`"),
        );
    };
    let said = last_line(&pod.log).map(|line| format!("its log: {}", shortened(line)));
    let found = found.seen(pods_in_words(&mesh.istiod));
    Tested::Confirmed(
        said.into_iter()
            .fold(found, Found::seen)
            .mend(format!("see why: {}", kubectl(pod, "describe pod")))
            .mend(
                "a request of CPU that no node has (500m by default): `values.pilot.resources.requests.cpu`",
            ),
    )
}

pub(super) fn istiod_reached(case: &Case) -> Tested {
    let mesh = match mesh(case) {
        Ok(mesh) => mesh,
        Err(tested) => return tested,
    };
    let ready: Vec<&Pod> = mesh.istiod.iter().filter(|pod| pod.ready).collect();
    let is =
        |door: &Door| door.to.port() == ISTIOD && ready.iter().any(|pod| pod.address == Some(door.to.ip()));
    let doors: Vec<Door> = case.doors().filter(is).collect();
    let failed: Vec<&Door> = doors.iter().filter(|door| door.answer.is_err()).collect();
    match (failed.first(), doors.is_empty()) {
        (None, true) => Tested::CannotTell("nobody was asked to connect to it".into()),
        (None, false) => Tested::RuledOut(format!(
            "port {ISTIOD} opens from {}",
            list(once(doors.iter().map(|door| &door.host.name)))
        )),
        (Some(first), _) => {
            let nodes = once(failed.iter().map(|door| door.host.name.as_str()));
            Tested::Confirmed(
                Found::new(Cause::IstiodUnreachable, "proxies there do not reach istiod, so that they get neither a certificate nor a configuration")
                    .on(nodes)
                    .seen(told(first))
                    .mend(format!("let TCP port {ISTIOD} of istiod's pods pass, in firewalls and NetworkPolicies"))
                    .mend("and see what else is told here of those nodes"),
            )
        }
    }
}

fn waiting(mesh: &Mesh) -> Vec<&Pod> {
    mesh.gateways.iter().filter(|pod| !pod.ready).collect()
}

fn rejected(pod: &Pod) -> Option<&str> {
    line_with(&pod.log, &REJECTED)
}

fn resolver(pod: &Pod) -> Option<(&str, &'static str)> {
    let line = pod
        .log
        .lines()
        .rev()
        .find(|line| line.contains("lookup ") && NAMES.iter().any(|(word, _)| line.contains(word)))?;
    let (_, meaning) = NAMES.iter().find(|(word, _)| line.contains(word))?;
    Some((line.trim(), meaning))
}

pub(super) fn rejects(case: &Case) -> Tested {
    let mesh = match mesh(case) {
        Ok(mesh) => mesh,
        Err(tested) => return tested,
    };
    let bad: Vec<(&Pod, &str)> =
        waiting(mesh).into_iter().filter_map(|pod| Some((pod, rejected(pod)?))).collect();
    let Some((pod, line)) = bad.first() else {
        return Tested::RuledOut(all_ready(mesh, "none says that it rejects anything"));
    };
    Tested::Confirmed(
        Found::new(Cause::GatewayRejects, "Envoy does not take the configuration that istiod sends, so that the gateway never becomes ready")
            .on(once(bad.iter().filter_map(|(pod, _)| pod.node.as_deref())))
            .seen(pods_in_words(bad.iter().map(|(pod, _)| *pod)))
            .seen(format!("its log: {}", shortened(line)))
            .mend("use the proxy's image of istiod's own version: Envoy must know all filters that istiod sends")
            .mend("what is sent and what is taken: `istioctl proxy-status`, then `istioctl proxy-config listener POD`")
            .mend(format!("an EnvoyFilter that Envoy does not understand is one: `kubectl get envoyfilters -A`; the whole log: {}", kubectl(pod, "logs"))),
    )
}

pub(super) fn no_names(case: &Case) -> Tested {
    let mesh = match mesh(case) {
        Ok(mesh) => mesh,
        Err(tested) => return tested,
    };
    let found = waiting(mesh)
        .into_iter()
        .filter(|pod| rejected(pod).is_none())
        .find_map(|pod| Some((pod, resolver(pod)?)));
    let Some((pod, (line, meaning))) = found else {
        return Tested::RuledOut(all_ready(mesh, "none says that it does not find istiod's name"));
    };
    Tested::Confirmed(
        Found::new(Cause::GatewayNoNames, format!("the gateway does not find istiod by its name: {meaning}"))
            .on(pod.node.clone())
            .seen(pods_in_words([pod]))
            .seen(format!("its log: {}", shortened(line)))
            .mend("mend what else is told here of DNS; where all of that is well by now, the pod is from before")
            .mend(format!("then make it anew: {}", kubectl(pod, "delete pod"))),
    )
}

pub(super) fn gateways(case: &Case) -> Tested {
    let mesh = match mesh(case) {
        Ok(mesh) => mesh,
        Err(tested) => return tested,
    };
    let waiting = waiting(mesh);
    if waiting.is_empty() {
        return Tested::RuledOut(all_ready(mesh, ""));
    }
    let Some(pod) = waiting.iter().find(|pod| rejected(pod).is_none() && resolver(pod).is_none()) else {
        return Tested::Beside;
    };
    let found = Found::new(Cause::GatewayNotReady, "a gateway's pod is not ready")
        .on(pod.node.clone())
        .seen(pods_in_words(waiting.iter().copied()));
    let said = last_line(&pod.log).map(|line| format!("its log: {}", shortened(line)));
    Tested::Confirmed(
        said.into_iter()
            .fold(found, Found::seen)
            .mend(format!("see why: {}", kubectl(pod, "describe pod")))
            .mend(format!("its whole log: {}", kubectl(pod, "logs"))),
    )
}

fn all_ready(mesh: &Mesh, otherwise: &str) -> String {
    match (mesh.gateways.len(), waiting(mesh).len()) {
        (0, _) => "there is no gateway".into(),
        (1, 0) => "the one pod of a gateway is ready".into(),
        (all, 0) => format!("all {all} pods of gateways are ready"),
        _ => otherwise.to_owned(),
    }
}

pub(super) fn pod(case: &Case) -> Tested {
    let pod = match &case.cluster {
        Ok(cluster) => cluster.pod.as_ref(),
        Err(_) => return Tested::Beside,
    };
    let Some(pod) = pod else { return Tested::Beside };
    if pod.ready {
        return Tested::RuledOut(format!("{} is ready", pod.name));
    }
    let found =
        Found::new(Cause::PodNotReady, "the pod that was asked about is not ready").on(pod.node.clone());
    let found = found.seen(pods_in_words([pod]));
    let said = match resolver(pod) {
        Some((line, meaning)) => Some(format!("its log: {}: {meaning}", shortened(line))),
        None => last_line(&pod.log).map(|line| format!("its log: {}", shortened(line))),
    };
    Tested::Confirmed(
        said.into_iter().fold(found, Found::seen).mend(format!("see why: {}", kubectl(pod, "describe pod"))),
    )
}
