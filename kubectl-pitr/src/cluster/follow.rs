//! Watching a Job to its end. What is terminal is decided by the Job alone; logs only tell how far it is.

use std::time::Duration;

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, ResourceExt};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Cluster, Hindrance, Waiting};
use crate::failure::Failure;
use crate::job_line::{self, JobLine, Verdict};

/// Between two looks at the Job.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Which Job is watched, and for how long.
#[derive(Debug, Clone)]
pub struct Watching<'a> {
    pub job: &'a str,
    pub container: &'a str,
    pub limit: Duration,
}

/// Something to show while a Job runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Sign {
    Line(JobLine),
    /// The pod does not start, and why.
    Waiting(Hindrance),
    /// A new pod goes on where the last one was stopped.
    Replaced,
}

/// How the watching ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    Job(JobEnd),
    /// The limit passed; the Job runs on. Where its pod has not started, what it waits for, if that is known.
    TimedOut(Option<Hindrance>),
    /// The Job is not there any more.
    Gone,
}

/// How a Job ended.
#[derive(Debug, Clone, PartialEq)]
pub struct JobEnd {
    pub succeeded: bool,
    pub verdict: Option<Box<Verdict>>,
    /// What it found out, if that was seen in its log.
    pub document: Option<Value>,
    /// What Kubernetes says about a Job or a pod that ended without a verdict.
    pub reason: Option<String>,
}

/// What a Job's log has told so far.
#[derive(Default)]
struct Told {
    verdict: Option<Box<Verdict>>,
    document: Option<Value>,
}

