//! `--schedule`: a CronJob instead of a Job now.

use anyhow::Result;
use k8s_openapi::api::batch::v1::Job;

use super::restore::manifests;
use crate::args::{DryRun, OutputFormat};
use crate::cluster::{Cluster, Need};
use crate::failure::Failure;
use crate::objects::{cron_job, cron_name};
use crate::session::Session;

/// What making a CronJob of a workload takes.
pub(super) const NEEDS: [Need; 6] = [
    Need::of("get", "apps", "statefulsets"),
    Need::core("get", "configmaps"),
    Need::of("create", "batch", "cronjobs"),
    Need::of("get", "batch", "cronjobs"),
    Need::of("patch", "batch", "cronjobs"),
    Need::core("list", "pods"),
];

/// What is done when.
pub(super) struct Schedule<'a> {
    pub(super) cron: &'a str,
    /// `backup`, `drill`, `verify` or `prune`
    pub(super) component: &'static str,
    pub(super) workload: &'a str,
    pub(super) dry_run: DryRun,
    pub(super) format: OutputFormat,
    /// What each run does, for who made it.
    pub(super) what: String,
}

/// Makes the CronJob, or changes it.
pub(super) async fn apply(session: &Session, cluster: &Cluster, template: Job, schedule: &Schedule<'_>) -> Result<u8> {
    let cron = schedule.cron;
    if cron.split_whitespace().count() != 5 && !cron.starts_with('@') {
        return Err(Failure::usage(format!("\"{cron}\" is no schedule of cron: minute hour day month weekday"))
            .fix("--schedule '0 2 * * *'")
            .into());
    }
    let name = cron_name(schedule.component, schedule.workload);
    let mut object = serde_json::to_value(cron_job(template, &name, cron))?;
    object["apiVersion"] = "batch/v1".into();
    object["kind"] = "CronJob".into();
    if schedule.dry_run == DryRun::Client {
        return manifests(session, &[object], schedule.format).map(|()| 0);
    }
    let dry = schedule.dry_run == DryRun::Server;
    cluster.apply_cron_job(&object, dry).await?;
    if dry {
        session.tell("the API server would accept the CronJob; nothing was changed");
        return Ok(0);
    }
    let (what, namespace) = (&schedule.what, cluster.namespace());
    session.tell(&format!(
        "cronjob.batch/{name}: {cron} (UTC), {what}\nAway with it: kubectl delete cronjob {name} -n {namespace}"
    ));
    Ok(0)
}
