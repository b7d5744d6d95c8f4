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
use super::proof::{self, LOOK_EVERY, carries, wait_for};
use crate::cluster::{ApplyOptions, Cluster, Hindrance, is_ready};
use crate::failure::Failure;
use crate::inject::sidecar::{ANNOTATION_BEFORE, ANNOTATION_PARTITION, config_map_name};
use crate::render::duration;
use crate::session::Session;

/// Between two questions about the events of pods that do not start.
const EVENTS_EVERY: Duration = Duration::from_secs(5);

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

    /// The same of the object as it is now, with that object. A change that was broken off before a pod had proven it may have been proven
    /// since: it is what a failure comes back to then.
    pub(super) async fn now(cluster: &Cluster, name: &str, at_once: bool) -> Result<(StatefulSet, Self), Failure> {
        let object = cluster.stateful_set(name).await?;
        let mut rollout = Self::of(&object, at_once);
        if rollout.is_proven(cluster, name).await? {
            rollout.unproven = None;
        }
        Ok((object, rollout))
    }

    /// Whether the last pod archives with the change that no rollout saw proven.
    async fn is_proven(&self, cluster: &Cluster, name: &str) -> Result<bool, Failure> {
        if self.unproven.is_none() || self.replicas == 0 {
            return Ok(false);
        }
        Ok(proof::look(cluster, name, &self.pod_name(name, self.replicas - 1)).await?.is_none())
    }

    /// The pods that a change restarts, in that order; none where somebody else decides when.
    pub(super) fn restarts(&self, name: &str) -> Vec<String> {
        let last = if self.on_delete { self.partition } else { self.replicas };
        (self.partition..last).rev().map(|index| self.pod_name(name, index)).collect()
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
                let failure = self.stop(cluster, name, index, failure);
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
        self.begin_restart(cluster, name, (now, false)).await?;
        if !self.begin(session, cluster, name).await? {
            return Ok(());
        }
        match self.follow(session, cluster, name, limit).await? {
            None => Ok(()),
            Some((index, failure)) => Err(self.stop(cluster, name, index, failure)),
        }
    }

    /// The patch of a restart: all of it in one, so that none of it stands alone.
    async fn begin_restart(
        &self,
        cluster: &Cluster,
        name: &str,
        (now, dry_run): (Timestamp, bool),
    ) -> Result<(), Failure> {
        let (partition, annotations) = match self.canary {
            true => (Some(self.replicas - 1), json!({ANNOTATION_PARTITION: self.partition.to_string()})),
            false => (None, json!({})),
        };
        cluster.restart_stateful_set(name, (partition, annotations), (now, dry_run)).await
    }

    /// Asks the API server whether a restart would be accepted.
    pub(super) async fn try_restart(&self, cluster: &Cluster, name: &str, now: Timestamp) -> Result<(), Failure> {
        self.begin_restart(cluster, name, (now, true)).await
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
        if self.partition >= self.replicas {
            self.let_go(cluster, name).await?;
            session.tell(&match self.partition {
                0 => "  it has no pods: the change comes with the first one".to_owned(),
                held => format!("  its partition {held} holds every pod back: the change comes as you lower it"),
            });
            return Ok(false);
        }
        Ok(true)
    }

    /// Waits for each pod that gets the change, from the last one on, and lets the next one have it when that one archives. Tells
    /// which pod does not.
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
            if let Err(reason) = wait_for(session, cluster, (name, &pod), limit).await {
                let text = format!("{pod} does not archive {} after its restart: {reason}", duration(limit.as_secs()));
                return Ok(Some((index, Failure::new(code::NOT_ARCHIVING_IN_TIME, text))));
            }
            session.tell(&format!("pod/{pod} archives"));
            self.pass_on(cluster, name, index).await?;
        }
        Ok(None)
    }

    /// A pod has proven the change: it need not be taken back any more, and the next one gets it. A controller alone would go on as soon as
    /// a pod is ready, which says nothing about its sidecar.
    async fn pass_on(&self, cluster: &Cluster, name: &str, proven: i32) -> Result<(), Failure> {
        let (next, is_first) = (proven - 1, proven == self.replicas - 1);
        match self.canary {
            true if next >= self.partition => {
                cluster.set_partition(name, Some(next), json!({ANNOTATION_BEFORE: null})).await
            }
            // What it comes back to is remembered to the end: whoever goes on waits for the last pod, too.
            true => self.let_go(cluster, name).await,
            false if is_first => self.let_go(cluster, name).await,
            false => Ok(()),
        }
    }

    fn pod_name(&self, name: &str, index: i32) -> String {
        format!("{name}-{}", self.start + index)
    }

    /// What stands where a pod does not archive: the partition holds those back that have not had the change.
    fn stop(&self, cluster: &Cluster, name: &str, index: i32, failure: Failure) -> Failure {
        let (pod, namespace) = (self.pod_name(name, index), cluster.namespace());
        let those = if index == self.replicas - 1 { "" } else { "those before it archive; " };
        let failure = match self.canary && index > self.partition {
            false => failure.hint(format!("{those}the change stays")),
            true => failure.hint(format!("{those}the others are held back by partition {index}")),
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
        let (back, map) = (self.proven(before), config_map_name(name));
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

    /// Waits until every pod runs without the sidecar. One whose sidecar cannot start is replaced by nobody, and where pods start in their
    /// order no other is replaced before it: it is named, or deleted if `deletes` says so. The limit begins again with each pod that is done.
    pub(super) async fn wait_without_sidecar(
        &self,
        cluster: &Cluster,
        name: &str,
        (limit, deletes): (Duration, bool),
    ) -> Result<(), Failure> {
        if self.on_delete {
            return Ok(());
        }
        let (mut last, mut deadline, mut asked) = (usize::MAX, Instant::now() + limit, None);
        loop {
            let waiting = self.with_sidecar(cluster, name).await?;
            let Some((first, _)) = waiting.first() else { return Ok(()) };
            let now = Instant::now();
            if waiting.len() < last {
                (last, deadline) = (waiting.len(), now + limit);
            }
            let is_over = now >= deadline;
            let asks = is_over || asked.is_none_or(|at| now - at >= EVENTS_EVERY);
            asked = if asks { Some(now) } else { asked };
            let mut wedged = None;
            for (pod_name, pod) in &waiting {
                let Some(pod) = pod else { continue };
                let Some(reason) = proof::wedge(cluster, pod, asks).await else { continue };
                if deletes {
                    cluster.delete_this_pod(pod).await?;
                }
                wedged = wedged.or(Some((pod_name.as_str(), reason)));
            }
            if is_over {
                return Err(not_without(cluster, (first.as_str(), wedged), limit));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The pods that have the sidecar still or are not ready without it, the last one first, as far as they are there.
    async fn with_sidecar(&self, cluster: &Cluster, name: &str) -> Result<Vec<(String, Option<Pod>)>, Failure> {
        let mut pods = cluster.pods(None).await?;
        let names = (self.partition..self.replicas).rev().map(|index| self.pod_name(name, index));
        let found = names.map(|name| {
            let place = pods.iter().position(|pod| pod.metadata.name.as_ref() == Some(&name));
            (name, place.map(|place| pods.swap_remove(place)))
        });
        let is_done = |pod: &Pod| !carries(pod) && is_ready(pod);
        Ok(found.filter(|(_, pod)| !pod.as_ref().is_some_and(is_done)).collect())
    }
}

/// What keeps pods from running without the sidecar.
fn not_without(cluster: &Cluster, (first, wedged): (&str, Option<(&str, Hindrance)>), limit: Duration) -> Failure {
    let pod = wedged.as_ref().map_or(first, |(pod, _)| *pod);
    let text = format!("pod \"{pod}\" is not ready {} after the change", duration(limit.as_secs()));
    let failure = Failure::new(code::WAIT_TIMED_OUT, text);
    match wedged {
        None => failure.hint("the rollout goes on"),
        Some((_, reason)) => failure
            .hint(format!("it cannot start, and only deleting the pod helps: {reason}"))
            .fix(format!("kubectl delete pod {pod} -n {}, or --delete-wedged-pods", cluster.namespace())),
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
pub(super) async fn is_under_way(cluster: &Cluster, name: &str, object: &StatefulSet) -> Result<bool, Failure> {
    let rollout = Rollout::of(object, false);
    Ok(rollout.unproven.is_some() && !rollout.is_proven(cluster, name).await?)
}

/// What a rollout that is not watched any longer will do by itself; `undo` is what takes its change out, if a command does.
pub(super) async fn standing(cluster: &Cluster, name: &str, undo: Option<&str>) -> String {
    let namespace = cluster.namespace();
    let undo = undo.map(|command| format!("; {command} takes it out")).unwrap_or_default();
    match cluster.stateful_set(name).await {
        Ok(object) if remembered(&object).is_some() => format!(
            "statefulset/{name} is held back by its partition: only its last pods have the change. The same command goes on{undo}"
        ),
        Ok(_) => format!("statefulset/{name} goes on with it by itself: kubectl pitr status {name} -n {namespace}"),
        Err(reason) => format!("what becomes of statefulset/{name} is not known: {reason}"),
    }
}
