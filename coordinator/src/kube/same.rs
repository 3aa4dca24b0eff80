//! Whether an object on the cluster is already what was sent. Pure.

use serde_json::Value;

/// Whether `live` has all that `sent` says, but for what the API server writes itself. Asked when a request broke and
/// may have arrived: defaults that the API server adds do not count.
pub(super) fn holds(live: &Value, sent: &Value) -> bool {
    let Some(sent) = sent.as_object() else { return contains(live, sent) };
    sent.iter().all(|(key, value)| match key.as_str() {
        "status" => true,
        "metadata" => metadata_holds(&live["metadata"], value),
        _ => contains(&live[key], value),
    })
}

fn metadata_holds(live: &Value, sent: &Value) -> bool {
    const SERVERS: [&str; 5] =
        ["resourceVersion", "managedFields", "generation", "creationTimestamp", "selfLink"];
    let fields = sent.as_object().into_iter().flatten();
    fields.filter(|(key, _)| !SERVERS.contains(&key.as_str())).all(|(key, value)| contains(&live[key], value))
}

fn contains(live: &Value, sent: &Value) -> bool {
    match (live, sent) {
        (Value::Object(live), Value::Object(sent)) => sent
            .iter()
            .all(|(key, value)| value.is_null() || live.get(key).is_some_and(|live| contains(live, value))),
        (Value::Array(live), Value::Array(sent)) => {
            live.len() == sent.len() && live.iter().zip(sent).all(|(live, sent)| contains(live, sent))
        }
        // An empty map or list is often dropped by the API server.
        (Value::Null, Value::Object(sent)) => sent.is_empty(),
        (Value::Null, Value::Array(sent)) => sent.is_empty(),
        _ => live == sent,
    }
}

/// Whether two objects say the same exactly, but for what the API server writes itself.
pub(super) fn equals(live: &Value, sent: &Value) -> bool {
    holds(live, sent) && holds(sent, &without_servers(live))
}

fn without_servers(live: &Value) -> Value {
    let mut live = live.clone();
    if let Some(metadata) = live.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("uid");
    }
    live
}

/// Whether a merge patch (RFC 7396) changes nothing but the version that it names.
pub(super) fn patched(live: &Value, patch: &Value) -> bool {
    match (live, patch) {
        (Value::Object(live), Value::Object(patch)) => patch.iter().all(|(key, value)| match value {
            _ if key == "resourceVersion" => true,
            Value::Null => !live.contains_key(key),
            value => live.get(key).is_some_and(|live| patched(live, value)),
        }),
        (_, Value::Object(_)) => false,
        _ => live == patch,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_server_adds_does_not_count() {
        let sent = json!({"kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "1"}, "data": {"k": "v"}});
        let mut live = sent.clone();
        live["metadata"]["resourceVersion"] = json!("2");
        live["metadata"]["uid"] = json!("u");
        assert!(holds(&live, &sent) && equals(&live, &sent));
        live["data"]["other"] = json!("x");
        assert!(holds(&live, &sent));
        assert!(!equals(&live, &sent));
        live["data"]["k"] = json!("w");
        assert!(!holds(&live, &sent));
    }

    #[test]
    fn a_patch_that_is_in_already() {
        let live = json!({"metadata": {"resourceVersion": "2"}, "data": {"k": "v"}});
        assert!(patched(
            &live,
            &json!({"metadata": {"resourceVersion": "1"}, "data": {"k": "v", "gone": null}})
        ));
        assert!(!patched(&live, &json!({"data": {"k": null}})));
        assert!(!patched(&live, &json!({"data": {"k": {}}})));
    }
}
