//! A second Job for a restore that ended early: the same pod, plan and volume under another name.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::names::stem;

/// `mysql-pitr-1` becomes `mysql-pitr-1-r2`, that becomes `-r3`.
pub fn next_name(restore: &str, jobs: &[String]) -> String {
    let number = |name: &String| name.rsplit_once("-r").and_then(|(_, n)| n.parse::<u32>().ok());
    let used = jobs.iter().filter_map(number).max().unwrap_or(1);
    format!("{}-r{}", stem(restore), used + 1)
}

/// A copy of the Job without what the API server and the Job controller wrote into it. `changed` are options of the program, such as
/// `--xa=keep`: each goes before what the old Job says of it.
pub fn job(old: &Job, name: &str, changed: &[String]) -> Job {
    let mut spec = old.spec.clone().unwrap_or_default();
    spec.selector = None;
    spec.manual_selector = None;
    spec.suspend = None;
    if let Some(metadata) = &mut spec.template.metadata {
        let ours = |key: &String| !key.contains("controller-uid") && !key.contains("job-name");
        metadata.labels.iter_mut().for_each(|labels| labels.retain(|key, _| ours(key)));
        metadata.creation_timestamp = None;
    }
    for volume in spec.template.spec.iter_mut().flat_map(|s| s.volumes.iter_mut().flatten()) {
        if let Some(map) = volume.config_map.as_mut().filter(|_| volume.name == "plan") {
            map.name = name.to_owned();
        }
    }
    if let Some(main) = spec.template.spec.as_mut().and_then(|pod| pod.containers.first_mut()) {
        let option = |word: &String| word.split_once('=').map(|(name, _)| name.to_owned());
        let said: Vec<String> = changed.iter().filter_map(option).collect();
        let command = main.command.get_or_insert_default();
        command.retain(|word| !option(word).is_some_and(|name| said.contains(&name)));
        command.extend_from_slice(changed);
    }
    Job { metadata: metadata(&old.metadata, name), spec: Some(spec), status: None }
}

/// The same plan under the new name.
pub fn plan(old: &ConfigMap, name: &str) -> ConfigMap {
    ConfigMap { metadata: metadata(&old.metadata, name), ..old.clone() }
}

fn metadata(old: &ObjectMeta, name: &str) -> ObjectMeta {
    let ours = |map: &Option<std::collections::BTreeMap<String, String>>| {
        map.clone().map(|mut map| {
            map.retain(|key, _| {
                !key.contains("controller-uid") && !key.contains("job-name") && !key.starts_with("batch.")
            });
            map
        })
    };
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: old.namespace.clone(),
        labels: ours(&old.labels),
        annotations: ours(&old.annotations),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_count_up() {
        let names = |n: &[&str]| n.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(next_name("m-pitr-1", &names(&["m-pitr-1"])), "m-pitr-1-r2");
        assert_eq!(next_name("m-pitr-1", &names(&["m-pitr-1", "m-pitr-1-r2"])), "m-pitr-1-r3");
    }

    #[test]
    fn a_copy_carries_nothing_of_the_controller() {
        let old: Job = serde_json::from_value(json!({
            "metadata": {"name": "r", "uid": "u", "resourceVersion": "7", "labels": {"kubectl-pitr/restore": "r"}},
            "spec": {"selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}, "template": {
                "metadata": {"labels": {"batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "r",
                    "kubectl-pitr/restore": "r"}},
                "spec": {"containers": [], "volumes": [{"name": "plan", "configMap": {"name": "r"}},
                    {"name": "data", "persistentVolumeClaim": {"claimName": "r"}}]}}},
            "status": {"failed": 1}}))
        .unwrap();
        let new = serde_json::to_value(job(&old, "r-r2", &[])).unwrap();
        assert_eq!(new["metadata"], json!({"name": "r-r2", "labels": {"kubectl-pitr/restore": "r"}}));
        assert!(new["spec"].get("selector").is_none() && new.get("status").is_none());
        assert_eq!(new["spec"]["template"]["metadata"]["labels"], json!({"kubectl-pitr/restore": "r"}));
        assert_eq!(new["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"], "r-r2");
        assert_eq!(new["spec"]["template"]["spec"]["volumes"][1]["persistentVolumeClaim"]["claimName"], "r");
    }

    #[test]
    fn what_is_changed_goes_before_what_was_said() {
        let old: Job = serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": {"template": {"spec": {"containers": [
            {"name": "restore", "command": ["/pitr/pitr-sidecar", "restore", "--xa=fail", "--tables=shop.a", "--tables=shop.b",
                "--check-tables"]}]}}}}))
        .unwrap();
        let changed = ["--tables=shop.c".to_owned(), "--xa=rollback".to_owned()];
        let new = serde_json::to_value(job(&old, "r-r2", &changed)).unwrap();
        assert_eq!(
            new["spec"]["template"]["spec"]["containers"][0]["command"],
            json!(["/pitr/pitr-sidecar", "restore", "--check-tables", "--tables=shop.c", "--xa=rollback"])
        );
    }
}
