//! The restart of a workload's pods: one first, and the others only when that one archives.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use pitr_recovery::code;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::injected_map;
use crate::args::Via;
use crate::cluster::{ApplyOptions, Cluster};
use crate::failure::Failure;
use crate::inject::sidecar::{ANNOTATION_BEFORE, ANNOTATION_PARTITION, CONTAINER};
use crate::render::duration;
use crate::session::Session;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long one look at a sidecar's state may take.
const STATE_LIMIT: Duration = Duration::from_secs(5);
/// The label of a pod that says which revision of the template it was made of.
const LABEL_REVISION: &str = "controller-revision-hash";

/// How a StatefulSet will restart its pods. Partitions count pods from 0, whatever number the first one has in its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rollout {
    replicas: i32,
    /// Number in the name of the first pod.
    start: i32,
    /// Pods are restarted by whoever deletes them.
    on_delete: bool,
    /// Restart the last pod first and look at it.
    canary: bool,
    /// The partition to come back to.
    partition: i32,
    /// An earlier rollout holds pods back still.
    held: bool,
    /// What stands there now is a change that no pod has proven: what it took the place of.
    unproven: Option<Before>,
}

/// What a change takes the place of, and what brings that back. It is remembered on the object until a pod has proven the change, so
/// that whoever comes after one who was broken off comes back to this, and not to what he left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    /// The entries of the StatefulSet under our field manager.
    pub(super) entries: Value,
    /// The ConfigMap, if there was one, as it is applied.
    pub(super) map: Option<Value>,
    /// An earlier rollout held pods back then: they are not to have this either.
    pub(super) held: bool,
}

impl Rollout {
    pub(super) fn of(object: &StatefulSet, at_once: bool) -> Self {
        let spec = object.spec.as_ref();
        let strategy = spec.and_then(|s| s.update_strategy.as_ref());
        let on_delete = strategy.and_then(|s| s.type_.as_deref()) == Some("OnDelete");
        let replicas = spec.and_then(|s| s.replicas).unwrap_or(1);
        let start = spec.and_then(|s| s.ordinals.as_ref()).and_then(|o| o.start).unwrap_or(0);
        let held = remembered(object);
        let now = strategy.and_then(|s| s.rolling_update.as_ref()).and_then(|r| r.partition).unwrap_or(0);
        let partition = held.unwrap_or(now);
        let canary = partition < replicas - 1 && !at_once && !on_delete;
        Self { replicas, start, on_delete, canary, partition, held: held.is_some(), unproven: unproven(object) }
    }

    /// What a change of this object takes the place of.
    pub(super) fn before(&self, entries: Value, map: Option<Value>) -> Before {
        Before { entries, map, held: self.held }
    }

    /// Before the change: lets only the last pod have it, and remembers what to come back to.
    pub(super) async fn hold_back(&self, cluster: &Cluster, name: &str, before: &Before) -> Result<(), Failure> {
        if self.on_delete {
            return Ok(());
        }
        let text = serde_json::to_string(self.proven(before)).unwrap_or_default();
        let (partition, annotations) = match self.canary {
            true => (
                Some(self.replicas - 1),
                json!({ANNOTATION_PARTITION: self.partition.to_string(), ANNOTATION_BEFORE: text}),
            ),
            false => (None, json!({ANNOTATION_BEFORE: text})),
        };
        cluster.set_partition(name, partition, annotations).await
    }

    /// What was there when a pod last proved it.
    fn proven<'a>(&'a self, before: &'a Before) -> &'a Before {
        self.unproven.as_ref().unwrap_or(before)
    }

    /// Gives the StatefulSet the partition back that it had before, and forgets what was remembered.
    async fn let_go(&self, cluster: &Cluster, name: &str) -> Result<(), Failure> {
        let partition = (self.canary || self.held).then_some(self.partition);
        cluster.set_partition(name, partition, json!({ANNOTATION_PARTITION: null, ANNOTATION_BEFORE: null})).await
    }

