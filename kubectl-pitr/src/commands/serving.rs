//! `restores serve` and `restores finish`: a look at what was restored, and the end of a restore.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use pitr_recovery::code;
use tokio::time::{Instant, sleep};

use super::restores_state::{jobs_of, volume};
use crate::cluster::{Cluster, DryMode, Need, finished, is_ready, require};
use crate::failure::Failure;
use crate::objects::{ANNOTATION_STATEFUL_SET, serve};
use crate::session::Session;

/// Between two looks at the pod.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) const SERVE_NEEDS: [Need; 3] =
    [Need::of("list", "batch", "jobs"), Need::core("get", "pods"), Need::core("create", "pods")];
pub(super) const FINISH_NEEDS: [Need; 3] =
    [Need::of("list", "batch", "jobs"), Need::of("delete", "batch", "jobs"), Need::core("delete", "pods")];

/// Runs the server on a verified restore, read-only, in a pod of its own.
pub(super) async fn serve(session: &Session, cluster: &Cluster, restore: &str, limit: Duration) -> Result<u8> {
    require(cluster, &SERVE_NEEDS, "restorer").await?;
    let jobs = jobs_of(cluster, restore).await?;
    let verified = jobs.iter().rev().find(|job| finished(job) == Some(true));
    let Some(job) = verified else { return Err(not_verified(restore, cluster, jobs.is_empty()).into()) };
    let name = serve::name(restore);
    if cluster.pod(&name).await?.is_none() {
        let pod = serve::pod(job, restore)
            .ok_or_else(|| Failure::without_code(1, "the restore's Job has a form that is not ours".to_owned()))?;
        cluster.create_pod(&pod, DryMode::Real).await?;
        session.tell(&format!("pod/{name} created; the server starts on the restored data, read-only"));
    }
    wait_until_ready(cluster, &name, limit).await?;
    session.print(&served(&volume(job).unwrap_or_default(), restore, cluster.namespace()))?;
    Ok(0)
}

/// What can be done with a server that runs. What is dumped drops nothing where it is loaded.
fn served(volume: &str, restore: &str, namespace: &str) -> String {
    let (name, container, port) = (serve::name(restore), serve::CONTAINER, serve::PORT);
    format!(
        "Serving      volume {volume} read-only at pod/{name}, port {port}; accounts and passwords are those of the restored data\n\
         Look around  kubectl exec -it {name} -n {namespace} -c {container} -- mysql -h 127.0.0.1 -u USER -p\n\
         One table    kubectl exec -i {name} -n {namespace} -c {container} -- mysqldump -h 127.0.0.1 -u USER -pPASSWORD \
         --single-transaction --set-gtid-purged=OFF --skip-add-drop-table --no-tablespaces SCHEMA TABLE > table.sql\n\
         From here    kubectl port-forward pod/{name} {port}:3306 -n {namespace}\n\
         When done    kubectl pitr restores finish {restore} -n {namespace}\n"
    )
}

fn not_verified(restore: &str, cluster: &Cluster, gone: bool) -> Failure {
    let namespace = cluster.namespace();
    let failure =
        Failure::new(code::RESTORE_INCOMPLETE, format!("restore \"{restore}\" is not served: it is not verified"));
    if gone {
        return failure
            .hint("its Job is not there any more, which says how its server runs; the volume can be mounted by any pod")
            .fix(format!("kubectl pitr restores -n {namespace}"));
    }
    failure
        .hint("only data whose GTID set is the plan's is served")
        .fix(format!("kubectl pitr restores resume {restore} -n {namespace}"))
}

