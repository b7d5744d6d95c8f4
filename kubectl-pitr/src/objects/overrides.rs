//! What somebody wants otherwise in a Job that we make: `--overrides`.

use anyhow::Result;
use k8s_openapi::DeepMerge;
use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::inject::schema::typed;

/// The Job with `overrides` laid over it, as a strategic merge: containers, volumes and variables by their names, everything else by its field.
/// What it is found by stays; a field that Kubernetes does not know is an error.
pub fn overridden(mut job: Job, overrides: Option<&Value>) -> Result<Job> {
    let Some(overrides) = overrides else { return Ok(job) };
    for field in ["name", "namespace", "labels"] {
        if !overrides["metadata"][field].is_null() {
            return Err(Failure::usage(format!("--overrides cannot change metadata.{field}"))
                .hint("the Job is found by it; nothing was created")
                .fix(r#"--overrides '{"spec":{"template":{"spec":{"priorityClassName":"low"}}}}'"#)
                .into());
        }
    }
    let mut whole = json!({"apiVersion": "batch/v1", "kind": "Job"});
    for (key, value) in overrides.as_object().into_iter().flatten() {
        whole[key] = value.clone();
    }
    if (&whole["apiVersion"], &whole["kind"]) != (&json!("batch/v1"), &json!("Job")) {
        return Err(Failure::usage("--overrides is laid over a Job of batch/v1, and names another kind").into());
    }
    job.merge_from(typed(&whole)?);
    Ok(job)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid_over(overrides: &Value) -> Result<Value> {
        let job = json!({"metadata": {"name": "pitr-verify", "annotations": {"a": "1"}}, "spec": {"backoffLimit": 0, "template": {"spec": {
            "containers": [{"name": "verify", "image": "pitr-sidecar:1", "args": ["verify"], "env": [{"name": "TZ", "value": "UTC"}]}]}}}});
        let job = overridden(serde_json::from_value(job).unwrap(), Some(overrides))?;
        Ok(serde_json::to_value(job).unwrap())
    }

    #[test]
    fn what_is_laid_over_a_job_leaves_the_rest_as_it_was() {
        let limits = json!({"limits": {"memory": "1Gi"}});
        let wanted = json!({"metadata": {"annotations": {"b": "2"}}, "spec": {"template": {"spec": {"priorityClassName": "low",
            "containers": [{"name": "verify", "resources": limits, "env": [{"name": "PITR_LOG", "value": "debug"}]}]}}}});
        let job = laid_over(&wanted).unwrap();
        let pod = &job["spec"]["template"]["spec"];
        assert_eq!((&job["metadata"]["name"], &job["spec"]["backoffLimit"]), (&json!("pitr-verify"), &json!(0)));
        assert_eq!(job["metadata"]["annotations"], json!({"a": "1", "b": "2"}));
        assert_eq!((&pod["priorityClassName"], pod["containers"].as_array().unwrap().len()), (&json!("low"), 1));
        let container = &pod["containers"][0];
        assert_eq!((&container["args"], &container["resources"]), (&json!(["verify"]), &limits));
        assert_eq!(container["env"].as_array().unwrap().len(), 2, "{container}");
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
