//! Comparing what is wanted of an object with what the API made of it.

use serde_json::{Map, Value};

/// `live` cut to the shape of `want`: fields that `want` does not speak of are left out, so that defaults and other
/// people's fields make no difference. Equal to `want` where the API only wrote the same in other words:
/// - what is empty (`null`, `{}`, `[]`) may be left out by it;
/// - quantities of resources are written its own way (`1024Mi` is `1Gi`);
/// - lists that server-side apply merges by keys (containers, ports, webhooks) are compared by these keys, since others
///   may add items of their own. All other lists are cut item by item where they are of one length, else kept whole.
pub fn cut(want: &Value, live: &Value) -> Value {
    cut_at("", want, live)
}

fn cut_at(field: &str, want: &Value, live: &Value) -> Value {
    match (want, live) {
        (Value::Object(want), Value::Object(live)) => {
            let quantities = matches!(field, "limits" | "requests");
            let one = |(key, want): (&String, &Value)| {
                let value = match live.get(key) {
                    None if is_empty(want) => want.clone(),
                    None => return None,
                    Some(live) if quantities && same_quantity(want, live) => want.clone(),
                    Some(live) => cut_at(key, want, live),
                };
                Some((key.clone(), value))
            };
            Value::Object(want.iter().filter_map(one).collect())
        }
        (Value::Array(want), Value::Array(live)) => {
            Value::Array(by_key(field, want, live).unwrap_or_else(|| item_by_item(want, live)))
        }
        _ if is_empty(want) && is_empty(live) => want.clone(),
        _ => live.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}

fn item_by_item(want: &[Value], live: &[Value]) -> Vec<Value> {
    match want.len() == live.len() {
        true => want.iter().zip(live).map(|(want, live)| cut_at("", want, live)).collect(),
        false => live.to_vec(),
    }
}

/// By which fields server-side apply tells the items of a list apart (`x-kubernetes-list-map-keys`).
fn merge_keys(field: &str) -> &'static [&'static str] {
    match field {
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" | "webhooks" => &["name"],
        "volumeMounts" => &["mountPath"],
        "ports" => &["containerPort", "port", "protocol"],
        _ => &[],
    }
}

/// Items of `live` that `want` speaks of, in its order; `None` where keys do not tell them apart.
fn by_key(field: &str, want: &[Value], live: &[Value]) -> Option<Vec<Value>> {
    let keys = merge_keys(field);
    let wanted: Vec<_> = want.iter().map(|item| identity(keys, item)).collect::<Option<_>>()?;
    let there: Vec<_> = live.iter().map(|item| identity(keys, item)).collect::<Option<_>>()?;
    if wanted.iter().enumerate().any(|(at, id)| wanted[..at].contains(id)) {
        return None;
    }
    let matching = want.iter().zip(&wanted).filter_map(|(want, id)| {
        let at = there.iter().position(|other| other == id)?;
        Some(cut_at("", want, &live[at]))
    });
    Some(matching.collect())
}

fn identity(keys: &[&str], item: &Value) -> Option<Vec<Value>> {
    let default = |key: &str| if key == "protocol" { Value::from("TCP") } else { Value::Null };
    let id: Vec<_> = keys.iter().map(|key| item.get(key).cloned().unwrap_or_else(|| default(key))).collect();
    let told = keys.iter().any(|key| item.get(key).is_some_and(|value| !value.is_null()));
    told.then_some(id)
}

fn same_quantity(a: &Value, b: &Value) -> bool {
    let quantity = |value: &Value| match value {
        Value::String(text) => quantity(text),
        Value::Number(number) => quantity(&number.to_string()),
        _ => None,
    };
    quantity(a).is_some_and(|a| quantity(b) == Some(a))
}

/// A quantity in billionths (`resource.Quantity` of Kubernetes, without exponents of ten written as `e`).
fn quantity(text: &str) -> Option<i128> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(at);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale: i128 = match suffix {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "" => 1_000_000_000,
        _ => 1_000_000_000 * unit(suffix)?,
    };
    if whole.len() > 12 || fraction.len() > 9 || number.is_empty() {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    Some(digits * scale / 10i128.pow(u32::try_from(fraction.len()).ok()?))
}

fn unit(suffix: &str) -> Option<i128> {
    let prefix = ["k", "M", "G", "T", "P", "E"];
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let power =
        |list: &[&str]| list.iter().position(|s| *s == suffix).and_then(|at| u32::try_from(at + 1).ok());
    power(&prefix).map(|p| 1000i128.pow(p)).or_else(|| power(&binary).map(|p| 1024i128.pow(p)))
}