async fn wait_until_ready(cluster: &Cluster, name: &str, limit: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + limit;
    let again = format!("kubectl logs {name} -n {} -c {}", cluster.namespace(), serve::CONTAINER);
    loop {
        let Some(pod) = cluster.pod(name).await? else {
            return Err(Failure::new(code::NOT_REACHABLE, format!("pod \"{name}\" was deleted while it started")));
        };
        if is_ready(&pod) {
            return Ok(());
        }
        if let Some(words) = ended(&pod) {
            return Err(Failure::without_code(1, format!("the server did not start: {words}")).fix(again));
        }
        if Instant::now() >= deadline {
            let reason = cluster.hindrance(&pod).await.map_or("it still starts".to_owned(), |found| found.to_string());
            return Err(Failure::new(code::WAIT_TIMED_OUT, format!("pod \"{name}\" is not ready: {reason}")).fix(again));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// The last words of a server that ended.
fn ended(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    let state = status.last_state.as_ref().filter(|_| status.restart_count > 1).or(status.state.as_ref())?;
    let ended = state.terminated.as_ref()?;
    let words = ended.message.as_deref().map(str::trim).filter(|words| !words.is_empty());
    Some(words.map_or_else(
        || format!("exit code {}", ended.exit_code),
        |words| words.lines().next().unwrap_or_default().to_owned(),
    ))
}

/// Ends a verified restore: its server and its Jobs go, its volume stays.
pub(super) async fn finish(session: &Session, cluster: &Cluster, restore: &str) -> Result<u8> {
    require(cluster, &FINISH_NEEDS, "restorer").await?;
    let jobs = jobs_of(cluster, restore).await?;
    let Some(done) = jobs.iter().rev().find(|job| finished(job) == Some(true)) else {
        let namespace = cluster.namespace();
        return Err(Failure::new(
            code::RESTORE_INCOMPLETE,
            format!("restore \"{restore}\" is not verified, or not there"),
        )
        .hint("finish is for restores that are done")
        .fix(format!("kubectl pitr restores resume {restore} -n {namespace}, or abort"))
        .into());
    };
    let pod = serve::name(restore);
    if cluster.pod(&pod).await?.is_some() {
        cluster.delete_pod(&pod).await?;
        session.tell(&format!("pod/{pod} deleted"));
    }
    for job in &jobs {
        let name = job.metadata.name.clone().unwrap_or_default();
        cluster.delete_job(&name).await?;
        session.tell(&format!("job.batch/{name} deleted"));
    }
    session.tell(&what_stays(done, cluster.namespace()));
    Ok(0)
}

/// Where the data of a verified restore is. Only what nobody uses is told how to delete.
fn what_stays(done: &Job, namespace: &str) -> String {
    let data = "the restored data, which was verified, stays";
    let adopted = done.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION_STATEFUL_SET));
    match (volume(done), adopted) {
        (Some(volume), Some(set)) => {
            format!(
                "{data}: persistentvolumeclaim/{volume} is the volume of statefulset/{set}, in namespace \"{namespace}\""
            )
        }
        (Some(volume), None) => format!(
            "{data} in persistentvolumeclaim/{volume}. To delete it: kubectl delete pvc {volume} -n {namespace}"
        ),
        (None, _) => format!("{data} on its volume"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn data_that_a_server_uses_is_not_told_how_to_delete() {
        let job = |annotations: serde_json::Value, claim: serde_json::Value| -> Job {
            serde_json::from_value(json!({"metadata": {"name": "rescue", "annotations": annotations},
                "spec": {"template": {"spec": {"containers": [], "volumes": [claim]}}}}))
            .unwrap()
        };
        let claim = json!({"name": "data", "persistentVolumeClaim": {"claimName": "data-mysql-b-0"}});
        let text = what_stays(&job(json!({}), claim.clone()), "shop");
        assert!(text.ends_with("kubectl delete pvc data-mysql-b-0 -n shop"), "{text}");
        let text = what_stays(&job(json!({ANNOTATION_STATEFUL_SET: "mysql-b"}), claim), "shop");
        assert!(text.contains("volume of statefulset/mysql-b") && !text.contains("delete"), "{text}");
        let text = what_stays(&job(json!({}), json!({"name": "data"})), "shop");
        assert!(!text.contains("delete"), "a command without a name deletes what nobody meant: {text}");
    }

    #[test]
    fn a_dump_as_it_is_shown_drops_no_live_table() {
        let text = served("rescue", "rescue", "shop");
        let dump = text.lines().find(|line| line.contains("mysqldump")).unwrap();
        assert!(dump.contains("--skip-add-drop-table") && dump.ends_with("SCHEMA TABLE > table.sql"), "{dump}");
        assert!(text.contains("pod/rescue-serve, port 3306"), "{text}");
    }
}
