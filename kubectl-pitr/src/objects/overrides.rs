//! What somebody wants otherwise in a Job that we make: `--overrides`.

use anyhow::Result;
use k8s_openapi::DeepMerge;
use k8s_openapi::api::batch::v1::Job;
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::inject::schema::typed;

/// How the marks begin that only we set.
const OURS: &str = "kubectl-pitr/";

/// The Job with `overrides` laid over it, as a strategic merge: containers, volumes and variables by their names, everything else by its field.
/// What it is found by and what its verdict is about stays; a field that Kubernetes does not know is an error.
pub fn overridden(mut job: Job, overrides: Option<&Value>) -> Result<Job> {
    let Some(overrides) = overrides else { return Ok(job) };
    let metadata = overrides["metadata"].as_object();
    if let Some(field) = metadata.into_iter().flat_map(Map::keys).find(|field| *field != "annotations") {
        return Err(refused(&format!("metadata.{field}")).into());
    }
    let mut whole = json!({"apiVersion": "batch/v1", "kind": "Job"});
    for (key, value) in overrides.as_object().into_iter().flatten() {
        whole[key] = value.clone();
    }
    if (&whole["apiVersion"], &whole["kind"]) != (&json!("batch/v1"), &json!("Job")) {
        return Err(Failure::usage("--overrides is laid over a Job of batch/v1, and names another kind").into());
    }
    let ours = fixed(&job);
    let known: Vec<String> = ours.iter().map(|(field, _)| field.clone()).collect();
    job.merge_from(typed(&whole)?);
    let now = fixed(&job);
    if let Some((field, _)) = ours.iter().find(|field| !now.contains(field)) {
        return Err(refused(field).into());
    }
    // What only we write says something, wherever it stands.
    if let Some((field, _)) = now.iter().find(|(field, _)| field.contains(OURS) && !known.contains(field)) {
        return Err(refused(field).into());
    }
    Ok(job)
}