/// Adds to a cut what is ours by server-side apply and no longer wanted: applying would take it away. `owned` is in
/// the form of `fieldsV1` (KEP-555).
pub(super) fn with_owned(cut: Value, owned: &Value, live: &Value) -> Value {
    let (Value::Object(mut fields), Value::Object(live)) = (cut.clone(), live) else { return cut };
    for (name, below, live) in owned_fields(owned, live) {
        let value = match fields.remove(name) {
            Some(cut) => with_owned(cut, below, live),
            None => only_owned(below, live),
        };
        fields.insert(name.to_owned(), value);
    }
    Value::Object(fields)
}

fn only_owned(owned: &Value, live: &Value) -> Value {
    let Value::Object(fields) = live else { return live.clone() };
    let of =
        owned_fields(owned, fields).map(|(name, below, live)| (name.to_owned(), only_owned(below, live)));
    let of: Map<_, _> = of.collect();
    if of.is_empty() { live.clone() } else { Value::Object(of) }
}

fn owned_fields<'a>(
    owned: &'a Value,
    live: &'a Map<String, Value>,
) -> impl Iterator<Item = (&'a str, &'a Value, &'a Value)> {
    let fields = owned.as_object().into_iter().flatten();
    fields.filter_map(|(key, below)| {
        let name = key.strip_prefix("f:")?;
        Some((name, below, live.get(name)?))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn same(want: Value, live: Value) -> bool {
        cut(&want, &live) == want
    }

    #[test]
    fn what_the_api_writes_its_own_way_is_the_same() {
        assert!(same(json!({"rules": [], "labels": {}, "of": null}), json!({"kind": "Role"})));
        assert!(same(
            json!({"volumes": [{"name": "a", "emptyDir": {}}]}),
            json!({"volumes": [{"name": "a"}]})
        ));
        let limits = |cpu, memory| json!({"resources": {"limits": {"cpu": cpu, "memory": memory}}});
        assert!(same(limits(json!("0.5"), json!("1024Mi")), limits(json!("500m"), json!("1Gi"))));
        assert!(same(limits(json!(2), json!("1G")), limits(json!("2"), json!("1000000k"))));
        assert!(!same(limits(json!("1"), json!("1G")), limits(json!("1"), json!("1Gi"))));
    }

    #[test]
    fn lists_that_apply_merges_are_compared_by_their_keys() {
        let live = json!({"containers": [
            {"name": "mesh", "image": "proxy"},
            {"name": "speaker", "image": "a", "ports": [
                {"containerPort": 7946, "protocol": "TCP"},
                {"containerPort": 7946, "protocol": "UDP"},
            ]},
        ]});
        let ports = json!([{"containerPort": 7946, "protocol": "UDP"}, {"containerPort": 7946}]);
        assert!(same(
            json!({"containers": [{"name": "speaker", "image": "a", "ports": ports}]}),
            live.clone()
        ));
        assert!(!same(json!({"containers": [{"name": "speaker", "image": "b"}]}), live.clone()));
        assert!(!same(json!({"containers": [{"name": "gone"}]}), live));
    }

    #[test]
    fn other_lists_are_one_value() {
        assert!(!same(json!({"addresses": ["a"]}), json!({"addresses": ["a", "b"]})));
        assert!(!same(
            json!({"subjects": [{"name": "a"}]}),
            json!({"subjects": [{"name": "a"}, {"name": "b"}]})
        ));
        assert!(same(
            json!({"subjects": [{"name": "a"}]}),
            json!({"subjects": [{"name": "a", "apiGroup": ""}]})
        ));
    }

    #[test]
    fn what_is_ours_and_no_longer_wanted_makes_a_difference() {
        let live = json!({"spec": {"addresses": ["a"], "autoAssign": true, "serviceAllocation": {"priority": 1, "x": 2}}});
        let want = json!({"spec": {"addresses": ["a"]}});
        let ours = json!({"f:spec": {"f:addresses": {}, "f:serviceAllocation": {"f:priority": {}}}});
        let seen = with_owned(cut(&want, &live), &ours, &live);
        assert_eq!(seen, json!({"spec": {"addresses": ["a"], "serviceAllocation": {"priority": 1}}}));
        let others = json!({"f:spec": {"f:addresses": {}}});
        assert_eq!(with_owned(cut(&want, &live), &others, &live), want);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            "[a-c]".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 3, |inner| {
            let keys = prop_oneof![Just("name"), Just("ports"), Just("env"), Just("limits"), Just("x")];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::vec((keys.prop_map(str::to_owned), inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn an_object_is_what_it_is(a in value()) {
            prop_assert_eq!(cut(&a, &a), a);
        }

        #[test]
        fn cutting_again_cuts_nothing(want in value(), live in value()) {
            let once = cut(&want, &live);
            prop_assert_eq!(cut(&want, &once), once);
        }

        #[test]
        fn any_text_may_be_no_quantity(text in ".{0,30}") {
            let _ = quantity(&text);
        }
    }
}
