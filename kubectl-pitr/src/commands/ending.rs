//! `restores abort` and `restores prune`: Jobs that are not needed any more, and volumes that nobody uses.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;

use super::restores_state::{jobs_of, rows, volume};
use crate::cluster::{Cluster, Need, finished, require};
use crate::objects::serve;
use crate::render::{RestoreRow, restores_table};
use crate::session::Session;

pub(super) const ABORT_NEEDS: [Need; 1] = [Need::of("delete", "batch", "jobs")];

/// Stops a restore that is not verified. One that is verified is left alone.
pub(super) async fn abort(session: &Session, cluster: &Cluster, row: &RestoreRow) -> Result<u8> {
    require(cluster, &ABORT_NEEDS, "restorer").await?;
    let (name, namespace) = (&row.name, cluster.namespace());
    let jobs = jobs_of(cluster, name).await?;
    let Some(unverified) = unverified(&jobs) else {
        session.tell(&format!(
            "\"{name}\" is verified: nothing was deleted. To end it: kubectl pitr restores finish {name} -n {namespace}"
        ));
        return Ok(0);
    };
    for job in &unverified {
        cluster.delete_job(job).await?;
        session.tell(&format!("job.batch/{job} deleted"));
    }
    let Some(volume) = jobs.last().and_then(volume).or_else(|| row.volume.clone()) else { return Ok(0) };
    session.tell(&if unverified.is_empty() {
        format!(
            "no Job of \"{name}\" is left to stop. Its volume {volume} stays; .pitr/RESTORED.json on it says whether it was verified"
        )
    } else {
        format!("its volume stays, incomplete. To delete it: kubectl delete pvc {volume} -n {namespace}")
    });
    Ok(0)
}

/// The Jobs of a restore of which none succeeded; nothing for a restore that is verified.
fn unverified(jobs: &[Job]) -> Option<Vec<String>> {
    if jobs.iter().any(|job| finished(job) == Some(true)) {
        return None;
    }
    Some(jobs.iter().filter_map(|job| job.metadata.name.clone()).collect())
}

/// Deletes the Jobs of restores that ended a while ago and, if that is wanted, the volumes that no pod has.
pub(super) async fn prune(
    session: &Session,
    cluster: &Cluster,
    older_than: Duration,
    (with_volumes, confirm): (bool, Option<&str>),
) -> Result<u8> {
    let mut needs = [&ABORT_NEEDS[..], &[Need::core("list", "pods")]].concat();
    if with_volumes {
        needs.push(Need::core("delete", "persistentvolumeclaims"));
    }
    require(cluster, &needs, "restorer").await?;
    let old = |row: &RestoreRow| row.ended_seconds_ago.is_some_and(|s| s >= older_than.as_secs());
    let rows: Vec<RestoreRow> = rows(cluster, false, session.now()).await?.into_iter().filter(old).collect();
    let used = mounted(&cluster.pods(None).await?);
    // What a workload's volume holds is kept or deleted by whoever ends the restore, not by its age.
    let (kept, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.in_place);
    for row in &kept {
        let (name, namespace) = (&row.name, cluster.namespace());
        session.tell(&format!(
            "\"{name}\" stays: it is in place. First: kubectl pitr restores finish {name} -n {namespace}"
        ));
    }
    let (served, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| is_served(row, &used));
    for row in &served {
        let (name, namespace) = (&row.name, cluster.namespace());
        session.tell(&format!(
            "\"{name}\" stays: it is served. First: kubectl pitr restores finish {name} -n {namespace}"
        ));
    }
    if rows.is_empty() {
        session.tell("nothing to prune");
        return Ok(0);
    }
    session.print(&restores_table(&rows, true, false))?;
    let what =
        if with_volumes { "This deletes these Jobs AND their restored volumes" } else { "This deletes these Jobs" };
    session.confirm(cluster.namespace(), confirm, what).await?;
    // Whoever was asked may have taken their time.
    let used = mounted(&cluster.pods(None).await?);
    for row in &rows {
        for job in jobs_of(cluster, &row.name).await? {
            let name = job.metadata.name.clone().unwrap_or_default();
            cluster.delete_job(&name).await?;
            session.tell(&format!("job.batch/{name} deleted"));
        }
        let Some(volume) = row.volume.as_ref().filter(|_| with_volumes) else { continue };
        // It may have been adopted, and no pod of it may run just now.
        if let Some(name) = &row.stateful_set {
            session.tell(&format!("persistentvolumeclaim/{volume} stays: it is named for statefulset/{name}"));
            continue;
        }
        if let Some(pod) = used.get(volume) {
            session.tell(&format!("persistentvolumeclaim/{volume} stays: pod/{pod} mounts it"));
            continue;
        }
        cluster.delete_claim(volume).await?;
        session.tell(&format!("persistentvolumeclaim/{volume} deleted"));
    }
    Ok(0)
}

fn is_served(row: &RestoreRow, used: &BTreeMap<String, String>) -> bool {
    row.volume.as_ref().and_then(|volume| used.get(volume)).is_some_and(|pod| *pod == serve::name(&row.name))
}

/// Claims, each with a pod that mounts it. A pod that has ended, such as that of a finished Job, uses nothing any more.
fn mounted(pods: &[Pod]) -> BTreeMap<String, String> {
    let ended = |pod: &&Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        !matches!(phase, Some("Succeeded" | "Failed"))
    };
    let claims = pods.iter().filter(ended).flat_map(|pod| {
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
        let name = pod.metadata.name.clone().unwrap_or_default();
        volumes
            .iter()
            .filter_map(move |volume| Some((volume.persistent_volume_claim.as_ref()?.claim_name.clone(), name.clone())))
    });
    claims.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(name: &str, condition: Option<&str>) -> Job {
        let conditions: Vec<_> = condition.into_iter().map(|c| json!({"type": c, "status": "True"})).collect();
        serde_json::from_value(json!({"metadata": {"name": name}, "status": {"conditions": conditions}})).unwrap()
    }

    #[test]
    fn a_verified_restore_is_not_aborted_and_failed_jobs_go() {
        assert_eq!(unverified(&[job("r", Some("Failed")), job("r-r2", Some("Complete"))]), None);
        let all = ["r".to_owned(), "r-r2".to_owned()];
        assert_eq!(unverified(&[job("r", Some("Failed")), job("r-r2", None)]), Some(all.to_vec()));
        assert_eq!(unverified(&[]), Some(Vec::new()));
    }

    #[test]
    fn a_volume_is_in_use_while_a_pod_that_runs_mounts_it() {
        let pod = |name: &str, claim: &str, phase: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": name}, "status": {"phase": phase}, "spec": {"containers": [],
                "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "data", "persistentVolumeClaim": {"claimName": claim}}]}}))
            .unwrap()
        };
        let used = mounted(&[
            pod("rescue-serve", "rescue", "Running"),
            pod("mysql-0", "taken-over", "Pending"),
            pod("old-x7f2a", "old", "Succeeded"),
        ]);
        assert_eq!(used.keys().collect::<Vec<_>>(), ["rescue", "taken-over"]);
        let row = |name: &str| RestoreRow { name: name.into(), volume: Some(name.into()), ..RestoreRow::default() };
        assert!(
            is_served(&row("rescue"), &used) && !is_served(&row("old"), &used) && !is_served(&row("taken-over"), &used)
        );
    }
}
