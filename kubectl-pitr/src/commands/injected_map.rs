//! The ConfigMap that an injection makes: looked at, put there without losing what was pinned meanwhile, and brought back.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use pitr_recovery::code;
use serde_json::{Value, json};

use crate::cluster::{ApplyOptions, Cluster};
use crate::failure::Failure;
use crate::inject::pins;
use crate::inject::sidecar::{LABEL_MANAGED, MANAGER};
use crate::objects::copied;

/// Who changes the map between the look at it and the apply has it looked at again, so often.
const TRIES: usize = 3;
const CONFIG: &str = "config.yaml";

/// The map of that name, if there is one. One that is not ours is refused, and one that cannot be read may be anybody's.
pub(super) async fn look(cluster: &Cluster, name: &str) -> Result<Option<ConfigMap>, Failure> {
    let Some(map) = cluster.config_map(name).await? else { return Ok(None) };
    if map.metadata.labels.iter().flatten().any(|(key, value)| key == LABEL_MANAGED && value == MANAGER) {
        return Ok(Some(map));
    }
    Err(Failure::new(code::APPLY_CONFLICT, format!("configmap \"{name}\" exists and is not ours"))
        .hint("nothing was changed")
        .fix(format!("kubectl delete configmap {name} -n {}, if nothing needs it", cluster.namespace())))
}

/// Its pins: a new injection must not let go what was to be kept.
pub(super) fn pinned(map: &ConfigMap) -> Vec<String> {
    let text = map.data.iter().flatten().find(|(key, _)| *key == CONFIG).map(|(_, text)| text.as_str());
    copied::configuration(text.unwrap_or_default()).map(|config| pins::listed(&config)).unwrap_or_default()
}

/// A map as it is applied to be as it was.
pub(super) fn as_it_was(map: &ConfigMap) -> Value {
    let of_ours = |all: &Option<BTreeMap<String, String>>| -> BTreeMap<String, String> {
        let ours = all.iter().flatten().filter(|(key, _)| key.starts_with("kubectl-pitr/"));
        ours.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": map.metadata.name, "namespace": map.metadata.namespace,
        "labels": map.metadata.labels, "annotations": of_ours(&map.metadata.annotations)}, "data": map.data})
}

/// Applies a map with the pins that are there at that moment, and tells whether that makes it another.
pub(super) async fn put(cluster: &Cluster, name: &str, wanted: &Value, options: ApplyOptions) -> Result<bool, Failure> {
    let mut tries = TRIES;
    loop {
        let there = look(cluster, name).await?;
        let object = there.as_ref().map_or_else(|| Ok(wanted.clone()), |there| over(wanted, there))?;
        match cluster.apply_config_map(name, &object, options).await {
            Err(conflict) if conflict.number() == Some(code::APPLY_CONFLICT.number) && tries > 1 => tries -= 1,
            outcome => return outcome.map(|applied| there.as_ref().is_none_or(|there| !is_same(there, &applied))),
        }
    }
}

fn is_same(one: &ConfigMap, other: &ConfigMap) -> bool {
    (&one.data, &one.metadata.labels, &one.metadata.annotations)
        == (&other.data, &other.metadata.labels, &other.metadata.annotations)
}

/// What is wanted in place of what is there: with its pins, and only if it is still that one.
fn over(wanted: &Value, there: &ConfigMap) -> Result<Value, Failure> {
    let mut object = wanted.clone();
    object["metadata"]["resourceVersion"] = json!(there.metadata.resource_version);
    let config = copied::configuration(wanted["data"][CONFIG].as_str().unwrap_or_default())?;
    let pinned = pinned(there);
    if pins::listed(&config) != pinned {
        let text = pins::with(&config, &pinned).map_err(|reason| Failure::without_code(1, reason.to_string()))?;
        object["data"][CONFIG] = text.into();
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(config: &str) -> ConfigMap {
        let mut map =
            ConfigMap { data: Some(BTreeMap::from([(CONFIG.into(), config.into())])), ..ConfigMap::default() };
        map.metadata.name = Some("pitr-mysql".into());
        map.metadata.resource_version = Some("7".into());
        let annotation = |key: &str| (key.to_owned(), "x".to_owned());
        map.metadata.annotations =
            Some(BTreeMap::from([annotation("kubectl-pitr/mysql-secret"), annotation("other/key")]));
        map
    }

    #[test]
    fn pins_of_the_moment_are_kept_and_all_else_is_what_is_wanted() {
        let there = map("retention: {window: 14d, pins: [bb-2]}\n");
        let wanted = as_it_was(&map("retention: {window: 30d, pins: [bb-1]}\n"));
        let object = over(&wanted, &there).unwrap();
        assert_eq!(object["metadata"]["resourceVersion"], "7");
        let config = copied::configuration(object["data"][CONFIG].as_str().unwrap()).unwrap();
        assert_eq!(config, json!({"retention": {"window": "30d", "pins": ["bb-2"]}}));
        let same = as_it_was(&there);
        assert_eq!(over(&same, &there).unwrap()["data"], same["data"], "a text that says so already stays as it is");
    }

    #[test]
    fn only_our_annotations_are_applied() {
        let annotations = as_it_was(&map(""))["metadata"]["annotations"].clone();
        assert_eq!(annotations, json!({"kubectl-pitr/mysql-secret": "x"}));
    }
}
