//! Which entries of a pod template an injection put there. A name alone proves nothing: anybody may call a container "pitr".

use pitr_recovery::code;
use serde_json::{Value, json};

use super::schema::name_of;
use super::sidecar::{ANNOTATION_CONFIG, CONFIG_FLAG, CONTAINER, LABEL_WORKLOAD, VOLUMES, config_map_name};
use crate::failure::Failure;

/// The lists of a pod template that an injection touches. Containers go before the volumes that they mount.
pub(super) const LISTS: [&str; 3] = ["initContainers", "containers", "volumes"];
/// The entries of the template's metadata that are ours.
pub(super) const ENTRIES: [(&str, &str); 2] = [("labels", LABEL_WORKLOAD), ("annotations", ANNOTATION_CONFIG)];

/// Whether an entry of one of the [`LISTS`] of a StatefulSet is of an injection.
pub(super) fn is_ours(object: &Value, list: &str, item: &Value) -> bool {
    match list {
        "volumes" => is_our_volume(object, item),
        _ => is_our_container(item),
    }
}

/// What the sidecar is told is the same in every version of it.
fn is_our_container(container: &Value) -> bool {
    let args = container["args"].as_array().map(Vec::as_slice).unwrap_or_default();
    container["name"] == CONTAINER
        && args.first().is_some_and(|arg| arg == "run")
        && args.iter().any(|arg| arg == CONFIG_FLAG)
}

/// A volume of our name and kind that none but our container mounts.
fn is_our_volume(object: &Value, volume: &Value) -> bool {
    let name = volume["name"].as_str().unwrap_or_default();
    let template = &object["spec"]["template"];
    let kind_fits = match VOLUMES.iter().position(|known| *known == name) {
        Some(0) => volume["configMap"]["name"].as_str() == Some(&config_map_name(name_of(object))),
        Some(_) => volume["secret"].is_object(),
        None => false,
    };
    let injected = ENTRIES.iter().any(|(parent, key)| template["metadata"][parent].get(key).is_some());
    let foreign = containers(object).filter(|(_, container)| !is_our_container(container));
    let mounted =
        foreign.flat_map(|(_, c)| c["volumeMounts"].as_array().into_iter().flatten()).any(|m| m["name"] == name);
    kind_fits && injected && !mounted
}

fn containers(object: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    let pod = &object["spec"]["template"]["spec"];
    let lists = ["initContainers", "containers"].into_iter();
    lists.flat_map(|list| pod[list].as_array().into_iter().flatten().map(move |item| (list, item)))
}

/// The sidecar's container, if there is one.
pub(super) fn our_container(object: &Value) -> Option<&Value> {
    containers(object).map(|(_, container)| container).find(|container| is_our_container(container))
}

/// Whether a StatefulSet carries anything of an earlier injection.
pub fn holds_ours(object: &Value) -> bool {
    let template = &object["spec"]["template"];
    let in_list = |list: &&str| {
        let items = template["spec"][list].as_array();
        items.is_some_and(|items| items.iter().any(|item| is_ours(object, list, item)))
    };
    LISTS.iter().any(in_list) || ENTRIES.iter().any(|(parent, key)| template["metadata"][parent].get(key).is_some())
}

/// Our entries of a live object, as they are applied: what brings back what is there now. Without any it is the empty set, which
/// takes out whatever was applied under our field manager.
pub fn entries(object: &Value) -> Value {
    let mut patch = json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": object["metadata"]["name"], "namespace": object["metadata"]["namespace"]}});
    let template = &object["spec"]["template"];
    for list in LISTS {
        let items = template["spec"][list].as_array().into_iter().flatten();
        let ours: Vec<&Value> = items.filter(|item| is_ours(object, list, item)).collect();
        if !ours.is_empty() {
            patch["spec"]["template"]["spec"][list] = json!(ours);
        }
    }
    for (parent, key) in ENTRIES {
        if let Some(value) = template["metadata"][parent].get(key) {
            patch["spec"]["template"]["metadata"][parent][key] = value.clone();
        }
    }
    patch
}

/// Refuses a workload with entries of somebody else's that have the names of ours: they cannot stand beside each other.
pub(super) fn refuse_foreign(object: &Value) -> Result<(), Failure> {
    let pod = &object["spec"]["template"]["spec"];
    let named = |list: &str, item: &Value| {
        let name = item["name"].as_str().unwrap_or_default();
        let taken = if list == "volumes" { VOLUMES.contains(&name) } else { name == CONTAINER };
        let kind = if list == "volumes" { "volume" } else { "container" };
        (taken && !is_ours(object, list, item)).then(|| format!("{kind} \"{name}\""))
    };
    let foreign: Vec<String> = LISTS
        .iter()
        .flat_map(|list| pod[list].as_array().into_iter().flatten().filter_map(|item| named(list, item)))
        .collect();
    if foreign.is_empty() {
        return Ok(());
    }
    let text =
        format!("statefulset/{} has {} that kubectl pitr did not put there", name_of(object), foreign.join(", "));
    Err(Failure::new(code::APPLY_CONFLICT, text)
        .hint("the sidecar's own entries have these names; nothing was changed")
        .fix("give yours another name, then inject again"))
}
