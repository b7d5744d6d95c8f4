//! One question, answered by a Job that reads the archive: the last way to a workload's state, and the only one that makes something.

use std::time::Duration;

use pitr_archive::PlanKeys;
use pitr_recovery::code;
use serde::Deserialize;
use serde_json::Value;

use super::facts::{self, ArchiveFacts};
use super::upkeep;
use crate::args::{PodArgs, literal};
use crate::cluster::{Cluster, DryMode, Ended, Need, Notes, Reply, Sign, Watching, Workload, require};
use crate::failure::{EXIT_INTERRUPTED, Failure};
use crate::objects::{INSPECT_CONTAINER, InspectJob, inspect_job, job_name};
use crate::render::duration;
use crate::session::Session;

/// What making such a Job, reading its answer and deleting it takes.
pub(super) const NEEDS: [Need; 7] = [
    Need::of("get", "apps", "statefulsets"),
    Need::core("get", "configmaps"),
    Need::of("create", "batch", "jobs"),
    Need::of("get", "batch", "jobs"),
    Need::of("delete", "batch", "jobs"),
    Need::core("list", "pods"),
    Need::sub("get", "pods", "log"),
];

/// A pod has to find its node, its image and its Secret first.
const PATIENCE: Duration = Duration::from_secs(120);

/// An answer as the Job leaves it in its log.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    ok: bool,
    /// The exact text: a plan's bytes are hashed.
    body: String,
    last_applied: Option<String>,
    first_excluded: Option<String>,
    estimate: Option<String>,
    #[serde(default)]
    keys: PlanKeys,
}

/// Makes the Job, waits for its answer, and deletes it, whatever came of it. `cluster` is in the workload's namespace.
pub(super) async fn ask(
    session: &Session,
    cluster: &Cluster,
    (workload, pod): (&Workload, &PodArgs),
    (path, body): (&str, Option<&str>),
    limit: Duration,
) -> Result<Reply, Failure> {
    session.go_on()?;
    require(cluster, &NEEDS, "restorer").await?;
    let ArchiveFacts { image, server, store, .. } = facts::of_archive(cluster, workload, pod).await?;
    upkeep::refuse_directory(&store.url, "the same with")?;
    let job = InspectJob {
        name: job_name(INSPECT_CONTAINER, &workload.name, session.now()),
        namespace: workload.namespace.clone(),
        workload: workload.name.clone(),
        path: literal(path),
        body: body.map(literal),
        image,
        server,
        store,
    };
    let name = &job.name;
    // Another one of several that are read at once may have been interrupted meanwhile; from here on this one is.
    let interrupts = session.mind();
    session.go_on()?;
    if let Err(failure) = cluster.create_job(&inspect_job(&job), DryMode::Real).await {
        if failure.number() != Some(code::RESTORE_EXISTS.number) {
            // It may have been made nevertheless, where the answer was lost.
            let _ = cluster.delete_job(name).await;
        }
        return Err(failure);
    }
    session.tell(&format!("job.batch/{name} reads the archive; it is deleted when it has answered"));
    let answer = tokio::select! {
        biased;
        () = interrupts.came() => {
            Err(Failure::without_code(EXIT_INTERRUPTED, "interrupted before the archive was read"))
        }
        answer = read(session, cluster, name, limit.max(PATIENCE)) => answer,
    };
    if let Err(failure) = cluster.delete_job(name).await {
        let by_hand = format!("kubectl delete job {name} -n {}", workload.namespace);
        session.tell(&format!("warning: job.batch/{name} is still there: {failure}. Then: {by_hand}"));
    }
    answer
}

async fn read(session: &Session, cluster: &Cluster, job: &str, limit: Duration) -> Result<Reply, Failure> {
    let watching = Watching { job, container: INSPECT_CONTAINER, limit };
    let mut show = |sign: Sign| {
        if let Sign::Waiting(reason) = sign {
            session.tell(&format!("{:<13}{reason}", "waiting"));
        }
    };
    let reason = match cluster.follow(&watching, &mut show).await? {
        Ended::Job(end) => {
            let left = match end.document {
                Some(document) => Some(document),
                None => cluster.document_of(&watching).await,
            };
            match left.and_then(reply) {
                Some(reply) => return Ok(reply),
                None => end.reason.unwrap_or_else(|| "its log holds none".to_owned()),
            }
        }
        Ended::TimedOut(Some(waiting)) => waiting.to_string(),
        Ended::TimedOut(None) => format!("nothing within {}", duration(limit.as_secs())),
        Ended::Gone => "it was deleted meanwhile".to_owned(),
    };
    Err(Failure::new(code::NOT_REACHABLE, format!("the Job that reads the archive gave no answer: {reason}")))
}

/// What the log's document says, if it is an answer.
fn reply(document: Value) -> Option<Reply> {
    if document["kind"] != "Answer" {
        return None;
    }
    let Answer { ok, body, last_applied, first_excluded, estimate, keys } = serde_json::from_value(document).ok()?;
    Some(Reply { ok, body: body.into(), notes: Notes { last_applied, first_excluded, estimate, keys } })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_in_a_log_is_a_reply() {
        let told = json!({"apiVersion": "kubectl-pitr/v1", "kind": "Answer", "schemaVersion": 1, "ok": true,
            "body": "{ \"b\":1, \"a\":2 }", "estimate": "9m", "future": [1]});
        let Reply { ok, body, notes } = reply(told).unwrap();
        assert!(ok && notes.estimate.as_deref() == Some("9m") && notes.last_applied.is_none());
        assert_eq!(&body[..], b"{ \"b\":1, \"a\":2 }", "the bytes as they were");
        assert!(reply(json!({"kind": "Answer", "ok": true})).is_none(), "cut");
        assert!(reply(json!({"kind": "Verify", "ok": true, "body": ""})).is_none());
    }
}
