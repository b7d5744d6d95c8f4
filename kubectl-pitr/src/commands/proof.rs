//! Whether a pod archives with the StatefulSet as it is now.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::args::Via;
use crate::cluster::{Cluster, waiting_reason};
use crate::failure::Failure;
use crate::inject::sidecar::CONTAINER;

/// Between two looks at a pod.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long one look at a sidecar's state may take.
const STATE_LIMIT: Duration = Duration::from_secs(5);
/// The label of a pod that says which revision of the template it was made of.
const LABEL_REVISION: &str = "controller-revision-hash";

/// Waits until it does; `Err`: why it could not be said to.
pub(super) async fn wait_for(cluster: &Cluster, (name, pod): (&str, &str), limit: Duration) -> Result<(), String> {
    let deadline = Instant::now() + limit;
    loop {
        let reason = match look(cluster, name, pod).await {
            Ok(None) => return Ok(()),
            Ok(Some(reason)) => reason,
            Err(failure) => failure.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(reason);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Why a pod cannot be said to archive with the StatefulSet as it is now; nothing if it does.
async fn look(cluster: &Cluster, name: &str, pod: &str) -> Result<Option<String>, Failure> {
    let set = cluster.stateful_set(name).await?;
    let Some(found) = cluster.pod(pod).await? else { return Ok(Some("it is being replaced".to_owned())) };
    if !is_of_newest(&found, &set) || !carries(&found) {
        return Ok(Some("it was not restarted".to_owned()));
    }
    let state = cluster.pod_states(std::slice::from_ref(&found), Via::Auto, STATE_LIMIT).await;
    Ok(match state.into_iter().next().and_then(|s| s.heartbeat) {
        Some(heartbeat) => doubt(&heartbeat, ready_since(&found)),
        None => Some(waiting_reason(&found).unwrap_or_else(|| "no heartbeat yet".to_owned())),
    })
}

/// What keeps a heartbeat from being proof that a pod archives. A sidecar starts before its server, and begins with the binlog that the one
/// before it had archived: only what it says once the server is there tells of its own work. Both times are of the pod's node.
fn doubt(heartbeat: &Value, ready_since: Option<Timestamp>) -> Option<String> {
    if !archives(heartbeat) {
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

pub(super) fn is_ready(pod: &Pod) -> bool {
    ready_since(pod).is_some()
}

/// Since when a pod is ready, by the clock of its node; nothing while it is not.
fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    let ready = conditions.iter().find(|c| c.type_ == "Ready" && c.status == "True")?;
    Some(ready.last_transition_time.as_ref()?.0)
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
