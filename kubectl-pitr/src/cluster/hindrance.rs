//! What keeps a pod from running, in words: by its status, or by what its events warn of.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use super::Cluster;

/// What does not begin within this time is looked into.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The same is told again after this time.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Reasons of a container that only means that it is not its turn yet.
const IN_TURN: [&str; 2] = ["PodInitializing", "ContainerCreating"];
/// Words of a Job's controller before the cause.
const NOT_MADE: &str = "Error creating: ";

/// What keeps a pod from running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hindrance {
    /// What it means: `secret "pitr-s3" not found`.
    pub words: String,
    /// As Kubernetes names it: `FailedMount`.
    pub reason: String,
    /// The volume of the pod that cannot be mounted, if that is it.
    pub volume: Option<String>,
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.words, self.reason)
    }
}

impl Hindrance {
    fn new(reason: &str, words: String) -> Self {
        Self { words, reason: reason.to_owned(), volume: None }
    }

    /// By a pod's status alone: its image, its settings, its place.
    pub fn of(pod: &Pod) -> Option<Self> {
        let waiting = statuses(pod).find_map(|status| of_container(pod, status));
        waiting.or_else(|| {
            let conditions = pod.status.as_ref()?.conditions.iter().flatten();
            let mut unplaced = conditions.filter(|c| c.type_ == "PodScheduled" && c.status == "False");
            let unplaced = unplaced.next()?;
            let words = unplaced.message.clone().unwrap_or_else(|| "it is not said why".to_owned());
            Some(Self::new(unplaced.reason.as_deref().unwrap_or("Unschedulable"), format!("no node takes it: {words}")))
        })
    }
}

/// A wait for something to begin: when to look for what holds it up, and when to tell that.
#[derive(Debug)]
pub struct Waiting {
    since: Instant,
    looked: Option<Instant>,
    told: Option<Instant>,
    found: Option<Hindrance>,
}

impl Waiting {
    pub fn begin(now: Instant) -> Self {
        Self { since: now, looked: None, told: None, found: None }
    }

    /// Looks now and then. Gives what is to be told now: soon, when it is something else, and every minute.
    pub async fn look(&mut self, now: Instant, held_up: impl Future<Output = Option<Hindrance>>) -> Option<Hindrance> {
        if now - self.since < PATIENCE || self.looked.is_some_and(|at| now - at < LOOK_EVERY) {
            return None;
        }
        self.looked = Some(now);
        let words = |found: &Option<Hindrance>| found.as_ref().map(|found| found.words.clone());
        let found = held_up.await;
        let is_new = words(&found) != words(&self.found);
        self.found = found;
        let is_due = is_new || self.told.is_none_or(|at| now - at >= TELL_EVERY);
        let told = self.found.clone().filter(|_| is_due)?;
        self.told = Some(now);
        Some(told)
    }

    /// What was found last.
    pub fn found(self) -> Option<Hindrance> {
        self.found
    }
}

impl Cluster {
    /// What keeps a pod from running; nothing where neither its status nor an event says so, or where its events may not be read.
    pub async fn hindrance(&self, pod: &Pod) -> Option<Hindrance> {
        match Hindrance::of(pod) {
            Some(found) => Some(found),
            None => {
                let mut warnings = self.warnings(&pod.name_any(), pod.uid().as_deref()).await;
                forget_what_is_past(&mut warnings, pod);
                of_events(&warnings, has_begun(pod))
            }
        }
    }

    /// What keeps a Job from making its pod, such as a quota.
    pub async fn hindrance_of_job(&self, name: &str) -> Option<Hindrance> {
        of_events(&self.warnings(name, None).await, false)
    }

    /// Warnings about an object, the newest last. Whoever may not read them is told less.
    async fn warnings(&self, name: &str, uid: Option<&str>) -> Vec<Event> {
        let api: Api<Event> = self.api();
        let params = ListParams::default().fields(&format!("involvedObject.name={name},type=Warning"));
        let mut events = api.list(&params).await.map(|list| list.items).unwrap_or_default();
        // A pod of a StatefulSet has the name of those before it.
        let is_its = |event: &Event| {
            let of = &event.involved_object;
            of.name.as_deref() == Some(name) && uid.is_none_or(|uid| of.uid.as_deref().is_none_or(|of| of == uid))
        };
        events.retain(|event| is_its(event) && event.type_.as_deref() == Some("Warning"));
        events.sort_by_key(said_at);
        events
    }
}

fn said_at(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|at| at.0);
    let last = event.last_timestamp.as_ref().map(|at| at.0);
    series.max(last).or(event.event_time.as_ref().map(|at| at.0))
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.iter();
    status.flat_map(|s| s.init_container_statuses.iter().flatten().chain(s.container_statuses.iter().flatten()))
}

