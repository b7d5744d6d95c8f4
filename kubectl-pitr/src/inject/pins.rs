//! Pins: base backups that never expire, as `retention.pins` of the sidecar's configuration names them.

use anyhow::Result;
use serde_json::{Value, json};

use super::sidecar::config_map_name;
use super::tree;
use crate::objects::copied;

/// The pins of a configuration.
pub fn listed(config: &Value) -> Vec<String> {
    copied::words(&config["retention"]["pins"])
}

/// The pins of the ConfigMap that an earlier injection left in a stream of manifests.
pub fn of_manifests(text: &str, workload: &str) -> Vec<String> {
    let name = config_map_name(workload);
    let documents = tree::parse(text).unwrap_or_default();
    let ours =
        documents.iter().find(|d| d.value["kind"] == "ConfigMap" && d.value["metadata"]["name"] == name.as_str());
    let config = ours.and_then(|d| d.value["data"]["config.yaml"].as_str()).and_then(|t| copied::configuration(t).ok());
    config.map(|config| listed(&config)).unwrap_or_default()
}

/// A configuration with these pins instead of its own.
pub fn with(config: &Value, pins: &[String]) -> Result<String> {
    let mut config = config.clone();
    if !config["retention"].is_object() {
        config["retention"] = json!({});
    }
    config["retention"]["pins"] = json!(pins);
    tree::emit(&config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_changed_and_nothing_else() {
        let text = "workload: shop/mysql\nretention: {window: 14d, pins: [bb-1]}\ns3: {region: eu-west-1}\n";
        let config = copied::configuration(text).unwrap();
        assert_eq!(listed(&config), ["bb-1"]);
        let changed = copied::configuration(&with(&config, &["bb-1".into(), "bb-2".into()]).unwrap()).unwrap();
        assert_eq!(listed(&changed), ["bb-1", "bb-2"]);
        let without = |mut config: Value| {
            config["retention"]["pins"] = Value::Null;
            config
        };
        assert_eq!(without(changed), without(config));
        let bare = copied::configuration("workload: shop/mysql\n").unwrap();
        assert!(listed(&bare).is_empty());
        assert_eq!(with(&bare, &["bb-1".into()]).unwrap(), "retention:\n  pins:\n  - bb-1\nworkload: shop/mysql\n");
        assert_eq!(listed(&json!({"retention": {"pins": "bb-1, bb-2"}})), ["bb-1", "bb-2"]);
    }

    #[test]
    fn pins_survive_in_the_manifests_of_an_earlier_injection() {
        let text =
            "kind: ConfigMap\nmetadata: {name: pitr-mysql}\ndata:\n  config.yaml: |\n    retention: {pins: [bb-7]}\n";
        assert_eq!(of_manifests(text, "mysql"), ["bb-7"]);
        assert!(of_manifests(text, "other").is_empty());
    }
}