fn refused(field: &str) -> Failure {
    Failure::usage(format!("--overrides cannot change {field}"))
        .hint("what the Job is found by, what it works on and what it does stay as they are; nothing was created")
        .fix(r#"--overrides '{"spec":{"template":{"spec":{"priorityClassName":"low"}}}}'"#)
}

/// What later commands and the verdict of a Job rest on, each with its name: its marks, how often it runs, the volumes of its pod, and
/// what its containers do with them.
fn fixed(job: &Job) -> Vec<(String, Value)> {
    let job = serde_json::to_value(job).unwrap_or_default();
    let (spec, template) = (&job["spec"], &job["spec"]["template"]);
    let mut fields = Vec::new();
    for (path, marks) in [
        ("metadata.annotations", &job["metadata"]["annotations"]),
        ("spec.template.metadata.annotations", &template["metadata"]["annotations"]),
        ("spec.template.metadata.labels", &template["metadata"]["labels"]),
    ] {
        fields.extend(
            marks.as_object().into_iter().flatten().map(|(key, value)| (format!("{path}.{key}"), value.clone())),
        );
    }
    for field in ["parallelism", "completions", "completionMode", "selector", "manualSelector"] {
        fields.push((format!("spec.{field}"), spec[field].clone()));
    }
    let pod = &template["spec"];
    let named = |list: &'static str| {
        let items = pod[list].as_array().into_iter().flatten();
        items
            .map(move |item| (format!("spec.template.spec.{list}.{}", item["name"].as_str().unwrap_or_default()), item))
    };
    fields.extend(named("volumes").map(|(path, volume)| (path, volume.clone())));
    for (path, container) in named("initContainers").chain(named("containers")) {
        for field in ["command", "args", "workingDir"] {
            fields.push((format!("{path}.{field}"), container[field].clone()));
        }
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            let at = mount["mountPath"].as_str().unwrap_or_default();
            fields.push((format!("{path}.volumeMounts.{at}"), mount.clone()));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid_over(overrides: &Value) -> Result<Value> {
        let job = json!({"metadata": {"name": "pitr-verify", "annotations": {"a": "1", "kubectl-pitr/plan-hash": "sha256:77ab"}},
            "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": {"kubectl-pitr/restore": "rescue"}}, "spec": {
                "nodeSelector": {"disk": "fast"},
                "containers": [{"name": "verify", "image": "pitr-sidecar:1", "args": ["verify"], "env": [{"name": "TZ", "value": "UTC"}],
                    "volumeMounts": [{"name": "data", "mountPath": "/var/lib/mysql"}]}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "rescue"}}]}}}});
        let job = overridden(serde_json::from_value(job).unwrap(), Some(overrides))?;
        Ok(serde_json::to_value(job).unwrap())
    }

    #[test]
    fn what_is_laid_over_a_job_leaves_the_rest_as_it_was() {
        let limits = json!({"limits": {"memory": "1Gi"}});
        let wanted = json!({"metadata": {"annotations": {"b": "2"}}, "spec": {"template": {"metadata": {"labels": {"team": "db"}},
            "spec": {"priorityClassName": "low", "nodeSelector": {"pool": "jobs"},
                "containers": [{"name": "verify", "resources": limits, "env": [{"name": "PITR_LOG", "value": "debug"}],
                    "volumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}]}, {"name": "proxy", "image": "proxy:1"}],
                "volumes": [{"name": "ca", "configMap": {"name": "ca"}}]}}}});
        let job = laid_over(&wanted).unwrap();
        let pod = &job["spec"]["template"]["spec"];
        assert_eq!((&job["metadata"]["name"], &job["spec"]["backoffLimit"]), (&json!("pitr-verify"), &json!(0)));
        assert_eq!(
            (&job["metadata"]["annotations"]["a"], &job["metadata"]["annotations"]["b"]),
            (&json!("1"), &json!("2"))
        );
        assert_eq!((&pod["priorityClassName"], pod["containers"].as_array().unwrap().len()), (&json!("low"), 2));
        assert_eq!(pod["nodeSelector"], json!({"pool": "jobs"}), "as the flag's help says");
        assert_eq!(pod["volumes"].as_array().unwrap().len(), 2);
        let container = &pod["containers"][0];
        assert_eq!((&container["args"], &container["resources"]), (&json!(["verify"]), &limits));
        assert_eq!(container["env"].as_array().unwrap().len(), 2, "{container}");
    }

    #[test]
    fn what_a_job_is_found_by_and_what_it_works_on_is_not_changed() {
        let pod = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
        let container = |fields: Value| {
            let mut container = fields;
            container["name"] = "verify".into();
            pod(json!({"containers": [container]}))
        };
        for (wanted, field) in [
            (json!({"metadata": {"generateName": "x-"}}), "metadata.generateName"),
            (json!({"metadata": {"finalizers": ["x"]}}), "metadata.finalizers"),
            (json!({"metadata": {"ownerReferences": []}}), "metadata.ownerReferences"),
            (
                json!({"metadata": {"annotations": {"kubectl-pitr/plan-hash": "sha256:0"}}}),
                "metadata.annotations.kubectl-pitr/plan-hash",
            ),
            (
                json!({"metadata": {"annotations": {"kubectl-pitr/in-place": "x"}}}),
                "metadata.annotations.kubectl-pitr/in-place",
            ),
            (
                json!({"spec": {"template": {"metadata": {"labels": {"kubectl-pitr/restore": "other"}}}}}),
                "spec.template.metadata.labels.kubectl-pitr/restore",
            ),
            (json!({"spec": {"parallelism": 2}}), "spec.parallelism"),
            (
                pod(json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-mysql-0"}}]})),
                "spec.template.spec.volumes.data",
            ),
            (container(json!({"args": ["prune"]})), "spec.template.spec.containers.verify.args"),
            (container(json!({"command": ["true"]})), "spec.template.spec.containers.verify.command"),
            (
                container(json!({"volumeMounts": [{"name": "other", "mountPath": "/var/lib/mysql"}]})),
                "spec.template.spec.containers.verify.volumeMounts./var/lib/mysql",
            ),
        ] {
            let refused = crate::failure::of(&laid_over(&wanted).unwrap_err());
            let text = refused.text();
            assert!(refused.exit() == 2 && text.contains(&format!("cannot change {field}\n")), "{wanted}: {text}");
        }
    }

    #[test]
    fn what_would_be_lost_or_ignored_is_refused() {
        for wanted in [
            json!({"metadata": {"name": "other"}}),
            json!({"metadata": {"labels": {"kubectl-pitr/component": "x"}}}),
            json!({"kind": "CronJob"}),
            json!({"spec": {"template": {"spec": {"priorityClas": "low"}}}}),
            json!({"spec": {"template": {"spec": {"containers": {"name": "verify"}}}}}),
        ] {
            let refused = laid_over(&wanted).unwrap_err();
            assert_eq!(crate::failure::of(&refused).exit(), 2, "{wanted}: {refused:#}");
        }
    }
}