/// Whether a container of the pod has run: then its volumes were there.
fn has_begun(pod: &Pod) -> bool {
    statuses(pod).any(|status| {
        let state = status.state.as_ref();
        status.restart_count > 0 || state.is_some_and(|s| s.running.is_some() || s.terminated.is_some())
    })
}

fn of_container(pod: &Pod, status: &ContainerStatus) -> Option<Hindrance> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().filter(|reason| !IN_TURN.contains(reason))?;
    let message = waiting.message.as_deref().unwrap_or_default();
    let words = match reason {
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" => {
            let image = image_of(pod, status);
            let cause = message.strip_prefix(&format!("Back-off pulling image \"{image}\"")).unwrap_or(message);
            with_cause(format!("image \"{image}\" cannot be pulled"), cause.trim_start_matches(": "))
        }
        "CrashLoopBackOff" => {
            let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            let cause = last.map(|ended| {
                let words = ended.message.as_deref().and_then(|m| m.trim().lines().last()).unwrap_or_default();
                with_cause(format!("exit code {}", ended.exit_code), words)
            });
            with_cause(
                format!("container \"{}\" ends again and again", status.name),
                cause.as_deref().unwrap_or(message),
            )
        }
        _ => with_cause(format!("container \"{}\" cannot start", status.name), message),
    };
    Some(Hindrance::new(reason, words))
}

fn with_cause(words: String, cause: &str) -> String {
    if cause.is_empty() { words } else { format!("{words}: {cause}") }
}

/// What the pod asks for: the status has the node's name of it.
fn image_of(pod: &Pod, status: &ContainerStatus) -> String {
    let spec = pod.spec.iter();
    let mut asked = spec.flat_map(|s| s.init_containers.iter().flatten().chain(&s.containers));
    let asked = asked.find(|container| container.name == status.name).and_then(|container| container.image.clone());
    asked.unwrap_or_else(|| status.image.clone())
}

/// A pod that has a node waits for nothing that was said before it had one, such as a volume that was not made yet.
fn forget_what_is_past(warnings: &mut Vec<Event>, pod: &Pod) {
    if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
        warnings.retain(|event| event.reason.as_deref() != Some("FailedScheduling"));
    }
}

