//! Again and again: a CronJob that makes the Job that a command makes once.

use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, Job, JobTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{DRILL_COMPONENT, LABEL_COMPONENT, stem};

/// Finished Jobs that are kept of each outcome.
const KEPT: i32 = 3;
/// Names of a CronJob's Jobs end in eleven more characters.
const NAME_BYTES_MAX: usize = 52;

/// `pitr-backup-mysql`: one of a kind for each workload.
pub fn name(component: &str, workload: &str) -> String {
    let name = stem(&format!("pitr-{component}-{}", workload.replace('.', "-")));
    debug_assert!(name.len() <= NAME_BYTES_MAX);
    name
}

/// The CronJob. Times are UTC; a run that is due while the last one goes on is left out.
pub fn cron_job(template: Job, name: &str, schedule: &str) -> CronJob {
    let mut spec = template.spec.unwrap_or_default();
    // The CronJob keeps the last ones itself; but a volume of the size of the data is not kept for a log.
    if template.metadata.labels.as_ref().and_then(|l| l.get(LABEL_COMPONENT)).is_none_or(|c| c != DRILL_COMPONENT) {
        spec.ttl_seconds_after_finished = None;
    }
    CronJob {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: template.metadata.namespace,
            labels: template.metadata.labels.clone(),
            ..ObjectMeta::default()
        },
        spec: Some(CronJobSpec {
            schedule: schedule.to_owned(),
            // Known also to a server without a time zone database.
            time_zone: Some("UTC".to_owned()),
            concurrency_policy: Some("Forbid".to_owned()),
            successful_jobs_history_limit: Some(KEPT),
            failed_jobs_history_limit: Some(KEPT),
            job_template: JobTemplateSpec {
                metadata: Some(ObjectMeta { labels: template.metadata.labels, ..ObjectMeta::default() }),
                spec: Some(spec),
            },
            ..CronJobSpec::default()
        }),
        status: None,
    }
}