impl Cluster {
    /// Follows a Job to its end, telling `show` what happens. Dropping the future leaves the Job alone.
    pub async fn follow(&self, watching: &Watching<'_>, show: &mut (dyn FnMut(Sign) + Send)) -> Result<Ended, Failure> {
        let deadline = Instant::now() + watching.limit;
        let mut told = Told::default();
        let mut followed: Option<String> = None;
        let mut waiting = Waiting::begin(Instant::now());
        loop {
            let Some(job) = self.job(watching.job).await? else { return Ok(Ended::Gone) };
            let pods = self.pods_of_job(watching.job).await?;
            if let Some(succeeded) = finished(&job) {
                let words = pods.iter().rev().find_map(|p| termination(p, watching.container));
                let verdict = told.verdict.or_else(|| words.as_deref().and_then(verdict_in));
                let document = told.document;
                let reason = if succeeded { None } else { failure_reason(&job, &pods) };
                return Ok(Ended::Job(JobEnd { succeeded, verdict, document, reason }));
            }
            let next = pods.iter().rev().find(|p| has_started(p, watching.container) && Some(p.name_any()) != followed);
            if let Some(pod) = next {
                if followed.is_some() {
                    show(Sign::Replaced);
                }
                let name = pod.name_any();
                let lines = self.follow_log(&name, watching.container, &mut told, show);
                if timeout_at(deadline, lines).await.is_err() {
                    return Ok(Ended::TimedOut(None));
                }
                followed = Some(name);
                waiting = Waiting::begin(Instant::now());
            } else if !pods.last().is_some_and(|pod| has_started(pod, watching.container)) {
                let held_up = async {
                    match pods.last() {
                        Some(pod) => self.hindrance(pod).await,
                        None => self.hindrance_of_job(watching.job).await,
                    }
                };
                if let Some(found) = waiting.look(Instant::now(), held_up).await {
                    show(Sign::Waiting(found));
                }
            }
            if Instant::now() >= deadline {
                return Ok(Ended::TimedOut(waiting.found()));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Reads a container's log until it ends. A log that breaks off is no failure: the Job says how things stand.
    async fn follow_log(&self, pod: &str, container: &str, told: &mut Told, show: &mut (dyn FnMut(Sign) + Send)) {
        let params = LogParams { container: Some(container.to_owned()), follow: true, ..LogParams::default() };
        let api: Api<Pod> = self.patient_api();
        let Ok(stream) = api.log_stream(pod, &params).await else { return };
        let mut lines = stream.lines();
        while let Ok(Some(line)) = lines.try_next().await {
            match job_line::parse(&line) {
                Some(JobLine::Verdict(last)) => told.verdict = Some(last),
                Some(JobLine::Document(last)) => told.document = Some(last),
                Some(line) => show(Sign::Line(line)),
                None => {}
            }
        }
    }

    /// What a Job that has ended found out: read from the log of its newest pod, for whoever did not follow it all along.
    pub async fn document_of(&self, watching: &Watching<'_>) -> Option<Value> {
        let pods = self.pods_of_job(watching.job).await.ok()?;
        let params = LogParams { container: Some(watching.container.to_owned()), ..LogParams::default() };
        let api: Api<Pod> = self.patient_api();
        let stream = api.log_stream(&pods.last()?.name_any(), &params).await.ok()?;
        let mut lines = stream.lines();
        let mut document = None;
        while let Ok(Some(line)) = lines.try_next().await {
            if let Some(JobLine::Document(found)) = job_line::parse(&line) {
                document = Some(found);
            }
        }
        document
    }

    /// The last progress that a Job's newest pod told, and its verdict if it has one.
    pub async fn last_lines(&self, pod: &str, container: &str) -> Vec<JobLine> {
        let params = LogParams { container: Some(container.to_owned()), tail_lines: Some(20), ..LogParams::default() };
        let api: Api<Pod> = self.api();
        let text = api.logs(pod, &params).await.unwrap_or_default();
        text.lines().filter_map(job_line::parse).collect()
    }
}

/// Whether a Job has ended, and how: kube's own condition never sees a failed one.
pub fn finished(job: &Job) -> Option<bool> {
    let conditions = job.status.as_ref()?.conditions.as_deref()?;
    let holds = |kind: &str| conditions.iter().any(|c| c.type_ == kind && c.status == "True");
    if holds("Complete") {
        return Some(true);
    }
    holds("Failed").then_some(false)
}

fn container_status<'a>(pod: &'a Pod, container: &str) -> Option<&'a k8s_openapi::api::core::v1::ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.iter().find(|c| c.name == container)
}

fn has_started(pod: &Pod, container: &str) -> bool {
    let state = container_status(pod, container).and_then(|c| c.state.as_ref());
    state.is_some_and(|s| s.running.is_some() || s.terminated.is_some())
}

/// What the container left as its last words.
pub fn termination(pod: &Pod, container: &str) -> Option<String> {
    container_status(pod, container)?.state.as_ref()?.terminated.as_ref()?.message.clone()
}

/// The verdict in a termination message, which may be a tail of the log.
pub fn verdict_in(message: &str) -> Option<Box<Verdict>> {
    message.lines().rev().find_map(|line| match job_line::parse(line)? {
        JobLine::Verdict(verdict) => Some(verdict),
        JobLine::Method(_) | JobLine::Progress(_) | JobLine::Document(_) => None,
    })
}

fn failure_reason(job: &Job, pods: &[Pod]) -> Option<String> {
    let of_container = |pod: &Pod| {
        let status = pod.status.as_ref()?;
        let all = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
        let failed = all.filter_map(|c| Some((c.name.clone(), c.state.as_ref()?.terminated.as_ref()?)));
        failed.into_iter().find(|(_, t)| t.exit_code != 0).map(|(name, t)| {
            let words =
                t.message.as_deref().and_then(|m| m.lines().last()).or(t.reason.as_deref()).unwrap_or("no message");
            format!("container \"{name}\" ended with {}: {words}", t.exit_code)
        })
    };
    let conditions = job.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let of_pod = |pod: &Pod| pod.status.as_ref()?.message.clone();
    let of_job = conditions.iter().find(|c| c.type_ == "Failed").and_then(|failed| {
        let words = failed.message.clone().or(failed.reason.clone())?;
        // No container of it has failed, and yet it counts as failed.
        let is_lost = failed.reason.as_deref() == Some("BackoffLimitExceeded");
        let lost = || format!("its pod is gone without a word: deleted, evicted, or lost with its node ({words})");
        Some(if is_lost { lost() } else { words })
    });
    let newest = || pods.iter().rev();
    newest().find_map(of_container).or_else(|| newest().find_map(of_pod)).or(of_job)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(conditions: &serde_json::Value) -> Job {
        serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap()
    }

    #[test]
    fn both_ends_of_a_job_are_seen() {
        assert_eq!(finished(&job(&json!([{"type": "Complete", "status": "True"}]))), Some(true));
        assert_eq!(finished(&job(&json!([{"type": "Failed", "status": "True"}]))), Some(false));
        assert_eq!(finished(&job(&json!([{"type": "Failed", "status": "False"}]))), None);
        // The pods are still being ended: not terminal yet.
        assert_eq!(finished(&job(&json!([{"type": "FailureTarget", "status": "True"}]))), None);
    }

    #[test]
    fn a_failed_job_without_verdict_names_the_container() {
        let pod: Pod =
            serde_json::from_value(json!({"status": {"initContainerStatuses": [{"name": "install", "image": "",
            "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 1, "message": "a\ncannot write \"/pitr\""}}}]}}))
            .unwrap();
        let reason = failure_reason(&job(&json!([{"type": "Failed", "status": "True", "message": "backoff"}])), &[pod]);
        assert_eq!(reason.unwrap(), "container \"install\" ended with 1: cannot write \"/pitr\"");
        let gone =
            json!([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "backoff"}]);
        let reason = failure_reason(&job(&gone), &[]).unwrap();
        assert_eq!(reason, "its pod is gone without a word: deleted, evicted, or lost with its node (backoff)");
    }

    #[test]
    fn the_last_words_hold_the_verdict() {
        let words = "noise\n{\"event\":\"verdict\",\"result\":\"incomplete\"}\n";
        assert_eq!(verdict_in(words).unwrap().result, "incomplete");
        assert_eq!(verdict_in("killed"), None);
    }
}
