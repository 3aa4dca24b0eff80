//! Who else looks after Istio on this cluster. Two who do undo each other's work without a word.

use rackwright_proto::finding::Finding;

use super::check;
use crate::mesh::install::Install;
use crate::mesh::names;
use crate::mesh::view::{Owner, Record, View};
use crate::network::list;
use crate::rack::model::kubernetes::IstioMethod;

pub(super) fn findings(install: &Install, view: &View) -> Vec<Finding> {
    let mut found = vec![second(install, view)];
    found.extend(stray(install, view));
    found.extend(already(install, view));
    found
}

/// The in-cluster operator, where it is not the rack's own way.
fn second(install: &Install, view: &View) -> Finding {
    let checked = "whether somebody else looks after Istio here";
    let check = check(names::MESH_SECOND_OWNER, install.rev(), checked, "nobody");
    let acted_on: Vec<&Record> = view.records.iter().filter(|record| !record.is_record).collect();
    let ours = |record: &&&Record| record.revision == install.rev();
    if install.method == IstioMethod::Operator {
        return among_operators(install, view, check);
    }
    let objects = list(acted_on.iter().map(|record| format!("{}/{}", record.namespace, record.name)));
    let operators = list(&view.operators);
    let remove = "stop it before its objects go, or with them goes all that they made: delete its Deployment, remove the \
                  objects' finalizers, delete the objects; then apply again. Or write `method: operator`";
    match (view.operators.is_empty(), acted_on.is_empty()) {
        (true, true) => check.pass("nobody"),
        (false, false) if acted_on.iter().any(|record| ours(&record)) => {
            check.error(format!("the in-cluster operator {operators} acts on IstioOperator {objects}"), remove)
        }
        (false, false) => check.warning(
            format!("the in-cluster operator {operators} acts on IstioOperator {objects}, of other revisions"),
            "leave it while those revisions are needed; it ends with Istio 1.23",
        ),
        (false, true) => check.warning(
            format!("the in-cluster operator {operators}, which has nothing to act on"),
            "remove it: `istioctl operator remove` of a version up to 1.23",
        ),
        (true, false) => check.warning(
            format!("IstioOperator {objects}, which no operator acts on now"),
            "remove their finalizers, which nobody serves any more, and delete them: an operator that is started here would act on them",
        ),
    }
}

/// With the operator as the rack's own way, another object of the same revision is the second owner.
fn among_operators(install: &Install, view: &View, check: crate::findings::Check) -> Finding {
    let own = crate::mesh::install::object_name(install);
    let others = view.records.iter().filter(|record| {
        !record.is_record
            && record.revision == install.rev()
            && (record.name != own || record.namespace != install.namespace)
    });
    let others: Vec<String> = others.map(|record| format!("{}/{}", record.namespace, record.name)).collect();
    match others.is_empty() {
        true => check.pass("nobody"),
        false => check.error(
            format!("IstioOperator {} wants the same revision", list(&others)),
            format!("name it in the file (`metadata.name`) to take it over as it is, or delete it before {own} is made"),
        ),
    }
}

/// The mis-indented object that was let into the cluster.
fn stray(install: &Install, view: &View) -> Vec<Finding> {
    let say = |record: &Record| {
        let name = format!("{}/{}", record.namespace, record.name);
        let checked = format!("whether IstioOperator {name} says where it is read what it wants");
        let observed =
            "its `profile` stands beside `spec`, where nobody reads it: the operator installs `default`";
        check(names::MESH_PROFILE_STRAY, install.rev(), checked, "`profile` under `spec`").warning(
            observed,
            format!("`kubectl edit istiooperator -n {} {}`", record.namespace, record.name),
        )
    };
    view.records.iter().filter(|record| record.stray_profile).map(say).collect()
}

/// A control plane of the wanted revision that was installed in another way.
fn already(install: &Install, view: &View) -> Option<Finding> {
    let plane = view.plane(install.rev())?;
    let checked = format!("who installed Deployment {}/{}", plane.namespace, plane.name);
    let own = match install.method {
        IstioMethod::Istioctl => "istioctl",
        IstioMethod::Operator => "the in-cluster operator",
        IstioMethod::Helm => "Helm",
    };
    let check = check(names::MESH_ALREADY_THERE, install.rev(), checked, own);
    let seen = plane.owner.words();
    let move_on =
        "write that method into the rack, or install beside it by another `revision` and remove it later";
    Some(match (&plane.owner, install.method) {
        (Owner::Istioctl, IstioMethod::Istioctl)
        | (Owner::Operator, IstioMethod::Operator)
        | (Owner::Helm(_), IstioMethod::Helm) => check.pass(seen),
        // Both leave the same labels; what the operator acts on is told as a second owner.
        (Owner::Istioctl | Owner::Operator, IstioMethod::Istioctl | IstioMethod::Operator) => check.warning(
            format!("{seen}; istioctl and the operator take over from each other without a word"),
            "see that only one of them stays",
        ),
        (_, IstioMethod::Helm) => {
            check.error(format!("{seen}: Helm refuses to take over what it did not make"), move_on)
        }
        (Owner::Helm(_), _) => {
            check.error(format!("{seen}: its next upgrade would undo what istioctl does"), move_on)
        }
        (Owner::Unknown(_), _) => {
            check.warning(seen, "ask who; whatever looks after it may undo what is done here")
        }
    })
}
