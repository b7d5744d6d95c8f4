//! Typed views of manifests that do not lose what the types do not know.

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::failure::Failure;

/// The object as a Kubernetes type; a field that the type does not know is an error, since it would be lost or is misspelt.
pub fn typed<T: DeserializeOwned + Serialize>(value: &Value) -> Result<T> {
    let name = || format!("{}/{}", value["kind"].as_str().unwrap_or("object"), name_of(value)).to_lowercase();
    let object: T = serde_json::from_value(value.clone())
        .map_err(|e| Failure::usage(format!("{} does not have the shape of its kind: {e}", name())))?;
    let known = serde_json::to_value(&object).context("read the object back")?;
    let mut unknown = Vec::new();
    compare("", value, &known, &mut unknown);
    if unknown.is_empty() {
        return Ok(object);
    }
    let failure =
        Failure::usage(format!("{} has fields that Kubernetes does not know: {}", name(), unknown.join(", ")));
    Err(failure.hint("a misspelt field is ignored by the API server, or refused").into())
}

/// `metadata.name`.
pub fn name_of(value: &Value) -> &str {
    value["metadata"]["name"].as_str().unwrap_or_default()
}

/// Collects the paths of `value` that `known` lacks. Empty things may be dropped by a type; nothing else may.
fn compare(path: &str, value: &Value, known: &Value, unknown: &mut Vec<String>) {
    match (value, known) {
        (Value::Object(entries), _) => {
            for (key, value) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match known.get(key) {
                    Some(known) => compare(&path, value, known, unknown),
                    None if is_empty(value) => {}
                    None => unknown.push(path),
                }
            }
        }
        (Value::Array(items), Value::Array(known)) => {
            for (index, (value, known)) in items.iter().zip(known).enumerate() {
                compare(&format!("{path}[{index}]"), value, known, unknown);
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::StatefulSet;
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_are_named() {
        let object = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "mysql", "labels": {}},
            "spec": {"selector": {}, "replica": 3, "template": {"spec": {"containers": [{"name": "a", "imagee": "b"}]}}}});
        let error = typed::<StatefulSet>(&object).unwrap_err().to_string();
        assert_eq!(
            error,
            "statefulset/mysql has fields that Kubernetes does not know: spec.replica, spec.template.spec.containers[0].imagee"
        );
    }
}