/// The newest warning that says something. That somebody has waited in vain says less than what for.
fn of_events(events: &[Event], has_begun: bool) -> Option<Hindrance> {
    let counts = |event: &&Event| has_begun == (event.reason.as_deref() == Some("Unhealthy"));
    let is_wait =
        |event: &&Event| event.message.as_deref().is_some_and(|m| m.ends_with("timed out waiting for the condition"));
    let mut newest = events.iter().rev().filter(counts);
    let told = newest.clone().find(|event| !is_wait(event)).or_else(|| newest.next())?;
    let (reason, message) = (told.reason.as_deref().unwrap_or("Warning"), told.message.as_deref().unwrap_or_default());
    Some(match reason {
        // MountVolume.SetUp failed for volume "pitr-s3" : secret "pitr-s3" not found
        "FailedMount" | "FailedAttachVolume" => {
            let (head, cause) = message.split_once(" : ").unwrap_or((message, message));
            let volume = head.split_once("volume \"").and_then(|(_, rest)| rest.split('"').next()).map(str::to_owned);
            Hindrance { volume, ..Hindrance::new(reason, cause.to_owned()) }
        }
        "FailedScheduling" => Hindrance::new(reason, format!("no node takes it: {message}")),
        "FailedCreate" => {
            let cause = message.strip_prefix(NOT_MADE).unwrap_or(message);
            Hindrance::new(reason, format!("the pod cannot be made: {cause}"))
        }
        _ => Hindrance::new(reason, message.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        let containers = json!([{"name": "mysql", "image": "mysql:8.4"}]);
        let init = json!([{"name": "pitr", "image": "registry/pitr:1"}]);
        serde_json::from_value(json!({"metadata": {"name": "mysql-2"}, "status": status,
            "spec": {"containers": containers, "initContainers": init}}))
        .unwrap()
    }

    fn container(state: &Value) -> Value {
        json!({"name": "pitr", "image": "sha256:1", "imageID": "", "ready": false, "restartCount": 0, "state": state})
    }

    fn waiting(reason: &str, message: &str) -> Pod {
        pod(&json!({"initContainerStatuses": [container(&json!({"waiting": {"reason": reason, "message": message}}))]}))
    }

    fn event(reason: &str, at: &str, message: &str) -> Event {
        serde_json::from_value(json!({"metadata": {}, "type": "Warning", "reason": reason, "message": message,
            "lastTimestamp": at, "involvedObject": {"name": "mysql-2"}}))
        .unwrap()
    }

    #[test]
    fn what_the_scheduler_said_is_past_once_there_is_a_node() {
        let at = "2026-11-21T07:00:00Z";
        let said = || vec![event("FailedScheduling", at, "no claim"), event("FailedMount", at, "x : no secret")];
        let mut pod = pod(&json!({}));
        let left = |pod: &Pod| {
            let mut warnings = said();
            forget_what_is_past(&mut warnings, pod);
            warnings.len()
        };
        assert_eq!(left(&pod), 2);
        pod.spec.as_mut().unwrap().node_name = Some("node1".to_owned());
        assert_eq!(left(&pod), 1);
    }

    #[test]
    fn a_status_says_in_words_what_is_missing() {
        let words = |pod: &Pod| Hindrance::of(pod).map(|found| found.to_string());
        let back_off = "Back-off pulling image \"registry/pitr:1\": ErrImagePull: not found";
        let pull = "image \"registry/pitr:1\" cannot be pulled: ErrImagePull: not found (ImagePullBackOff)";
        assert_eq!(words(&waiting("ImagePullBackOff", back_off)).unwrap(), pull);
        let bare = "image \"registry/pitr:1\" cannot be pulled (ImagePullBackOff)";
        assert_eq!(words(&waiting("ImagePullBackOff", "Back-off pulling image \"registry/pitr:1\"")).unwrap(), bare);
        let settings = "container \"pitr\" cannot start: secret \"x\" not found (CreateContainerConfigError)";
        assert_eq!(words(&waiting("CreateContainerConfigError", "secret \"x\" not found")).unwrap(), settings);
        assert_eq!(words(&waiting("PodInitializing", "")), None);
        let mut crashing = container(&json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}));
        crashing["lastState"] = json!({"terminated": {"exitCode": 2, "message": "usage\nno such key\n"}});
        let crashing = pod(&json!({"containerStatuses": [crashing]}));
        let ends = "container \"pitr\" ends again and again: exit code 2: no such key (CrashLoopBackOff)";
        assert_eq!(words(&crashing).unwrap(), ends);
        let unplaced = pod(&json!({"conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/3 nodes are available"}]}));
        assert_eq!(words(&unplaced).unwrap(), "no node takes it: 0/3 nodes are available (Unschedulable)");
    }

    #[test]
    fn an_event_says_what_a_pod_waits_for() {
        let mount = "MountVolume.SetUp failed for volume \"pitr-s3\" : secret \"pitr-s3\" not found";
        let in_vain =
            "Unable to attach or mount volumes: unmounted volumes=[pitr-s3]: timed out waiting for the condition";
        let events = [
            event("FailedScheduling", "2026-11-21T07:00:00Z", "0/3 nodes are available"),
            event("FailedMount", "2026-11-21T07:00:10Z", mount),
            event("FailedMount", "2026-11-21T07:02:10Z", in_vain),
        ];
        let found = of_events(&events, false).unwrap();
        assert_eq!(found.to_string(), "secret \"pitr-s3\" not found (FailedMount)");
        assert_eq!(found.volume.as_deref(), Some("pitr-s3"));
        assert_eq!(of_events(&events[2..], false).unwrap().words, in_vain);
        assert_eq!(of_events(&events, true), None, "once it runs, what it waited for is past");
        let probe = [event("Unhealthy", "2026-11-21T07:03:00Z", "Readiness probe failed: no")];
        assert_eq!(of_events(&probe, true).unwrap().to_string(), "Readiness probe failed: no (Unhealthy)");
        let quota = [event("FailedCreate", "2026-11-21T07:00:00Z", "Error creating: exceeded quota: q")];
        assert_eq!(of_events(&quota, false).unwrap().words, "the pod cannot be made: exceeded quota: q");
    }

    #[tokio::test]
    async fn what_holds_something_up_is_told_soon_when_it_changes_and_every_minute() {
        let begun = Instant::now();
        let mut waiting = Waiting::begin(begun);
        let mut told = Vec::new();
        for second in 0..80_u64 {
            let words = if second < 10 { "no node" } else { "no Secret" };
            let held_up = async { Some(Hindrance::new("x", words.to_owned())) };
            let found = waiting.look(begun + Duration::from_secs(second), held_up).await;
            told.extend(found.map(|_| second));
        }
        assert_eq!(told, [3, 13, 73]);
        assert_eq!(waiting.found().unwrap().words, "no Secret");
    }

    #[test]
    fn what_has_run_has_begun() {
        assert!(!has_begun(&waiting("PodInitializing", "")));
        let running = container(&json!({"running": {"startedAt": "2026-11-21T07:00:00Z"}}));
        assert!(has_begun(&pod(&json!({"containerStatuses": [running]}))));
    }
}
