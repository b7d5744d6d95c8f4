//! Questions to one workload: its sidecars answer, or where somebody wants it so, a Job that reads the archive.

use std::cell::Cell;
use std::time::Duration;

use pitr_recovery::code;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::source::{pods_to_ask, told};
use super::{inspecting, pages};
use crate::args::{PodArgs, StateArgs, Via};
use crate::cluster::{Cluster, Reply, Silence, Workload};
use crate::failure::Failure;
use crate::session::Session;

/// A workload, and the ways by which it is asked.
pub(super) struct Asking<'a> {
    session: &'a Session,
    /// In the workload's namespace.
    cluster: Cluster,
    workload: Workload,
    state: StateArgs,
    /// Those that run the sidecar, in the order in which they are worth asking.
    pods: Vec<String>,
    /// What is chosen for the pod of a Job.
    pod: PodArgs,
    /// Whether whoever sits there is asked for a Job, where no sidecar answers.
    offers: bool,
    by_job: Cell<bool>,
}

impl<'a> Asking<'a> {
    /// By the ways that `--via` allows; where no sidecar answers and somebody sits there, a Job is offered.
    pub(super) async fn of(session: &'a Session, cluster: &Cluster, workload: &Workload, state: &StateArgs) -> Self {
        let cluster = cluster.in_namespace(&workload.namespace);
        let by_job = state.via == Via::Job;
        let pods = if by_job { Vec::new() } else { pods_to_ask(&cluster, workload, state, session.now()).await };
        Self::among(session, cluster, workload, (state, pods)).offering(by_job)
    }

    /// Of these pods' sidecars, and no Job is offered.
    pub(super) fn among(
        session: &'a Session,
        cluster: Cluster,
        workload: &Workload,
        (state, pods): (&StateArgs, Vec<String>),
    ) -> Self {
        let (workload, state) = (workload.clone(), state.clone());
        let pod = PodArgs::default();
        Self { session, cluster, workload, state, pods, pod, offers: false, by_job: Cell::new(false) }
    }

    fn offering(self, by_job: bool) -> Self {
        Self { offers: true, by_job: Cell::new(by_job), ..self }
    }

    /// A Job reads the archive, if whoever sits there wants one now that no sidecar answers.
    pub(super) async fn offered(
        session: &'a Session,
        cluster: &Cluster,
        workload: &Workload,
        state: &StateArgs,
    ) -> Option<Self> {
        let cluster = cluster.in_namespace(&workload.namespace);
        let asking = Self::among(session, cluster, workload, (state, Vec::new())).offering(false);
        asking.agreed().await.then_some(asking)
    }

    /// Nobody is asked for a Job: one of several workloads, or a question that only a sidecar can answer.
    pub(super) fn without_offer(self) -> Self {
        Self { offers: false, ..self }
    }

    /// Answers may take so long at least.
    pub(super) fn patient(mut self, limit: Duration) -> Self {
        self.state.via_timeout = self.state.via_timeout.max(limit);
        self
    }

    /// What is chosen for the pod of a Job.
    pub(super) fn with_pod(self, pod: &PodArgs) -> Self {
        Self { pod: pod.clone(), ..self }
    }

    /// What follows the verb in a command about the workload: `mysql -n shop`.
    pub(super) fn place(&self) -> String {
        self.workload.place()
    }

    /// Whether answers come from a Job.
    pub(super) fn is_by_job(&self) -> bool {
        self.by_job.get()
    }

    /// One question: to the first sidecar that answers, or to a Job.
    pub(super) async fn reply(&self, path: &str, body: Option<&str>) -> Result<Reply, Failure> {
        if !self.is_by_job() {
            // A log has heartbeats alone.
            let via = if self.state.via == Via::Log { Via::Auto } else { self.state.via };
            let silences = match self.cluster.ask(&self.pods, path, body, (via, self.state.via_timeout)).await {
                Ok(reply) => return Ok(reply),
                Err(silences) => silences,
            };
            if !self.agreed().await {
                return Err(unanswered(&silences));
            }
        }
        let of = (&self.workload, &self.pod);
        inspecting::ask(self.session, &self.cluster, of, (path, body), self.state.via_timeout).await
    }

    /// Whether a Job may be made, and so it is from now on.
    async fn agreed(&self) -> bool {
        let may = self.offers && self.state.via == Via::Auto;
        let question = format!(
            "no sidecar of statefulset/{} answers. Read its archive by a Job, which is deleted when it has answered?",
            self.workload.name
        );
        self.by_job.set(may && self.session.agrees(&question).await);
        self.is_by_job()
    }

    /// The plan for a target: the exact bytes that it is answered with.
    pub(super) async fn plan(&self, request: &Value) -> Result<Reply, Failure> {
        let reply = self.reply("/v1/plan", Some(&request.to_string())).await?;
        if reply.ok { Ok(reply) } else { Err(told(&reply, &self.place())) }
    }

    /// A document that the command is about, as it came.
    pub(super) async fn document(&self, path: &str) -> Result<Value, Failure> {
        let reply = pages::whole(self, path).await?;
        match serde_json::from_slice(&reply.body) {
            Ok(document) if reply.ok => Ok(document),
            Ok(_) => Err(told(&reply, &self.place())),
            Err(_) => {
                let name = path.split('?').next().unwrap_or(path);
                let words = String::from_utf8_lossy(&reply.body).trim().chars().take(200).collect::<String>();
                Err(Failure::without_code(1, format!("the sidecar does not answer {name}: {words}"))
                    .hint("it is older than this plugin, or another version")
                    .fix("kubectl pitr version; kubectl pitr inject again brings the sidecar of this version"))
            }
        }
    }

    /// A list that the command is about.
    pub(super) async fn required<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let reply = pages::whole(self, path).await?;
        if !reply.ok {
            return Err(told(&reply, &self.place()));
        }
        serde_json::from_slice(&reply.body)
            .map_err(|_| Failure::without_code(1, format!("the sidecar's answer to {path} is not understood")))
    }

    /// A list that is a help and no condition: without it the heartbeat alone is shown.
    pub(super) async fn optional<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        match pages::whole(self, path).await {
            Ok(reply) => match serde_json::from_slice(&reply.body) {
                Ok(list) if reply.ok => Some(list),
                _ => None,
            },
            Err(failure) => {
                self.session.warn(&format!("warning[PITR0704]: no list of windows and base backups: {failure}"));
                None
            }
        }
    }
}

/// Why no sidecar answered, and what else tells.
fn unanswered(silences: &[(String, Silence)]) -> Failure {
    let words: Vec<_> =
        silences.iter().map(|(pod, s)| format!("{pod}: {}: {}", s.transport.as_str(), s.reason)).collect();
    let failure = match words.is_empty() {
        false => Failure::new(code::NOT_REACHABLE, words.join("; ")),
        true => Failure::new(code::NOT_REACHABLE, "no pod runs the sidecar")
            .hint("a sidecar answers while a pod of the workload runs; the archive needs none")
            .fix("the same with --archive URL and --endpoint: kubectl pitr config view WORKLOAD tells both"),
    };
    failure.fix("the same with --via=job: a Job in the workload's namespace reads the archive")
}
