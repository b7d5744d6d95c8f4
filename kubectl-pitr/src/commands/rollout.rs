//! The restart of a workload's pods: one first, and the others only when that one archives.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use pitr_recovery::code;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::args::Via;
use crate::cluster::{ApplyOptions, Cluster};
use crate::failure::Failure;
use crate::inject::sidecar::CONTAINER;
use crate::session::Session;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long one look at a sidecar's state may take.
const STATE_LIMIT: Duration = Duration::from_secs(5);

/// How a StatefulSet will restart its pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rollout {
    replicas: i32,
    /// Pods are restarted by whoever deletes them.
    on_delete: bool,
    /// Restart the highest ordinal first and look at it.
    canary: bool,
    /// The partition to come back to.
    partition: i32,
    /// A ConfigMap that was not there before, and that goes if the change is taken back.
    new_map: Option<String>,
}

impl Rollout {
    pub(super) fn of(object: &StatefulSet, at_once: bool) -> Self {
        let spec = object.spec.as_ref();
        let strategy = spec.and_then(|s| s.update_strategy.as_ref());
        let on_delete = strategy.and_then(|s| s.type_.as_deref()) == Some("OnDelete");
        let replicas = spec.and_then(|s| s.replicas).unwrap_or(1);
        let partition = strategy.and_then(|s| s.rolling_update.as_ref()).and_then(|r| r.partition).unwrap_or(0);
        Self { replicas, on_delete, canary: replicas > 1 && !at_once && !on_delete, partition, new_map: None }
    }

    pub(super) fn with_new_map(self, name: Option<String>) -> Self {
        Self { new_map: name, ..self }
    }

    /// Before the change: lets only the highest ordinal have it.
    pub(super) async fn hold_back(&self, cluster: &Cluster, name: &str) -> Result<(), Failure> {
        if self.canary { cluster.set_partition(name, self.replicas - 1).await } else { Ok(()) }
    }

    /// After the change: waits for the first pod, then lets the others have it and waits for them.
    pub(super) async fn finish(
        &self,
        session: &Session,
        cluster: &Cluster,
        name: &str,
        limit: Duration,
    ) -> Result<(), Failure> {
        if self.on_delete {
            session.tell("  its update strategy is OnDelete: the sidecar comes with each pod that you delete");
            return Ok(());
        }
        let deadline = Instant::now() + limit;
        let highest = self.replicas - 1;
        for ordinal in (self.partition..=highest).rev() {
            let pod = format!("{name}-{ordinal}");
            if let Err(reason) = self.wait_for(cluster, &pod, deadline).await {
                return Err(self.give_up(cluster, name, &pod, (reason, limit)).await);
            }
            session.tell(&format!("pod/{pod} archives"));
            if self.canary && ordinal == highest {
                cluster.set_partition(name, self.partition).await?;
            }
        }
        Ok(())
    }

    async fn wait_for(&self, cluster: &Cluster, pod: &str, deadline: Instant) -> Result<(), String> {
        let mut last = "it was not restarted".to_owned();
        while Instant::now() < deadline {
            match cluster.pod(pod).await {
                Ok(Some(found)) if carries(&found) => {
                    let state = cluster.pod_states(std::slice::from_ref(&found), Via::Auto, STATE_LIMIT).await;
                    let heartbeat = state.into_iter().next().and_then(|s| s.heartbeat);
                    last = match heartbeat {
                        Some(heartbeat) if archives(&heartbeat) && is_ready(&found) => return Ok(()),
                        Some(heartbeat) if archives(&heartbeat) => "it is not ready".to_owned(),
                        Some(heartbeat) => codes(&heartbeat),
                        None => crate::cluster::waiting_reason(&found).unwrap_or_else(|| "no heartbeat yet".to_owned()),
                    };
                }
                Ok(Some(_)) => {}
                Ok(None) => "it is being replaced".clone_into(&mut last),
                Err(failure) => last = failure.to_string(),
            }
            sleep(LOOK_EVERY).await;
        }
        Err(last)
    }

    /// Takes the change back. A pod that cannot start stays as it is: only deleting it helps.
    async fn give_up(&self, cluster: &Cluster, name: &str, pod: &str, (reason, limit): (String, Duration)) -> Failure {
        let nothing = json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": name, "namespace": cluster.namespace()}});
        let reverted = cluster.apply_stateful_set(name, &nothing, ApplyOptions::default()).await;
        if self.canary {
            let _ = cluster.set_partition(name, self.partition).await;
        }
        let seconds = limit.as_secs();
        let failure = Failure::new(
            code::NOT_ARCHIVING_IN_TIME,
            format!("{pod} does not archive {} after its restart: {reason}", crate::render::duration(seconds)),
        );
        match reverted {
            Ok(_) => self
                .take_map_back(cluster, failure)
                .await
                .hint("the change was taken back; pods that were not restarted yet were not touched")
                .fix(format!("kubectl delete pod {pod} -n {}, if it does not start by itself", cluster.namespace())),
            Err(reason) => failure
                .hint(format!("the change could not be taken back: {reason}"))
                .fix(format!("kubectl pitr uninject {name} -n {} --live", cluster.namespace())),
        }
    }

    /// What was made for the sidecar alone goes with it. A pod that mounts it already keeps what it has.
    async fn take_map_back(&self, cluster: &Cluster, failure: Failure) -> Failure {
        let Some(name) = &self.new_map else { return failure };
        match cluster.delete_config_map(name).await {
            Ok(()) => failure.hint(format!("configmap/{name} was deleted again")),
            Err(reason) => failure
                .hint(format!("configmap/{name} stays: {reason}"))
                .fix(format!("kubectl delete configmap {name} -n {}", cluster.namespace())),
        }
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
        let deadline = Instant::now() + limit;
        for ordinal in (self.partition..self.replicas).rev() {
            let pod = format!("{name}-{ordinal}");
            loop {
                if let Some(found) = cluster.pod(&pod).await?
                    && found.metadata.deletion_timestamp.is_none()
                    && !carries(&found)
                    && is_ready(&found)
                {
                    break;
                }
                if Instant::now() >= deadline {
                    let text = format!(
                        "pod \"{pod}\" is not ready {} after the change",
                        crate::render::duration(limit.as_secs())
                    );
                    return Err(Failure::new(code::WAIT_TIMED_OUT, text).hint("the rollout goes on"));
                }
                sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }
}

fn carries(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let alive = pod.metadata.deletion_timestamp.is_none();
    alive && spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(|c| c.name == CONTAINER)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
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
