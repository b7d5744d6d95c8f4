//! The restart of a workload's pods: one first, and the others only when that one archives.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use pitr_recovery::code;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::injected_map;
use super::proof::{LOOK_EVERY, carries, is_ready, wait_for};
use crate::cluster::{ApplyOptions, Cluster, waiting_reason};
use crate::failure::Failure;
use crate::inject::sidecar::{ANNOTATION_BEFORE, ANNOTATION_PARTITION};
use crate::render::duration;
use crate::session::Session;

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

    /// Whether an injection before this one has not ended.
    pub(super) fn is_unfinished(&self) -> bool {
        self.held || self.unproven.is_some()
    }

    /// The same, where an injection that had not ended left something.
    pub(super) async fn let_go_if_held(&self, cluster: &Cluster, name: &str) -> Result<(), Failure> {
        if self.is_unfinished() { self.let_go(cluster, name).await } else { Ok(()) }
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
        if !self.begin(session, cluster, name).await? {
            return Ok(());
        }
        let Some((index, failure)) = self.follow(session, cluster, name, limit).await? else { return Ok(()) };
        let namespace = cluster.namespace();
        Err(match index == self.replicas - 1 {
            true => self.give_up(cluster, name, &self.pod_name(name, index), (failure, before)).await,
            false => {
                let failure = self.stop(cluster, name, index, failure).await;
                failure.fix(format!("kubectl pitr uninject {name} -n {namespace} --live"))
            }
        })
    }

    /// Restarts every pod as it is, the last one first: the others follow when that one archives.
    pub(super) async fn restart(
        &self,
        session: &Session,
        cluster: &Cluster,
        name: &str,
        (limit, now): (Duration, Timestamp),
    ) -> Result<(), Failure> {
        if self.canary {
            let annotations = json!({ANNOTATION_PARTITION: self.partition.to_string()});
            cluster.set_partition(name, Some(self.replicas - 1), annotations).await?;
        }
        cluster.restart_stateful_set(name, now).await?;
        if !self.begin(session, cluster, name).await? {
            return Ok(());
        }
        match self.follow(session, cluster, name, limit).await? {
            None => Ok(()),
            Some((index, failure)) => Err(self.stop(cluster, name, index, failure).await),
        }
    }

    /// After a change: whether any pod gets it by itself.
    async fn begin(&self, session: &Session, cluster: &Cluster, name: &str) -> Result<bool, Failure> {
        if self.on_delete {
            session.tell("  its update strategy is OnDelete: the change comes with each pod that you delete");
            return Ok(false);
        }
        if self.held && !self.canary {
            cluster.set_partition(name, Some(self.partition), json!({ANNOTATION_PARTITION: null})).await?;
        }
        if self.partition > 0 && self.partition >= self.replicas {
            self.let_go(cluster, name).await?;
            let partition = self.partition;
            session
                .tell(&format!("  its partition {partition} holds every pod back: the change comes as you lower it"));
            return Ok(false);
        }
        Ok(true)
    }

    /// Waits for each pod that gets the change, from the last one on, and lets the others have it when that one archives. Tells which
    /// pod does not.
    async fn follow(
        &self,
        session: &Session,
        cluster: &Cluster,
        name: &str,
        limit: Duration,
    ) -> Result<Option<(i32, Failure)>, Failure> {
        let last = self.replicas - 1;
        for index in (self.partition..=last).rev() {
            let pod = self.pod_name(name, index);
            if let Err(reason) = wait_for(cluster, (name, &pod), limit).await {
                let text = format!("{pod} does not archive {} after its restart: {reason}", duration(limit.as_secs()));
                return Ok(Some((index, Failure::new(code::NOT_ARCHIVING_IN_TIME, text))));
            }
            session.tell(&format!("pod/{pod} archives"));
            if index == last {
                self.let_go(cluster, name).await?;
            }
        }
        Ok(None)
    }

    fn pod_name(&self, name: &str, index: i32) -> String {
        format!("{name}-{}", self.start + index)
    }

    /// Holds the pods back that have not had the change.
    async fn stop(&self, cluster: &Cluster, name: &str, index: i32, failure: Failure) -> Failure {
        let (pod, namespace) = (self.pod_name(name, index), cluster.namespace());
        let those = if index == self.replicas - 1 { "" } else { "those before it archive; " };
        let annotations = json!({ANNOTATION_PARTITION: self.partition.to_string()});
        let failure = match self.canary && index > self.partition {
            false => failure.hint(format!("{those}the change stays")),
            true => match cluster.set_partition(name, Some(index), annotations).await {
                Ok(()) => failure.hint(format!("{those}the others are held back by partition {index}")),
                Err(reason) => failure.hint(format!("the others are restarted nevertheless: {reason}")),
            },
        };
        failure.fix(format!("kubectl describe pod {pod} -n {namespace}; then the same command goes on"))
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

    /// Waits until every pod runs without the sidecar. One whose sidecar cannot start is replaced by nobody: it is named, or deleted if
    /// `deletes` says so.
    pub(super) async fn wait_without_sidecar(
        &self,
        cluster: &Cluster,
        name: &str,
        (limit, deletes): (Duration, bool),
    ) -> Result<(), Failure> {
        if self.on_delete {
            return Ok(());
        }
        for index in (self.partition..self.replicas).rev() {
            let pod = self.pod_name(name, index);
            let deadline = Instant::now() + limit;
            loop {
                let found = cluster.pod(&pod).await?;
                let wedged = found.as_ref().filter(|pod| carries(pod) && !is_ready(pod)).and_then(waiting_reason);
                if wedged.is_some() && deletes {
                    cluster.delete_pod(&pod).await?;
                }
                if let Some(found) = found
                    && found.metadata.deletion_timestamp.is_none()
                    && !carries(&found)
                    && is_ready(&found)
                {
                    break;
                }
                if Instant::now() >= deadline {
                    let text = format!("pod \"{pod}\" is not ready {} after the change", duration(limit.as_secs()));
                    let failure = Failure::new(code::WAIT_TIMED_OUT, text);
                    return Err(match wedged {
                        None => failure.hint("the rollout goes on"),
                        Some(reason) => failure
                            .hint(format!("its sidecar cannot start, and only deleting the pod helps: {reason}"))
                            .fix(format!(
                                "kubectl delete pod {pod} -n {}, or --delete-wedged-pods",
                                cluster.namespace()
                            )),
                    });
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
