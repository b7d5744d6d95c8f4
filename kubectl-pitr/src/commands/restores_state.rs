//! What is known of restores: from their Jobs, the last words of their pods, and the volumes that are left.

use std::collections::BTreeMap;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::cluster::{Cluster, Selection, finished, termination, verdict_in};
use crate::failure::Failure;
use crate::inject::sidecar::{LABEL_MANAGED, LABEL_WORKLOAD, MANAGER};
use crate::job_line::{JobLine, Verdict};
use crate::objects::in_place::{Step, Steps, all_steps, read_steps, restore_of_steps};
use crate::objects::{
    ANNOTATION_IN_PLACE, ANNOTATION_PLAN_HASH, ANNOTATION_STATEFUL_SET, ANNOTATION_TARGET, LABEL_COMPONENT,
    LABEL_RESTORE, RESTORE_CONTAINER,
};
use crate::render::{RestoreRow, rows_line};

/// Jobs looked at once.
const AT_ONCE: usize = 8;

fn selector() -> String {
    format!("{LABEL_MANAGED}={MANAGER},{LABEL_COMPONENT}=restore")
}

/// Every restore, the newest first.
pub(super) async fn rows(cluster: &Cluster, all: bool, now: Timestamp) -> Result<Vec<RestoreRow>, Failure> {
    selected(cluster, Selection { all, ..Selection::default() }, now).await
}

