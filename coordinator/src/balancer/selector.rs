//! Label selectors of Kubernetes, as objects have them.

use serde_json::Value;

/// Whether a selector takes something with these labels; an empty one takes everything. `None` when that depends on a
/// label of which `label` does not know (`Err`).
pub(super) fn selects<'a>(
    selector: &Value,
    label: impl Fn(&str) -> Result<Option<&'a str>, Unknown>,
) -> Option<bool> {
    let equal = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let equal = equal.map(|(key, value)| label(key).ok().map(|there| there == value.as_str()));
    let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    let all: Vec<Option<bool>> = equal.chain(expressions.map(|e| holds(e, &label))).collect();
    match all.contains(&Some(false)) {
        true => Some(false),
        false => all.iter().all(Option::is_some).then_some(true),
    }
}

/// What is not known of an object.
pub(super) struct Unknown;

fn holds<'a>(expression: &Value, label: &impl Fn(&str) -> Result<Option<&'a str>, Unknown>) -> Option<bool> {
    let there = label(expression["key"].as_str().unwrap_or_default()).ok()?;
    let values = expression["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    let among = there.is_some_and(|there| values.iter().any(|value| value == there));
    Some(match expression["operator"].as_str().unwrap_or_default() {
        "In" => among,
        "NotIn" => !among,
        "Exists" => there.is_some(),
        "DoesNotExist" => there.is_none(),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with_room(selector: Value) -> Option<bool> {
        selects(&selector, |key| match key {
            "room" => Ok(Some("a")),
            "secret" => Err(Unknown),
            _ => Ok(None),
        })
    }

    #[test]
    fn all_of_a_selector_must_hold() {
        let room =
            |operator: &str, values: &[&str]| json!({"key": "room", "operator": operator, "values": values});
        assert_eq!(with_room(json!({})), Some(true));
        assert_eq!(with_room(json!({"matchLabels": {"room": "a"}})), Some(true));
        assert_eq!(with_room(json!({"matchLabels": {"room": "b"}})), Some(false));
        let both = json!({"matchLabels": {"room": "a"}, "matchExpressions": [room("NotIn", &["a"])]});
        assert_eq!(with_room(both), Some(false));
        assert_eq!(
            with_room(json!({"matchExpressions": [room("In", &["b", "a"]), room("Exists", &[])]})),
            Some(true)
        );
        assert_eq!(with_room(json!({"matchLabels": {"rack": "1"}})), Some(false));
    }

    #[test]
    fn what_is_not_known_is_said_only_where_it_matters() {
        assert_eq!(with_room(json!({"matchLabels": {"secret": "x"}})), None);
        assert_eq!(with_room(json!({"matchLabels": {"secret": "x", "room": "b"}})), Some(false));
    }
}