    /// The same, where an injection that had not ended left something.
    pub(super) async fn let_go_if_held(&self, cluster: &Cluster, name: &str) -> Result<(), Failure> {
        if self.held || self.unproven.is_some() { self.let_go(cluster, name).await } else { Ok(()) }
    }

    /// After the change: waits for the last pod, then lets the others have it and waits for each of them. The change is taken back
    /// if the first pod that has it does not archive: a later one is only named, for there are others by then that do.
    pub(super) async fn finish(
        &self,
        session: &Session,
        cluster: &Cluster,
        name: &str,
        (limit, before): (Duration, &Before),
    ) -> Result<(), Failure> {
        if self.on_delete {
            session.tell("  its update strategy is OnDelete: the sidecar comes with each pod that you delete");
            return Ok(());
        }
        if self.held && !self.canary {
            cluster.set_partition(name, Some(self.partition), json!({ANNOTATION_PARTITION: null})).await?;
        }
        if self.partition > 0 && self.partition >= self.replicas {
            self.let_go(cluster, name).await?;
            let partition = self.partition;
            session
                .tell(&format!("  its partition {partition} holds every pod back: the sidecar comes as you lower it"));
            return Ok(());
        }
        let last = self.replicas - 1;
        for index in (self.partition..=last).rev() {
            let pod = self.pod_name(name, index);
            if let Err(reason) = wait_for(cluster, (name, &pod), limit).await {
                let text = format!("{pod} does not archive {} after its restart: {reason}", duration(limit.as_secs()));
                let failure = Failure::new(code::NOT_ARCHIVING_IN_TIME, text);
                return Err(match index == last {
                    true => self.give_up(cluster, name, &pod, (failure, before)).await,
                    false => self.stop(cluster, name, index, failure).await,
                });
            }
            session.tell(&format!("pod/{pod} archives"));
            if index == last {
                self.let_go(cluster, name).await?;
            }
        }
        Ok(())
    }

    fn pod_name(&self, name: &str, index: i32) -> String {
        format!("{name}-{}", self.start + index)
    }

    /// Holds the pods back that have not had the change.
    async fn stop(&self, cluster: &Cluster, name: &str, index: i32, failure: Failure) -> Failure {
        let (pod, namespace) = (self.pod_name(name, index), cluster.namespace());
        let failure = match self.canary && index > self.partition {
            false => failure.hint("those before it archive; the change stays"),
            true => match cluster
                .set_partition(name, Some(index), json!({ANNOTATION_PARTITION: self.partition.to_string()}))
                .await
            {
                Ok(()) => {
                    failure.hint(format!("those before it archive; the others are held back by partition {index}"))
                }
                Err(reason) => failure.hint(format!("the others are restarted nevertheless: {reason}")),
            },
        };
        failure
            .fix(format!("kubectl describe pod {pod} -n {namespace}; then the same command goes on"))
            .fix(format!("kubectl pitr uninject {name} -n {namespace} --live"))
    }

    /// Takes the change back. A pod that cannot start stays as it is: only deleting it helps.
    async fn give_up(
        &self,
        cluster: &Cluster,
        name: &str,
        pod: &str,
        (failure, before): (Failure, &Before),
    ) -> Failure {
        let namespace = cluster.namespace();
        match self.take_back(cluster, name, before).await {
            Ok(_) if self.proven(before).held => failure
                .hint("a rollout before this one had not ended: the pods that it held back stay held back")
                .fix(format!("kubectl pitr uninject {name} -n {namespace} --live"))
                .fix("or the same command with other settings"),
            Ok(fate_of_map) => fate_of_map
                .into_iter()
                .fold(failure, Failure::hint)
                .hint("the change was taken back; pods that were not restarted yet were not touched")
                .fix(format!("kubectl delete pod {pod} -n {namespace}, if it does not start by itself")),
            Err(reason) => failure
                .hint(format!("the change could not be taken back: {reason}"))
                .fix(format!("kubectl pitr uninject {name} -n {namespace} --live")),
        }
    }

