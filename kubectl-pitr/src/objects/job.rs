//! What all our Jobs have in common: a pod that runs once, whose end is not forgotten and never repeated behind the user's back.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{labels, pod};

/// Name, namespace and labels of a Job that does `component` for a workload.
pub(super) fn metadata(name: &str, namespace: &str, (workload, component): (&str, &str)) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(labels(workload, component)),
        ..ObjectMeta::default()
    }
}

/// The Job whose verdict is the exit code of `container`. It stays for `kept_seconds` once it has finished, or for ever.
pub(super) fn job(metadata: ObjectMeta, kept_seconds: Option<i32>, container: &str, spec: PodSpec) -> Job {
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: metadata.labels.clone(), ..ObjectMeta::default() }),
        spec: Some(spec),
    };
    Job {
        metadata,
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            ttl_seconds_after_finished: kept_seconds,
            pod_replacement_policy: Some("Failed".to_owned()),
            pod_failure_policy: Some(pod::failure_policy(container)),
            template,
            ..JobSpec::default()
        }),
        ..Job::default()
    }
}
