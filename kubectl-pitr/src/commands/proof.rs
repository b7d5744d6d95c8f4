//! Whether a pod archives with the StatefulSet as it is now.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::args::Via;
use crate::cluster::{Cluster, Hindrance, Waiting, is_ready, ready};
use crate::failure::Failure;
use crate::inject::sidecar::{CONTAINER, VOLUMES};
use crate::session::Session;

/// Between two looks at a pod.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long one look at a sidecar's state may take.
const STATE_LIMIT: Duration = Duration::from_secs(5);
/// The label of a pod that says which revision of the template it was made of.
const LABEL_REVISION: &str = "controller-revision-hash";

/// Waits until it does, and tells what its pod waits for; `Err`: why it could not be said to.
pub(super) async fn wait_for(
    session: &Session,
    cluster: &Cluster,
    (name, pod): (&str, &str),
    limit: Duration,
) -> Result<(), String> {
    let (deadline, mut waiting) = (Instant::now() + limit, Waiting::begin(Instant::now()));
    loop {
        let reason = match look(cluster, name, pod).await {
            Ok(None) => return Ok(()),
            Ok(Some(reason)) => reason,
            Err(failure) => failure.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(match held_up(cluster, pod).await {
                Some(hindrance) => format!("{reason}; {hindrance}"),
                None => reason,
            });
        }
        if let Some(hindrance) = waiting.look(Instant::now(), held_up(cluster, pod)).await {
            session.tell(&format!("{:<13}{pod}: {hindrance}", "waiting"));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// What keeps a pod that is not ready from running.
async fn held_up(cluster: &Cluster, pod: &str) -> Option<Hindrance> {
    let found = cluster.pod(pod).await.ok().flatten().filter(|found| !is_ready(found))?;
    cluster.hindrance(&found).await
}

/// What keeps a pod with the sidecar from ever starting: its image or its place, or that something of ours which it mounts is not there.
/// Its controller replaces it by nothing then, whatever its template says by now. `asks`: what events say counts, too.
pub(super) async fn wedge(cluster: &Cluster, pod: &Pod, asks: bool) -> Option<Hindrance> {
    if !carries(pod) || is_ready(pod) {
        return None;
    }
    let found = Hindrance::of(pod);
    if found.is_some() || !asks {
        return found;
    }
    let mounts = |found: &Hindrance| found.volume.as_deref().is_some_and(|volume| VOLUMES.contains(&volume));
    cluster.hindrance(pod).await.filter(mounts)
}

/// Why a pod cannot be said to archive with the StatefulSet as it is now; nothing if it does.
pub(super) async fn look(cluster: &Cluster, name: &str, pod: &str) -> Result<Option<String>, Failure> {
    let set = cluster.stateful_set(name).await?;
    let Some(found) = cluster.pod(pod).await? else { return Ok(Some("it is being replaced".to_owned())) };
    if !is_of_newest(&found, &set) || !carries(&found) {
        return Ok(Some("it was not restarted".to_owned()));
    }
    let state = cluster.pod_states(std::slice::from_ref(&found), Via::Auto, STATE_LIMIT).await;
    Ok(match state.into_iter().next().and_then(|s| s.heartbeat) {
        Some(heartbeat) => doubt(&heartbeat, ready_since(&found), has_server(&found)),
        None => Some("no heartbeat yet".to_owned()),
    })
}

/// What keeps a heartbeat from being proof that a pod archives. A sidecar starts before its server, and begins with the binlog that the one
/// before it had archived: only what it says once the server is there tells of its own work, and only what it has stored itself proves that
/// it may. A server that starts begins a binlog, so there is something to store; one elsewhere may have nothing to say for hours. Both times
/// are of the pod's node.
fn doubt(heartbeat: &Value, ready_since: Option<Timestamp>, has_server: bool) -> Option<String> {
    if !archives(heartbeat) || (has_server && heartbeat["store"]["storedAt"].is_null()) {
        return Some(codes(heartbeat));
    }
    let Some(since) = ready_since else { return Some("it is not ready".to_owned()) };
    let said_at: Option<Timestamp> = heartbeat["ts"].as_str().and_then(|text| text.parse().ok());
    said_at.is_none_or(|at| at < since).then(|| "no heartbeat since it became ready".to_owned())
}

/// Whether a pod was made of the template that the StatefulSet has now. Unknown until its controller has seen that template.
fn is_of_newest(pod: &Pod, set: &StatefulSet) -> bool {
    let Some(status) = &set.status else { return false };
    let seen = status.observed_generation >= set.metadata.generation;
    let revision = pod.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_REVISION));
    seen && revision.is_some() && revision == status.update_revision.as_ref()
}

/// Whether a pod that is not on its way out has the sidecar.
pub(super) fn carries(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let alive = pod.metadata.deletion_timestamp.is_none();
    alive && spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(|c| c.name == CONTAINER)
}

/// Whether the server restarts with its sidecar: an archiver of a server elsewhere is alone in its pod.
fn has_server(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.containers.iter().any(|c| c.name != CONTAINER))
}

/// Since when a pod is ready, by the clock of its node; nothing while it is not.
fn ready_since(pod: &Pod) -> Option<Timestamp> {
    Some(ready(pod)?.last_transition_time.as_ref()?.0)
}

/// Whether a sidecar has brought something into its archive.
fn archives(heartbeat: &Value) -> bool {
    !heartbeat["closed"]["archivedAt"].is_null() || heartbeat["active"]["shippedBytes"].as_u64().is_some_and(|b| b > 0)
}

fn codes(heartbeat: &Value) -> String {
    let codes: Vec<_> = heartbeat["codes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if codes.is_empty() {
        "nothing is archived yet".to_owned()
    } else {
        format!("nothing is archived: {}", codes.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_a_sidecar_has_stored_since_its_server_was_there_is_proof() {
        let since: Timestamp = "2026-11-21T07:00:00Z".parse().unwrap();
        let beat = |ts: &str, stored: Value| json!({"ts": ts, "active": {"shippedBytes": 9}, "store": {"storedAt": stored}, "codes": []});
        let own = beat("2026-11-21T07:00:05Z", "2026-11-21T07:00:04Z".into());
        assert_eq!(doubt(&own, Some(since), true), None);
        assert_eq!(doubt(&own, None, true).unwrap(), "it is not ready");
        let before = beat("2026-11-21T06:59:59Z", "2026-11-21T06:59:58Z".into());
        assert_eq!(doubt(&before, Some(since), true).unwrap(), "no heartbeat since it became ready");
        // What the one before it had shipped says nothing about what this one may store.
        let idle = beat("2026-11-21T07:00:05Z", Value::Null);
        assert_eq!(doubt(&idle, Some(since), true).unwrap(), "nothing is archived yet");
        assert_eq!(doubt(&idle, Some(since), false), None, "its server was not restarted");
    }
}