    /// Brings back what was there when a pod last proved it, and tells what became of the ConfigMap. The partition comes last: what was
    /// there before is in the template when pods are let go.
    pub(super) async fn take_back(
        &self,
        cluster: &Cluster,
        name: &str,
        before: &Before,
    ) -> Result<Option<String>, Failure> {
        let (back, map) = (self.proven(before), map_name(name));
        if let Some(object) = &back.map {
            injected_map::put(cluster, &map, object, ApplyOptions::default()).await?;
        }
        cluster.apply_stateful_set(name, &back.entries, ApplyOptions::default()).await?;
        match (self.on_delete, back.held) {
            (true, _) => {}
            // It failed on a later pod: the others do not get it.
            (false, true) => cluster.set_partition(name, None, json!({ANNOTATION_BEFORE: null})).await?,
            (false, false) => self.let_go(cluster, name).await?,
        }
        if back.map.is_some() {
            return Ok(None);
        }
        // What was made for the sidecar alone goes with it. A pod that mounts it already keeps what it has.
        Ok(Some(match cluster.delete_config_map(&map).await {
            Ok(()) => format!("configmap/{map} was deleted again"),
            Err(reason) => format!("configmap/{map} stays: {reason}"),
        }))
    }

    /// Waits until every pod runs without the sidecar.
    pub(super) async fn wait_without_sidecar(
        &self,
        cluster: &Cluster,
        name: &str,
        limit: Duration,
    ) -> Result<(), Failure> {
        if self.on_delete {
            return Ok(());
        }
        for index in (self.partition..self.replicas).rev() {
            let pod = self.pod_name(name, index);
            let deadline = Instant::now() + limit;
            loop {
                if let Some(found) = cluster.pod(&pod).await?
                    && found.metadata.deletion_timestamp.is_none()
                    && !carries(&found)
                    && is_ready(&found)
                {
                    break;
                }
                if Instant::now() >= deadline {
                    let text = format!("pod \"{pod}\" is not ready {} after the change", duration(limit.as_secs()));
                    return Err(Failure::new(code::WAIT_TIMED_OUT, text).hint("the rollout goes on"));
                }
                sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }
}

/// The partition that a rollout, which was broken off, was to come back to.
fn remembered(object: &StatefulSet) -> Option<i32> {
    object.metadata.annotations.as_ref()?.get(ANNOTATION_PARTITION)?.parse().ok()
}

/// What an injection that was broken off took the place of.
fn unproven(object: &StatefulSet) -> Option<Before> {
    serde_json::from_str(object.metadata.annotations.as_ref()?.get(ANNOTATION_BEFORE)?).ok()
}

/// Whether an injection has changed this object and no pod has proven the change yet.
pub(super) fn is_under_way(object: &StatefulSet) -> bool {
    object.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(ANNOTATION_BEFORE))
}

/// The ConfigMap of a workload's sidecars.
pub(super) fn map_name(workload: &str) -> String {
    format!("pitr-{workload}")
}

/// What a rollout that is not watched any longer will do by itself.
pub(super) async fn standing(cluster: &Cluster, name: &str) -> String {
    let namespace = cluster.namespace();
    match cluster.stateful_set(name).await {
        Ok(object) if remembered(&object).is_some() => format!(
            "statefulset/{name} is held back by its partition: only its last pods have the change. The same command goes on; \
             kubectl pitr uninject {name} -n {namespace} --live takes it out"
        ),
        Ok(_) => format!("statefulset/{name} goes on with it by itself: kubectl pitr status {name} -n {namespace}"),
        Err(reason) => format!("what becomes of statefulset/{name} is not known: {reason}"),
    }
}

async fn wait_for(cluster: &Cluster, (name, pod): (&str, &str), limit: Duration) -> Result<(), String> {
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
        None => Some(crate::cluster::waiting_reason(&found).unwrap_or_else(|| "no heartbeat yet".to_owned())),
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

fn carries(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let alive = pod.metadata.deletion_timestamp.is_none();
    alive && spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(|c| c.name == CONTAINER)
}

fn is_ready(pod: &Pod) -> bool {
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