/// Those whose objects have these labels, and whose Jobs have these fields.
pub(super) async fn selected(
    cluster: &Cluster,
    Selection { all, labels, fields }: Selection<'_>,
    now: Timestamp,
) -> Result<Vec<RestoreRow>, Failure> {
    let with = |ours: String| labels.iter().fold(ours, |ours, labels| format!("{ours},{labels}"));
    let ours = with(selector());
    let jobs = cluster.selected_jobs(Selection { all, labels: Some(&ours), fields }).await?;
    // What is left of a restore without a Job has no fields of one.
    let (claims, maps) = match fields {
        Some(_) => (Vec::new(), Vec::new()),
        // A list of Jobs without their volumes is better than none.
        None => (
            cluster.claims(&ours, all).await.unwrap_or_default(),
            cluster.config_maps(&with(all_steps()), all).await.unwrap_or_default(),
        ),
    };
    let steps: BTreeMap<(String, String), &ConfigMap> = maps
        .iter()
        .filter_map(|map| {
            Some(((map.metadata.namespace.clone().unwrap_or_default(), restore_of_steps(map)?.to_owned()), map))
        })
        .collect();
    let mut latest: BTreeMap<(String, String), Job> = BTreeMap::new();
    for job in jobs {
        let key = (job.metadata.namespace.clone().unwrap_or_default(), restore_of(&job.metadata));
        let newer = latest.get(&key).is_none_or(|known| created(&known.metadata) <= created(&job.metadata));
        if newer {
            latest.insert(key, job);
        }
    }
    let mut rows: Vec<(Option<Timestamp>, RestoreRow)> = futures::stream::iter(&latest)
        .map(|((namespace, _), job)| async move {
            let row = row(&cluster.in_namespace(namespace), job, now).await;
            (created(&job.metadata), row)
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    for (_, row) in &mut rows {
        let step = steps.get(&(row.namespace.clone(), row.name.clone())).and_then(|map| steps_in(map)).map(|s| s.step);
        // The Job tells of the restoring itself.
        if let Some(step) = step.filter(|step| *step != Step::Restoring) {
            row.detail = Some(step.words().to_owned());
        }
    }
    for (key, map) in &steps {
        if !latest.contains_key(key) {
            rows.push((created(&map.metadata), only_steps(map)));
        }
    }
    for claim in &claims {
        let key = (claim.metadata.namespace.clone().unwrap_or_default(), restore_of(&claim.metadata));
        if !latest.contains_key(&key) {
            rows.push((created(&claim.metadata), only_volume(claim)));
        }
    }
    rows.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// Jobs of one restore, the newest last.
pub(super) async fn jobs_of(cluster: &Cluster, restore: &str) -> Result<Vec<Job>, Failure> {
    let mut jobs = cluster.jobs(&format!("{},{LABEL_RESTORE}={restore}", selector()), false).await?;
    jobs.sort_by_key(|j| created(&j.metadata));
    Ok(jobs)
}

fn created(metadata: &ObjectMeta) -> Option<Timestamp> {
    metadata.creation_timestamp.as_ref().map(|t| t.0)
}

fn label(metadata: &ObjectMeta, key: &str) -> Option<String> {
    metadata.labels.as_ref()?.get(key).cloned()
}

fn restore_of(metadata: &ObjectMeta) -> String {
    label(metadata, LABEL_RESTORE).or_else(|| metadata.name.clone()).unwrap_or_default()
}

fn known(metadata: &ObjectMeta) -> RestoreRow {
    let note = |key: &str| metadata.annotations.as_ref().and_then(|a| a.get(key).cloned());
    RestoreRow {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: restore_of(metadata),
        workload: label(metadata, LABEL_WORKLOAD).unwrap_or_default(),
        target: note(ANNOTATION_TARGET).unwrap_or_default(),
        plan_hash: note(ANNOTATION_PLAN_HASH),
        stateful_set: note(ANNOTATION_STATEFUL_SET),
        in_place: note(ANNOTATION_IN_PLACE).is_some(),
        ..RestoreRow::default()
    }
}

fn only_volume(claim: &PersistentVolumeClaim) -> RestoreRow {
    RestoreRow {
        volume: claim.metadata.name.clone(),
        state: "job deleted".to_owned(),
        detail: Some("the volume holds RESTORED.json if it was verified".to_owned()),
        ..known(&claim.metadata)
    }
}

fn steps_in(map: &ConfigMap) -> Option<Steps> {
    read_steps(map).map(|(steps, _)| steps)
}

/// In place, before there is a Job or after it was deleted.
fn only_steps(map: &ConfigMap) -> RestoreRow {
    let steps = steps_in(map);
    RestoreRow {
        state: steps.as_ref().map_or("steps not understood", |steps| steps.step.words()).to_owned(),
        volume: steps.map(|steps| steps.claim),
        ..known(&map.metadata)
    }
}

async fn row(cluster: &Cluster, job: &Job, now: Timestamp) -> RestoreRow {
    let name = job.metadata.name.clone().unwrap_or_default();
    let mut row = RestoreRow { volume: volume(job), job: Some(name.clone()), ..known(&job.metadata) };
    let pods = cluster.pods_of_job(&name).await.unwrap_or_default();
    let words = pods.iter().rev().find_map(|p| termination(p, RESTORE_CONTAINER));
    let told = words.as_deref().and_then(verdict_in);
    match finished(job) {
        Some(succeeded) => ended(&mut row, succeeded, told.as_deref()),
        None => running(&mut row, cluster, &pods).await,
    }
    let end = job.status.as_ref().and_then(|s| {
        let failed =
            s.conditions.iter().flatten().find(|c| c.type_ == "Failed").and_then(|c| c.last_transition_time.as_ref());
        s.completion_time.as_ref().or(failed)
    });
    row.ended_seconds_ago = end.map(|t| u64::try_from(now.as_second() - t.0.as_second()).unwrap_or(0));
    row
}

fn ended(row: &mut RestoreRow, succeeded: bool, verdict: Option<&Verdict>) {
    let result = verdict.map_or("", |v| v.result.as_str());
    row.state = match (succeeded, result) {
        (true, _) => "verified".to_owned(),
        (false, "" | "verified") => "failed".to_owned(),
        (false, result) => result.to_owned(),
    };
    if succeeded {
        row.done_percent = Some(100);
    }
    if let Some(verdict) = verdict {
        row.code.clone_from(&verdict.code);
        row.gtid_set.clone_from(&verdict.gtid_set);
        row.rows = verdict.rows.as_ref().map(|rows| rows_line(rows).trim_start_matches("Rows: ").trim().to_owned());
        row.phase = verdict.phase.clone().filter(|_| !succeeded);
    }
}

async fn running(row: &mut RestoreRow, cluster: &Cluster, pods: &[k8s_openapi::api::core::v1::Pod]) {
    let Some(pod) = pods.last() else {
        "waiting for its pod".clone_into(&mut row.state);
        return;
    };
    if pods.len() > 1 {
        row.detail = Some("pod replaced".to_owned());
    }
    let pod_name = pod.metadata.name.clone().unwrap_or_default();
    let lines = cluster.last_lines(&pod_name, RESTORE_CONTAINER).await;
    let progress = lines.into_iter().rev().find_map(|line| match line {
        JobLine::Progress(progress) => Some(progress),
        JobLine::Method(_) | JobLine::Verdict(_) | JobLine::Document(_) => None,
    });
    if let Some(progress) = progress {
        "running".clone_into(&mut row.state);
        row.done_percent = progress.total.filter(|t| *t > 0).map(|t| progress.done.min(t) * 100 / t);
        row.phase = Some(progress.phase);
        return;
    }
    // The plan is made last: without it the pod waits for ever.
    let job = row.job.clone().unwrap_or_default();
    if matches!(cluster.config_map(&job).await, Ok(None)) {
        "never started".clone_into(&mut row.state);
        row.detail = Some("its plan was not made".to_owned());
        return;
    }
    "starting".clone_into(&mut row.state);
    row.detail = cluster.hindrance(pod).await.map(|found| found.to_string()).or(row.detail.take());
}

/// The claim that a Job restores onto.
pub(super) fn volume(job: &Job) -> Option<String> {
    let pod = job.spec.as_ref()?.template.spec.as_ref()?;
    let data = pod.volumes.iter().flatten().find(|v| v.name == "data")?;
    Some(data.persistent_volume_claim.as_ref()?.claim_name.clone())
}
